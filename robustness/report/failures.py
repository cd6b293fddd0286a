"""The images that models fail on: by class and slice, alone among the models, and as cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, points, share, visible
from robustness.images.framing import Picture
from robustness.images.pixels import to_png
from robustness.images.properties import PROPERTIES
from robustness.measure.condition import Condition, perturbation_label, short
from robustness.perturbations import Images
from robustness.report import charts
from robustness.report.blocks import (
    COMPARE,
    IMAGES,
    LABELS,
    MODEL,
    TWO_MODELS,
    Block,
    Case,
    Cases,
    Chart,
    Chooser,
    Question,
    Shot,
    Text,
    Titled,
    class_title,
    model_label,
)
from robustness.report.charts import change_counts, embedding_map, slice_rates
from robustness.report.facts import clean_shot
from robustness.report.tables import Column, Entry, Table, figure, interval, rate, verdict_of
from robustness.runs import Run
from robustness.runs.cases import SURVIVORS, WORST, Failures, RowSelection, Tally
from robustness.runs.embedding import EmbeddingMap, read_maps
from robustness.statistics import Figures
from robustness.statistics.failures import SLICE_RULE

_SLICES = 10
"""Slices that a chart and a file show."""


def _slices(figures: Failures) -> list[Block]:
    if not figures.slices:
        reasons = figures.unknown or [
            "Slices need at least 40 images and a property in which they differ."
        ]
        return [Text(" ".join(reasons))]
    tested = counted(len(figures.slices), "slice")
    worse = [entry for entry in figures.slices if entry["worse"]]
    if not worse:
        none = f"None of {tested} is significantly below the other images."
        return [Text(" ".join([none, *figures.unknown]), SLICE_RULE)]
    summary = f"{len(worse):,} of {tested} significantly below the other images."
    shown = worse[:_SLICES]
    title = charts.QUANTITIES[figures.quantity]
    labels = [f"{slice_title(entry)},<br>{model_label(entry['model'])}" for entry in shown]
    chart = Chart(
        f"{title} in the significantly worse slices",
        slice_rates(shown, labels, title),
        f"{title} in each slice and on all other images; the table below holds the numbers.",
        link="slice",
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
        Titled("Significantly worse", Table.of(shown, columns)),
    ]


def slice_title(entry: Entry) -> str:
    """A slice in words, such as "Brightness below 20%"."""
    return property_title(entry["column"], entry["value"])


def property_title(column: str, value: str) -> str:
    """A ``value`` of a ``column``, as ``statistics.image_slices`` writes it, in words."""
    name = property_name(column)
    low, dots, high = value.partition("..")
    if column in PROPERTIES and PROPERTIES[column].form.endswith("%"):
        low = _percent(low)
        high = _percent(high)
    if not dots:
        return visible(f"{name}: {low}")
    if low and high:
        return visible(f"{name} {low} to {high}")
    if high:
        return visible(f"{name} below {high}")
    return visible(f"{name} {low} or more")


def _percent(text: str) -> str:
    """``text``, a share, in percent without a loss of digits; another text as it is."""
    try:
        return f"{100 * float(text):.10g}%"
    except ValueError:
        return text


def property_name(column: str) -> str:
    """The label of a ``column`` of the properties; that of a user is its own."""
    return visible(PROPERTIES[column].label if column in PROPERTIES else column)


SLICES = Question(
    "slices",
    "Slices",
    _slices,
    "images with a property in common that do worse",
    figures=lambda figures: figures.run.failures,
    link="slice",
    tables=lambda figures: {"slices": figures.slices},
    command="failures",
)


FEWEST_OF_A_CLASS = 10
"""Fewest images of a class for per-class results: with fewer, one image decides the loss."""

_CLASSES = 15
"""Classes that a file lists."""


def _class_drops(figures: Figures) -> list[Block]:
    entries = [entry for entry in figures.by_class if entry["n_images"] >= FEWEST_OF_A_CLASS]
    if not entries:
        fewest = f"Per-class results need at least {FEWEST_OF_A_CLASS} images in a class."
        return [Text(fewest)]
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
    by_model = charts.grouped(entries, "model")
    for labels, names in models.by_labels(by_model):
        entries_of_group = [entry for name in names for entry in by_model[name]]
        worst = sorted(entries_of_group, key=lambda entry: -entry["drop"])[:_CLASSES]
        chart = Chart(
            f"Classes that lose most accuracy, {labels.title}",
            charts.class_drops(entries_of_group, _CLASSES),
            "Accuracy lost in the classes that lose most; the table below names them.",
            link="class",
        )
        table = Titled(f"The {len(worst)} largest losses", Table.of(worst, columns))
        blocks += [chart, table]
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
    if all(entry["n_images"] == 1 for entry in figures.changes):
        return [Text("No two images change in the same way.")]
    by_model = charts.grouped(figures.changes, "model")

    def read(name: str) -> list[Block]:
        return [_changes_by_condition(by_model[name])]

    names = {name: model_label(name) for name in by_model}
    return [Chooser("Model", "change_of", names, read, printed=list(names), listed=True)]


def _changes_by_condition(entries: Sequence[Entry]) -> Chooser:
    """The changes of one model under each condition; ``entries`` without one are under any."""
    by_condition = charts.grouped(entries, "condition")
    options = {text or _ANY: short(text) if text else "Any" for text in by_condition}

    def read(option: str) -> list[Block]:
        return _frequent_changes(by_condition["" if option == _ANY else option])

    return Chooser("Condition", "change_under", options, read, printed=[_ANY], listed=True)


def _frequent_changes(entries: Sequence[Entry]) -> list[Block]:
    """The most frequent changes of one model under one condition."""
    name = model_label(entries[0]["model"])
    shown = entries[:_CHANGES]
    columns: list[Column] = [
        ("Original", lambda entry: visible(entry["before"])),
        ("Perturbed", lambda entry: visible(entry["after"])),
        ("Images", figure("n_images", ",")),
        ("Share of changes", figure("share", ".1%")),
    ]
    table = Titled(f"Changes of {name}", Table.of(shown, columns), long=True)
    frequent = [entry for entry in shown if entry["n_images"] > 1]
    if not frequent:
        return [Text(f"{name}: no two images change in the same way."), table]
    labels = [f"{visible(entry['before'])} to<br>{visible(entry['after'])}" for entry in frequent]
    chart = Chart(
        f"Most frequent changes of {name}",
        change_counts(frequent, labels),
        "Images with each change of the predicted class; the table below holds the numbers.",
        link="change",
    )
    return [chart, table]


CHANGED_CLASSES = Question(
    "changed_classes",
    "Changed classes",
    _changed_classes,
    "what predictions become",
    figures=lambda figures: figures.run.failures,
    link="change",
    tables=lambda figures: {"changed_classes": figures.changes},
    command="failures",
)


def _agreement(figures: Failures) -> list[Block]:
    if not figures.pairs:
        return []
    labelled = figures.quantity == "perturbed_accuracy"
    failure = "an incorrect prediction" if labelled else "a changed prediction"
    pair_columns: list[Column] = [
        (
            "Models",
            lambda entry: f"{model_label(entry['model'])} and {model_label(entry['other'])}",
        ),
        ("Predictions", figure("n_predictions", ",")),
        ("Only the first fails", figure("model_only", ",")),
        ("Only the second fails", figure("other_only", ",")),
        ("Both fail", figure("both", ",")),
    ]
    blocks: list[Block] = [
        Titled("Do they fail together?", Table.of(figures.pairs, pair_columns)),
        Text(
            f"Counts each image under each condition. A failure is {failure}.",
            "Attacks are left out: each model has its own attacked image.",
        ),
    ]
    if figures.majority:
        majority_columns: list[Column] = [
            ("Models", figure("n_models", "")),
            ("Majority", rate("rate")),
            ("Best model", lambda entry: model_label(entry["best"])),
            ("Its rate", figure("best_rate", ".1%")),
            ("Majority minus best, points", rate("difference", points)),
        ]
        table = Table.of(figures.majority, majority_columns)
        blocks.append(Titled("What a majority would do", table))
    return blocks


AGREEMENT = Question(
    "agreement",
    "Agreement",
    _agreement,
    "where one model fails and another does not",
    figures=lambda figures: figures.run.failures,
    needs=(TWO_MODELS,),
    tables=lambda figures: {"agreement": figures.pairs, "majority": figures.majority},
    command="failures",
    view=COMPARE,
)


KINDS: Mapping[str, str] = {
    WORST: "Worst cases",
    SURVIVORS: "Survivors",
}
_ORDER = {
    WORST: "largest loss of confidence first",
    SURVIVORS: "most visible change (lowest SSIM) first",
}
_PRINTED = {WORST: 9, SURVIVORS: 6}
"""Images of a kind in a file."""
_LEFT_OUT = 50
"""Left-out images that are listed."""

Row = Mapping[str, Any]
Change = Callable[[Picture, Condition, Row], Images]
"""Makes the image that the model of a row saw."""


def number(tally: Tally, kind: str) -> int:
    """How many images are of ``kind``."""
    return tally.either.bad if kind == WORST else tally.either.good


def caption(tally: Tally, kind: str) -> str:
    """How many images are of ``kind``, and their order."""
    if kind == WORST:
        labelled = tally.by_label.bad
        unlabelled = tally.by_change.bad
        outcomes = ("an incorrect", "a changed")
    else:
        labelled = tally.by_label.good
        unlabelled = tally.by_change.good
        outcomes = ("a correct", "an unchanged")
    parts = []
    if tally.by_label.counted:
        parts.append(f"{counted(labelled, 'image')} with {outcomes[0]} prediction")
    if tally.by_change.counted:
        without = " without a label" if parts else ""
        parts.append(f"{counted(unlabelled, 'image')}{without} with {outcomes[1]} prediction")
    images = " and ".join(parts) or "no image"
    return f"{images}, {_ORDER[kind]}."


def failures(tally: Tally, where: str = "") -> str:
    """How many images that count are incorrect or, without a label, changed, as a clause.

    ``where`` follows each verb.
    """
    labels = tally.by_label
    changes = tally.by_change
    parts = []
    if labels.counted:
        images = counted(labels.counted, "image")
        if changes.counted:
            images += " with a label"
        parts.append(f"{labels.bad:,} of {images}: incorrect{where}")
    if changes.counted or not labels.counted:
        images = counted(changes.counted, "image")
        if labels.counted:
            images += " without a label"
        parts.append(f"{changes.bad:,} of {images}: changed{where}")
    return "; ".join(parts)


def case(run: Run, row: Row, change: Change | None = None) -> Case:
    """One measurement with its images, titled by its true class or, without, by the original one.

    Without ``change``, attacked images are left out.
    """
    condition = Condition.parse(str(row["condition"]))
    name = str(row["model"])
    original_class = class_title(name, int(row["clean_top1"]))
    perturbed_class = class_title(name, int(row["top1"]))
    title = original_class
    if pd.notna(row["label"]):
        title = class_title(name, int(row["label"]))

    after = _confidence(row, "probability")
    if not row["consistent"]:
        after = f"{perturbed_class} {after}"
    lines = [
        f"{model_label(name)}, {condition.described}",
        f"{original_class} {_confidence(row, 'clean_probability')} → {after}",
        f"Image: {row['image']}",
    ]
    if not row["consistent"] and pd.notna(row["retained_probability"]):
        left = _confidence(row, "retained_probability")
        lines.append(f"Confidence left in {original_class}: {left}")
    if pd.notna(row["ssim"]):
        lines.append(f"SSIM {row['ssim']:.2f}")
    if condition.needs_model and change is None:
        lines.append("The Evaluations page shows the attacked image.")
    shots: list[Shot] = []
    try:
        shots = _shots(run, row, condition, change)
    except RobustnessError as error:
        lines.append(f"The image cannot be shown: {visible(str(error))}")
    return Case(title, shots, verdict_of(row), lines)


def _confidence(row: Row, key: str) -> str:
    """A probability; tables of predictions may have none."""
    return share(row[key]) if pd.notna(row[key]) else "(confidence unknown)"


def _shots(run: Run, row: Row, condition: Condition, change: Change | None) -> list[Shot]:
    """The original and, where it can be made, the perturbed image."""
    picture = run.picture_for(str(row["image"]), str(row["model"]))
    shots = [clean_shot(picture)]
    if change is not None and not condition.in_files:
        changed = change(picture, condition, row)
    elif not condition.needs_model:
        changed = run.perturbed(picture, condition)
    else:
        return shots
    alt = f"{picture.name} under {condition.described}"
    shots.append(Shot(to_png(changed), "perturbed", alt))
    return shots


def listed_cases(rows: Sequence[Entry]) -> Titled:
    """The cases of a selection as a table."""
    columns: list[Column] = [
        ("Image", lambda row: visible(row["image"])),
        ("Model", lambda row: model_label(row["model"])),
        ("Condition", lambda row: short(row["condition"])),
        ("True class", lambda row: visible(row["true_class"] or "")),
        ("Original", lambda row: visible(row["original_class"])),
        ("Perturbed", lambda row: visible(row["perturbed_class"])),
        ("Prediction", lambda row: verdict_of(row).said),
        ("Confidence", figure("probability", ".1%")),
    ]
    return Titled(counted(len(rows), "image"), Table.of(rows, columns))


def selected_title(chosen: RowSelection) -> str:
    """A selection in words: what is chosen, in the order of its keys."""
    parts = []
    if chosen.model:
        parts.append(model_label(chosen.model))
    if chosen.perturbation:
        parts.append(f"under {perturbation_label(chosen.perturbation)}")
    if chosen.conditions:
        parts.append(f"under {' or '.join(map(short, chosen.conditions))}")
    # Models may call several of the chosen classes the same.
    parts += dict.fromkeys(models.class_name(name, index) for name, index in chosen.classes)
    parts += [property_title(column, value) for column, value in chosen.slices]
    if chosen.became is not None:
        before, after = (_class_or_index(chosen.model, index) for index in chosen.became)
        parts.append(f"{before} became {after}")
    if chosen.against:
        parts.append(f"fails where {model_label(chosen.against)} does not")
    if chosen.positions:
        parts.append(counted(len(chosen.positions), "chosen image"))
    return visible(", ".join(part for part in parts if part) or "All images")


def _class_or_index(model_name: str, index: int) -> str:
    return models.class_name(model_name, index) if model_name else str(index)


def _cases(run: Run) -> list[Block]:
    tally = run.cases.tally(RowSelection())
    blocks: list[Block] = []
    for kind, title in KINDS.items():
        rows = run.cases.first(RowSelection(), kind, _PRINTED[kind])
        first = f"the first {len(rows)} of " if len(rows) < number(tally, kind) else ""
        # Each format reads the images anew, one at a time.
        read = partial(map, partial(case, run), rows)
        blocks.append(Cases(f"{title}: {first}{caption(tally, kind)}", read))
    return blocks


CASES = Question(
    "cases",
    "Images",
    _cases,
    "filter them and open each on Live",
    figures=lambda figures: figures.run,
    view=IMAGES,
)


def _left_out(images: Sequence[tuple[str, str]]) -> list[Block]:
    """The names and reasons of images that could not be read."""
    if not images:
        return []
    title = f"{counted(len(images), 'image')} left out"
    if len(images) > _LEFT_OUT:
        title += f", the first {_LEFT_OUT}"
    table = Table(("Image", "Reason"), images[:_LEFT_OUT])
    return [Titled(title, table, long=True)]


LEFT_OUT = Question(
    "left_out",
    "Images left out",
    _left_out,
    figures=lambda figures: figures.run.unreadable,
    view=IMAGES,
)


def _maps(maps: Sequence[EmbeddingMap]) -> list[Block]:
    if not maps:
        return []
    by_name = {embedding.name: embedding for embedding in maps}
    titles = {
        name: f"{model_label(embedding.model)}, {short(embedding.condition)}"
        for name, embedding in by_name.items()
    }

    def read(name: str) -> list[Block]:
        embedding = by_name[name]
        note = "Each line joins an original to its perturbed image. Crosses are failures."
        if embedding.left_out:
            note += f" {counted(embedding.left_out, 'image')} could no longer be read."
        chart = Chart(
            titles[name],
            embedding_map(embedding.points, embedding.explained),
            f"{counted(len(embedding.points), 'image')} with the perturbed version in the plane of "
            "the two main components of the features.",
            note,
            link="map",
        )
        return [chart]

    first = maps[0].name
    return [Chooser("Map of", "map_of", titles, read, printed=[first], first=first, listed=True)]


MAP = Question(
    "map",
    "Map",
    _maps,
    "how far perturbed images move",
    figures=lambda figures: read_maps(figures.run),
    link="map",
    view=IMAGES,
)
