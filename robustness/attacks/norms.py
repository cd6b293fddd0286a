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
        pace = np.abs(ways)
        slope = np.abs(gradients)
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
