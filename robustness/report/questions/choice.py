"""Which model of a run to choose, and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from robustness.base.text import points, share, visible
from robustness.charts import model_scores, run_results
from robustness.charts.tables import Column, Entry, Table, figure, with_interval
from robustness.perturbations import REGISTRY
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.questions.model_candidates import choose_of_run, costs
from robustness.report.questions.question import (
    COMPARE,
    LABELS,
    TWO_MODELS,
    Need,
    Option,
    Question,
    RunFigures,
)
from robustness.report.wording import model, order, sentence
from robustness.statistics import Criteria, Figures, ModelChoice, scorecard
from robustness.statistics.criteria import MARGIN
from robustness.statistics.effective_robustness import above_expected, expected
from robustness.statistics.hardest import joined
from robustness.statistics.model_choice import NOT_COMPARED, RULED_OUT

Costs = Mapping[str, Mapping[Any, float]]

_SHORT = "Rank counts significant differences only; ties share a range."
_RULE = (
    '"Worse" means a significant gap of at least 1 point, unless criteria set another. Ranks hold '
    "for all models together at 95%. Robustness: {what} under perturbation, the mean of all "
    "conditions. Accuracy: on the originals. Above expected: above what the accuracy on the "
    "originals predicts, by a line through the logits of these models (Taori et al. 2020). First: "
    "the share of 1,000 resamples of the images in which the model scores highest. "
    "Latency is the median of passes over one photograph, models in turns, on the machine that "
    "ended the run; 8 of 10 passes took the time in parentheses. "
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
    rankings = scorecard.rankings(figures.summary)
    names = [entry["model"] for entry in figures.summary]
    pairs = figures.pairs_under_attack
    attacks = [text for ranking in rankings if (text := _under_attack(ranking, pairs))]
    if chosen.compared and len(rankings) == 1:
        said = [sentence(*attacks, names=names)] if attacks else []
        return " ".join([*chosen.sentences, *said])
    led = (_leader(ranking, ranking[0]["ranked_by"], figures.pairs()) for ranking in rankings)
    return sentence(*led, *attacks, names=names)


def _leader(ranking: Sequence[Entry], by: str, pairs: Sequence[Entry]) -> str:
    mine = [pair for pair in pairs if pair["label_set"] == ranking[0]["label_set"]]
    significant = {(pair["better"], pair["worse"]) for pair in mine if pair["established"]}
    unknown = "" if mine else "no image was evaluated with every model, so there is no order"
    return order(ranking, by, significant, unknown, 1)


def _under_attack(ranking: Sequence[Entry], pairs: Sequence[Entry]) -> str:
    by = "robust_accuracy"
    if ranking[0]["ranked_by"] == by or all(entry[by] is None for entry in ranking):
        return ""
    return f"under attack, {_leader(ranking, by, pairs)}"


def blocks(costs: Costs, chosen: ModelChoice) -> list[Block]:
    """The models with what each scores and costs; [] where none has a score or is ruled out."""
    entries = priced(costs, chosen)
    if all(entry["robust"] is None and entry["status"] != RULED_OUT for entry in entries):
        return []
    what = run_results.QUANTITIES[chosen.quantity].lower()
    rule = _RULE.format(what=what)
    if any(entry["remedy"] for entry in entries):
        rule += f" {_REMEDIES}"
    columns = [column for column in _columns(entries) if column[0] in _FIRST_COLUMNS]
    short = Titled("Models", Table.of(entries, columns))
    return [
        short,
        Text(_SHORT, rule),
        replace(table(entries, chosen.quantity), long=True),
        *busy(entries),
    ]


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


def priced(costs: Costs, chosen: ModelChoice) -> list[Entry]:
    """The entries of ``chosen`` with each model's ``costs`` from the manifest."""
    above = above_expected(chosen.models)
    return [
        {**entry, **costs.get(entry["model"], {}), "above": above.get(entry["model"])}
        for entry in chosen.models
    ]


def difference(pair: Entry) -> str:
    """How the two models of a ``pair`` of ``compare`` differ."""
    by = f"{points(pair['difference'], '.1f')} points"
    low, high = pair["difference_low"], pair["difference_high"]
    if low is not None:
        by += f" ({points(low, '.1f')} to {points(high, '.1f')})"
    suffix = "" if pair["established"] else ", not significant"
    what = run_results.QUANTITIES[pair["quantity"]].lower()
    return f"{model(pair['better'])} is above {model(pair['worse'])} in {what} by {by}{suffix}."


def _risks(figures: Figures) -> list[str]:
    """The risks of the perturbations of a run, as they appear; none under attacks alone."""
    if figures.ranked_by == "robust_accuracy":
        return []
    names = dict.fromkeys(entry["perturbation"] for entry in figures.by_perturbation)
    return list(dict.fromkeys(REGISTRY[name].risk for name in names if name in REGISTRY))


def table(entries: Sequence[Entry], quantity: str) -> Titled:
    """The models of a ``ModelChoice`` with their scores and costs."""
    caption = f"All figures; robustness is {run_results.QUANTITIES[quantity].lower()}"
    return Titled(caption, Table.of(entries, _columns(entries)))


def _chart(scored: Sequence[Entry], name: str, title: str) -> Chart:
    note = ""
    if len(scored) - len(model_scores.dominated(scored, name)) > 1:
        note = "The dotted line joins the models that no other beats in both figures."
    if name == "accuracy" and expected(scored):
        note += f" The dashed line is fitted to the logits of these {len(scored)} models."
    note = note.strip()
    across = model_scores.AXES[name].title.lower()
    return Chart(
        f"{title} against {across}",
        model_scores.trade_off(scored, name, title),
        f"{title} of each model against its {across}; the table holds the numbers.",
        note,
    )


def _columns(entries: Sequence[Entry]) -> list[Column]:
    columns: list[Column] = [
        ("Rank", partial(_rank, alone=_is_alone(entries))),
        ("Model", lambda entry: visible(entry["label"])),
        ("Robustness", _score),
        ("Accuracy", figure("accuracy", ".1%")),
        ("Latency", _latency),
        ("Above expected", lambda entry: _of("{:+.1f} points", _times_100(entry.get("above")))),
        ("First", figure("certainty", ".0%")),
        ("Memory", lambda entry: _of("{:.0f} MB", entry.get("memory_megabytes"))),
        ("Size", lambda entry: _of("{:.1f} MB", entry["megabytes"])),
        ("Hardest", lambda entry: joined(entry["hardest"])),
    ]
    return [(head, say) for head, say in columns if any(say(entry) for entry in entries)]


def _score(entry: Entry) -> str:
    return with_interval(entry, "own" if "own" in entry else "robust")


def _latency(entry: Entry) -> str:
    latency = _of("{:.3g} ms", entry["latency_ms"])
    low, high = (entry.get(f"latency_{bound}_ms") for bound in ("low", "high"))
    return latency if low is None or high is None else f"{latency} ({low:.3g} to {high:.3g})"


def _is_alone(entries: Sequence[Entry]) -> bool:
    """Whether one model has a rank and others are not compared: no two have the same classes."""
    statuses = [entry["status"] for entry in entries if entry["place_low"] is None]
    return len(entries) - len(statuses) == 1 and NOT_COMPARED in statuses


def _rank(entry: Entry, *, alone: bool) -> str:
    low, high = entry["place_low"], entry["place_high"]
    if alone and low is not None:
        return NOT_COMPARED
    if low is None:
        return str(entry["status"])
    return str(low) if low == high else f"{low} to {high}"


def _times_100(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _of(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)


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
        names=lambda of: _risks(of.statistics),
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
        needs=Need("latencies", lambda of: _measured(of, "latency_ms")),
    ),
    Option(
        "max_megabytes",
        "Max size, MB",
        "size of the weights",
        needs=Need("sizes", lambda of: _measured(of, "megabytes")),
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


def _measured(of: RunFigures, cost: str) -> bool:
    return any(cost in costs for costs in of.run.manifest.costs.values())


class ChoiceFigures(NamedTuple):
    """The models of a run with what they score and cost, and the sentence on which to choose."""

    costs: Costs
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
        chosen = of.statistics.choice.with_costs(costs(of.run))
    return ChoiceFigures(of.run.manifest.costs, chosen, of.statistics)


def _brief(figures: ChoiceFigures) -> list[Titled | Text]:
    if len(figures.statistics.summary) < 2:
        return []
    return [b for b in blocks(figures.costs, figures.chosen) if isinstance(b, Titled | Text)]


CHOICE = Question(
    "choice",
    "Choice",
    lambda figures: blocks(figures.costs, figures.chosen),
    figures=figures,
    answers=lambda of: [("Which model is most robust?", answer(of.statistics, of.chosen))],
    brief=_brief,
    options=OPTIONS,
    command="choose",
    view="",
)


def _trade_offs(figures: ChoiceFigures) -> list[Block]:
    chosen = figures.chosen
    scored = [e for e in priced(figures.costs, chosen) if e["robust"] is not None]
    axes = model_scores.across(scored)
    if len(scored) < 2 or not axes:
        return []
    title = run_results.QUANTITIES[chosen.quantity]
    options = {name: model_scores.AXES[name].title for name in axes}
    chart = Chooser(
        "Against",
        "trade",
        options,
        lambda name: [_chart(scored, name, title)],
        printed=axes[:1],
        first=axes[0],
    )
    return [chart]


TRADE_OFFS = Question(
    "trade_offs",
    "Trade-offs",
    _trade_offs,
    "accuracy against robustness, latency and size",
    figures=figures,
    needs=(TWO_MODELS,),
    view=COMPARE,
)
