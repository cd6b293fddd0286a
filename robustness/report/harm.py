"""What models withstand: under which perturbations, strengths and attacks each fails."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from robustness.attacks import REGISTRY as ATTACK_RECORDS
from robustness.base.text import figure_text, join_names, share
from robustness.measure.condition import perturbation_label, setting
from robustness.report import charts, tables
from robustness.report import maps as report_maps
from robustness.report.blocks import (
    ATTACKS,
    MODEL,
    Block,
    Chooser,
    Map,
    Question,
    RunFigures,
    Text,
    Titled,
    model,
    sentence,
)
from robustness.report.choice import CHOICE, ChoiceFigures
from robustness.report.maps import BandMap
from robustness.report.tables import (
    Column,
    Entry,
    Table,
    figure,
    labels_note,
    rate,
    similarities,
    with_interval,
)
from robustness.statistics import FEWEST, Figures, ModelChoice
from robustness.statistics.failures import Hardest, name_leaders


def _with_choice(of: RunFigures) -> ChoiceFigures:
    """The figures of a run with its recommendation, which comes first in every map."""
    return of.answer(CHOICE)


def _blocks(choice: ChoiceFigures) -> list[Block]:
    figures = choice.statistics
    entries = figures.by_perturbation
    mapped = report_maps.quantity_of(figures)
    others = [
        name
        for name in charts.quantities()
        if name != mapped and any(entry.get(name) is not None for entry in entries)
    ]

    def images(entry: Entry) -> str:
        """Under attack with how many of them had a prediction to break."""
        count, attacked = (figure_text(entry, f"n_{which}", "") for which in ("images", "attacked"))
        if attacked in ("", count):
            return count
        return f"{count}, {attacked} attacked"

    def of_every_image(entry: Entry) -> str:
        return "" if leaves_out(entry) else with_interval(entry, "consistency")

    def of_attacked(entry: Entry) -> str:
        return with_interval(entry, "consistency") if leaves_out(entry) else ""

    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
        ("Strength", lambda entry: setting(entry["condition"])),
        MODEL,
        ("Images", images),
        ("Consistency", of_every_image),
        *([("Consistency of attacked", of_attacked)] if any(map(leaves_out, entries)) else []),
        *similarities(entries, ".3f", ["cosine"]),
        ("SSIM", figure("ssim", ".3f")),
        *tables.listed_metrics(entries),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        lost = "Accuracy lost", rate("drop")
        columns += [tables.LABELLED, lost]
    table = Titled("By model and condition", Table.of(entries, columns), long=True)
    titles = charts.titles(others)

    def read(quantity: str) -> list[Block]:
        note = labels_note(figures.summary, quantity)
        drawing = report_maps.run_map(figures, quantity, chosen=choice.chosen)
        return [Map(titles[quantity], drawing, note)]

    maps = Chooser("Figure", "cell_figure", titles, read, printed=[], listed=True)
    return [maps, table] if others else [table]


def leaves_out(entry: Entry) -> bool:
    """Whether consistency counts only some of the images, those with a prediction to break."""
    attacked = entry["n_attacked"]
    return attacked is not None and bool(attacked < entry["n_images"])


def harm(figures: Figures) -> str:
    """The perturbations that do most harm, where the images decide that.

    Each group of models with the same classes has a sentence.
    """
    texts = [_harm(figures, group, alone=len(figures.hardest) == 1) for group in figures.hardest]
    return " ".join(texts)


def _harm(figures: Figures, hard: Hardest, *, alone: bool) -> str:
    """The sentence on the models of ``hard``, which are named unless they are ``alone``."""
    entries = [entry for entry in figures.by_perturbation if entry["model"] in hard.models]
    of = {entry["condition"]: entry for entry in entries}
    whose = "" if alone else f"{join_names([model(name) for name in hard.models])}: "
    few = ""
    if hard.too_few:
        names = join_names([of[text]["series"] for text in hard.too_few])
        few = f"fewer than {FEWEST} images count under {names}: not ranked"
    if hard.leaders:
        share_lost = _lost(figures, hard, entries)
        clause = f"{whose}hardest: {name_leaders(hard.leaders)}"
        return sentence(clause, share_lost, few, names=hard.models)
    if len(hard.compared) > 1:
        none = f"{whose}no perturbation does significantly more harm than another"
        return sentence(none, few, names=hard.models)
    series = dict.fromkeys(entry["series"] for entry in entries)
    if len(series) == 1 and not few:
        return sentence(f"{whose}only {next(iter(series))} was tested", names=hard.models)
    if figures.images < FEWEST:
        return sentence(f"{whose}too few images to rank perturbations", names=hard.models)
    no_order = few or "the perturbations share no strength, so they are not ranked"
    return sentence(f"{whose}{no_order}", names=hard.models)


def _lost(figures: Figures, hard: Hardest, entries: Sequence[Entry]) -> str:
    """The share of failed predictions under the leaders: of several models mean and largest."""
    worst = hard.leaders[0]
    failed = "changed" if figures.ranked_by == "consistency" else "incorrect"

    mean = share(hard.harm[worst])
    if len(hard.models) == 1:
        up_to = "up to " if len(hard.leaders) > 1 else ""
        return f"{up_to}{mean} {failed}"
    quantity = "consistency" if figures.ranked_by == "consistency" else "perturbed_accuracy"
    measured = [
        entry
        for entry in entries
        if entry["condition"] in hard.leaders and entry[quantity] is not None
    ]
    lowest = min(measured, key=lambda entry: float(entry[quantity]))
    largest = share(1 - float(lowest[quantity]))
    first = " under the first" if len(hard.leaders) > 1 else ""
    return (
        f"{mean} {failed}, the mean of {len(hard.models)} models{first}, and up to {largest} "
        f"({model(lowest['model'])})"
    )


PERTURBATIONS = Question(
    "perturbations",
    "Perturbations",
    _blocks,
    "under which each model fails",
    figures=_with_choice,
    answers=lambda choice: [("Which perturbation does most harm?", harm(choice.statistics))],
    tables=lambda choice: {
        "over_models": choice.statistics.over_models,
        "by_perturbation": choice.statistics.by_perturbation,
        "by_severity": choice.statistics.by_severity,
    },
)


def _under_attack(figures: Figures) -> list[Block]:
    table = Titled("Robust accuracy", tables.robust_accuracy(figures.robust_accuracy))
    blocks: list[Block] = [table, Text(tables.ROBUST_NOTE)]
    if pairs := figures.pairs_under_attack:
        blocks.append(
            Titled(
                "Differences in robust accuracy, in points",
                tables.pairs(pairs),
            )
        )
    return blocks


UNDER_ATTACK = Question(
    "attacks",
    "Attacks",
    _under_attack,
    "what is correct under every attack",
    needs=(ATTACKS,),
    tables=lambda figures: {"robust_accuracy": figures.robust_accuracy},
)


SHARES = {
    "perturbed_accuracy": "Share correct",
    "consistency": "Share of predictions unchanged",
}


def map_note(figures: Figures, drawing: BandMap | None = None) -> str:
    """What the cells of ``drawing`` show, or of another map of the shares by strength."""
    quantity = report_maps.quantity_of(figures)
    texts = [f"{SHARES[quantity]}, in percent{_levels(drawing)}."]
    if not set(ATTACK_RECORDS.names).isdisjoint(e["perturbation"] for e in figures.by_perturbation):
        if quantity == "perturbed_accuracy":
            texts.append("Under attack: robust accuracy, of all images.")
        elif any(map(leaves_out, figures.by_perturbation)):
            texts.append("Under attack, a prediction that was incorrect before counts as changed.")
    return " ".join(filter(None, [*texts, labels_note(figures.summary, quantity)]))


def _levels(drawing: BandMap | None) -> str:
    """By what the cells of a row differ, as an addition to a sentence; "" if a row has one cell."""
    if drawing is not None and drawing.axis is not None:
        return f", by {drawing.axis.quantity}"
    if drawing is not None:
        strips = [strip for row in drawing.rows for strip in row.strips if strip is not None]
        if all(len(strip.tiles) == 1 for strip in strips):
            return ""
    return ", by growing strength"


def _map(
    choice: ChoiceFigures,
    *,
    title: str = "",
    keyed: bool = False,
    marks: report_maps.Marks = MappingProxyType({}),
) -> Map:
    figures = choice.statistics
    drawing = report_maps.run_map(figures, chosen=choice.chosen, keyed=keyed, marks=marks)
    link = RUN_MAP.link if keyed else ""
    return Map(title, drawing, map_note(figures, drawing), link)


def keyed_map(
    figures: Figures,
    chosen: ModelChoice,
    marks: report_maps.Marks = MappingProxyType({}),
) -> Map:
    """The map, with a selection of images behind each cell, and ``marks`` in some."""
    return _map(ChoiceFigures(chosen, figures), keyed=True, marks=marks)


def _brief_map(choice: ChoiceFigures) -> list[Titled | Text | Map]:
    quantity = report_maps.quantity_of(choice.statistics)
    return [_map(choice, title=SHARES[quantity])]


RUN_MAP: Question[ChoiceFigures] = Question(
    "run_map",
    "Robustness by strength",
    lambda choice: [_map(choice)],
    "what each model withstands",
    figures=_with_choice,
    link="cell",
    brief=_brief_map,
    view="",
)
