"""Matrices that turn study images into a network's input, for every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.model_record import Normalisation

_KEYS = -0.5
"""Parameter of the cubic kernel: Keys, IEEE Trans. ASSP 1981."""

_TABLE = np.float32(1024)
"""For enlarging, TensorFlow reads the kernel from a table with this many entries a pixel."""


def bicubic(side: int, size: int) -> NDArray[np.float32]:
    """The matrix (``size``, ``side``) that resizes a column of ``side`` pixels as TensorFlow does.

    Bicubic; antialiased when shrinking.
    """
    ratio, half = np.float32(side / size), np.float32(0.5)
    centres = (np.arange(size, dtype=np.float32) + half) * ratio - half
    if side <= size:
        below = np.floor(centres)
        centres = below + np.rint((centres - below) * _TABLE) / _TABLE
    weights = _cubic((centres[:, None] - np.arange(side)) / max(1.0, side / size))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def resizing(
    side: int, shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Matrices that resize rows and columns of square images to ``shape`` (height, width).

    None if the images have that shape already.
    """
    height, width = shape
    return None if height == width == side else (bicubic(side, height), bicubic(side, width))


def _cubic(distance: NDArray[Any]) -> NDArray[Any]:
    d, a = np.abs(distance), _KEYS
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def factors(normalisation: Normalisation) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factor and offset of each channel, in the model's order, for pixels in [0, 1]."""
    mean, std = np.array(normalisation.mean), np.array(normalisation.std)
    return (normalisation.scale / std).astype(np.float32), (-mean / std).astype(np.float32)
