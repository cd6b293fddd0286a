"""Where the models of a run hold within its domain: in which pairs of perturbations, and where not.

A figure stands for one condition, with its own 95% interval: a limit is kept where the whole
interval is above it, broken where it is below, and otherwise not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from robustness import models
from robustness.base.text import (
    all_of,
    counted,
    format_figure,
    in_sentence,
    join_names,
    points,
)
from robustness.measure.condition import Condition
from robustness.measure.domain import Domain, Range
from robustness.perturbations import REGISTRY
from robustness.report import maps as report_maps
from robustness.report.blocks import (
    Block,
    Chooser,
    Map,
    Need,
    Question,
    RunFigures,
    Tables,
    Text,
    Titled,
    model_label,
)
from robustness.report.choice import CHOICE
from robustness.report.harm import RUN_MAP
from robustness.report.tables import Column, Table
from robustness.statistics import FEWEST
from robustness.statistics.domain import Judged, JudgedDomain, judge_domain
from robustness.statistics.interactions import Interaction, interactions
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, UNTESTED


class DomainFigures(NamedTuple):
    """The domain of a run, None without one, and each model in it, in the order of the choice.

    In a run of scores, ``score`` is the name of the one whose mean stands in place of the accuracy.
    """

    domain: Domain | None
    judged: Sequence[JudgedDomain] = ()
    score: str = ""


def _figures(figures: RunFigures) -> DomainFigures:
    domain = figures.run.manifest.spec.domain
    if domain is None or not figures.run.row_count:
        return DomainFigures(domain)
    names = [entry["model"] for entry in figures.statistics.summary]
    in_order = figures.answer(CHOICE).chosen.in_order(names)
    worst = figures.run.manifest.worst_within(domain)
    grids = {grid.model: grid for grid in figures.statistics.grids}
    results = []
    entries = figures.statistics.by_perturbation
    for judged in judge_domain(domain, entries, in_order, worst):
        found = interactions(domain, grids[judged.model])
        results.append(replace(judged, interactions=found))
    return DomainFigures(domain, results, figures.run.score)


def sentences(judged: JudgedDomain, score: str = "") -> list[str]:
    """Return what holds of a model: of the pairs, the worst composition, and the array.

    ``score`` is as in ``DomainFigures``.
    """
    domain = judged.domain
    kind, bound = domain.limit
    quantity = kind.removeprefix("min_")
    label = model_label(judged.model)
    values = [each.value for each in judged.all if each.value is not None]
    if not values:
        reason = "the images have no labels" if quantity == "accuracy" else "nothing was measured"
        return [f"Within the domain {domain.name}, {label} has no {quantity}: {reason}."]
    kept = len(judged.pairs_with(KEPT))
    total = len(judged.pairs)
    if kept == total:
        share_of_pairs = all_of(total, "pair")
    elif total == 1:
        share_of_pairs = "no pair"
    else:
        share_of_pairs = f"{kept or 'none'} of {counted(total, 'pair')}"
    kept_text = f"{100 * bound:g}% {quantity}"
    if score:
        kept_text = f"a mean {score} of {100 * bound:g}%"
    text = f"Within the domain {domain.name}, {label} keeps {kept_text} in {share_of_pairs}"
    broken = judged.pairs_with(BROKEN)
    if broken:
        worst = broken[0]
        name = _pair_name(worst.cell.perturbations)
        if len(broken) == 1:
            text += f"; {name} is broken: {rate(worst.worst)}"
        else:
            text += f"; {len(broken)} are broken, the worst {name}: {rate(worst.worst)}"
    open_pairs = len(judged.pairs_with(NOT_SHOWN))
    if open_pairs:
        text += f"; {open_pairs} not shown"
    untested = len(judged.pairs_with(UNTESTED))
    if untested:
        text += f"; {untested} untested"
    texts = [f"{text}."]
    if judged.worst is not None:
        texts.append(_worst_sentence(judged.worst))
    significant = [each for each in judged.interactions if each.significant and each.more > 0]
    if significant:
        texts.append(_interaction_sentence(significant[0], score))
    if judged.array:
        texts.append(_array_sentence(judged))
    return texts


def _worst_sentence(worst: Judged) -> str:
    images = counted(worst.images, "image")
    return (
        f"The worst composition found is {_in_words(worst.condition)}: {rate(worst)}, on {images} "
        "that did not choose it."
    )


def _in_words(condition: Condition) -> str:
    """The condition in a sentence: "fog effect 0.3 and random noise 0.2"."""
    texts = [in_sentence(text) for text in condition.short.split(" + ")]
    return join_names(texts, len(texts))


def _interaction_sentence(interaction: Interaction, score: str) -> str:
    name = _in_words(interaction.condition)
    together = counted(points(interaction.together, ".0f"), "point")
    if score:
        together += f" of {score}"
    return (
        f"{name[:1].upper()}{name[1:]} cost {together} together, {_more(interaction)} more than "
        "the sum of their losses."
    )


def _more(interaction: Interaction) -> str:
    """The points beyond the sum of the losses, with their interval: "32 (20 to 44)"."""
    text = points(interaction.more, ".0f")
    if interaction.more_low is None or interaction.more_high is None:
        return text
    low, high = (points(bound, ".0f") for bound in (interaction.more_low, interaction.more_high))
    return f"{text} ({low} to {high})"


def _array_sentence(judged: JudgedDomain) -> str:
    parts = []
    for outcome in (KEPT, BROKEN, NOT_SHOWN, UNTESTED):
        count = len(judged.rows_with(outcome))
        if count:
            parts.append(f"{count} {outcome}")
    rows = counted(len(judged.array), "combination")
    return f"Of {rows} of all ranges: {join_names(parts, len(parts))}."


def _pair_name(names: Sequence[str]) -> str:
    """The pair in words: "fog effect with random noise"."""
    return " with ".join(in_sentence(REGISTRY[name].label) for name in names)


def rate(judged: Judged) -> str:
    """The share with its interval: "36% (27 to 46)"."""
    if judged.value is None:
        return judged.outcome
    value = format_figure(judged.value, ".0%")
    if judged.low is None or judged.high is None:
        return f"{value} (fewer than {FEWEST} images)"
    low, high = (format_figure(100 * bound, ".0f") for bound in (judged.low, judged.high))
    return f"{value} ({low} to {high})"


def answers(figures: DomainFigures) -> list[tuple[str, str]]:
    pairs = []
    for judged in figures.judged:
        question = f"Where does {model_label(judged.model)} hold in the domain?"
        pairs.append((question, " ".join(sentences(judged, figures.score))))
    return pairs


def domain_map(judged: JudgedDomain, score: str = "", *, keyed: bool = False) -> Map:
    """Return the map of a model, with what its cells mean; a click selects images if ``keyed``.

    ``score`` is as in ``DomainFigures``.
    """
    kind, bound = judged.domain.limit
    if score:
        quantity = f"Mean {score}"
    elif kind == "min_accuracy":
        quantity = "Share correct"
    else:
        quantity = "Share unchanged"
    signs = ", ".join(f"{sign} {outcome}" for outcome, sign in report_maps.SIGNS.items())
    note = (
        f"{quantity}, in percent, in the middle and at the limit of both ranges; wanted: at "
        f"least {100 * bound:g}%. {signs}, \N{EN DASH} untested."
    )
    link = RUN_MAP.link if keyed else ""
    return Map("", report_maps.domain_map(judged, score, keyed=keyed), note, link)


def maps(figures: DomainFigures, *, keyed: bool = False) -> Chooser:
    """Return the maps of all models, of which a page shows one."""
    judged_by_model = {judged.model: judged for judged in figures.judged}
    titles = {name: models.label(name) for name in judged_by_model}

    def read(model: str) -> list[Block]:
        block = domain_map(judged_by_model[model], figures.score, keyed=keyed)
        if keyed:
            return [block]
        return [Map(titles[model], block.drawing, block.note)]

    return Chooser("Model", "domain_model", titles, read, printed=list(titles))


_PAIR_HEAD = "Pair"


def rate_and_outcome(judged: Judged) -> str:
    """The share with its interval and what it shows: "36% (27 to 46) broken"."""
    if judged.value is None:
        return judged.outcome
    return f"{rate(judged)} {judged.outcome}"


def pairs_table(figures: DomainFigures) -> Titled:
    """Return the worse condition of each pair, by model; the worst pair comes first."""
    pairs = []
    for index in range(len(figures.judged[0].pairs)):
        pairs.append([judged.pairs[index] for judged in figures.judged])
    pairs.sort(key=lambda cells: min(cell.worst.sort_key for cell in cells))
    rows = []
    for cells in pairs:
        texts = [rate_and_outcome(cell.worst) for cell in cells]
        rows.append((cells[0].cell.label, *texts))
    head = (_PAIR_HEAD, *(model_label(judged.model) for judged in figures.judged))
    return Titled("Pairs, each by its worse condition", Table(head, rows))


def _array_table(figures: DomainFigures) -> Titled:
    """Return the rows of the array, by model; the worst comes first."""
    rows_of_models = [
        [judged.array[index] for judged in figures.judged]
        for index in range(len(figures.judged[0].array))
    ]
    rows_of_models.sort(key=lambda tested: min(each.sort_key for each in tested))
    rows = []
    for tested in rows_of_models:
        texts = [rate_and_outcome(each) for each in tested]
        rows.append((tested[0].condition.short, *texts))
    head = ("All ranges together", *(model_label(judged.model) for judged in figures.judged))
    return Titled("Covering array: all ranges together", Table(head, rows), long=True)


def _worst_table(figures: DomainFigures) -> list[Titled]:
    """Return the worst composition of each model, if any was searched."""
    searched = [judged.worst for judged in figures.judged if judged.worst is not None]
    if not searched:
        return []
    columns: list[Column] = [
        ("Model", lambda worst: model_label(worst.model)),
        ("Worst composition found", lambda worst: worst.condition.short),
        (
            "In the images that did not choose it",
            lambda worst: f"{rate_and_outcome(worst)}, {counted(worst.images, 'image')}",
        ),
    ]
    title = "Worst composition, searched on half of the images"
    return [Titled(title, Table.of(searched, columns), long=True)]


_INTERACTION_COLUMNS: list[Column] = [
    ("Model", lambda each: model_label(each.model)),
    ("Together", lambda each: each.condition.short),
    ("Loss, points", lambda each: points(each.together, ".0f")),
    ("Sum of single losses", lambda each: points(each.apart, ".0f")),
    ("Beyond the sum", lambda each: _more(each)),
]


def _interaction_blocks(figures: DomainFigures) -> list[Block]:
    """Return the pairs whose loss differs significantly from the sum of the single losses."""
    found = [each for judged in figures.judged for each in judged.interactions]
    if not found:
        return []
    significant = [each for each in found if each.significant]
    if not significant:
        return [Text("No pair costs significantly more or less than the sum of its single losses.")]
    significant.sort(key=lambda each: -abs(each.more))
    title = "Significant interactions: pairs that cost more or less than the sum of their losses"
    return [Titled(title, Table.of(significant, _INTERACTION_COLUMNS), long=True)]


_RANGE_COLUMNS: list[Column] = [
    ("Perturbation", lambda each: each.record.label),
    ("Strength", lambda each: f"{each.low:g} to {each.high:g}"),
    ("Value", lambda each: _values(each)),
    ("Requirement", lambda each: each.requirement),
    ("Source", lambda each: each.source),
]


def _values(each: Range) -> str:
    if not each.record.graded:
        return "on or off"
    return f"{each.record.value_text(each.low)} to {each.record.value_text(each.high)}"


def limit_text(domain: Domain, score: str = "") -> str:
    """Return the limit in words, of the mean ``score`` if there is one, as in ``DomainFigures``."""
    if score:
        return domain.limit_text.replace("accuracy", f"mean {score}")
    return domain.limit_text


def declared(domain: Domain, score: str = "") -> list[Block]:
    """Return what the domain declares, and what it leaves out.

    ``score`` is as in ``DomainFigures``.
    """
    title = f"The domain {domain.name}: {limit_text(domain, score)}"
    if domain.owner:
        title += f"; owner: {domain.owner}"
    blocks: list[Block] = [Titled(title, Table.of_filled(domain.ranges, _RANGE_COLUMNS), long=True)]
    if domain.outside:
        blocks.append(Text(f"Outside what was tested: {'; '.join(domain.outside)}."))
    return blocks


def _tested(figures: DomainFigures) -> list[Block]:
    """Return the tables behind the maps."""
    pairs = replace(pairs_table(figures), long=True)
    return [
        *_worst_table(figures),
        pairs,
        *_interaction_blocks(figures),
        _array_table(figures),
    ]


def details(figures: DomainFigures) -> list[Block]:
    """Return the tables behind the maps, and what the domain declares."""
    assert figures.domain is not None
    return [*_tested(figures), *declared(figures.domain, figures.score)]


def results(figures: DomainFigures) -> list[Block]:
    """Return where each model holds: sentences, maps, and the tables behind them."""
    texts = [Text(" ".join(sentences(judged, figures.score))) for judged in figures.judged]
    return [*texts, maps(figures), *_tested(figures)]


def _blocks(figures: DomainFigures) -> list[Block]:
    if not figures.judged:
        return []
    assert figures.domain is not None
    return [*results(figures), *declared(figures.domain, figures.score)]


def _brief(figures: DomainFigures) -> list[Titled | Text | Map]:
    if not figures.judged:
        return []
    return [pairs_table(figures)]  # the sentences are among the answers


def _tables(figures: DomainFigures) -> Tables:
    if not figures.judged:
        return {}
    entries = []
    worst = []
    pairs = []
    for judged in figures.judged:
        entries += [each.as_dict() for each in judged.all]
        pairs += [each.as_dict() for each in judged.interactions]
        if judged.worst is not None:
            worst.append(judged.worst.as_dict())
    return {"domain": entries, "worst_compositions": worst, "interactions": pairs}


HAS_DOMAIN = Need("domain", lambda figures: figures.run.manifest.spec.domain is not None)

DOMAIN = Question(
    "domain",
    "The domain",
    _blocks,
    "where each model holds, and which combinations break it",
    figures=_figures,
    view="",
    needs=(HAS_DOMAIN,),
    answers=answers,
    brief=_brief,
    tables=_tables,
)
