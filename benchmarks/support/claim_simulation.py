"""Images of which the truth is known, and what the product claims of a few of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.support.synthetic_rows import rows
from robustness.metrics.intervals import difference_bounds
from robustness.perturbations import REGISTRY
from robustness.statistics.means import established, sign_flip

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Random = np.random.Generator

IMAGES = 20_000


# --- two models on the same images ----------------------------------------------------------------


class Pair(NamedTuple):
    """Under how many of ``conditions`` more one model went well than the other, image by image."""

    conditions: int
    net: Integers

    @property
    def difference(self) -> float:
        """The true difference; above 0."""
        return float(self.net.mean()) / self.conditions

    def drawn(self, images: int, runs: int, rng: Random) -> Integers:
        """(images, runs) of them."""
        return self.net[rng.integers(0, len(self.net), (images, runs))]


def one_condition(won: float, lost: float) -> Pair:
    """Two models under one condition: the shares of images that only one of them has right."""
    counts = [round(share * IMAGES) for share in (won, lost)]
    return Pair(1, np.repeat([1, -1, 0], [*counts, IMAGES - sum(counts)]))


def logistic(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-x)))


def verdicts(pair: Pair, nets: Integers, tests: int) -> tuple[NDArray[np.bool_], Floats, Floats]:
    """Whether each run (images, runs) finds a difference, and the bounds of its interval.

    At 0.05 / ``tests``, the strictest level that Holm's correction asks for.
    """
    low, high = difference_bounds(nets / pair.conditions)
    found = [
        established(tests * sign_flip(net), *bounds)
        for net, *bounds in zip(nets.T, low, high, strict=True)
    ]
    return np.array(found), low, high


class Power(NamedTuple):
    """How often runs of ``images`` show which of two models is better."""

    images: list[int]
    found: list[float]

    def at(self, images: list[int]) -> Floats:
        """The power at any numbers of images."""
        return np.interp(np.log(images), np.log(self.images), self.found)


def power(pair: Pair, runs: int, tests: int, rng: Random) -> Power:
    """The power at 20 images and more, until hardly any run misses the difference."""
    known = Power([], [])
    images = 20
    while images < 70_000 and (not known.found or known.found[-1] < 0.995):
        nets = pair.drawn(images, runs, rng)
        settled, _, _ = verdicts(pair, nets, tests)
        known.images.append(images)
        known.found.append(float((settled & (nets.sum(axis=0) > 0)).mean()))
        images = int(images * 1.4)
    return known


# --- a model whose confidence is right ------------------------------------------------------------


def confident_answers(
    images: int, conditions: int, rng: Random, *, off: float = 0.0, alike: bool = False
) -> tuple[Floats, Floats]:
    """Confidence and whether it was right, (images, conditions) each; right as often as it says.

    Less often by ``off``. ``alike``: most answers to one image are right or wrong together.
    """
    ease = rng.normal(0, 1.2, (images, 1)) + rng.normal(0, 0.8, (images, conditions))
    confidence = logistic(1 - np.linspace(-2, 2, conditions) + ease)
    chance = rng.random((images, conditions))
    if alike:
        together = rng.random((images, conditions)) < 0.7
        chance = np.where(together, rng.random((images, 1)), chance)
    return confidence, (chance < confidence - off).astype(np.float64)


# --- many perturbations of the same images --------------------------------------------------------


def perturbed(ease: Floats, images: int, rng: Random) -> pd.DataFrame:
    """A run under perturbations of this ``ease``, a logit each.

    The images are the same under all of them, some easy and some hard.
    """
    names = [record.name for record in REGISTRY][: len(ease)]
    chance = logistic(ease + rng.normal(0, 1.5, (images, 1)))
    kept = rng.random(chance.shape) < chance
    return rows(kept, conditions=[(name, 0.6) for name in names])
