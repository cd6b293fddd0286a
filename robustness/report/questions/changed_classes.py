"""Into which classes predictions change."""

from __future__ import annotations

from collections.abc import Sequence

from robustness.base.text import visible
from robustness.charts import run_results
from robustness.charts.run_failures import change_counts
from robustness.charts.tables import Column, Entry, Table, figure, with_interval
from robustness.evaluation.condition import perturbation_label, short
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.questions.question import Question
from robustness.report.wording import model
from robustness.runs.failures import Failures

_CHANGES = 12
"""Changes that a chart and a file show."""

_ANY = "any"
_GROUPS = (
    "Groups follow WordNet: a change from one terrier to another stays in the group, a change from "
    "a terrier to a doormat does not. A group has at most 60 of ImageNet's classes."
)


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

    names = {name: model(name) for name in of}
    choice = Chooser("Model", "change_of", names, by_model, printed=list(names), listed=True)
    blocks: list[Block] = [choice]
    if all(entry["n_images"] == 1 for entry in figures.changes):
        blocks = [Text("No prediction changes in the same way on two images.")]
    if figures.groups:
        whole = [entry for entry in figures.groups if not entry["perturbation"]]
        by_perturbation = [entry for entry in figures.groups if entry["perturbation"]]
        blocks += [
            Text("A change within a group is a smaller failure than one out of it.", _GROUPS),
            Titled("Consistency by class and by group", Table.of(whole, _GROUP[1:])),
            Titled("Under each perturbation", Table.of(by_perturbation, _GROUP), long=True),
        ]
    return blocks


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
    ("Both are", lambda entry: entry["shared"]),
    ("Same group", lambda entry: {True: "yes", False: "no"}.get(entry["same_group"], "")),
)
_GROUP: Sequence[Column] = (
    ("Perturbation", lambda entry: perturbation_label(entry["perturbation"])),
    ("Model", lambda entry: model(entry["model"])),
    ("By class", lambda entry: with_interval(entry, "consistency")),
    ("By group", lambda entry: with_interval(entry, "group_consistency")),
)


CHANGED_CLASSES = Question(
    "changed_classes",
    "Changed classes",
    _blocks,
    "what predictions become",
    figures=lambda of: of.run.failures,
    link="change",
    tables=lambda figures: {"changed_classes": figures.changes, "class_groups": figures.groups},
    command="failures",
)
