"""Which model of a run to choose, and what it costs.

The choice among models, their variants, and the models of several runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

from robustness.base.errors import ParameterError
from robustness.base.options import fields_of
from robustness.base.text import (
    figure_text,
    in_sentence,
    join_names,
    milliseconds,
    points,
    share,
    visible,
)
from robustness.perturbations import REGISTRY
from robustness.report import charts
from robustness.report.blocks import (
    COMPARE,
    LABELS,
    TWO_MODELS,
    Block,
    Chart,
    Chooser,
    Need,
    Question,
    RunFigures,
    Text,
    Titled,
    order_clause,
    sentence,
)
from robustness.report.tables import (
    Column,
    Entry,
    Form,
    Table,
    figure,
    filled_columns,
    places,
    with_interval,
)
from robustness.runs import Analysis, Run
from robustness.runs.comparison import shared_grids, shared_score
from robustness.statistics import Cost, Criteria, Figures, ModelChoice, study
from robustness.statistics import choose as choose_among
from robustness.statistics.choice import (
    NOT_COMPARED,
    RULED_OUT,
    above_expected,
    expected_robustness,
)
from robustness.statistics.failures import name_leaders
from robustness.statistics.grid import Grid
from robustness.statistics.options import ChoiceOptions

RuleOut = Callable[[Run], Mapping[str, str]]
"""Why models of a run are no candidates, by their ids."""


def choose(
    several: Sequence[Run],
    criteria: Criteria | None = None,
    rule_out: RuleOut | None = None,
    *,
    remedies: bool = False,
) -> ModelChoice:
    """The best model of a run, or of ``several`` of the same images, by ``criteria``.

    Several runs count on the images and conditions that all have; a model of more than one is
    taken from the first. With ``remedies`` the variants of a run are candidates, too. Raises
    ``ParameterError`` for criteria that a run cannot answer, and for runs that share nothing.
    """
    if remedies:
        _check_remedies(several)
    for run in several:
        if not run.images:
            raise ParameterError(f"The run {run.id} has no image that could be read.")
    if not several:
        raise ParameterError("Expected at least one run to choose from, got none.")
    if len(several) == 1:
        (run,) = several
        reasons = rule_out(run) if rule_out else {}
        return choose_of_run(run, Analysis(run).figures, criteria, reasons, remedies=remedies)
    costs: dict[str, Cost] = {}
    reasons_of_all: dict[str, str] = {}
    # Backwards, as the first run that has a model counts: each run replaces what later ones said.
    for run in reversed(several):
        costs |= run.manifest.costs
        for name in run.manifest.spec.model_names:
            reasons_of_all.pop(name, None)
        if rule_out:
            reasons_of_all |= rule_out(run)
    figures = Figures(_grids_of_all(several), score=shared_score(several))
    return choose_among(figures, criteria, costs, reasons_of_all)


def choose_of_run(
    run: Run,
    figures: Figures,
    criteria: Criteria | None = None,
    out: Mapping[str, str] | None = None,
    *,
    remedies: bool = False,
) -> ModelChoice:
    """Like ``choose``, for one run with known ``figures`` and reasons ``out`` to rule out."""
    variants = run.rows.variant_grids() if remedies else {}
    return choose_among(figures, criteria, run.manifest.costs, out, variants)


def pairs_of_domain(several: Sequence[Run]) -> tuple[str, ...]:
    """Return the ids of the conditions of all pairs in the domain of the runs ``several``.

    Raises ``ParameterError`` for runs without a domain, and for runs of different ones.
    """
    domains = {run.manifest.spec.domain for run in several}
    domain = domains.pop()
    if domain is None or domains:
        raise ParameterError(
            "Expected a run of a domain to rank by its worst pair, got "
            f"{'runs of several' if domains else 'one without'}: evaluate with a domain."
        )
    ids = []
    for cell in domain.pairs:
        ids += [condition.id for condition in cell.conditions]
    return tuple(ids)


def _check_remedies(several: Sequence[Run]) -> None:
    if len(several) > 1:
        raise ParameterError(
            f"Expected one run to choose from with remedies, got {len(several)}: choose from each "
            "run alone."
        )
    for run in several:
        if not run.manifest.spec.variants:
            raise ParameterError(
                f"Expected a run that tried remedies, got {run.id}: evaluate with "
                "remedies, or choose without them."
            )


def _grids_of_all(several: Sequence[Run]) -> list[Grid]:
    """One grid a model of ``several`` runs, on the images and conditions that all have."""
    _check_weights(several)
    grids_of_runs = shared_grids(
        [run.rows.grids() for run in several], [run.rows.axes.digests for run in several]
    )
    first = grids_of_runs[0][0]
    if not first.has_row.size:
        missing = "condition" if len(first.images) else "image"
        raise ParameterError(
            "Expected runs of the same images and conditions, got runs without a shared "
            f"{missing}: choose among runs of one dataset, fit and side."
        )
    by_name: dict[str, Grid] = {}
    for grid in chain.from_iterable(grids_of_runs):
        if grid.model not in by_name:  # the first run that has a model counts
            by_name[grid.model] = replace(grid, conditions=first.conditions)
    return list(by_name.values())


def _check_weights(several: Sequence[Run]) -> None:
    """Raise ``ParameterError`` if two runs mean different weights by one name of a model."""
    first_with: dict[str, tuple[str, str]] = {}
    for run in several:
        for name, digest in run.manifest.spec.models:
            first_digest, first_run = first_with.setdefault(name, (digest, run.id))
            if first_digest != digest:
                raise ParameterError(
                    f"Expected one {name}, got two with different weights, in {first_run} and "
                    f"{run.id}: give one of them another name, or compare the runs."
                )


_SHORT = "Rank counts significant differences only; ties share a range."
_RULE = (
    '"Worse" means a significant gap of at least 1 point, unless criteria set another. Ranks hold '
    "for all models together at 95%. Robustness: {what} under perturbation, the mean of all "
    "conditions. {column}: on the originals. Above expected: above what the {accuracy} on the "
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
"""The columns of the short table."""

_BUSY = 0.1
"""Share of the time in which passes waited for a core: a free machine has less."""


def answer(figures: Figures, chosen: ModelChoice) -> str:
    """Which model of a run to choose: the sentences of ``chosen``, or what one model scores."""
    rankings = study.rankings(figures.summary)
    names = [entry["model"] for entry in figures.summary]
    under_attack = []
    for ranking in rankings:
        attacked = any(entry["robust_accuracy"] is not None for entry in ranking)
        if attacked and ranking[0]["ranked_by"] != "robust_accuracy":
            leader = _leader(ranking, "robust_accuracy", figures.pairs_under_attack)
            under_attack.append(f"under attack, {leader}")
    if chosen.compared and len(rankings) == 1:
        texts = list(chosen.sentences)
        if under_attack:
            texts.append(sentence(*under_attack, names=names))
        return " ".join(texts)
    leaders = []
    for ranking in rankings:
        by = ranking[0]["ranked_by"]
        leaders.append(_leader(ranking, by, figures.pairs(), figures.score))
    return sentence(*leaders, *under_attack, names=names)


def _leader(ranking: Sequence[Entry], by: str, pairs: Sequence[Entry], score: str = "") -> str:
    """Return the clause on the models with the highest and the lowest rate ``by``.

    ``ranking`` has the entries of models with the same classes, ``pairs`` those of all pairs.
    ``score`` is the name of the score of a run of scores.
    """
    label_set = ranking[0]["label_set"]
    pairs_of_ranking = [pair for pair in pairs if pair["label_set"] == label_set]
    significant = {
        (pair["better"], pair["worse"]) for pair in pairs_of_ranking if pair["established"]
    }
    no_order = ""
    if not pairs_of_ranking:
        no_order = "no image was evaluated with every model, so there is no order"
    return order_clause(ranking, by, significant, no_order=no_order, digits=1, score=score)


def blocks(chosen: ModelChoice) -> list[Block]:
    """Return tables of the models with their scores and costs, and how to read them.

    There is nothing to show if no model has a score or is ruled out.
    """
    entries = placed(chosen)
    if all(entry["robust"] is None and entry["status"] != RULED_OUT for entry in entries):
        return []
    title = charts.quantity_title(chosen.quantity, chosen.score_name)
    rule = _RULE.format(
        what=in_sentence(title),
        column=_originals_title(chosen),
        accuracy=chosen.score_name or "accuracy",
    )
    if any(entry["remedy"] for entry in entries):
        rule += f" {_REMEDIES}"
    short_columns = [
        (title, cell_text)
        for title, cell_text in _columns(entries, chosen)
        if title in (*_FIRST_COLUMNS, _originals_title(chosen))
    ]
    return [
        Titled("Models", Table.of(entries, short_columns)),
        Text(_SHORT, rule),
        replace(table(entries, chosen), long=True),
        *measured_on(entries),
        *busy(entries),
    ]


def measured_on(entries: Sequence[Entry]) -> list[Text]:
    """The machines on which latencies were measured, and when."""
    texts = []
    for entry in entries:
        if entry["measured"]:
            time = datetime.fromisoformat(entry["measured"])
            texts.append(f"{entry['machine']} ({time:%Y-%m-%d %H:%M} UTC)")
    if not texts:
        return []
    return [Text(f"Latency on {join_names(list(dict.fromkeys(texts)))}.")]


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
    names = chosen.in_order(list(entries))
    return [{**entries[name], "above": above.get(name)} for name in names]


def table(entries: Sequence[Entry], chosen: ModelChoice) -> Titled:
    """The models of ``chosen`` with their scores and costs."""
    title = charts.quantity_title(chosen.quantity, chosen.score_name)
    caption = f"All figures; robustness is {in_sentence(title)}"
    if chosen.unshared:
        caption += " on the predictions that count for every model"
    return Titled(caption, Table.of(entries, _columns(entries, chosen)))


def _columns(entries: Sequence[Entry], chosen: ModelChoice) -> list[Column]:
    """The columns of a table of models, without those that are empty in every row."""
    statuses = [entry["status"] for entry in entries if entry["place_low"] is None]
    # The only one with a rank beside models of other classes: no two can be compared.
    alone = len(entries) - len(statuses) == 1 and NOT_COMPARED in statuses

    def rank(entry: Entry) -> str:
        if entry["place_low"] is None:
            return str(entry["status"])
        return NOT_COMPARED if alone else places(entry)

    columns: list[Column] = [
        ("Rank", rank),
        ("Model", lambda entry: visible(entry["label"])),
        ("Robustness", lambda entry: with_interval(chosen.score(entry), chosen.quantity)),
        (_originals_title(chosen), figure("accuracy", ".1%")),
        ("Latency", _latency),
        ("Above expected", _in_unit("above", points, "points")),
        ("First", figure("certainty", ".0%")),
        ("Memory", _in_unit("memory_megabytes", lambda value: f"{value:.0f}", "MB")),
        ("Size", _in_unit("megabytes", lambda value: f"{value:.1f}", "MB")),
        ("Hardest", lambda entry: name_leaders(entry["hardest"])),
    ]
    return filled_columns(entries, columns)


def _originals_title(chosen: ModelChoice) -> str:
    """Return the title of the column with the accuracy on the originals."""
    return f"Original {chosen.score_name}" if chosen.score_name else "Accuracy"


def _latency(entry: Entry) -> str:
    """The latency with the fastest and the slowest turn, such as "4.0 ms (3.9 to 4.2)"."""
    text = figure_text(entry, "latency_ms", milliseconds)
    if not text:
        return ""
    fastest = figure_text(entry, "latency_low_ms", milliseconds)
    slowest = figure_text(entry, "latency_high_ms", milliseconds)
    if not (fastest and slowest):
        return f"{text} ms"
    return f"{text} ms ({fastest} to {slowest})"


def _in_unit(name: str, form: Form, unit: str) -> Callable[[Entry], str]:
    """Return a function from an entry to its figure ``name`` with ``unit``, "" if it is unknown."""

    def cell_text(entry: Entry) -> str:
        number = figure_text(entry, name, form)
        return f"{number} {unit}" if number else ""

    return cell_text


def _risks(figures: RunFigures) -> list[str]:
    """Return the risks that the perturbations of a run stand for, in order of appearance.

    There are none if the models are ranked under attack, where perturbations have no weight.
    """
    if figures.statistics.ranked_by == "robust_accuracy":
        return []
    risks = []
    for entry in figures.statistics.by_perturbation:
        name = entry["perturbation"]
        # Attacks, compositions and profiles have no record.
        if name in REGISTRY and REGISTRY[name].risk not in risks:
            risks.append(REGISTRY[name].risk)
    return risks


def _need_of_cost(name: str, field: str) -> Need:
    """Return the need for a run that measured the ``field`` of ``Cost`` for some model."""

    def is_measured(figures: RunFigures) -> bool:
        costs = figures.run.manifest.costs.values()
        return any(getattr(cost, field) is not None for cost in costs)

    return Need(name, is_measured)


def _has_domain(figures: RunFigures) -> bool:
    return figures.run.manifest.spec.domain is not None


def _tried_remedies(figures: RunFigures) -> bool:
    return bool(figures.run.manifest.spec.variants)


class ChoiceFigures(NamedTuple):
    """The choice among the models of a run, and the statistics that it is based on."""

    chosen: ModelChoice
    statistics: Figures


def choice_figures(
    figures: RunFigures, out: Mapping[str, str] = MappingProxyType({})
) -> ChoiceFigures:
    """Return the choice among the models of a run by the options that ``figures`` has.

    ``out`` maps the ids of candidates to the reasons that rule them out.
    """
    run = figures.run
    values = {}
    for name in fields_of(ChoiceOptions):
        if name in figures.options:
            values[name] = figures.options[name]
    if not values and not out:
        # The stored statistics contain the choice without criteria.
        chosen = figures.statistics.choice.with_costs(run.manifest.costs)
    else:
        remedies = values.pop("remedies", False)
        weights = values.pop("weights", None) or {}
        worst_of: tuple[str, ...] = ()
        if values.pop("worst_pair", False):
            worst_of = pairs_of_domain([run])
        criteria = Criteria(weights, **values, worst_of=worst_of)
        chosen = choose_of_run(run, figures.statistics, criteria, out, remedies=remedies)
    return ChoiceFigures(chosen, figures.statistics)


def _choice_blocks(figures: ChoiceFigures) -> list[Block]:
    return blocks(figures.chosen)


def _answers(figures: ChoiceFigures) -> list[tuple[str, str]]:
    return [("Which model is most robust?", answer(figures.statistics, figures.chosen))]


def brief(figures: ChoiceFigures) -> list[Titled | Text]:
    """Return the blocks of several models; there is no choice among one."""
    if len(figures.statistics.summary) < 2:
        return []
    return [block for block in blocks(figures.chosen) if isinstance(block, Titled | Text)]


CHOICE = Question(
    "choice",
    "Choice",
    _choice_blocks,
    figures=choice_figures,
    answers=_answers,
    brief=brief,
    options=ChoiceOptions,
    option_needs={
        "min_accuracy": LABELS,
        "max_latency_ms": _need_of_cost("latencies", "latency_ms"),
        "max_megabytes": _need_of_cost("sizes", "megabytes"),
        "worst_pair": Need("a domain", _has_domain),
        "remedies": Need("remedies before models", _tried_remedies),
    },
    names=_risks,
    command="choose",
    view="",
)


def _trade_offs(figures: ChoiceFigures) -> list[Block]:
    chosen = figures.chosen
    scored = [entry for entry in placed(chosen) if entry["robust"] is not None]
    axes = {}
    for name, axis in charts.AXES.items():
        if name == "accuracy" and chosen.score_name:
            axis = axis._replace(title=chosen.score_name)
        known = [entry for entry in scored if entry[name] is not None]
        if len(known) > 1:
            axes[name] = axis
    if not axes:
        return []
    score_title = charts.quantity_title(chosen.quantity, chosen.score_name)

    def read(name: str) -> list[Block]:
        axis_title = in_sentence(axes[name].title)
        note = ""
        if name == "accuracy" and expected_robustness(scored):
            note = f"The dashed line is fitted to the logits of these {len(scored)} models."
        chart = Chart(
            f"{score_title} against {axis_title}",
            charts.trade_off(scored, name, score_title, axes[name]),
            f"{score_title} of each model against its {axis_title}; the table holds the numbers.",
            note,
        )
        return [chart]

    first = next(iter(axes))
    titles = {name: axis.title for name, axis in axes.items()}
    return [Chooser("Against", "trade", titles, read, printed=[first], first=first)]


TRADE_OFFS = Question(
    "trade_offs",
    "Trade-offs",
    _trade_offs,
    "accuracy against robustness, latency and size",
    figures=choice_figures,
    needs=(TWO_MODELS,),
    view=COMPARE,
)
