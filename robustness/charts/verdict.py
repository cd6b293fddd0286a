"""What became of an answer, in one word, and its probability: the same wherever it is shown."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from robustness import models
from robustness.evaluation.measurement import Measurement
from robustness.statistics.scorecard import UNSURE


class Verdict(NamedTuple):
    """What became of an answer: its class of style, its sign and its words."""

    tone: Literal["kept", "unsure", "changed"]
    sign: str
    text: str


HALF = 0.5
"""Of its probability: what a kept answer has less of is unsure, as one below ``UNSURE`` is."""


def percent(probability: float) -> str:
    """``probability`` in whole percents, but none that belies it: "94%", "<1%", "29.6%".

    The last is ``UNSURE``, which 30 % is not.
    """
    if 0 < probability < 0.005:
        return "<1%"
    if probability < UNSURE <= round(probability, 2):
        return f"{math.floor(1000 * probability) / 10:.1f}%"
    return f"{probability:.0%}"


def verdict(row: Measurement, truth: str | None = None) -> Verdict:
    """What became of the answer; right or wrong, too, where the class ``truth`` is known."""
    weak = row.probability < max(UNSURE, HALF * row.clean_probability)
    if truth is None:
        if not row.consistent:
            return Verdict("changed", "✗", "changed")
        return Verdict("unsure", "~", "kept, unsure") if weak else Verdict("kept", "✓", "kept")
    kept = "kept" if row.consistent else "changed"
    if models.class_name(row.model, row.top1) != truth:
        return Verdict("changed", "✗", f"{kept}, wrong")
    if weak:
        return Verdict("unsure", "~", f"{kept}, right, unsure")
    return Verdict("kept", "✓", f"{kept}, right")
