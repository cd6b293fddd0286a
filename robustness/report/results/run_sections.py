"""The sections of a run's report, from the tables of ``robustness.statistics``."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import models, statistics
from robustness.charts import dataset, differences, label_tables, scorecard, tables
from robustness.charts.tables import Column, Entry, Table, figure, similarities
from robustness.evaluation.condition import perturbation_label, setting
from robustness.report.content import Block, Chart, Section, Text, Titled
from robustness.report.wording import model, rate

_CURVES = 6
"""Perturbations whose curves are drawn; all figures stand in the table."""

_CLASSES = 15


def ranking(ranked: Sequence[Entry], pairs: Sequence[Entry]) -> Section:
    """Who is the most robust, and which differences are established."""
    by = ranked[0]["ranked_by"]
    title = dataset.QUANTITIES[by]
    blocks: list[Block] = [
        Chart(
            title,
            scorecard.ranking(pd.DataFrame(ranked), by, title),
            f"{title} of each model with its 95 % interval; the table below holds the numbers.",
        ),
        Titled("The ranking", tables.ranking(ranked)),
        Text(
            f"{_MEANING[by]} Place: behind every model that is established as better, ahead of "
            f"every one established as worse. {statistics.INTERVAL_RULE}"
        ),
    ]
    if pairs:
        blocks += [
            Chart(
                "Differences between models",
                differences.pair_differences(pairs),
                "Difference of each pair of models with its interval; the table below holds the "
                "numbers.",
            ),
            Titled("Which differences are established, in points", tables.pairs(pairs)),
            Text(statistics.TEST_RULE),
        ]
    return Section(_HEADINGS[by], blocks)


_HEADINGS = {
    "consistency": "Who is consistent",
    "perturbed_accuracy": "Who stays correct",
    "robust_accuracy": "Who stays correct",
}
_MEANING = {
    "consistency": (
        "Consistency is the share of perturbed images whose prediction is that for the original."
    ),
    "perturbed_accuracy": (
        "Accuracy is the share of perturbed images with a label whose prediction is correct."
    ),
    "robust_accuracy": (
        "Robust accuracy is the share of labelled images that are correct under every attack of "
        "the run; with several epsilons or norms, the mean over them."
    ),
}


def perturbations(entries: Sequence[Entry]) -> Section:
    """What each perturbation, or attack, did to each model."""
    return Section(
        "What each perturbation did",
        [
            Chart(
                "Prediction consistency under each perturbation",
                dataset.perturbation_heatmap(entries),
                "Consistency of each model under each perturbation, the worst perturbation on top; "
                "the table below holds the numbers.",
                "A perturbation at several strengths shows the mean of them.",
            ),
            Titled("Per model and condition", _conditions(entries), long=True),
            Text("Brackets hold 95 % intervals. The JSON file has every figure with its interval."),
        ],
    )


def _conditions(entries: Sequence[Entry]) -> Table:
    columns: list[Column] = [
        ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
        ("Strength", lambda entry: setting(entry["condition"])),
        ("Model", lambda entry: model(entry["model"])),
        ("Images", counted_images),
        ("Consistency", rate),
        *similarities(entries, ".3f", ["cosine"]),
        ("SSIM", figure("ssim", ".3f")),
    ]
    if any(entry["clean_accuracy"] is not None for entry in entries):
        columns += [tables.LABELLED, ("Accuracy lost", lambda entry: rate(entry, "drop"))]
    return Table.of(entries, columns)


def counted_images(entry: Entry) -> str:
    """The number of images; under attack with how many of them consistency counts."""
    attacked, images = entry["n_attacked"], entry["n_images"]
    return f"{images}" if attacked in (None, images) else f"{images}, {attacked} attacked"


def curves(
    entries: Sequence[Entry], by_severity: Sequence[Entry], over_models: Sequence[Entry]
) -> Section | None:
    """Consistency over severity and strength; None where there is one strength of each."""
    of = dataset.grouped(entries, "series")
    several = [
        entry["series"]
        for entry in over_models
        if len({row["strength"] for row in of[entry["series"]]}) > 1
    ]
    if not several:
        return None
    blocks: list[Block] = []
    if by_severity and len(by_severity[0]["perturbations"]) > 1:
        count = len(by_severity[0]["perturbations"])
        blocks.append(
            _curve(f"Mean of {count} ImageNet-C corruptions", by_severity, level="severity")
        )
    blocks += [_curve(name, of[name], level="strength") for name in several[:_CURVES]]
    if len(several) > _CURVES:
        blocks.append(
            Text(
                f"Drawn are the {_CURVES} of {len(several)} perturbations under which the fewest "
                "answers stayed; the table above holds all."
            )
        )
    blocks.append(
        Text("Bands: 95 % intervals over the images. They overlap more than paired differences.")
    )
    return Section("As it gets stronger", blocks)


def _curve(title: str, entries: Sequence[Entry], level: str) -> Chart:
    return Chart(
        title,
        dataset.over_levels(entries, "consistency", level),
        f"Consistency of each model over {dataset.LEVELS[level]}; the table of all figures "
        "holds the numbers.",
    )


def accuracy(summary: Sequence[Entry], bins: Sequence[Entry]) -> Section | None:
    """What the labels say; None without labels."""
    labelled = [entry for entry in summary if entry["clean_accuracy"] is not None]
    if not labelled:
        return None
    blocks: list[Block] = [
        Titled("Accuracy by the labels", label_tables.accuracy(labelled)),
        Titled("Expected calibration error", label_tables.calibration(labelled)),
        Text(label_tables.CALIBRATION_NOTE),
    ]
    for entry in labelled:
        mine = [row for row in bins if row["model"] == entry["model"]]
        if mine:
            blocks.append(
                Chart(
                    f"Reliability of {model(entry['model'])}",
                    dataset.reliability_diagram(mine),
                    "Share of right answers over confidence, clean and perturbed. Expected "
                    f"calibration error: {tables.with_interval(entry, 'clean_ece', '.3f')} clean, "
                    f"{tables.with_interval(entry, 'perturbed_ece', '.3f')} perturbed.",
                    "Below the diagonal a model claims more than it knows.",
                )
            )
    return Section("Right or wrong", blocks)


def corruption_errors(entries: Sequence[Entry]) -> Section | None:
    """Corruption errors against AlexNet; None where no corruption was run whole."""
    if not entries:
        return None
    blocks: list[Block] = [Text("100 is AlexNet's error, lower is better.")]
    for note, alike in dataset.grouped(entries, "note").items():
        blocks += [
            Text(f"{note}."),
            Titled("Corruption errors with 95 % intervals", label_tables.corruption_errors(alike)),
        ]
    return Section("Against AlexNet, as ImageNet-C does it", blocks)


def under_attack(entries: Sequence[Entry], pairs: Sequence[Entry]) -> Section | None:
    """What no attack broke; None where there was none. ``pairs`` are by robust accuracy."""
    if not entries:
        return None
    table = Titled("Robust accuracy", label_tables.robust_accuracy(entries))
    blocks: list[Block] = [table, Text(label_tables.ROBUST_NOTE)]
    if pairs:
        blocks.append(Titled("Differences in robust accuracy, in points", tables.pairs(pairs)))
    return Section("Under attack", blocks)


def classes(entries: Sequence[Entry]) -> Section | None:
    """The classes that lose most accuracy; None without labels."""
    if not entries:
        return None
    known = dataset.comparable_classes(entries)
    if not known:
        return Section("Class by class", [Text(dataset.TOO_FEW_OF_A_CLASS)])
    blocks: list[Block] = []
    for labels, names in models.by_labels(dataset.grouped(known, "model")):
        mine = [entry for entry in known if entry["model"] in names]
        worst = sorted(mine, key=lambda entry: -entry["drop"])[:_CLASSES]
        blocks += [
            Chart(
                f"Classes that lose most accuracy, {labels.title}",
                dataset.class_drops(mine, _CLASSES),
                "Accuracy lost in the classes that lose most; the table below names them.",
            ),
            Titled(f"The {len(worst)} largest losses", Table.of(worst, _CLASS)),
        ]
    blocks.append(Text(dataset.CLASS_NOTE))
    return Section("Class by class", blocks)


_CLASS: Sequence[Column] = (
    ("Class", lambda entry: entry["class_name"]),
    ("Model", lambda entry: model(entry["model"])),
    ("Images", figure("n_images", "")),
    ("Clean", figure("clean_accuracy", ".0%")),
    ("Perturbed", figure("perturbed_accuracy", ".0%")),
    ("Lost", figure("drop", ".0%")),
    ("95 % interval", lambda entry: tables.interval(entry, "drop")),
)


def brief(ranked: Sequence[Entry], over_strengths: Sequence[Entry]) -> list[Titled]:
    """The tables of a model card: the ranking, and consistency under each perturbation."""
    names = [entry["model"] for entry in ranked]
    rows = [
        (series, *(_over_strengths(mine, one) for one in names))
        for series, mine in dataset.grouped(over_strengths, "series").items()
    ]
    return [
        Titled("Ranking", tables.ranking(ranked)),
        Titled(
            "Consistency under each perturbation, with 95 % intervals",
            Table(("Perturbation", *map(model, names)), rows),
        ),
    ]


def _over_strengths(entries: Sequence[Entry], name: str) -> str:
    mine = [entry for entry in entries if entry["model"] == name]
    if not mine:
        return ""
    count = mine[0]["n_strengths"]
    return rate(mine[0]) + (f", mean of {count} strengths" if count > 1 else "")
