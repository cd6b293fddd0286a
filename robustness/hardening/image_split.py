"""Images in three disjoint parts: to train on, to choose the interpolation, and to judge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError
from robustness.pictures.copies import copies

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

FEWEST_TRAINED, FEWEST_CHOOSING, FEWEST_JUDGED = 20, 10, 20
_CHOOSING = 0.25
"""Share of the images that are not trained on."""
_TRAINED = 0.6
"""Share of images that are trained on, where no others judge."""


@dataclass(frozen=True)
class ImageSplit:
    """Positions of the images of each part, and how many are in none, as copies of others."""

    train: Places
    choose: Places
    judge: Places
    left_out: int


def split_images(pixels: Bytes, judging: int, seed: int) -> ImageSplit:
    """The parts of images (N, S, S, 3), of which the last ``judging`` may not be trained on.

    Without any, the images themselves are split. Copies of an image are in one part, and one alone
    of them chooses or judges. Raises ``ParameterError`` where a part has too few images.
    """
    groups, count = copies(pixels), len(pixels)
    order = np.random.default_rng(seed).permutation(count)
    if judging:
        reserved = np.arange(count) >= count - judging
        train = np.flatnonzero(~np.isin(groups, groups[reserved]))
        pool = order[reserved[order]]
    else:  # whole groups, until the share is full
        numbers, first, sizes = np.unique(groups[order], return_index=True, return_counts=True)
        turns = np.argsort(first)
        fits = np.cumsum(sizes[turns]) <= round(_TRAINED * count)
        trained = np.isin(groups[order], numbers[turns[fits]])
        train, pool = order[trained], order[~trained]

    pool = pool[np.sort(np.unique(groups[pool], return_index=True)[1])]
    choose, judge = np.split(pool, [round(_CHOOSING * len(pool))])
    for places, fewest, purpose in (
        (train, FEWEST_TRAINED, "train on"),
        (choose, FEWEST_CHOOSING, "choose the interpolation"),
        (judge, FEWEST_JUDGED, "judge"),
    ):
        if len(places) < fewest:
            raise ParameterError(
                f"Expected at least {fewest} different images to {purpose}, got {len(places)}: "
                "add more images; copies count once, and no image both trains and judges."
            )
    left_out = count - len(train) - len(choose) - len(judge)
    return ImageSplit(np.sort(train), np.sort(choose), np.sort(judge), left_out)
