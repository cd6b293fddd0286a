"""Whether answers were right: four columns that stand in for the top-5 lists of a measurement."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustness.base.columns import require
from robustness.evaluation.measurement import Measurement

CORRECTNESS = ("clean_correct", "correct", "clean_correct5", "correct5")
"""Top-1 and top-5 of the clean and the perturbed picture: was the label among them?"""


_ANSWERS = ("clean_top1", "top1", "clean_top5", "top5")


def correctness(row: Measurement) -> dict[str, bool | None]:
    """The columns ``CORRECTNESS`` of one measurement; all None without a label."""
    answers = (row.clean_top1, row.top1, row.clean_top5, row.top5)
    return dict(zip(CORRECTNESS, _right(row.label, answers), strict=True))


def with_correctness(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the columns ``CORRECTNESS``, worked out from its answers if it lacks them.

    Raises ``ParameterError`` if it has neither these nor the columns ``label``, ``clean_top1``,
    ``top1``, ``clean_top5`` and ``top5``.
    """
    if set(CORRECTNESS) <= set(frame.columns):
        return frame
    require(frame, ("label", *_ANSWERS))
    labels = frame["label"].astype("Int64").tolist()
    answers = zip(*(frame[name].tolist() for name in _ANSWERS), strict=True)
    columns = zip(*map(_right, labels, answers), strict=True) if len(frame) else ((),) * 4
    found = {
        name: pd.array(list(values), dtype="boolean")
        for name, values in zip(CORRECTNESS, columns, strict=True)
    }
    return frame.assign(**found)


def _right(label: Any, answers: tuple[Any, Any, Any, Any]) -> tuple[bool | None, ...]:
    if label is None or label is pd.NA:
        return (None,) * 4
    clean_top1, top1, clean_top5, top5 = answers
    return (
        bool(clean_top1 == label),
        bool(top1 == label),
        bool(label in clean_top5),
        bool(label in top5),
    )
