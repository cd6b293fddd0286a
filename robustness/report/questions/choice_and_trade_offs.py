"""Which model of a run to choose, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from robustness.base.text import (
    figure_text,
    join_names,
    milliseconds,
    points,
    share,
    visible,
)
from robustness.charts import model_scores, run_quantities_and_reliability
from robustness.charts.ranking_and_condition_tables import (
    Column,
    Entry,
    Form,
    Table,
    figure,
    places,
    with_interval,
)
from robustness.perturbations import REGISTRY
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.names_and_sentences import order, sentence
from robustness.report.questions.candidates_and_choice import choose_of_run
from robustness.report.questions.question_and_figures import (
    COMPARE,
    LABELS,
    TWO_MODELS,
    Need,
    Option,
    Question,
    RunFigures,
)
from robustness.statistics import Criteria, Figures, ModelChoice, robustness_ranking_and_verdicts
from robustness.statistics.choice_criteria_and_cost import MARGIN
from robustness.statistics.hardest_conditions import name_leaders
from robustness.statistics.model_choice import (
    NOT_COMPARED,
    RULED_OUT,
    above_expected,
    expected_robustness,
)

_SHORT = "Rank counts significant differences only; ties share a range."
_RULE = (
    '"Worse" means a significant gap of at least 1 point, unless criteria set another. Ranks hold '
    "for all models together at 95%. Robustness: {what} under perturbation, the mean of all "
    "conditions. Accuracy: on the originals. Above expected: above what the accuracy on the "
    "originals predicts, by a line through the logits of these models (Taori et al. 2020). First: "
    "the share of 1,000 resamples of the images in which the model scores highest. "
    "Latency is the median of passes over one photograph, after the run, models in turns; in "
    "parentheses the fastest and the slowest turn. A model is faster if it is so by 10% in every "
    "turn. It is as good as another if the 95% interval of their difference lies within 2 points, "
    "or within the margin if that is larger: an equivalence test. "
    "Memory is estimated from the weights."
)
_REMEDIES = (
    "Each model is also ranked with each remedy; tests and ranks are corrected for the number of "
    "candidates. The best score of many is likely too high. Latency "
    "includes the remedy."
)
_FIRST_COLUMNS = ("Rank", "Model", "Robustness", "Accuracy", "Latency")
"""Those of the short table."""

_BUSY = 0.1
"""Share of the time in which passes waited for a core: a free machine has less."""


def answer(figures: Figures, chosen: ModelChoice) -> str:
    """Which model of a run to choose: the sentences of ``chosen``, or what one model scores."""
    rankings = robustness_ranking_and_verdicts.rankings(figures.summary)
    names = [entry["model"] for entry in figures.summary]
    pairs = figures.pairs_under_attack
    by = "robust_accuracy"
    attacks = []
    for ranking in rankings:
        attacked = any(entry[by] is not None for entry in ranking)
        if attacked and ranking[0]["ranked_by"] != by:
            leader = _leader(ranking, by, pairs)
            attacks.append(f"under attack, {leader}")
    if chosen.compared and len(rankings) == 1:
        texts = [*chosen.sentences, *([sentence(*attacks, names=names)] if attacks else [])]
        return " ".join(texts)
    led = (_leader(ranking, ranking[0]["ranked_by"], figures.pairs()) for ranking in rankings)
    return sentence(*led, *attacks, names=names)


def _leader(ranking: Sequence[Entry], by: str, pairs: Sequence[Entry]) -> str:
    mine = [pair for pair in pairs if pair["label_set"] == ranking[0]["label_set"]]
    significant = {(pair["better"], pair["worse"]) for pair in mine if pair["established"]}
    unknown = "" if mine else "no image was evaluated with every model, so there is no order"
    return order(ranking, by, significant, unknown, 1)


def blocks(chosen: ModelChoice) -> list[Block]:
    """The models with what each scores and costs; [] where none has a score or is ruled out."""
    entries = placed(chosen)
    if all(entry["robust"] is None and entry["status"] != RULED_OUT for entry in entries):
        return []
    what = run_quantities_and_reliability.QUANTITIES[chosen.quantity].lower()
    rule = _RULE.format(what=what)
    if any(entry["remedy"] for entry in entries):
        rule += f" {_REMEDIES}"
    columns = [column for column in _columns(entries, chosen) if column[0] in _FIRST_COLUMNS]
    return [
        Titled("Models", Table.of(entries, columns)),
        Text(_SHORT, rule),
        replace(table(entries, chosen), long=True),
        *measured_on(entries),
        *busy(entries),
    ]


def measured_on(entries: Sequence[Entry]) -> list[Text]:
    """The machines on which latencies were measured, and when."""
    found = dict.fromkeys(
        (entry["machine"], datetime.fromisoformat(entry["measured"]))
        for entry in entries
        if entry["measured"]
    )
    texts = dict.fromkeys(f"{machine} ({time:%Y-%m-%d %H:%M} UTC)" for machine, time in found)
    return [Text(f"Latency on {join_names(list(texts))}.")] if texts else []


def busy(entries: Sequence[Entry]) -> list[Text]:
    """A caution where other programs slowed the passes that latencies were measured by."""
    waiting = max((entry["waiting"] or 0.0 for entry in entries), default=0.0)
    if waiting < _BUSY:
        return []
    return [
        Text(
            "The machine was busy when latencies were measured: passes waited "
            f"{share(waiting, 0)} of the time for a core. Expect lower latencies on a free machine."
        )
    ]


def placed(chosen: ModelChoice) -> list[Entry]:
    """The entries of ``chosen``, with how far each is above what its accuracy predicts.

    The leading one comes first, as in the map.
    """
    above = above_expected(chosen.models)
    entries = {entry["model"]: entry for entry in chosen.models}
    return [{**entries[name], "above": above.get(name)} for name in chosen.in_order(list(entries))]


def table(entries: Sequence[Entry], chosen: ModelChoice) -> Titled:
    """The models of ``chosen`` with their scores and costs."""
    what = run_quantities_and_reliability.QUANTITIES[chosen.quantity].lower()
    on = " on the predictions that count for every model" if chosen.unshared else ""
    return Titled(
        f"All figures; robustness is {what}{on}", Table.of(entries, _columns(entries, chosen))
    )


def _columns(entries: Sequence[Entry], chosen: ModelChoice) -> list[Column]:
    statuses = [entry["status"] for entry in entries if entry["place_low"] is None]
    # The only one with a rank beside models of other classes: no two can be compared.
    alone = len(entries) - len(statuses) == 1 and NOT_COMPARED in statuses

    def rank(entry: Entry) -> str:
        if entry["place_low"] is None:
            return str(entry["status"])
        return NOT_COMPARED if alone else places(entry)

    def latency(entry: Entry) -> str:
        names = ("latency_ms", "latency_low_ms", "latency_high_ms")
        text, low, high = (figure_text(entry, name, milliseconds) for name in names)
        spread = f" ({low} to {high})" if low and high else ""
        return f"{text} ms{spread}" if text else ""

    def in_unit(name: str, form: Form, unit: str) -> Callable[[Entry], str]:
        def text(entry: Entry) -> str:
            number = figure_text(entry, name, form)
            return f"{number} {unit}" if number else ""

        return text

    columns: list[Column] = [
        ("Rank", rank),
        ("Model", lambda entry: visible(entry["label"])),
        ("Robustness", lambda entry: with_interval(chosen.score(entry), chosen.quantity)),
        ("Accuracy", figure("accuracy", ".1%")),
        ("Latency", latency),
        ("Above expected", in_unit("above", points, "points")),
        ("First", figure("certainty", ".0%")),
        ("Memory", in_unit("memory_megabytes", lambda value: f"{value:.0f}", "MB")),
        ("Size", in_unit("megabytes", lambda value: f"{value:.1f}", "MB")),
        ("Hardest", lambda entry: name_leaders(entry["hardest"])),
    ]
    return [(head, say) for head, say in columns if any(say(entry) for entry in entries)]


def _risks(of: RunFigures) -> list[str]:
    """The risks of the perturbations of a run, as they appear; none under attacks alone."""
    if of.statistics.ranked_by == "robust_accuracy":
        return []
    names = dict.fromkeys(entry["perturbation"] for entry in of.statistics.by_perturbation)
    return list(dict.fromkeys(REGISTRY[name].risk for name in names if name in REGISTRY))


def _measured(name: str, cost: str) -> Need:
    def is_known(of: RunFigures) -> bool:
        costs = of.run.manifest.costs.values()
        return any(getattr(each, cost) is not None for each in costs)

    return Need(name, is_known)


OPTIONS = (
    Option(
        "weights",
        "What matters most",
        'how much perturbations or risks matter, such as "low light=3,fog=2,others=0" '
        "(default: each 1)",
        {},
        metavar="A=N,B=N",
        blank="all alike",
        help="Counts three times as much as the rest.",
        key="matters",
        names=_risks,
    ),
    Option(
        "min_accuracy",
        "Min accuracy on originals, %",
        "on the originals",
        metavar="SHARE",
        scale=100.0,
        most=100.0,
        needs=LABELS,
    ),
    Option(
        "max_latency_ms",
        "Max latency, ms",
        "milliseconds for one image, as measured in the run",
        needs=_measured("latencies", "latency_ms"),
    ),
    Option(
        "max_megabytes",
        "Max size, MB",
        "size of the weights",
        needs=_measured("sizes", "megabytes"),
    ),
    Option(
        "margin",
        "Smallest difference that matters, points",
        "a smaller difference is a tie (default: 0.01)",
        MARGIN,
        metavar="SHARE",
        scale=100.0,
        most=100.0,
        blank="1",
    ),
    Option(
        "remedies",
        "Include remedies",
        "also rank each model with each remedy of the run",
        False,
        help="Also rank each model with each remedy.",
        key="choose_remedies",
        needs=Need("remedies before models", lambda of: bool(of.run.manifest.spec.remedies)),
    ),
)


class ChoiceFigures(NamedTuple):
    """The models of a run with what they score and cost, and the sentence on which to choose."""

    chosen: ModelChoice
    statistics: Figures


def figures(of: RunFigures, out: Mapping[str, str] = MappingProxyType({})) -> ChoiceFigures:
    """The choice by the options; ``out`` are reasons that rule out candidates."""
    values = {
        option.name: of.options[option.name] for option in OPTIONS if option.name in of.options
    }
    if values or out:
        remedies = values.pop("remedies", False)
        criteria = Criteria(**values)
        chosen = choose_of_run(of.run, of.statistics, criteria, out, remedies=remedies)
    else:
        chosen = of.statistics.choice.with_costs(of.run.manifest.costs)
    return ChoiceFigures(chosen, of.statistics)


CHOICE = Question(
    "choice",
    "Choice",
    lambda figures: blocks(figures.chosen),
    figures=figures,
    answers=lambda of: [("Which model is most robust?", answer(of.statistics, of.chosen))],
    brief=lambda of: [
        block
        for block in blocks(of.chosen)
        if isinstance(block, Titled | Text) and len(of.statistics.summary) > 1
    ],
    options=OPTIONS,
    command="choose",
    view="",
)


def _trade_offs(figures: ChoiceFigures) -> list[Block]:
    chosen = figures.chosen
    scored = [e for e in placed(chosen) if e["robust"] is not None]
    axes = [name for name in model_scores.AXES if sum(e[name] is not None for e in scored) > 1]
    if not axes:
        return []
    title = run_quantities_and_reliability.QUANTITIES[chosen.quantity]
    options = {name: model_scores.AXES[name].title for name in axes}

    def read(name: str) -> list[Block]:
        note, across = "", options[name].lower()
        if name == "accuracy" and expected_robustness(scored):
            note = f"The dashed line is fitted to the logits of these {len(scored)} models."
        chart = Chart(
            f"{title} against {across}",
            model_scores.trade_off(scored, name, title),
            f"{title} of each model against its {across}; the table holds the numbers.",
            note,
        )
        return [chart]

    return [Chooser("Against", "trade", options, read, printed=axes[:1], first=axes[0])]


TRADE_OFFS = Question(
    "trade_offs",
    "Trade-offs",
    _trade_offs,
    "accuracy against robustness, latency and size",
    figures=figures,
    needs=(TWO_MODELS,),
    view=COMPARE,
)
