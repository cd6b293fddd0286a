"""The 8-bit grid, on which a study image lies: what is shown, saved and asked is one image.

Its values are whole 255ths, ``np.float32(level) / np.float32(255)``, as a PNG read back has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

BITS = 8
LEVELS = 255
"""The largest 8-bit value, in steps of which an attack's epsilon is usually stated."""


def to_uint8(images: Floats) -> NDArray[np.uint8]:
    """Study images, in any number of axes, on the scale 0 to 255, rounded to the nearest."""
    return np.rint(np.clip(images, 0, 1) * LEVELS).astype(np.uint8)


def from_uint8(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Study images of their values on the scale 0 to 255."""
    return np.asarray(levels, dtype=np.float32) / np.float32(LEVELS)


def round_to_grid(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """``images`` itself, in [0, 1], rounded in place to the values that ``to_uint8`` keeps.

    Only for an array made by the caller.
    """
    np.multiply(images, np.float32(LEVELS), out=images)
    np.rint(images, out=images)
    return np.divide(images, np.float32(LEVELS), out=images)
