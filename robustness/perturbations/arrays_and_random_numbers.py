"""Shared helpers of the perturbations: output arrays, pixel units, fast float32 sampling.

Arrays are study images: float32 RGB in [0, 1], shape (N, S, S, 3); one image is (S, S, 3).
"""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.perturbation import REFERENCE_SIDE, Images

Plane = NDArray[np.float32]
"""A float32 array that belongs to one image, such as noise or a mask."""


def blank(images: Images) -> Images:
    """An uninitialised C-contiguous array of the shape of ``images``."""
    return np.empty(images.shape, dtype=np.float32)


def clipped(images: Images) -> Images:
    """``images`` clipped to [0, 1] in place; only for an array of the caller."""
    return np.clip(images, 0.0, 1.0, out=images)


def in_pixels(length: float, images: Images) -> float:
    """``length`` in pixels of a 224 x 224 image, converted to pixels of ``images``."""
    return length * images.shape[1] / REFERENCE_SIDE


def at_side(layer: Plane, side: int) -> Plane:
    """``layer``, drawn at side 224, scaled to ``side``: every side has the same pattern."""
    if len(layer) == side:
        return layer
    resized = np.empty((side, side, *layer.shape[2:]), dtype=np.float32)
    cv2.resize(layer, (side, side), dst=resized, interpolation=cv2.INTER_LINEAR)
    return resized


DISPLAY_GAMMA = 2.2
"""Exponent from pixel value to light, which approximates sRGB's curve."""


def light_gain(gain: float) -> float:
    """The factor for pixel values that multiplies the light by ``gain``."""
    return float(gain ** (1.0 / DISPLAY_GAMMA))


Word = TypeVar("Word", np.uint16, np.int16, np.uint32)


def random_words(
    stream: np.random.Generator, shape: tuple[int, ...], dtype: type[Word]
) -> NDArray[Word]:
    """Independent integers of ``shape``, uniform over the whole range of ``dtype``.

    Splits 64-bit words, several times faster than drawing ``dtype`` from ``stream``.
    """
    count = math.prod(shape)
    pieces = 8 // np.dtype(dtype).itemsize
    words = stream.integers(2**64, size=-(-count // pieces), dtype=np.uint64)
    return words.view(dtype)[:count].reshape(shape)


def grain_words(
    stream: np.random.Generator, shape: tuple[int, ...], dtype: type[Word], rows: int = 0
) -> NDArray[Word]:
    """``random_words`` for each pixel of images: axes ``rows`` and ``rows`` + 1 of ``shape``.

    They are drawn at side 224, and a pixel of another side has those of the nearest pixel there, so
    that every side sees the same grain, equally strong.
    """
    side = shape[rows]
    if side == REFERENCE_SIDE:
        return random_words(stream, shape, dtype)
    drawn = (*shape[:rows], REFERENCE_SIDE, REFERENCE_SIDE, *shape[rows + 2 :])
    nearest = (2 * np.arange(side) + 1) * REFERENCE_SIDE // (2 * side)
    words = random_words(stream, drawn, dtype)
    return words.take(nearest, axis=rows).take(nearest, axis=rows + 1)


def standard_normals(
    stream: np.random.Generator, shape: tuple[int, ...], out: Plane | None = None
) -> Plane:
    """Standard normal numbers of ``shape``, written to ``out`` if given.

    Looks up 16 random bits each among 65536 mid-quantiles (largest 4.3, standard deviation
    0.99999), several times faster than ``Generator.standard_normal``.
    """
    return normal_quantiles(random_words(stream, shape, np.uint16), out)


def normal_quantiles(words: NDArray[np.uint16], out: Plane | None = None) -> Plane:
    """The standard normal quantile number ``words`` of 65536."""
    return _normal_table().take(words, out=out, mode="clip")  # no index is out of range


@lru_cache(maxsize=1)
def _normal_table() -> Plane:
    quantile = NormalDist().inv_cdf
    upper = [quantile((level + 0.5) / 65536) for level in range(32768, 65536)]
    table = np.array([-value for value in reversed(upper)] + upper, dtype=np.float32)
    table.flags.writeable = False
    return table
