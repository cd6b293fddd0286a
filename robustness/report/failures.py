"""Questions about the images that models fail on: slices, classes, changes, agreement, cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    PREDICTED_CLASSES,
    TWO_MODELS,
    Block,
    Case,
    Cases,
    Chart,
    Chooser,
    Question,
    RunFigures,
    Shot,
    Text,
    Titled,
    class_title,
    model_label,
)
from robustness.report.charts import change_counts, slice_rates
from robustness.report.facts import clean_shot
from robustness.report.tables import (
    Column,
    Entry,
    Mark,
    Table,
    figure,
    interval,
    points_lost,
    rate,
    verdict_of,
)
from robustness.runs import Run
from robustness.runs.cases import SURVIVORS, WORST, Failures, RowSelection, Tally
from robustness.statistics import Figures
from robustness.statistics.failures import SLICE_RULE

_SLICES = 10
"""Slices that a chart and a table show."""


def _slice_blocks(figures: Failures) -> list[Block]:
    if not figures.slices:
        reasons = figures.unknown or [
            "Slices need at least 40 images and a property in which they differ."
        ]
        return [Text(" ".join(reasons))]
    tested = counted(len(figures.slices), "slice")
    worse = [entry for entry in figures.slices if entry["worse"]]
    if not worse:
        summary = f"None of {tested} is significantly below the other images."
        return [Text(" ".join([summary, *figures.unknown]), SLICE_RULE)]
    summary = f"{len(worse):,} of {tested} significantly below the other images."
    shown = worse[:_SLICES]
    title = charts.quantity_title(figures.quantity, figures.score)
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
        (f"Mean {figures.score}" if figures.score else "Rate", rate("rate")),
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
    """Return a slice in words, such as "Brightness below 20%"."""
    return property_title(entry["column"], entry["value"])


def property_title(column: str, value: str) -> str:
    """Return a value or a range of a property in words, such as "Brightness below 20%".

    ``value`` is a value of ``column``, or a range such as "0.2..0.4", "..0.2" or "0.4..", as
    ``statistics.image_slices`` writes it.
    """
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
    """Return a share as a percentage with all its digits; a text that is no number stays."""
    try:
        return f"{100 * float(text):.10g}%"
    except ValueError:
        return text


def property_name(column: str) -> str:
    """Return the label of a property; a column of the user is its own label."""
    if column in PROPERTIES:
        return visible(PROPERTIES[column].label)
    return visible(column)


def _failures_of_run(figures: RunFigures) -> Failures:
    return figures.analysis.failures


SLICES = Question(
    "slices",
    "Slices",
    _slice_blocks,
    "images with a property in common that do worse",
    figures=_failures_of_run,
    link="slice",
    tables=lambda figures: {"slices": figures.slices},
    command="failures",
)


FEWEST_OF_A_CLASS = 10
"""The fewest images of a class for results by class: with fewer, one image decides the loss."""

_CLASSES = 15
"""Classes that a chart and a table show."""


def _class_blocks(figures: Figures) -> list[Block]:
    entries = [entry for entry in figures.by_class if entry["n_images"] >= FEWEST_OF_A_CLASS]
    if not entries:
        need = f"Per-class results need at least {FEWEST_OF_A_CLASS} images in a class."
        return [Text(need)]
    columns: list[Column] = [
        ("Class", lambda entry: entry["class_name"]),
        MODEL,
        ("Images", figure("n_images", "")),
        ("Original", figure("clean_accuracy", ".0%")),
        ("Perturbed", figure("perturbed_accuracy", ".0%")),
        ("Lost, points", figure("drop", points_lost)),
        ("95% interval", partial(interval, name="drop", form=points_lost)),
    ]
    note = (
        f"Classes with {FEWEST_OF_A_CLASS} images or more. The largest losses of many classes are "
        "partly chance: see the intervals."
    )
    blocks: list[Block] = [Text(note)]
    by_model = charts.grouped(entries, "model")
    for label_set, names in models.by_labels(by_model):
        entries_of_group: list[Entry] = []
        for name in names:
            entries_of_group += by_model[name]
        worst = sorted(entries_of_group, key=lambda entry: -entry["drop"])[:_CLASSES]
        chart = Chart(
            f"Classes that lose most accuracy, {label_set.title}",
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
    _class_blocks,
    "which classes lose most accuracy",
    needs=(LABELS, PREDICTED_CLASSES),
    tables=lambda figures: {"by_class": figures.by_class},
    link="class",
)


_CHANGES = 12
"""Changes that a chart and a table show."""

_ANY = "any"
"""The option of changes under any condition."""


def _changed_class_blocks(figures: Failures) -> list[Block]:
    if not figures.changes:
        return []
    if all(entry["n_images"] == 1 for entry in figures.changes):
        return [Text("No two images change in the same way.")]
    by_model = charts.grouped(figures.changes, "model")

    def read(name: str) -> list[Block]:
        return [_changes_by_condition(by_model[name])]

    labels = {name: model_label(name) for name in by_model}
    return [Chooser("Model", "change_of", labels, read, printed=list(labels), listed=True)]


def _changes_by_condition(entries: Sequence[Entry]) -> Chooser:
    """Return a control for the condition, with the changes of one model under each.

    Those of ``entries`` with the condition "" are under any condition.
    """
    entries_of_option: dict[str, list[Entry]] = {}
    options = {}
    for condition, entries_of_condition in charts.grouped(entries, "condition").items():
        if condition:
            option = condition
            options[option] = short(condition)
        else:
            option = _ANY
            options[option] = "Any"
        entries_of_option[option] = entries_of_condition

    def read(option: str) -> list[Block]:
        return _frequent_changes(entries_of_option[option])

    return Chooser("Condition", "change_under", options, read, printed=[_ANY], listed=True)


def _frequent_changes(entries: Sequence[Entry]) -> list[Block]:
    """Return the most frequent of ``entries``, the changes of one model under one condition."""
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
    _changed_class_blocks,
    "what predictions become",
    figures=_failures_of_run,
    needs=(PREDICTED_CLASSES,),
    link="change",
    tables=lambda figures: {"changed_classes": figures.changes},
    command="failures",
)


def _agreement_blocks(figures: Failures) -> list[Block]:
    if not figures.pairs:
        return []
    if figures.quantity == "perturbed_accuracy":
        failure = "an incorrect prediction"
    else:
        failure = "a changed prediction"
    pair_columns: list[Column] = [
        ("Models", _pair_labels),
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


def _pair_labels(entry: Entry) -> str:
    return f"{model_label(entry['model'])} and {model_label(entry['other'])}"


AGREEMENT = Question(
    "agreement",
    "Agreement",
    _agreement_blocks,
    "where one model fails and another does not",
    figures=_failures_of_run,
    needs=(TWO_MODELS, PREDICTED_CLASSES),
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
"""Images of each kind that a file shows."""

_LEFT_OUT = 50
"""Images left out that are listed."""

Row = Mapping[str, Any]
"""A row of a run by column."""

Change = Callable[[Picture, Condition, Row], Images]
"""A function that makes the image which the model of a row saw."""


def number(tally: Tally, kind: str) -> int:
    """Return how many images are of ``kind``, one of ``KINDS``."""
    return tally.either.bad if kind == WORST else tally.either.good


def caption(tally: Tally, kind: str, score: str = "") -> str:
    """Return the sentence on how many images are of ``kind``, and in which order.

    ``score`` is the name of the score of a run of scores.
    """
    if score:
        images = counted(number(tally, kind), "image")
        if kind == WORST:
            return f"{images} with a lower {score} than the original, largest loss first."
        return f"{images} with no lower {score} than the original, {_ORDER[kind]}."
    if kind == WORST:
        labelled = tally.by_label.bad
        unlabelled = tally.by_change.bad
        outcome_by_label = "an incorrect"
        outcome_by_change = "a changed"
    else:
        labelled = tally.by_label.good
        unlabelled = tally.by_change.good
        outcome_by_label = "a correct"
        outcome_by_change = "an unchanged"
    parts = []
    if tally.by_label.counted:
        parts.append(f"{counted(labelled, 'image')} with {outcome_by_label} prediction")
    if tally.by_change.counted:
        images = counted(unlabelled, "image")
        if tally.by_label.counted:
            images += " without a label"
        parts.append(f"{images} with {outcome_by_change} prediction")
    subject = " and ".join(parts) or "no image"
    return f"{subject}, {_ORDER[kind]}."


def failures(tally: Tally, where: str = "", score: str = "") -> str:
    """Return the clause on how many images are incorrect or, without a label, changed.

    In a run of scores it is on those with a lower ``score`` than the original. ``where``, such as a
    condition with a space before it, follows "incorrect" and "changed".
    """
    if score:
        outcomes = tally.either
        return f"{outcomes.bad:,} of {counted(outcomes.counted, 'image')}: lower {score}{where}"
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
    """Return the case of one measurement: its images, its verdict, and what was predicted.

    The title is the true class or, without a label, the class that was predicted for the original.
    ``change`` makes the perturbed image; without it the images of attacks are left out.
    """
    if "clean_score" in row:
        return _scored_case(run, row, change)
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
    shots, trouble = _shots_or_reason(run, row, condition, change)
    return Case(title, shots, verdict_of(row), [*lines, *trouble])


def _scored_case(run: Run, row: Row, change: Change | None) -> Case:
    """Return the case of one measurement in a run of scores, with the image as its title."""
    condition = Condition.parse(str(row["condition"]))
    before = float(row["clean_score"])
    after = float(row["score"])
    lines = [
        f"{model_label(str(row['model']))}, {condition.described}",
        f"{run.score} {share(before)} → {share(after)}",
    ]
    if pd.notna(row["ssim"]):
        lines.append(f"SSIM {row['ssim']:.2f}")
    shots, trouble = _shots_or_reason(run, row, condition, change)
    mark = score_mark(row, run.score)
    return Case(visible(str(row["image"])), shots, mark, [*lines, *trouble])


def score_mark(row: Row, score: str) -> Mark:
    """Return whether the ``score`` of one measurement is lower than that of the original."""
    if float(row["score"]) < float(row["clean_score"]):
        return Mark("incorrect", "✗", f"{score} lower")
    return Mark("correct", "✓", f"{score} kept")


def _shots_or_reason(
    run: Run, row: Row, condition: Condition, change: Change | None
) -> tuple[list[Shot], list[str]]:
    """Return the images of a case, or else a line on why they cannot be shown."""
    try:
        return _shots(run, row, condition, change), []
    except RobustnessError as error:
        return [], [f"The image cannot be shown: {visible(str(error))}"]


def _confidence(row: Row, key: str) -> str:
    # Tables of predictions may have no probabilities.
    if pd.isna(row[key]):
        return "(confidence unknown)"
    return share(row[key])


def _shots(run: Run, row: Row, condition: Condition, change: Change | None) -> list[Shot]:
    """Return the original and, if it can be made, the perturbed image."""
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


def listed_cases(rows: Sequence[Entry], score: str = "") -> Titled:
    """Return the table of the cases of a selection; ``score`` is the name of that of the run."""
    if score:
        columns_of_scores: list[Column] = [
            ("Image", lambda row: visible(row["image"])),
            ("Model", lambda row: model_label(row["model"])),
            ("Condition", lambda row: short(row["condition"])),
            (f"Original {score}", figure("clean_score", ".1%")),
            (f"Perturbed {score}", figure("score", ".1%")),
        ]
        return Titled(counted(len(rows), "image"), Table.of(rows, columns_of_scores))
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
    """Return a selection in words, such as "SqueezeNet, under fog"."""
    parts = []
    if chosen.model:
        parts.append(model_label(chosen.model))
    if chosen.perturbation:
        parts.append(f"under {perturbation_label(chosen.perturbation)}")
    if chosen.conditions:
        conditions = [short(condition) for condition in chosen.conditions]
        parts.append(f"under {' or '.join(conditions)}")
    # Each name once, as several of the chosen classes may have the same.
    parts += dict.fromkeys(models.class_name(name, index) for name, index in chosen.classes)
    parts += [property_title(column, value) for column, value in chosen.slices]
    if chosen.became is not None:
        before, after = chosen.became
        before_name = _class_or_index(chosen.model, before)
        after_name = _class_or_index(chosen.model, after)
        parts.append(f"{before_name} became {after_name}")
    if chosen.against:
        parts.append(f"fails where {model_label(chosen.against)} does not")
    if chosen.positions:
        parts.append(counted(len(chosen.positions), "chosen image"))
    return visible(", ".join(part for part in parts if part) or "All images")


def _class_or_index(model_name: str, index: int) -> str:
    if not model_name:
        return str(index)
    return models.class_name(model_name, index)


def _case_blocks(run: Run) -> list[Block]:
    tally = run.cases.tally(RowSelection())
    blocks: list[Block] = []
    for kind, title in KINDS.items():
        rows = run.cases.first(RowSelection(), kind, _PRINTED[kind])
        if len(rows) < number(tally, kind):
            title += f": the first {len(rows)} of {caption(tally, kind, run.score)}"
        else:
            title += f": {caption(tally, kind, run.score)}"
        blocks.append(Cases(title, partial(_read_cases, run, rows)))
    return blocks


def _read_cases(run: Run, rows: Sequence[Row]) -> Iterator[Case]:
    for row in rows:
        yield case(run, row)


def _run_of_figures(figures: RunFigures) -> Run:
    return figures.run


CASES = Question(
    "cases",
    "Images",
    _case_blocks,
    "filter them and open each on Live",
    figures=_run_of_figures,
    view=IMAGES,
)


def _left_out_blocks(images: Sequence[tuple[str, str]]) -> list[Block]:
    """Return the table of images that could not be read, pairs of a name and a reason."""
    if not images:
        return []
    title = f"{counted(len(images), 'image')} left out"
    if len(images) > _LEFT_OUT:
        title += f", the first {_LEFT_OUT}"
    table = Table(("Image", "Reason"), images[:_LEFT_OUT])
    return [Titled(title, table, long=True)]


def _unreadable_images(figures: RunFigures) -> Sequence[tuple[str, str]]:
    return figures.run.unreadable


LEFT_OUT = Question(
    "left_out",
    "Images left out",
    _left_out_blocks,
    figures=_unreadable_images,
    view=IMAGES,
)
