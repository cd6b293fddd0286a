"""The images behind the figures of a run: worst cases, survivors, those left out, and their map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from robustness import models
from robustness.base.errors import RobustnessError
from robustness.base.text import counted, share, visible
from robustness.charts.failures_and_image_differences import embedding_map
from robustness.charts.ranking_and_condition_tables import Column, Entry, Table, figure
from robustness.charts.verdict_signs_and_words import verdict_of
from robustness.evaluation.perturbation_and_attack_conditions import (
    Condition,
    perturbation_label,
    short,
)
from robustness.perturbations import Images
from robustness.pictures.eight_bits import to_png
from robustness.pictures.framed_picture import Picture
from robustness.report.blocks import Block, Case, Cases, Chart, Chooser, Shot, Titled
from robustness.report.facts_and_cautions import clean_shot
from robustness.report.names_and_sentences import class_title, model
from robustness.report.questions.question_and_figures import IMAGES, Question
from robustness.report.questions.slices_and_class_changes import property_title
from robustness.runs import Run
from robustness.runs.case_counts_and_queries import RowSelection, Tally
from robustness.runs.embedding_map import EmbeddingMap, read_maps
from robustness.runs.row_selection import SURVIVORS, WORST

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
    labels, changes = tally.by_label, tally.by_change
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
    condition, name = Condition.parse(str(row["condition"])), str(row["model"])
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
    of, became = chosen.model, ""
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
        points, left = of[name].points, of[name].left_out
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
