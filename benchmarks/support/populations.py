"""Very many images of which the mean is known: what runs over few of them are drawn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.intervals import Bounds
from robustness.statistics.calibration import condition_errors

Floats = NDArray[np.float64]
Random = np.random.Generator

PICTURES = 20_000


def answers(ease: Floats, conditions: int, rng: Random) -> Floats:
    """(n,): the share of ``conditions`` under which images of the ``ease`` (n,) keep theirs."""
    return rng.binomial(conditions, ease) / conditions


def _alike(correlation: float) -> Callable[[float, int, Random], Floats]:
    """Answers to one image go together: beta-binomial."""

    def made(rate: float, conditions: int, rng: Random) -> Floats:
        spread = (1 - correlation) / correlation
        ease = rng.beta(rate * spread, (1 - rate) * spread, PICTURES)
        return answers(ease, conditions, rng)

    return made


def _hard(rate: float, conditions: int, rng: Random) -> Floats:
    """A few images fail everywhere; the answers to the others have nothing in common."""
    hard = rng.random(PICTURES) < 0.6 * (1 - rate)
    ease = np.where(hard, 0.0, rate / (1 - 0.6 * (1 - rate)))
    return answers(ease, conditions, rng)


def _uneven(rate: float, conditions: int, rng: Random) -> Floats:
    """Images are more or less hard, and so are conditions."""
    hardness = rng.normal(0, 1.5, PICTURES)
    offsets = np.linspace(-2, 2, conditions) if conditions > 1 else np.zeros(1)
    low = -15.0
    high = 15.0
    for _ in range(40):  # bisection: the level at which the mean is the rate
        level = (low + high) / 2
        mean = np.mean([_logistic(level + at + hardness[:2000]).mean() for at in offsets])
        low, high = (level, high) if mean < rate else (low, level)
    kept = [rng.random(PICTURES) < _logistic(level + at + hardness) for at in offsets]
    return np.asarray(np.mean(kept, axis=0), np.float64)


def _logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


SHARES: Mapping[str, Callable[[float, int, Random], Floats]] = {
    **{f"answers correlated by {r}": _alike(r) for r in (0.05, 0.2, 0.5, 0.9)},
    "a few images fail everywhere": _hard,
    "hard images and hard conditions": _uneven,
}
"""How images differ: (rate of at least 0.5, conditions, rng) to each image's share."""


def shares(kind: str, rate: float, conditions: int, rng: Random) -> Floats:
    """(``PICTURES``,): the share of answers that each keeps; below a ``rate`` of 0.5, loses."""
    if rate < 0.5:
        return 1 - SHARES[kind](1 - rate, conditions, rng)
    return SHARES[kind](rate, conditions, rng)


def _won_and_lost(won: float, lost: float) -> Callable[[int, Random], Floats]:
    """The answers that were won are not of the images that lost any."""

    def made(conditions: int, rng: Random) -> Floats:
        side = rng.random(PICTURES)
        ease = rng.beta(1.5, 1.0, PICTURES)  # mean 0.6
        moved = answers(ease, conditions, rng)
        up = won / 0.6
        down = lost / 0.6
        if conditions == 1:
            moved = np.ones(PICTURES)
            up = won
            down = lost
        return np.select([side < up, side < up + down], [moved, -moved], 0.0)

    return made


def _two_models(shift: float, own: float) -> Callable[[int, Random], Floats]:
    """Two models find the same images hard, but for what is each one's own."""

    def made(conditions: int, rng: Random) -> Floats:
        hardness = rng.normal(1, 1.5, PICTURES)
        sides = [
            answers(_logistic(hardness + by + rng.normal(0, own, PICTURES)), conditions, rng)
            for by in (shift, 0.0)
        ]
        return sides[0] - sides[1]

    return made


def _drop(conditions: int, rng: Random) -> Floats:
    """The loss of accuracy of each image, between none and all of it."""
    right = rng.random(PICTURES) < 0.8
    kept = answers(_logistic(rng.normal(1, 1.5, PICTURES)), conditions, rng)
    return np.where(right, 1 - kept, -answers(np.full(PICTURES, 0.05), conditions, rng))


DIFFERENCES: Mapping[str, Callable[[int, Random], Floats]] = {
    "2 % lost": _won_and_lost(0.0, 0.02),
    "2 % lost, 1 % won": _won_and_lost(0.01, 0.02),
    "2 % lost and won": _won_and_lost(0.02, 0.02),
    "10 % lost, 8 % won": _won_and_lost(0.08, 0.1),
    "25 % lost, 20 % won": _won_and_lost(0.2, 0.25),
    "two models, nearly alike": _two_models(-0.1, 0.3),
    "two models, not alike": _two_models(-1.0, 1.0),
    "accuracy lost": _drop,
}
"""How two answers to an image differ: (conditions, rng) to the difference of each image."""

MEANS: Mapping[str, Callable[[Random], Floats]] = {
    "even": lambda rng: rng.beta(5, 5, PICTURES),
    "skewed": lambda rng: rng.beta(6, 1.5, PICTURES),
    "skewed much": lambda rng: rng.beta(20, 2, PICTURES),
    "two kinds of images": lambda rng: rng.beta(0.5, 0.5, PICTURES),
    "one image in ten unlike the rest": lambda rng: np.where(
        rng.random(PICTURES) < 0.1, rng.beta(2, 8, PICTURES), rng.beta(20, 2, PICTURES)
    ),
}
"""Numbers that are no shares of answers, such as similarities."""

SCORES: Mapping[str, Callable[[Random], Floats]] = {
    "uniform": lambda rng: rng.random(PICTURES),
    "skewed up": lambda rng: rng.beta(8, 0.5, PICTURES),
    "skewed down": lambda rng: rng.beta(0.5, 8, PICTURES),
    "most near 0, some high": lambda rng: rng.beta(0.1, 5, PICTURES),
    "near 0 or near 1": lambda rng: rng.beta(0.2, 0.2, PICTURES),
    "one in ten missed": lambda rng: _missed(0.1, rng),
    "one in 50 missed": lambda rng: _missed(0.02, rng),
    "0 or 1, 50 % at 1": lambda rng: _of_two(0.0, 1.0, 0.5, rng),
    "0 or 1, 98 % at 1": lambda rng: _of_two(0.0, 1.0, 0.98, rng),
    "0.5 or 1, 90 % at 1": lambda rng: _of_two(0.5, 1.0, 0.9, rng),
    "0.1 or 0.9, 90 % at 0.9": lambda rng: _of_two(0.1, 0.9, 0.9, rng),
    "0 or 0.2, 50 % at 0.2": lambda rng: _of_two(0.0, 0.2, 0.5, rng),
}
"""Scores of another system's outputs, such as IoU: from 0 to 1, skewed or of two values."""


def _missed(rate: float, rng: Random) -> Floats:
    """Objects that are missed have a score of 0, the others a high one."""
    return np.where(rng.random(PICTURES) < rate, 0.0, rng.beta(20, 3, PICTURES))


def _of_two(low: float, high: float, rate: float, rng: Random) -> Floats:
    return np.where(rng.random(PICTURES) < rate, high, low)


def score_losses(kind: str, rng: Random) -> Floats:
    """(``PICTURES``,): the score of each image less that of the same image perturbed."""
    before = SCORES[kind](rng)
    return before - before * rng.beta(3, 1, PICTURES) ** (rng.random(PICTURES) < 0.5)


Answers = tuple[Floats, Floats]
"""Confidence and whether the answer was right, (images, conditions) each."""


def _confident(
    sure: Callable[[Floats], Floats],
    right: Callable[[Floats, Floats], Floats],
    *,
    alike: bool = False,
) -> Callable[[int, Random], Answers]:
    """``sure`` of an ease, and ``right`` with the probability of that ease and that confidence.

    ``alike``: more than half of the answers to an image are right or wrong together.
    """

    def made(conditions: int, rng: Random) -> Answers:
        offsets = np.linspace(-1, 1, conditions) if conditions > 1 else np.zeros(1)
        ease = 1.5 - offsets + rng.normal(0, 1, (PICTURES, 1))
        ease = ease + rng.normal(0, 1, (PICTURES, conditions))
        confidence = sure(ease)
        chance = rng.random((PICTURES, conditions))
        if alike:
            common = rng.random((PICTURES, 1))
            chance = np.where(rng.random((PICTURES, conditions)) < 0.6, common, chance)
        return confidence, (chance < right(ease, confidence)).astype(float)

    return made


CALIBRATIONS: Mapping[str, Callable[[int, Random], Answers]] = {
    "calibrated": _confident(_logistic, lambda _, sure: sure),
    "calibrated, answers alike": _confident(_logistic, lambda _, sure: sure, alike=True),
    "too sure by 3 points": _confident(_logistic, lambda _, sure: np.maximum(sure - 0.03, 0)),
    "too sure": _confident(lambda x: _logistic(1.3 * x + 0.3), lambda x, _: _logistic(0.8 * x - 1)),
    "much too sure": _confident(
        lambda x: _logistic(2 * x + 1), lambda x, _: _logistic(x / 2 - 1), alike=True
    ),
    "too unsure": _confident(lambda x: _logistic(0.6 * x), lambda x, _: _logistic(1.4 * x + 0.5)),
    "now too sure, now too unsure": _confident(
        _logistic, lambda _, sure: np.clip(sure + 0.15 * np.sin(20 * sure), 0, 1)
    ),
    "sure and right": _confident(lambda x: _logistic(x + 4), lambda x, _: _logistic(x + 3)),
    "sure, and wrong of 3 in a hundred": _confident(
        lambda x: np.full_like(x, 0.995), lambda x, _: np.full_like(x, 0.97)
    ),
}
"""How a model's confidence goes with what is right: (conditions, rng) to its answers."""


def beyond_errors(
    answers: Answers, pictures: int, repeats: int, rng: Random, *, together: bool
) -> tuple[float, float, float]:
    """As ``beyond``, of the expected calibration error of ``answers``."""
    groups = [slice(None)] if together else None
    (confidence, correct) = answers
    (truth,) = condition_errors(confidence, correct, groups).mean.value
    drawn = (rng.integers(0, PICTURES, pictures) for _ in range(repeats))
    found = [condition_errors(confidence[d], correct[d], groups).mean for d in drawn]
    _, low, high = np.concatenate(found, axis=1)
    too_high = low > truth + 1e-12
    too_low = high < truth - 1e-12
    return float(too_high.mean()), float(too_low.mean()), float((high - low).mean())


def beyond(
    bounds: Callable[[Floats], Bounds],
    values: Floats,
    pictures: int,
    repeats: int,
    rng: Random,
) -> tuple[float, float, float]:
    """How runs over few images fare with ``bounds``: (too high, too low, mean width).

    A run is ``pictures`` of ``values`` (n,). Too high: the share of runs with the lower bound above
    the mean of ``values``, which is how often a gate passes a minimum that is missed by a hair. Too
    low: with the upper bound below it, and so for a maximum.
    """
    truth = values.mean()
    low, high = bounds(values[rng.integers(0, len(values), (pictures, repeats))])
    too_high = low > truth + 1e-12
    too_low = high < truth - 1e-12
    return float(too_high.mean()), float(too_low.mean()), float((high - low).mean())
