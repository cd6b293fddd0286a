"""Which images a model fails on: of which classes and slices, alone among the models, and how."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from robustness import models
from robustness.base.text import counted, points, visible
from robustness.charts import run_quantities_and_reliability
from robustness.charts.failures_and_image_differences import (
    change_counts,
    slice_rates,
)
from robustness.charts.ranking_and_condition_tables import (
    Column,
    Entry,
    Table,
    figure,
    interval,
    rate,
)
from robustness.evaluation.perturbation_and_attack_conditions import short
from robustness.pictures.image_properties import PROPERTIES
from robustness.report.blocks import Block, Chart, Chooser, Text, Titled
from robustness.report.names_and_sentences import MODEL, model
from robustness.report.questions.question_and_figures import COMPARE, LABELS, TWO_MODELS, Question
from robustness.runs.failures_and_class_changes import Failures
from robustness.statistics import Figures
from robustness.statistics.image_slices import SLICE_RULE

_SLICES = 10
"""Slices that a chart and a file show."""


def _slices(figures: Failures) -> list[Block]:
    if not figures.slices:
        why = figures.unknown or [
            "Slices need at least 40 images and a property in which they differ."
        ]
        return [Text(" ".join(why))]
    title = run_quantities_and_reliability.QUANTITIES[figures.quantity]
    worse = [entry for entry in figures.slices if entry["worse"]]
    if not worse:
        none = f"None of {counted(len(figures.slices), 'slice')} is significantly below the other"
        return [Text(" ".join([f"{none} images.", *figures.unknown]), SLICE_RULE)]
    worst = worse[:_SLICES]
    chart = Chart(
        f"{title} in the significantly worse slices",
        slice_rates(worst, [f"{slice_title(e)},<br>{model(e['model'])}" for e in worst], title),
        f"{title} in each slice and on all other images; the table below holds the numbers.",
        link="slice",
    )
    summary = (
        f"{len(worse):,} of {counted(len(figures.slices), 'slice')} significantly below the other "
        "images."
    )
    columns: list[Column] = [
        ("Slice", slice_title),
        MODEL,
        ("Images", figure("n_images", ",")),
        ("Rate", rate("rate")),
        ("Other images", figure("rest", ".1%")),
        ("Difference in points", figure("difference", points)),
        ("Corrected p", figure("p", ".3f")),
    ]
    return [
        Text(" ".join([summary, *figures.unknown]), SLICE_RULE),
        chart,
        Titled("Significantly worse", Table.of(worst, columns)),
    ]


def slice_title(entry: Entry) -> str:
    """A slice in words, such as "Brightness below 20%"."""
    return property_title(entry["column"], entry["value"])


def property_title(column: str, value: str) -> str:
    """A ``value`` of a ``column``, as ``statistics.image_slices`` writes it, in words."""
    name = property_name(column)
    low, dots, high = value.partition("..")
    if column in PROPERTIES and PROPERTIES[column].form.endswith("%"):
        low, high = _percent(low), _percent(high)
    if not dots:
        return visible(f"{name}: {low}")
    if not low:
        range_text = f"below {high}"
    elif not high:
        range_text = f"{low} or more"
    else:
        range_text = f"{low} to {high}"
    return visible(f"{name} {range_text}")


def _percent(text: str) -> str:
    """``text``, a share, in percent without a loss of digits; another text as it is."""
    try:
        return f"{100 * float(text):.10g}%"
    except ValueError:
        return text


def property_name(column: str) -> str:
    """What people call a ``column`` of the properties."""
    return visible(PROPERTIES[column].label if column in PROPERTIES else column)


SLICES = Question(
    "slices",
    "Slices",
    _slices,
    "images with a property in common that do worse",
    figures=lambda of: of.run.failures,
    link="slice",
    tables=lambda figures: {"slices": figures.slices},
    command="failures",
)


FEWEST_OF_A_CLASS = 10
"""Fewest images of a class for per-class results: with fewer, one image decides the loss."""

_CLASSES = 15
"""Classes that a file lists."""


def _class_drops(figures: Figures) -> list[Block]:
    enough = [entry for entry in figures.by_class if entry["n_images"] >= FEWEST_OF_A_CLASS]
    if not enough:
        fewest = f"Per-class results need at least {FEWEST_OF_A_CLASS} images in a class."
        return [Text(fewest)]
    by_model = run_quantities_and_reliability.grouped(enough, "model")
    columns: list[Column] = [
        ("Class", lambda entry: entry["class_name"]),
        MODEL,
        ("Images", figure("n_images", "")),
        ("Original", figure("clean_accuracy", ".0%")),
        ("Perturbed", figure("perturbed_accuracy", ".0%")),
        ("Lost", figure("drop", ".0%")),
        ("95% interval", partial(interval, name="drop")),
    ]
    note = (
        f"Classes with {FEWEST_OF_A_CLASS} images or more. The largest losses of many classes are "
        "partly chance: see the intervals."
    )
    blocks: list[Block] = [Text(note)]
    for labels, names in models.by_labels(by_model):
        mine = [entry for name in names for entry in by_model[name]]
        worst = sorted(mine, key=lambda entry: -entry["drop"])[:_CLASSES]
        chart = Chart(
            f"Classes that lose most accuracy, {labels.title}",
            run_quantities_and_reliability.class_drops(mine, _CLASSES),
            "Accuracy lost in the classes that lose most; the table below names them.",
            link="class",
        )
        blocks += [chart, Titled(f"The {len(worst)} largest losses", Table.of(worst, columns))]
    return blocks


CLASSES = Question(
    "classes",
    "Classes",
    _class_drops,
    "which classes lose most accuracy",
    needs=(LABELS,),
    tables=lambda figures: {"by_class": figures.by_class},
    link="class",
)


_CHANGES = 12
"""Changes that a chart and a file show."""

_ANY = "any"


def _changed_classes(figures: Failures) -> list[Block]:
    if not figures.changes:
        return []
    of = run_quantities_and_reliability.grouped(figures.changes, "model")
    columns: list[Column] = [
        ("Original", lambda entry: visible(entry["before"])),
        ("Perturbed", lambda entry: visible(entry["after"])),
        ("Images", figure("n_images", ",")),
        ("Share of changes", figure("share", ".1%")),
    ]

    def changes(entries: Sequence[Entry]) -> list[Block]:
        first, whose = entries[:_CHANGES], model(entries[0]["model"])
        table = Titled(f"Changes of {whose}", Table.of(first, columns), long=True)
        frequent = [entry for entry in first if entry["n_images"] > 1]
        if not frequent:
            return [Text(f"{whose}: no two images change in the same way."), table]
        labels = [f"{visible(e['before'])} to<br>{visible(e['after'])}" for e in frequent]
        chart = Chart(
            f"Most frequent changes of {whose}",
            change_counts(frequent, labels),
            "Images with each change of the predicted class; the table below holds the numbers.",
            link="change",
        )
        return [chart, table]

    def by_model(name: str) -> list[Block]:
        under = run_quantities_and_reliability.grouped(of[name], "condition")
        return [
            Chooser(
                "Condition",
                "change_under",
                {text or _ANY: short(text) if text else "Any" for text in under},
                lambda text: changes(under["" if text == _ANY else text]),
                printed=[_ANY],
                listed=True,
            )
        ]

    if all(entry["n_images"] == 1 for entry in figures.changes):
        return [Text("No two images change in the same way.")]
    names = {name: model(name) for name in of}
    return [Chooser("Model", "change_of", names, by_model, printed=list(names), listed=True)]


CHANGED_CLASSES = Question(
    "changed_classes",
    "Changed classes",
    _changed_classes,
    "what predictions become",
    figures=lambda of: of.run.failures,
    link="change",
    tables=lambda figures: {"changed_classes": figures.changes},
    command="failures",
)


def _agreement(figures: Failures) -> list[Block]:
    if not figures.pairs:
        return []
    labelled = figures.quantity == "perturbed_accuracy"
    failure = "an incorrect prediction" if labelled else "a changed prediction"
    columns: list[Column] = [
        ("Models", lambda entry: f"{model(entry['model'])} and {model(entry['other'])}"),
        ("Predictions", figure("n_predictions", ",")),
        ("Only the first fails", figure("model_only", ",")),
        ("Only the second fails", figure("other_only", ",")),
        ("Both fail", figure("both", ",")),
    ]
    about = Text(
        f"Counts each image under each condition. A failure is {failure}.",
        "Attacks are left out: each model has its own attacked image.",
    )
    together = Titled("Do they fail together?", Table.of(figures.pairs, columns))
    if not figures.majority:
        return [together, about]
    columns = [
        ("Models", figure("n_models", "")),
        ("Majority", rate("rate")),
        ("Best model", lambda entry: model(entry["best"])),
        ("Its rate", figure("best_rate", ".1%")),
        ("Majority minus best, points", rate("difference", points)),
    ]
    majority = Titled("What a majority would do", Table.of(figures.majority, columns))
    return [together, about, majority]


AGREEMENT = Question(
    "agreement",
    "Agreement",
    _agreement,
    "where one model fails and another does not",
    figures=lambda of: of.run.failures,
    needs=(TWO_MODELS,),
    tables=lambda figures: {"agreement": figures.pairs, "majority": figures.majority},
    command="failures",
    view=COMPARE,
)
