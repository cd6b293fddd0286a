"""The signs and words for a prediction: pages, reports, films and commands take them from here.

With a true class ✓ is a correct prediction and ✗ an incorrect one; "changed" is in words, and a
prediction that a change made correct is "now correct". Without one, = is an unchanged prediction
and ≠ a changed one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import pandas as pd

from robustness import models
from robustness.base.text import share
from robustness.evaluation.labels_and_correctness import good_rows, is_correct
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.statistics.robustness_ranking_and_verdicts import UNSURE

Tone = Literal["correct", "incorrect", "unchanged", "changed", "unsure", "rejected"]


class Mark(NamedTuple):
    """The mark of a prediction: its CSS tone, sign and words."""

    tone: Tone
    sign: str
    text: str

    @property
    def said(self) -> str:
        """Sign and words, such as "✗ incorrect, changed"."""
        return f"{self.sign} {self.text}"

    @property
    def brief(self) -> str:
        """``said`` for a narrow cell of a chart, where ✓ and ✗ stand for their words."""
        words = [word for word in self.text.split(", ") if word not in ("correct", "incorrect")]
        return "<br>".join([self.sign, *words])

    @property
    def word(self) -> str:
        """The first of its words, or that it would be rejected."""
        return "rejected" if self.tone == "rejected" else self.text.partition(", ")[0]

    @property
    def rest(self) -> str:
        """What ``word`` leaves out, for those who listen."""
        return self.text.removeprefix(self.word)

    @property
    def rejected(self) -> Mark:
        """The mark of a prediction whose model has a safe threshold above its score."""
        return Mark("rejected", self.sign, f"{self.text}, would be rejected")

    @property
    def good(self) -> bool:
        """Whether the prediction is correct or, without a true class, unchanged."""
        return self.sign in (_CORRECT, _UNCHANGED)


_CORRECT, _INCORRECT, _UNCHANGED, _CHANGED = "✓", "✗", "=", "≠"

LEGEND = "✓ correct, ✗ incorrect. Without a true class: = unchanged, ≠ changed."
OPEN_MARKERS = "Open markers: incorrect or, without a true class, changed."

HALF = 0.5
"""A prediction below this share of the original confidence has low confidence."""


def judged(consistent: bool, correct: bool | None, *, unsure: bool = False) -> Mark:
    """The verdict on an unchanged or changed prediction; ``correct`` is None if unknown.

    ``unsure`` adds that a correct or unchanged prediction has low confidence.
    """
    tone: Tone
    if correct is None:
        tone = "unchanged" if consistent else "changed"
        sign = _UNCHANGED if consistent else _CHANGED
        words: list[str] = [tone]
    else:
        tone = "correct" if correct else "incorrect"
        sign = _CORRECT if correct else _INCORRECT
        now = "now " if correct and not consistent else ""
        words = [f"{now}{tone}"]
        if not consistent and not correct:
            words.append("changed")
    if unsure and sign in (_CORRECT, _UNCHANGED):
        return Mark("unsure", sign, ", ".join([*words, "low confidence"]))
    return Mark(tone, sign, ", ".join(words))


def verdict(row: Measurement) -> Mark:
    """The verdict on one measurement."""
    return verdict_of(vars(row))


def verdict_of(row: Mapping[str, Any]) -> Mark:
    """As ``verdict``, for a row of a frame."""
    before, now = row["clean_probability"], row["probability"]
    is_known = pd.notna(now) and pd.notna(before)  # tables of predictions may leave it out
    unsure = bool(is_known and now < max(UNSURE, HALF * before))
    same, correct = row["clean_top1"] == row["top1"], is_correct(row["label"], row["top1"])
    return judged(same, correct, unsure=unsure)


def cell(frame: pd.DataFrame) -> tuple[float, str]:
    """The share of rows that are correct and its brief text; unchanged unless all have a label."""
    labelled = bool(frame["label"].notna().all())
    good = good_rows(frame) if labelled else frame["consistent"]
    if len(frame) == 1:
        stays = bool(frame["consistent"].iloc[0])
        return float(good.iloc[0]), judged(stays, bool(good.iloc[0]) if labelled else None).brief
    sign = judged(True, True if labelled else None).sign
    return float(good.mean()), f"{sign} {int(good.sum())}/{len(frame)}"


def change(before: bool | None, after: bool | None, where: str) -> str:
    """The clause for a model whose prediction first changes ``where``, such as at a strength.

    ``before`` and ``after``: whether its predictions are correct, None if unknown.
    """
    if before is None:
        return f"changes {where}"
    if before:
        return f"becomes incorrect {where}"
    return f"is incorrect on the original and {'becomes correct' if after else 'changes'} {where}"


def no_change(before: bool | None) -> str:
    """The clause for a model whose prediction never changes; ``before`` as in ``change``."""
    return {None: "does not change", True: "stays correct", False: "stays incorrect"}[before]


def tally(rows: Sequence[Measurement]) -> str:
    """How many models are correct, and which no longer: "3 of 4 correct; Lite0 is now wrong".

    Without a true class, how many are unchanged, and which changed. ``rows`` has one row per model.
    """
    correct = correct_models(rows)
    with_class = [row for row in rows if row.label is not None]
    fallen = [row for row in with_class if row.clean_top1 == row.label != row.top1]
    if not correct:
        fallen = [row for row in rows if not row.consistent]
        if len(rows) == 1:
            return "changed" if fallen else "unchanged"
        correct = f"{len(rows) - len(fallen)} of {len(rows)} unchanged"
    if len(rows) == 1 or not fallen:
        return correct
    who = models.label(fallen[0].model) if len(fallen) == 1 else str(len(fallen))
    if not with_class:
        return f"{correct}; {who} changed"
    verb = "is" if len(fallen) == 1 else "are"
    return f"{correct}; {who} {verb} now wrong"


def correct_models(rows: Sequence[Measurement]) -> str:
    """Such as "3 of 4 correct"; "" if no model has the true class."""
    verdicts = [row.top1 == row.label for row in rows if row.label is not None]
    if not verdicts:
        return ""
    if len(rows) == 1:
        return "correct" if verdicts[0] else "incorrect"
    unknown = len(rows) - len(verdicts)
    without = f" ({unknown} without the true class)" if unknown else ""
    return f"{sum(verdicts)} of {len(verdicts)} correct{without}"


def percent(probability: float) -> str:
    """``probability`` in whole percents: "94%", "<1%".

    Values just below ``UNSURE`` keep a decimal, "29.6%", so that they do not read as 30%.
    """
    if 0 < probability < 0.005:
        return "<1%"
    if probability < UNSURE <= round(probability, 2):
        return f"{math.floor(1000 * probability) / 10:.1f}%"
    return share(probability, 0)
