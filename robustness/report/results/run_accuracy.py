"""The sections of a run's report that need labels: accuracy, corruption errors, classes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import models, statistics
from robustness.charts import dataset, label_tables, tables, trade
from robustness.charts.tables import Column, Entry, Table, figure
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
from robustness.report.wording import model
from robustness.statistics import Figures
from robustness.statistics.effective import published_errors

_CLASSES = 15
"""Classes that a file lists."""
_ABOUT_CLASSES = "which classes lose most accuracy"


def accuracy(found: Figures) -> Section | None:
    """Accuracy and calibration; None without labels."""
    labelled = {e["model"]: e for e in found.summary if e["clean_accuracy"] is not None}
    if not labelled:
        return None
    choice = Chooser(
        "Reliability of",
        "reliability_of",
        {name: models.label(name) for name in labelled},
        lambda name: _reliability(found, name, labelled[name]),
        printed=list(labelled),
        listed=True,
    )
    entries = list(labelled.values())
    return Section(
        "Accuracy",
        [
            Titled("Top-1 and top-5 accuracy", label_tables.accuracy(entries)),
            Titled("Expected calibration error (ECE)", label_tables.calibration(entries)),
            Beside([choice], [Text(label_tables.CALIBRATION_NOTE)]),
        ],
        "top-1, top-5 and calibration",
    )


def _reliability(found: Figures, name: str, entry: Entry) -> list[Block]:
    bins = [row for row in found.reliability if row["model"] == name]
    if not bins:
        return []
    before, after = (
        tables.with_interval(entry, f"{kind}_ece", ".3f") for kind in ("clean", "perturbed")
    )
    chart = Chart(
        f"Reliability of {model(name)}",
        dataset.reliability_diagram(bins),
        "Accuracy over confidence, original and perturbed. Expected calibration error: "
        f"{before} original, {after} perturbed.",
        "Below the diagonal: overconfident.",
    )
    return [chart]


def corruption_errors(found: Figures) -> Section | None:
    """Corruption errors against AlexNet; None unless a corruption has all severities."""
    if not found.corruption_errors:
        return None
    blocks: list[Block] = [
        Text(
            "100 is AlexNet's error; lower is better. Relative: the error added to that on the "
            "originals."
        )
    ]
    for note, alike in dataset.grouped(found.corruption_errors, "note").items():
        table = label_tables.corruption_errors(alike)
        blocks += [Text(f"{note}."), Titled("Corruption error (CE), 95% intervals", table)]
    run = [entry["model"] for entry in found.corruption_errors]
    shown = statistics.published(list(dict.fromkeys([*run, *models.REGISTRY.names])))
    columns: list[Column] = [
        ("Model", lambda row: models.label(row["model"])),
        ("mCE", figure("mce", ".1f")),
        ("Relative mCE", figure("relative_mce", ".1f")),
    ]
    sources = "; ".join(dict.fromkeys(row["source"] for row in shown[1:]))
    published = Titled("Published, on the JPEG files of ImageNet-C", Table.of(shown, columns))
    notes = [Text(f"Sources: {sources}.")] if sources else []
    beside = _beside_published(found)
    return Section(
        "ImageNet-C corruption error",
        [*blocks, *beside, published, *notes],
        "beside published models",
    )


def _beside_published(found: Figures) -> list[Block]:
    """mCE against the error on the originals, for models with every corruption of ImageNet-C."""
    every = len(statistics.imagenet_c.ALEXNET_ERRORS)
    accuracy = {entry["model"]: entry["clean_accuracy"] for entry in found.summary}
    whole = [e for e in found.corruption_errors if len(e["corruptions"]) == every]
    if not whole:
        return []
    protocol = whole[-1]["note"]  # that of the published files, where the run has it
    mine = [{**e, "error": 1 - accuracy[e["model"]]} for e in whole if e["note"] == protocol]
    elsewhere = published_errors()
    chart = Chart(
        "mCE against the error on the originals",
        trade.published(mine, elsewhere),
        "Mean corruption error of each model against its error on the originals, beside published "
        "models.",
        "Grey: measured elsewhere, on ImageNet's validation set ("
        f"{'; '.join(dict.fromkeys(row['source'] for row in elsewhere))}). {protocol}.",
    )
    return [chart]


def classes(found: Figures) -> Section | None:
    """The classes that lose most accuracy, and a table of all; None without labels."""
    if not (entries := found.by_class):
        return None
    known = dataset.grouped(dataset.comparable_classes(entries), "model")
    if not known:
        return Section(
            "Classes", [Text(dataset.TOO_FEW_OF_A_CLASS), _every_class(entries)], _ABOUT_CLASSES
        )
    blocks: list[Block] = [Text(dataset.CLASS_NOTE)]
    for labels, names in models.by_labels(dataset.grouped(entries, "model")):
        mine = [entry for name in names for entry in known.get(name, [])]
        worst = sorted(mine, key=lambda entry: -entry["drop"])[:_CLASSES]
        if not worst:
            continue
        chart = Chart(
            f"Classes that lose most accuracy, {labels.title}",
            dataset.class_drops(mine, _CLASSES),
            "Accuracy lost in the classes that lose most; the table below names them.",
        )
        table = Titled(f"The {len(worst)} largest losses", Table.of(worst, _CLASS))
        every = [entry for entry in entries if entry["model"] in names]
        blocks += [chart, _every_class(every, table)]
    return Section("Classes", blocks, _ABOUT_CLASSES)


def _every_class(entries: Sequence[Entry], printed: Titled | None = None) -> Sortable:
    names = ("clean_accuracy", "perturbed_accuracy", "drop", "consistency")
    titles = ("Original accuracy", "Perturbed accuracy", "Accuracy lost", "Consistency")

    def read() -> pd.DataFrame:
        rows = [
            {
                "Class": entry["class_name"],
                "Model": model(entry["model"]),
                "Images": entry["n_images"],
                **dict(zip(titles, map(entry.__getitem__, names), strict=True)),
                "95% interval of the loss": tables.interval(entry, "drop"),
            }
            for entry in entries
        ]
        return pd.DataFrame(rows).sort_values(titles[2], ascending=False, kind="stable")

    return Sortable("All classes, with any number of images", read, titles, printed)


_CLASS: Sequence[Column] = (
    ("Class", lambda entry: entry["class_name"]),
    ("Model", lambda entry: model(entry["model"])),
    ("Images", figure("n_images", "")),
    ("Original", figure("clean_accuracy", ".0%")),
    ("Perturbed", figure("perturbed_accuracy", ".0%")),
    ("Lost", figure("drop", ".0%")),
    ("95% interval", lambda entry: tables.interval(entry, "drop")),
)
