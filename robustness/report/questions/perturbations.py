"""Under which perturbations, strengths and attacks each model fails."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.charts import accuracy_tables, run_results, tables
from robustness.charts.tables import Column, Entry, Table, figure, similarities
from robustness.evaluation.condition import perturbation_label, setting
from robustness.report.blocks import Block, Chart, Chooser, Sortable, Text, Titled
from robustness.report.questions.question import ATTACKS, Question, Tables
from robustness.report.wording import listed, model, rate, sentence, share
from robustness.statistics import FEWEST, Figures

_CURVES = 6
"""Curves in a file."""

_AVERAGE = "average"
CELL_STRENGTH, CELL_MEAN = "cell_strength", "mean"
"""The control of the heatmap's strength, and its option for the mean of all."""

CELL_FIGURE = "cell_figure"
"""The control of what the heatmap shows."""


def _blocks(figures: Figures) -> list[Block]:
    entries = figures.by_perturbation
    there = [
        name
        for name in run_results.quantities()
        if any(entry.get(name) is not None for entry in entries)
    ]
    first = figures.ranked_by if figures.ranked_by in there else "consistency"
    by_figure = Chooser(
        "Figure",
        CELL_FIGURE,
        run_results.titles(there),
        lambda quantity: [_at_strengths(figures, quantity)],
        printed=[first],
        first=first,
        listed=True,
    )
    table = Titled("By model and condition", _conditions(entries), long=True)
    every = Sortable(
        "All figures by model and condition", lambda: tables.conditions(entries), printed=table
    )
    return [by_figure, every]


def _at_strengths(figures: Figures, quantity: str) -> Chooser:
    """The heatmap at one strength, or the mean of all."""
    active = {entry["series"] for entry in figures.by_perturbation if entry["strength"] != 0}
    entries = [e for e in figures.by_perturbation if not active or e["series"] in active]
    several = any(
        len({entry["strength"] for entry in rows}) > 1
        for rows in run_results.grouped(entries, "series").values()
    )
    levels = sorted({entry["strength"] for entry in entries} - {None}) if several else []
    options = {CELL_MEAN: "Mean of all"} | {f"{at:.3g}": f"{at:.3g}" for at in levels}

    def heatmap(level: str) -> list[Block]:
        mean = " Perturbations with several strengths: mean." if several else ""
        return [
            Chart(
                f"{run_results.quantities()[quantity]} under each perturbation",
                run_results.perturbation_heatmap(at_strength(entries, level), quantity),
                f"{run_results.quantities()[quantity]} of each model under each perturbation, the "
                "lowest on top; the table below holds the numbers.",
                (tables.labels_note(figures.summary, quantity) + mean).strip(),
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
        *tables.listed_metrics(entries),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        columns += [tables.LABELLED, ("Accuracy lost", lambda entry: rate(entry, "drop"))]
    return Table.of(entries, columns)


def counted_images(entry: Entry) -> str:
    """The number of images; under attack with how many of them consistency counts."""
    attacked, images = entry["n_attacked"], entry["n_images"]
    return f"{images}" if attacked in (None, images) else f"{images}, {attacked} attacked"


def harm(figures: Figures) -> str:
    """The perturbations that do most harm, where the images decide that."""
    hard, of = figures.hardest, {e["condition"]: e for e in figures.by_perturbation}
    few = ""
    if hard.too_few:
        names = listed([of[text]["series"] for text in hard.too_few])
        few = f"fewer than {FEWEST} images count under {names}: not ranked"
    if hard.leaders:
        worst = hard.leaders[0]
        over = ", the mean of the models" if len(figures.summary) > 1 else ""
        failed = "changed" if figures.ranked_by == "consistency" else "incorrect"
        rest = f"{'up to ' * (len(hard.leaders) > 1)}{share(hard.harm[worst])} {failed}{over}"
        return sentence(f"hardest: {hard.text}", rest, few)
    if len(hard.compared) > 1:
        return sentence("no perturbation does significantly more harm than another", few)
    if len(figures.over_models) == 1 and not few:
        return sentence(f"only {figures.over_models[0]['series']} was tested")
    if figures.images < FEWEST:
        return sentence("too few images to rank perturbations")
    return sentence(few or "the perturbations share no strength, so they are not ranked")


def _brief(figures: Figures) -> list[Titled | Text]:
    names = [entry["model"] for entry in figures.ranking()]
    rows = [
        (series, *(_over_strengths(mine, one) for one in names))
        for series, mine in run_results.grouped(figures.over_strengths, "series").items()
    ]
    table = Table(("Perturbation", *map(model, names)), rows)
    return [Titled("Consistency under each perturbation, with 95% intervals", table)]


def _over_strengths(entries: Sequence[Entry], name: str) -> str:
    mine = [entry for entry in entries if entry["model"] == name]
    if not mine:
        return ""
    count = mine[0]["n_strengths"]
    return rate(mine[0]) + (f", mean of {count} strengths" if count > 1 else "")


def _tables(figures: Figures) -> Tables:
    return {"over_models": figures.over_models, "by_perturbation": figures.by_perturbation}


PERTURBATIONS = Question(
    "perturbations",
    "Perturbations",
    _blocks,
    "under which each model fails",
    link="cell",
    answers=lambda figures: [("Which perturbation does most harm?", harm(figures))],
    brief=_brief,
    tables=_tables,
)


def _curves(figures: Figures) -> list[Block]:
    """Rates over severity and strength; [] if each perturbation has one strength."""
    of = run_results.grouped(figures.by_perturbation, "series")
    several = [
        entry["series"]
        for entry in figures.over_models
        if len({row["strength"] for row in of[entry["series"]]}) > 1
    ]
    if not several:
        return []
    names = {name: name for name in several}
    count = len(figures.by_severity[0]["perturbations"]) if figures.by_severity else 0
    if count > 1:
        names = {_AVERAGE: f"Mean of {count} ImageNet-C corruptions"} | names

    def by_quantity(name: str) -> list[Block]:
        drawn = [q for q in figures.quantities if q in figures.by_perturbation[0]]
        rows, level = (
            (figures.by_severity, "severity") if name == _AVERAGE else (of[name], "strength")
        )
        return [
            Chooser(
                "Figure",
                "curve_figure",
                run_results.titles(drawn),
                lambda quantity: [_curve(names[name], rows, quantity, level, figures.summary)],
                printed=["consistency"],
                listed=True,
            )
        ]

    printed = list(names)[: _CURVES + (count > 1)]
    choice = Chooser("Perturbation", "curve_of", names, by_quantity, printed=printed, listed=True)
    return [choice, Text("Bands are 95% intervals. They overlap more than paired differences.")]


def _curve(
    title: str, rows: Sequence[Entry], quantity: str, level: str, summary: Sequence[Entry]
) -> Chart:
    return Chart(
        title,
        run_results.over_levels(rows, quantity, level),
        f"{run_results.QUANTITIES[quantity]} of each model over {run_results.LEVELS[level]}; the "
        "table of all figures holds the numbers.",
        tables.labels_note(summary, quantity),
    )


OVER_STRENGTH = Question(
    "over_strength",
    "Over strength",
    _curves,
    "how fast each model loses",
    tables=lambda figures: {"by_severity": figures.by_severity},
)


def _under_attack(figures: Figures) -> list[Block]:
    table = Titled("Robust accuracy", accuracy_tables.robust_accuracy(figures.robust_accuracy))
    blocks: list[Block] = [table, Text(accuracy_tables.ROBUST_NOTE)]
    if pairs := figures.pairs_under_attack:
        blocks.append(Titled("Differences in robust accuracy, in points", tables.pairs(pairs)))
    return blocks


UNDER_ATTACK = Question(
    "attacks",
    "Attacks",
    _under_attack,
    "what is correct under every attack",
    needs=(ATTACKS,),
    tables=lambda figures: {"robust_accuracy": figures.robust_accuracy},
)
