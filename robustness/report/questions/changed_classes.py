"""Into which classes predictions change."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.text import visible
from robustness.charts import run_results
from robustness.charts.run_failures import change_counts
from robustness.charts.tables import Column, Entry, Table, figure
from robustness.evaluation.condition import short
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.questions.question import Question
from robustness.report.wording import model
from robustness.runs.failures import Failures

_CHANGES = 12
"""Changes that a chart and a file show."""

_ANY = "any"


def _blocks(figures: Failures) -> list[Block]:
    if not figures.changes:
        return []
    of = run_results.grouped(figures.changes, "model")

    def by_model(name: str) -> list[Block]:
        under = run_results.grouped(of[name], "condition")
        return [
            Chooser(
                "Condition",
                "change_under",
                {text or _ANY: short(text) if text else "Any" for text in under},
                lambda text: _changes(under["" if text == _ANY else text]),
                printed=[_ANY],
                listed=True,
            )
        ]

    if all(entry["n_images"] == 1 for entry in figures.changes):
        return [Text("No prediction changes in the same way on two images.")]
    names = {name: model(name) for name in of}
    return [Chooser("Model", "change_of", names, by_model, printed=list(names), listed=True)]


def _changes(entries: Sequence[Entry]) -> list[Block]:
    first, whose = entries[:_CHANGES], model(entries[0]["model"])
    table = Titled(f"Changes of {whose}", Table.of(first, _CHANGE), long=True)
    frequent = [entry for entry in first if entry["n_images"] > 1]
    if not frequent:
        return [Text(f"No prediction of {whose} changes in the same way on two images."), table]
    labels = [f"{visible(e['before'])} to<br>{visible(e['after'])}" for e in frequent]
    chart = Chart(
        f"Most frequent changes of {whose}",
        change_counts(frequent, labels),
        "Images with each change of the predicted class; the table below holds the numbers.",
        link="change",
    )
    return [chart, table]


_CHANGE: Sequence[Column] = (
    ("Original", lambda entry: visible(entry["before"])),
    ("Perturbed", lambda entry: visible(entry["after"])),
    ("Images", figure("n_images", ",")),
    ("Share of changes", figure("share", ".1%")),
)


CHANGED_CLASSES = Question(
    "changed_classes",
    "Changed classes",
    _blocks,
    "what predictions become",
    figures=lambda of: of.run.failures,
    link="change",
    tables=lambda figures: {"changed_classes": figures.changes},
    command="failures",
)
