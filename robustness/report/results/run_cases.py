"""The images behind the figures of a run: the worst cases and the survivors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from robustness.base.errors import RobustnessError
from robustness.base.text import counted, visible
from robustness.charts.verdict import verdict_of
from robustness.evaluation.condition import Condition
from robustness.perturbations import Images
from robustness.pictures.fitting import to_png
from robustness.pictures.picture import Picture
from robustness.report.content import Case, Cases, Section, Shot
from robustness.report.results.measured import clean_shot
from robustness.report.wording import class_title, model, share
from robustness.runs import Run
from robustness.runs.cases import Chosen, Tally
from robustness.runs.selection import SURVIVORS, WORST

KINDS: Mapping[str, str] = {
    WORST: "Worst cases",
    SURVIVORS: "Survivors",
}
_ORDER = {
    WORST: "largest loss of confidence first",
    SURVIVORS: "most visible change (lowest SSIM) first",
}
_PRINTED = {WORST: 9, SURVIVORS: 6}
"""So many images of a kind are in a file."""

Row = Mapping[str, Any]
Change = Callable[[Picture, Condition, Row], Images]
"""Makes the image that the model of a row saw."""


def section(run: Run, *, cases: bool = True) -> Section:
    """The worst and the surviving cases, each image once; without ``cases`` the heading alone."""
    shown = [_cases(run, kind) for kind in KINDS] if cases else [Cases("", lambda: iter(()))]
    return Section("Images", shown, "filter them and open each on Live")


def _cases(run: Run, kind: str) -> Cases:
    tally = run.cases.tally(Chosen())
    shown = run.cases.first(Chosen(), kind, _PRINTED[kind])

    def read() -> Iterator[Case]:
        for row in shown:
            yield case(run, row)

    first = f"the first {len(shown)} of " if len(shown) < number(tally, kind) else ""
    return Cases(f"{KINDS[kind]}: {first}{caption(tally, kind)}", read)


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
    """One measurement with its images; without ``change``, attacked images are left out."""
    condition = Condition.parse(str(row["condition"]))
    lines = [condition.described, *_predictions(row)]
    if condition.needs_model and change is None:
        lines.append("The Dataset page shows the attacked image.")
    shots: list[Shot] = []
    try:
        shots = _shots(run, row, condition, change)
    except RobustnessError as error:
        lines.append(f"The image cannot be shown: {visible(str(error))}")
    title = f"{model(str(row['model']))}: {row['image']}"
    return Case(title, shots, verdict_of(row), lines)


def _shots(run: Run, row: Row, condition: Condition, change: Change | None) -> list[Shot]:
    picture = run.picture(str(row["image"]))
    shots = [clean_shot(picture)]
    if change is not None and not condition.in_files:
        made = change(picture, condition, row)
    elif not condition.needs_model:
        made = run.perturbed(picture, condition)
    else:
        return shots
    alt = f"{picture.name} under {condition.described}"
    return [*shots, Shot(to_png(made), "perturbed", alt)]


def _predictions(row: Row) -> list[str]:
    name = str(row["model"])
    before, after = (class_title(name, int(row[key])) for key in ("clean_top1", "top1"))
    told = f"{before} {_share(row['clean_probability'])} → "
    told += "" if row["consistent"] else f"{after} "
    told += _share(row["probability"])
    if not row["consistent"] and pd.notna(row["retained_probability"]):
        told += f"; {before}: {_share(row['retained_probability'])}"
    lines = [told]
    if pd.notna(row["ssim"]):
        lines.append(f"SSIM {row['ssim']:.2f}")
    if pd.notna(row["label"]):
        lines.insert(1, f"True class: {class_title(name, int(row['label']))}")
    return lines


def _share(value: Any) -> str:
    """A probability; tables of predictions may have none."""
    return share(value) if pd.notna(value) else "(confidence unknown)"
