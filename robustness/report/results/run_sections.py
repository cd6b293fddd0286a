"""The sections of a run's report, from the tables of ``robustness.statistics``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from robustness import statistics
from robustness.base.text import counted
from robustness.charts import dataset, differences, label_tables, scorecard, tables
from robustness.charts.tables import Column, Entry, Table, figure, similarities
from robustness.evaluation.condition import perturbation_label, setting
from robustness.report.content import (
    Beside,
    Block,
    Chart,
    Chooser,
    Section,
    Sortable,
    Text,
    Titled,
)
from robustness.report.wording import model, rate
from robustness.statistics import Figures

_CURVES, _LEFT_OUT = 6, 50
"""Curves in a file, and left-out images that are listed."""

_AVERAGE = "average"
CELL_STRENGTH, CELL_MEAN = "cell_strength", "mean"
"""The control of the heatmap's strength, and its option for the mean of all."""

CELL_FIGURE = "cell_figure"
"""The control of what the heatmap shows."""

_MEANING = {
    "consistency": "Consistency: share of perturbed images with the prediction of the original.",
    "perturbed_accuracy": "Accuracy: share of perturbed, labelled images predicted correctly.",
    "robust_accuracy": (
        "Robust accuracy: share of labelled images that stay correct under every attack, averaged "
        "over epsilons and norms."
    ),
}


def ranking(found: Figures) -> Section:
    """The ranking, and which differences are significant."""
    choice = Chooser(
        "Rank by",
        "rank_by",
        _titles(found.quantities),
        lambda quantity: _ranked(found, quantity),
        printed=[found.ranked_by],
        first=found.ranked_by,
    )
    return Section("Ranking", [choice], "which differences between models are significant")


def _titles(quantities: Iterable[str]) -> dict[str, str]:
    return {name: dataset.QUANTITIES[name] for name in quantities}


def _ranked(found: Figures, quantity: str) -> list[Block]:
    ranked, pairs = found.ranking(quantity), found.pairs(quantity)
    title = dataset.QUANTITIES[quantity]
    chart = Chart(
        title,
        scorecard.ranking(pd.DataFrame(ranked), quantity, title),
        f"{title} of each model with its 95% interval; the table below holds the numbers.",
    )
    note = Text(f"{_MEANING[quantity]} {statistics.RANK_RULE}", statistics.INTERVAL_RULE)
    table = Titled(f"Models by {title.lower()}", tables.ranking(ranked, quantity))
    return [Beside([chart], [note]), table, *(_pairs(found, quantity, pairs) if pairs else [])]


def _pairs(found: Figures, quantity: str, pairs: Sequence[Entry]) -> list[Block]:
    chart = Chart(
        "Differences between models",
        differences.pair_differences(pairs),
        "Difference of each pair of models with its interval; the table below holds the numbers.",
    )
    each = "Each pair under each condition (McNemar's test)"
    return [
        Beside([chart], [Text(statistics.TEST_SUMMARY, statistics.TEST_RULE)]),
        Titled("Differences in points", tables.pairs(pairs)),
        Sortable(each, lambda: tables.tests(found.tests(quantity))),
    ]


def perturbations(found: Figures) -> Section:
    """Each model under each perturbation or attack."""
    entries = found.by_perturbation
    there = [
        name for name in dataset.QUANTITIES if any(entry.get(name) is not None for entry in entries)
    ]
    first = found.ranked_by if found.ranked_by in there else "consistency"
    by_figure = Chooser(
        "Figure",
        CELL_FIGURE,
        _titles(there),
        lambda quantity: [_at_strengths(found, quantity)],
        printed=[first],
        first=first,
        listed=True,
    )
    table = Titled("By model and condition", _conditions(entries), long=True)
    every = Sortable(
        "All figures by model and condition", lambda: tables.conditions(entries), printed=table
    )
    about = "under which each model fails"
    return Section("Perturbations", [by_figure, every], about, link="cell")


def _at_strengths(found: Figures, quantity: str) -> Chooser:
    """The heatmap at one strength, or the mean of all."""
    entries = found.by_perturbation
    several = any(
        len({entry["strength"] for entry in rows}) > 1
        for rows in dataset.grouped(entries, "series").values()
    )
    levels = sorted({entry["strength"] for entry in entries} - {None}) if several else []
    options = {CELL_MEAN: "Mean of all"} | {f"{at:.3g}": f"{at:.3g}" for at in levels}

    def heatmap(level: str) -> list[Block]:
        mean = " Perturbations with several strengths: mean." if several else ""
        return [
            Chart(
                f"{dataset.QUANTITIES[quantity]} under each perturbation",
                dataset.perturbation_heatmap(at_strength(entries, level), quantity),
                f"{dataset.QUANTITIES[quantity]} of each model under each perturbation, the "
                "lowest on top; the table below holds the numbers.",
                (tables.labels_note(found.summary, quantity) + mean).strip(),
                link="cell",
            )
        ]

    return Chooser("Strength", CELL_STRENGTH, options, heatmap, printed=[CELL_MEAN])


def at_strength(entries: Sequence[Entry], level: str) -> list[Entry]:
    """The ``entries`` at the strength ``level``, an option of ``CELL_STRENGTH``."""
    return [e for e in entries if level == CELL_MEAN or f"{e['strength'] or 0:.3g}" == level]


def _conditions(entries: Sequence[Entry]) -> Table:
    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
        ("Strength", lambda entry: setting(entry["condition"])),
        ("Model", lambda entry: model(entry["model"])),
        ("Images", counted_images),
        ("Consistency", rate),
        *similarities(entries, ".3f", ["cosine"]),
        ("SSIM", figure("ssim", ".3f")),
        *tables.own_metrics(entries),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        columns += [tables.LABELLED, ("Accuracy lost", lambda entry: rate(entry, "drop"))]
    return Table.of(entries, columns)


def counted_images(entry: Entry) -> str:
    """The number of images; under attack with how many of them consistency counts."""
    attacked, images = entry["n_attacked"], entry["n_images"]
    return f"{images}" if attacked in (None, images) else f"{images}, {attacked} attacked"


def curves(found: Figures) -> Section | None:
    """Rates over severity and strength; None if each perturbation has one strength."""
    of = dataset.grouped(found.by_perturbation, "series")
    several = [
        entry["series"]
        for entry in found.over_models
        if len({row["strength"] for row in of[entry["series"]]}) > 1
    ]
    if not several:
        return None
    names = {name: name for name in several}
    count = len(found.by_severity[0]["perturbations"]) if found.by_severity else 0
    if count > 1:
        names = {_AVERAGE: f"Mean of {count} ImageNet-C corruptions"} | names

    def by_quantity(name: str) -> list[Block]:
        drawn = [q for q in found.quantities if q in found.by_perturbation[0]]
        rows, level = (
            (found.by_severity, "severity") if name == _AVERAGE else (of[name], "strength")
        )
        return [
            Chooser(
                "Figure",
                "curve_figure",
                _titles(drawn),
                lambda quantity: [_curve(names[name], rows, quantity, level, found.summary)],
                printed=["consistency"],
                listed=True,
            )
        ]

    printed = list(names)[: _CURVES + (count > 1)]
    choice = Chooser("Perturbation", "curve_of", names, by_quantity, printed=printed, listed=True)
    return Section(
        "Over strength",
        [choice, Text("Bands are 95% intervals. They overlap more than paired differences.")],
        "how fast each model loses",
    )


def _curve(
    title: str, rows: Sequence[Entry], quantity: str, level: str, summary: Sequence[Entry]
) -> Chart:
    return Chart(
        title,
        dataset.over_levels(rows, quantity, level),
        f"{dataset.QUANTITIES[quantity]} of each model over {dataset.LEVELS[level]}; the table of "
        "all figures holds the numbers.",
        tables.labels_note(summary, quantity),
    )


def under_attack(found: Figures) -> Section | None:
    """Robust accuracy; None without attacks."""
    if not found.robust_accuracy:
        return None
    table = Titled("Robust accuracy", label_tables.robust_accuracy(found.robust_accuracy))
    blocks: list[Block] = [table, Text(label_tables.ROBUST_NOTE)]
    if pairs := found.pairs_under_attack:
        blocks.append(Titled("Differences in robust accuracy, in points", tables.pairs(pairs)))
    return Section("Attacks", blocks, "what is correct under every attack")


def left_out(images: Sequence[tuple[str, str]]) -> Section | None:
    """The images that were not measured, with their reasons; None if all were."""
    if not images:
        return None
    first = f", the first {_LEFT_OUT}" if len(images) > _LEFT_OUT else ""
    table = Table(("Image", "Reason"), images[:_LEFT_OUT])
    title = f"{counted(len(images), 'image')} left out{first}"
    return Section("Images left out", [Titled(title, table, True)])


def brief(found: Figures, choice: Section | None) -> list[Titled | Text]:
    """The tables of a model card and of the command line; of several models, the ``choice``."""
    ranked, pairs = found.ranking(), found.pairs()
    names = [entry["model"] for entry in ranked]
    rows = [
        (series, *(_over_strengths(mine, one) for one in names))
        for series, mine in dataset.grouped(found.over_strengths, "series").items()
    ]
    told: list[Titled | Text] = [Titled("Ranking", tables.ranking(ranked, found.ranked_by))]
    if pairs:
        what = dataset.QUANTITIES[pairs[0]["quantity"]].lower()
        told.append(Titled(f"Differences in {what}, in points", tables.pairs(pairs)))
    if found.robust_accuracy:
        robust = label_tables.robust_accuracy(found.robust_accuracy)
        told.append(Titled("Robust accuracy", robust))
    each = Table(("Perturbation", *map(model, names)), rows)
    told.append(Titled("Consistency under each perturbation, with 95% intervals", each))
    if choice and len(names) > 1:
        told += [block for block in choice.blocks if isinstance(block, Titled | Text)]
    return told


def _over_strengths(entries: Sequence[Entry], name: str) -> str:
    mine = [entry for entry in entries if entry["model"] == name]
    if not mine:
        return ""
    count = mine[0]["n_strengths"]
    return rate(mine[0]) + (f", mean of {count} strengths" if count > 1 else "")
