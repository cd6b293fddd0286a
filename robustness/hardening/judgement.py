"""A trained model against its parent, on images and perturbations that training did not see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.progress import Note
from robustness.evaluation.condition import Condition, pool_profiles
from robustness.pictures.eight_bits import from_uint8
from robustness.statistics.paired_differences import (
    SMALLEST,
    PairedDifference,
    established,
    holm,
    images_needed,
    overall,
)

Flags = NDArray[np.bool_]
Logs = NDArray[np.float32]
Predict = Callable[[NDArray[np.float32]], NDArray[np.float32]]

ORIGINALS, TRAINED, UNSEEN = "originals", "trained", "unseen"
GROUPS = (ORIGINALS, TRAINED, UNSEEN)

MOST_LOSS = 0.03
"""Loss of accuracy on originals that a recommended model excludes."""

BATCH = 16

_UNLIKELY = 0.01
"""Smallest probability that counts: hopeless images must not outweigh a loss on originals."""


@dataclass(frozen=True)
class GroupDifference:
    """The share of good predictions before and after training, under some conditions.

    ``low`` and ``high`` are the 95 % interval of the paired difference; ``p`` is corrected for the
    number of groups, or of conditions.
    """

    name: str
    conditions: int
    before: float
    after: float
    difference: float
    low: float | None
    high: float | None
    p: float

    @property
    def significant(self) -> bool:
        return established(self.p, self.low, self.high)


@dataclass(frozen=True)
class Judgement:
    """The differences on ``images`` images: of ``groups`` and of each condition or profile.

    With labels good predictions are correct ones. Without, they are those that the parent gives on
    the original.
    """

    images: int
    labelled: bool
    groups: tuple[GroupDifference, ...]
    conditions: tuple[GroupDifference, ...]

    def group(self, name: str) -> GroupDifference:
        """One of ``GROUPS``."""
        return self.groups[GROUPS.index(name)]

    @property
    def gain_established(self) -> bool:
        """Whether unseen perturbations improve significantly, measured with labels."""
        unseen = self.group(UNSEEN)
        return self.labelled and unseen.difference > 0 and unseen.significant

    @property
    def loss_excluded(self) -> bool:
        """Whether a loss on originals above ``MOST_LOSS`` is excluded."""
        low = self.group(ORIGINALS).low
        return self.labelled and low is not None and low >= -MOST_LOSS

    @property
    def recommended(self) -> bool:
        return self.gain_established and self.loss_excluded

    @property
    def more_images(self) -> int | None:
        """How many more labelled images would decide; None if none or too many would, as without
        any difference.

        They show a gain of 1 point, or exclude the loss.
        """
        if not self.labelled or self.recommended or not any(c.difference for c in self.conditions):
            return None
        if not self.gain_established:
            group, margin, tests = self.group(UNSEEN), SMALLEST, len(GROUPS)
        else:  # no larger gain than none is taken for granted
            group, tests = self.group(ORIGINALS), 1
            margin = MOST_LOSS + min(group.difference, 0.0)
        if group.low is None or margin <= 0:
            return None
        needed = images_needed(group.difference, group.low, self.images, tests, margin)
        return None if needed is None else needed - self.images

    def as_dict(self) -> dict[str, Any]:
        """A JSON-ready document."""
        return {
            **asdict(self),
            "gain_established": self.gain_established,
            "loss_excluded": self.loss_excluded,
            "recommended": self.recommended,
            "more_images": self.more_images,
        }


@dataclass(frozen=True)
class Views:
    """Images (N, S, S, 3) in 8 bits, their digests, and the classes that good predictions have."""

    pixels: NDArray[np.uint8]
    digests: Sequence[str]
    targets: NDArray[np.int64]


def measure_predictions(
    views: Views,
    conditions: Sequence[Condition],
    models: Sequence[Predict],
    seed: int,
    note: Note = lambda *_: None,
) -> tuple[Flags, Logs]:
    """Which predictions of each of ``models`` are good, and the log of a good one's probability.

    Both are (models, images, 1 + conditions); the first column is that of the originals.
    """
    count = len(views.pixels)
    flags = np.zeros((len(models), count, 1 + len(conditions)), bool)
    logs = np.zeros(flags.shape, np.float32)
    for start in range(0, count, BATCH):
        rows = slice(start, min(start + BATCH, count))
        plain, digests = from_uint8(views.pixels[rows]), views.digests[rows]
        for column in range(1 + len(conditions)):
            images = conditions[column - 1].images(plain, digests, seed) if column else plain
            for place, predict in enumerate(models):
                answers, targets = predict(images), views.targets[rows]
                flags[place, rows, column] = answers.argmax(1) == targets
                likely = answers[np.arange(len(targets)), targets]
                logs[place, rows, column] = np.log(np.maximum(likely, _UNLIKELY))
        note("Judging", rows.stop, count)
    return flags, logs


def judge_training(
    before: Flags,
    after: Flags,
    trained: Sequence[Condition],
    unseen: Sequence[Condition],
    *,
    labelled: bool,
) -> Judgement:
    """The judgement of flags (images, 1 + trained + unseen) of ``measure_predictions``."""
    gaps = after.astype(np.int64) - before
    edges = np.cumsum([0, 1, len(trained), len(unseen)])
    places = [np.arange(*pair) for pair in pairwise(edges)]
    groups = [_over(gaps[:, columns]) for columns in places]
    parts = [[0], *_pooled_columns(trained, 1), *_pooled_columns(unseen, 1 + len(trained))]
    names = [ORIGINALS, *(each.id for some in (trained, unseen) for each in pool_profiles(some))]
    single = [_over(gaps[:, columns]) for columns in parts]
    return Judgement(
        len(gaps),
        labelled,
        _differences(GROUPS, groups, before, after, places),
        _differences(names, single, before, after, parts),
    )


def _pooled_columns(conditions: Sequence[Condition], first: int) -> list[list[int]]:
    """The columns of each of ``conditions`` from ``first`` on, those of a profile together."""
    places: dict[str, list[int]] = {}
    for column, condition in enumerate(conditions, first):
        places.setdefault(condition.profile or condition.id, []).append(column)
    return list(places.values())


def _over(gaps: NDArray[np.int64]) -> PairedDifference:
    return overall(gaps, np.ones(gaps.shape, bool), np.ones(gaps.shape, bool))


def _differences(
    names: Sequence[str],
    estimates: Sequence[PairedDifference],
    before: Flags,
    after: Flags,
    places: Sequence[Any],
) -> tuple[GroupDifference, ...]:
    corrected = holm([difference.p for difference in estimates])
    return tuple(
        GroupDifference(
            name,
            len(columns),
            float(before[:, columns].mean()),
            float(after[:, columns].mean()),
            difference.value or 0.0,
            difference.low,
            difference.high,
            p,
        )
        for name, difference, p, columns in zip(names, estimates, corrected, places, strict=True)
    )
