"""Which classes lose most accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from robustness import models
from robustness.charts import run_results, tables
from robustness.charts.tables import Column, Entry, Table, figure
from robustness.report.blocks import Block, Chart, Sortable, Text, Titled
from robustness.report.questions.question import LABELS, Question
from robustness.report.wording import model
from robustness.statistics import Figures

_CLASSES = 15
"""Classes that a file lists."""


def _blocks(figures: Figures) -> list[Block]:
    entries = figures.by_class
    by_model = run_results.grouped(run_results.comparable_classes(entries), "model")
    if not by_model:
        return [Text(run_results.TOO_FEW_OF_A_CLASS)]
    blocks: list[Block] = [Text(run_results.CLASS_NOTE)]
    for labels, names in models.by_labels(run_results.grouped(entries, "model")):
        mine = [entry for name in names for entry in by_model.get(name, [])]
        worst = sorted(mine, key=lambda entry: -entry["drop"])[:_CLASSES]
        if not worst:
            continue
        chart = Chart(
            f"Classes that lose most accuracy, {labels.title}",
            run_results.class_drops(mine, _CLASSES),
            "Accuracy lost in the classes that lose most; the table below names them.",
            link="class",
        )
        table = Titled(f"The {len(worst)} largest losses", Table.of(worst, _CLASS))
        every = [entry for entry in entries if entry["model"] in names]
        blocks += [chart, _every_class(every, table)]
    return blocks


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

CLASSES = Question(
    "classes",
    "Classes",
    _blocks,
    "which classes lose most accuracy",
    needs=(LABELS,),
    tables=lambda figures: {"by_class": figures.by_class},
    link="class",
)
