"""Rounds adversarial images to 8 bits within epsilon, so that they can be saved."""

from __future__ import annotations

import numpy as np

from robustness.attacks.norms import Norm, Sizes, column
from robustness.perturbations import Images
from robustness.pictures.eight_bits import LEVELS

_SLACK = 1e-4
"""Tolerance for rounding in single precision, in levels."""

NOTHING = 1 - _SLACK
"""Size in levels below which only the original is an 8-bit image, in either norm."""

_HALVINGS = 12


def to_eight_bits(clean: Images, images: Images, norm: Norm, sizes: Sizes) -> Images:
    """``images`` rounded to whole 255ths within ``sizes`` of ``clean``.

    In L-infinity each value goes to the nearest level within its bound. In L2 nearly all changes
    may be below half a level, and plain rounding would undo them: a change is rounded up if its
    fraction of a level exceeds a threshold, the smallest with which the length stays within
    ``sizes``. ``clean`` need not be 8-bit itself. Shapes (N, S, S, 3), sizes (N,).
    """
    if norm.name == "linf":
        return _within_box(clean, images, sizes)
    return np.stack(
        [
            _within_length(one, image, norm, size)
            for one, image, size in zip(clean, images, sizes, strict=True)
        ]
    )


def _within_box(clean: Images, images: Images, sizes: Sizes) -> Images:
    reach = column(sizes).astype(np.float64)
    low = np.ceil((clean - reach) * LEVELS - _SLACK)
    high = np.floor((clean + reach) * LEVELS + _SLACK)
    levels = np.where(
        low <= high,
        np.clip(np.rint(images * np.float64(LEVELS)), low, high),
        np.rint(clean * np.float64(LEVELS)),
    )
    return _as_images(levels)


def _within_length(clean: Images, image: Images, norm: Norm, size: np.float32) -> Images:
    base = np.rint(clean * np.float64(LEVELS))
    change = image * np.float64(LEVELS) - base
    signs, length = np.sign(change), np.abs(change)

    def rounded(threshold: float) -> Images:
        return _as_images(base + signs * np.floor(length + 1 - threshold))

    low, high = 0.0, 1.0  # at 1 every change is rounded towards the original
    best = rounded(high - _SLACK)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        candidate = rounded(middle)
        if norm.size((candidate - clean)[None])[0] <= size:
            best, high = candidate, middle
        else:
            low = middle
    return best


def _as_images(levels: np.ndarray) -> Images:
    return np.clip(levels, 0, LEVELS).astype(np.float32) / np.float32(LEVELS)
