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
Draw = Callable[[np.random.Generator, tuple[int, ...]], Images]
"""A function that draws one change of a shape (S, S, 3)."""

_SMALLEST = np.float32(1e-20)
"""Gradients smaller than this count as zero."""
_MOST_ITERATIONS = 50
"""Upper limit of Newton's iterations, which are about five."""


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
    inside: Draw
    noise: Draw

    def shortest(self, images: Images, gradients: Images, gains: Floats) -> Images:
        """Return the smallest changes of ``images`` within [0, 1] that gain ``gains`` (N,).

        Gains are to first order, by ``gradients`` (N, S, S, 3). If the box does not allow the gain,
        changes end at its border. With u the steepest direction, the change is min(t |u|, room)
        along the signs of u, for the t with enough gain. The gain is concave in t, so that Newton's
        method reaches t from below (FAB sorts instead: Croce & Hein, ICML 2020, section 2.2).
        """
        directions = self.steepest(gradients) * column(np.sign(gains))
        speeds = np.abs(directions)
        room = np.where(directions > 0, 1 - images, images) * (directions != 0)
        slopes = np.abs(gradients)
        needed = np.abs(gains).astype(np.float64)
        times = np.zeros(len(images))  # t of each image
        for _ in range(_MOST_ITERATIONS):
            is_free = speeds * column(times) < room
            # Values at the border have gained all they can; the others gain at a constant rate.
            gained = np.where(is_free, 0, slopes * room).sum((1, 2, 3), dtype=np.float64)
            rates = np.where(is_free, slopes * speeds, 0).sum((1, 2, 3), dtype=np.float64)
            later = np.divide(needed - gained, rates, out=times.copy(), where=rates > 0)
            if (later <= times * (1 + 1e-7)).all():
                break
            times = np.maximum(later, times)
        return np.sign(directions) * np.minimum(speeds * column(times), room)


REGISTRY: Registry[Norm] = Registry("norm")


def column(sizes: Sizes) -> Images:
    """Return ``sizes`` (N,) reshaped to multiply images (N, S, S, 3)."""
    return np.asarray(sizes, np.float32)[:, None, None, None]


def _largest_value(changes: Floats) -> Sizes:
    return np.abs(changes).max((1, 2, 3))


def _clip(changes: Images, sizes: Sizes) -> Images:
    limits = column(sizes)
    return np.clip(changes, -limits, limits)


def _sum_of_values(changes: Floats) -> Sizes:
    return np.array([np.abs(change).sum() for change in changes], np.float32)


def _uniform(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return 2 * stream.random(shape, np.float32) - 1


def _random_signs(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return np.where(stream.random(shape, np.float32) < 0.5, np.float32(-1), np.float32(1))


def _length(changes: Floats) -> Sizes:
    # Pairwise sums of doubles: the length is reported and compared with epsilon.
    rows = changes.reshape(len(changes), -1)
    return np.array([np.sqrt(np.square(row).sum(dtype=np.float64)) for row in rows])


def _scale_to_unit(changes: Images) -> Images:
    """The changes scaled to length 1; zero where they have hardly any length."""
    lengths = _length(changes)
    factors = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > _SMALLEST)
    return changes * column(factors)


def _shorten(changes: Images, sizes: Sizes) -> Images:
    lengths = _length(changes)
    factors = np.divide(sizes, lengths, out=np.ones_like(lengths), where=lengths > sizes)
    return changes * column(factors)


def _random_direction(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    return _scale_to_unit(stream.standard_normal(shape, np.float32)[None])[0]


def _uniform_in_ball(stream: np.random.Generator, shape: tuple[int, ...]) -> Images:
    # The volume of a ball grows with the radius to the power of the dimension.
    radius = stream.random() ** (1 / np.prod(shape))
    return _random_direction(stream, shape) * np.float32(radius)


REGISTRY.add(
    Norm(
        name="linf",
        label="L∞",
        meaning="the largest change of any value",
        epsilon=8 / 255,
        most=1.0,  # the full range of a pixel
        size=_largest_value,
        project=_clip,
        steepest=np.sign,
        dual=_sum_of_values,
        inside=_uniform,
        noise=_random_signs,
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
        project=_shorten,
        steepest=_scale_to_unit,
        dual=_length,
        inside=_uniform_in_ball,
        noise=_random_direction,
    )
)
