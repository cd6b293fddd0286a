"""Which images a model fails on: of which classes and slices, alone among the models, and how.

The images behind the figures of a run: worst cases, survivors, those left out, and their map.
"""

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
    model,
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
        why = figures.unknown or [
            "Slices need at least 40 images and a property in which they differ."
        ]
        return [Text(" ".join(why))]
    title = charts.QUANTITIES[figures.quantity]
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
        low = _percent(low)
        high = _percent(high)
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
    by_model = charts.grouped(enough, "model")
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
            charts.class_drops(mine, _CLASSES),
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
    of = charts.grouped(figures.changes, "model")
    columns: list[Column] = [
        ("Original", lambda entry: visible(entry["before"])),
        ("Perturbed", lambda entry: visible(entry["after"])),
        ("Images", figure("n_images", ",")),
        ("Share of changes", figure("share", ".1%")),
    ]

    def changes(entries: Sequence[Entry]) -> list[Block]:
        first = entries[:_CHANGES]
        whose = model(entries[0]["model"])
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
        under = charts.grouped(of[name], "condition")
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
    bad = kind == WORST
    labelled, changed = (
        counted(outcomes.bad if bad else outcomes.good, "image")
        for outcomes in (tally.by_label, tally.by_change)
    )
    parts = []
    if tally.by_label.counted:
        parts.append(f"{labelled} with {'an incorrect' if bad else 'a correct'} prediction")
    if tally.by_change.counted:
        without = " without a label" if parts else ""
        parts.append(f"{changed}{without} with {'a changed' if bad else 'an unchanged'} prediction")
    return f"{' and '.join(parts) or 'no image'}, {_ORDER[kind]}."


def failures(tally: Tally, where: str = "") -> str:
    """How many images that count are incorrect or, without a label, changed, as a clause.

    ``where`` follows each verb.
    """
    labels = tally.by_label
    changes = tally.by_change
    parts = []
    if labels.counted:
        of = " with a label" if changes.counted else ""
        parts.append(f"{labels.bad:,} of {counted(labels.counted, 'image')}{of}: incorrect{where}")
    if changes.counted or not parts:
        of = " without a label" if parts else ""
        parts.append(f"{changes.bad:,} of {counted(changes.counted, 'image')}{of}: changed{where}")
    return "; ".join(parts)


def case(run: Run, row: Row, change: Change | None = None) -> Case:
    """One measurement with its images, titled by its true class or, without, by the original one.

    Without ``change``, attacked images are left out.
    """
    condition = Condition.parse(str(row["condition"]))
    name = str(row["model"])
    before, after = (class_title(name, int(row[key])) for key in ("clean_top1", "top1"))

    def confidence(key: str) -> str:
        """A probability; tables of predictions may have none."""
        return share(row[key]) if pd.notna(row[key]) else "(confidence unknown)"

    caption = f"{before} {confidence('clean_probability')} → "
    caption += f"{'' if row['consistent'] else f'{after} '}{confidence('probability')}"
    title: str = before
    if pd.notna(row["label"]):
        title = class_title(name, int(row["label"]))
    lines = [f"{model(name)}, {condition.described}", caption, f"Image: {row['image']}"]
    if not row["consistent"] and pd.notna(row["retained_probability"]):
        lines.append(f"Confidence left in {before}: {confidence('retained_probability')}")
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


def _shots(run: Run, row: Row, condition: Condition, change: Change | None) -> list[Shot]:
    picture = run.picture_for(str(row["image"]), str(row["model"]))
    shots = [clean_shot(picture)]
    if change is not None and not condition.in_files:
        changed = change(picture, condition, row)
    elif not condition.needs_model:
        changed = run.perturbed(picture, condition)
    else:
        return shots
    alt = f"{picture.name} under {condition.described}"
    return [*shots, Shot(to_png(changed), "perturbed", alt)]


def listed_cases(rows: Sequence[Entry]) -> Titled:
    """The cases of a selection as a table."""
    columns: list[Column] = [
        ("Image", lambda row: visible(row["image"])),
        ("Model", lambda row: model(row["model"])),
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
    of = chosen.model
    became = ""
    if chosen.became is not None:
        before, after = (models.class_name(of, i) if of else str(i) for i in chosen.became)
        became = f"{before} became {after}"
    parts = [
        model(of) if of else "",
        f"under {perturbation_label(chosen.perturbation)}" if chosen.perturbation else "",
        f"under {' or '.join(map(short, chosen.conditions))}" if chosen.conditions else "",
        *dict.fromkeys(models.class_name(name, index) for name, index in chosen.classes),
        *(property_title(column, value) for column, value in chosen.slices),
        became,
        f"fails where {model(chosen.against)} does not" if chosen.against else "",
        counted(len(chosen.positions), "chosen image") if chosen.positions else "",
    ]
    return visible(", ".join(part for part in parts if part) or "All images")


def _cases(run: Run) -> list[Block]:
    tally = run.cases.tally(RowSelection())
    blocks: list[Block] = []
    for kind, title in KINDS.items():
        rows = run.cases.first(RowSelection(), kind, _PRINTED[kind])
        first = f"the first {len(rows)} of " if len(rows) < number(tally, kind) else ""
        read = partial(map, partial(case, run), rows)
        blocks.append(Cases(f"{title}: {first}{caption(tally, kind)}", read))
    return blocks


CASES = Question(
    "cases",
    "Images",
    _cases,
    "filter them and open each on Live",
    figures=lambda of: of.run,
    view=IMAGES,
)


def _left_out(images: Sequence[tuple[str, str]]) -> list[Block]:
    if not images:
        return []
    first = f", the first {_LEFT_OUT}" if len(images) > _LEFT_OUT else ""
    title = f"{counted(len(images), 'image')} left out{first}"
    return [Titled(title, Table(("Image", "Reason"), images[:_LEFT_OUT]), long=True)]


LEFT_OUT = Question(
    "left_out",
    "Images left out",
    _left_out,
    figures=lambda of: of.run.unreadable,
    view=IMAGES,
)


def _maps(maps: Sequence[EmbeddingMap]) -> list[Block]:
    if not maps:
        return []
    of = {map_.name: map_ for map_ in maps}
    options = {name: f"{model(e.model)}, {short(e.condition)}" for name, e in of.items()}

    def read(name: str) -> list[Block]:
        points = of[name].points
        left = of[name].left_out
        note = f" {counted(left, 'image')} could no longer be read." if left else ""
        chart = Chart(
            options[name],
            embedding_map(points, of[name].explained),
            f"{counted(len(points), 'image')} with the perturbed version in the plane of the two "
            "main components of the features.",
            f"Each line joins an original to its perturbed image. Crosses are failures.{note}",
            link="map",
        )
        return [chart]

    first = maps[0].name
    return [Chooser("Map of", "map_of", options, read, [first], first, listed=True)]


MAP = Question(
    "map",
    "Map",
    _maps,
    "how far perturbed images move",
    figures=lambda of: read_maps(of.run),
    link="map",
    view=IMAGES,
)
