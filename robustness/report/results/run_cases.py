"""The pictures of a run that are worth a look: the worst cases, and the survivors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from robustness import statistics
from robustness.base.errors import RobustnessError
from robustness.base.text import visible
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import perturbed
from robustness.pictures.fitting import to_png
from robustness.report.content import Case, Cases, Section, Shot
from robustness.report.results.measured import clean_shot
from robustness.report.wording import class_title, model, share
from robustness.runs import Run

_WORST, _SURVIVORS = 9, 6
"""So many pictures of each kind: what a reader looks at, and what a file can hold."""


def section(run: Run, frame: pd.DataFrame) -> Section:
    """The worst and the surviving cases of the rows ``frame``, each picture once."""
    columns = list(statistics.CASE_COLUMNS)
    worst = statistics.cases(frame, statistics.WORST)[columns]
    survivors = statistics.cases(frame, statistics.SURVIVORS)[columns]
    return Section(
        "The pictures",
        [
            _cases(run, worst.head(_WORST), _title(len(worst), worst=True)),
            _cases(run, survivors.head(_SURVIVORS), _title(len(survivors), worst=False)),
        ],
    )


def _title(count: int, *, worst: bool) -> str:
    if not count:
        return "Worst cases: every answer stayed." if worst else "Survivors: no answer stayed."
    if worst:
        return (
            f"Worst cases: the first {min(count, _WORST)} of {count:,} pictures with a changed "
            "answer, by how much the probability of the clean class fell."
        )
    return (
        f"Survivors: the first {min(count, _SURVIVORS)} of {count:,} pictures with an answer that "
        "stayed, by how visible the change is (lowest SSIM first)."
    )


def _cases(run: Run, rows: pd.DataFrame, caption: str) -> Cases:
    def read() -> Iterator[Case]:
        for row in rows.to_dict("records"):
            yield _case(run, {str(key): value for key, value in row.items()})

    return Cases(caption, read)


def _case(run: Run, row: dict[str, Any]) -> Case:
    condition = Condition.parse(str(row["condition"]))
    lines = [condition.described, *_answers(row)]
    if condition.needs_model:
        lines.append("The attacked picture is on the Dataset page, which asks the model for it.")
    shots: list[Shot] = []
    try:
        shots = _shots(run, row, condition)
    except RobustnessError as error:
        lines.append(f"The picture cannot be shown: {visible(str(error))}")
    return Case(
        title=f"{model(str(row['model']))}: {row['image']}",
        shots=shots,
        kept=bool(row["consistent"]),
        lines=lines,
    )


def _shots(run: Run, row: dict[str, Any], condition: Condition) -> list[Shot]:
    name = str(row["image"])
    picture = run.picture(name)
    clean = clean_shot(picture)
    if condition.needs_model:  # made on the model, which no report runs
        return [clean]
    after = perturbed(picture, [condition], run.seed)[0]
    return [clean, Shot(to_png(after), "perturbed", f"{name} under {condition.described}")]


def _answers(row: dict[str, Any]) -> list[str]:
    name = str(row["model"])
    before, after = (class_title(name, int(row[key])) for key in ("clean_top1", "top1"))
    if row["consistent"]:
        answer = f"{before} {share(row['clean_probability'])} → {share(row['probability'])}"
    else:
        answer = (
            f"{before} {share(row['clean_probability'])} → {after} {share(row['probability'])}; "
            f"{before} is left with {share(row['retained_probability'])}"
        )
    label = []
    if pd.notna(row["label"]):
        label = [f"labelled {class_title(name, int(row['label']))}"]
    return [answer, *label, f"SSIM {row['ssim']:.2f}"]
