"""The two norms of a change of an image, and rounding to 8 bits within a norm.

Changes are float32 (N, S, S, 3), as shares of the full range of a pixel value; sizes are (N,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.base.registry import Registry
from robustness.perturbations import Images
from robustness.pictures.eight_bits import LEVELS

Floats = NDArray[np.floating[Any]]
Sizes = Floats

_SMALLEST = np.float32(1e-20)
"""Gradients smaller than this count as zero."""


_ROUNDS = 50
"""Upper limit of iterations; a search needs about five."""


@dataclass(frozen=True)
class Norm:
    """One norm; ``epsilon`` is the default size of attacks, ``most`` the largest allowed.

    ``size(changes)`` measures. ``project(changes, sizes)`` returns the nearest changes within
    ``sizes``. ``steepest(gradients)`` returns the changes of size 1 with the largest first-order
    gain, and ``dual(gradients)`` that gain. ``inside(stream, shape)`` draws one change (S, S, 3)
    uniformly from those of size 1 or less, ``noise(stream, shape)`` one of size 1.
    """

    name: str
    label: str
    meaning: str
    epsilon: float
    most: float
    size: Callable[[Floats], Sizes]
    project: Callable[[Images, Sizes], Images]
    steepest: Callable[[Images], Images]
    dual: Callable[[Images], Sizes]
    inside: Callable[[np.random.Generator, tuple[int, ...]], Images]
    noise: Callable[[np.random.Generator, tuple[int, ...]], Images]

    def shortest(self, images: Images, gradients: Images, gains: Floats) -> Images:
        """The smallest changes of ``images`` that gain ``gains`` (N,) to first order within [0, 1].

        If the box does not allow the gain, they end at its border. With u the steepest direction,
        the change is min(t |u|, room) along the signs of u, for the t with enough gain. The gain is
        concave in t, so that Newton's method reaches t from below (FAB sorts instead: Croce & Hein,
        ICML 2020, section 2.2).
        """
        ways = self.steepest(gradients) * column(np.sign(gains))
        room = np.where(ways > 0, 1 - images, images) * (ways != 0)
        pace, slope = np.abs(ways), np.abs(gradients)
        sizes = np.abs(gains).astype(np.float64)
        reach = np.zeros(len(images))
        for _ in range(_ROUNDS):
            free = pace * column(reach) < room
            gained = np.where(free, 0, slope * room).sum((1, 2, 3), dtype=np.float64)
            rate = np.where(free, slope * pace, 0).sum((1, 2, 3), dtype=np.float64)
            further = np.divide(sizes - gained, rate, out=reach.copy(), where=rate > 0)
            if (further <= reach * (1 + 1e-7)).all():
                break
            reach = np.maximum(further, reach)
        return np.sign(ways) * np.minimum(pace * column(reach), room)


REGISTRY: Registry[Norm] = Registry("norm")


def column(sizes: Sizes) -> Images:
    """``sizes`` (N,) reshaped to multiply images (N, S, S, 3)."""
    return np.asarray(sizes, np.float32)[:, None, None, None]


def _length(changes: Floats) -> Sizes:
    # Pairwise sums of doubles: the length is reported and compared with epsilon.
    rows = changes.reshape(len(changes), -1)
    return np.array([np.sqrt(np.square(row).sum(dtype=np.float64)) for row in rows])


def _unit(changes: Images) -> Images:
    length = _length(changes)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > _SMALLEST)
    return changes * column(scale)


def _shrunk(changes: Images, sizes: Sizes) -> Images:
    length = _length(changes)
    scale = np.divide(sizes, length, out=np.ones_like(length), where=length > sizes)
    return changes * column(scale)


def _signs(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return np.where(stream.random(shape, np.float32) < 0.5, np.float32(-1), np.float32(1))


def _direction(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return _unit(stream.standard_normal(shape, np.float32)[None])[0]


def _ball(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    radius = stream.random() ** (1 / np.prod(shape))
    return _direction(stream, shape) * np.float32(radius)


REGISTRY.add(
    Norm(
        name="linf",
        label="L∞",
        meaning="the largest change of any value",
        epsilon=8 / 255,
        most=1.0,  # the full range of a pixel
        size=lambda changes: np.abs(changes).max((1, 2, 3)),
        project=lambda changes, sizes: np.clip(changes, -column(sizes), column(sizes)),
        steepest=np.sign,
        dual=lambda changes: np.array([np.abs(one).sum() for one in changes], np.float32),
        inside=lambda stream, shape: 2 * stream.random(shape, np.float32) - 1,
        noise=_signs,
    )
)
REGISTRY.add(
    Norm(
        name="l2",
        label="L2",
        meaning="the length of the whole change: the root of the sum of its squares",
        epsilon=0.5,
        most=100.0,  # between two unrelated photographs of 224 pixels lie about as many
        size=_length,
        project=_shrunk,
        steepest=_unit,
        dual=_length,
        inside=_ball,
        noise=_direction,
    )
)


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
        reach = column(sizes).astype(np.float64)
        low = np.ceil((clean - reach) * LEVELS - _SLACK)
        high = np.floor((clean + reach) * LEVELS + _SLACK)
        nearest = np.clip(np.rint(images * np.float64(LEVELS)), low, high)
        return _as_images(np.where(low <= high, nearest, np.rint(clean * np.float64(LEVELS))))
    return np.stack(
        [
            _within_length(one, image, norm, size)
            for one, image, size in zip(clean, images, sizes, strict=True)
        ]
    )


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
