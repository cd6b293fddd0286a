"""Confidence intervals of rates."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustness.base.errors import ParameterError

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A rate in [0, 1] with the bounds of its confidence interval."""

    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """``successes`` out of ``trials`` with the interval of ``wilson_bounds``.

    Raises ``ParameterError`` without trials or with more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ParameterError(
            f"A rate needs at least one trial and no more successes than trials, got "
            f"{successes} of {trials}."
        )
    rate = successes / trials
    low, high = wilson_bounds(rate, trials, confidence=confidence)
    return Interval(rate, float(low), float(high))


def wilson_bounds(
    rates: ArrayLike, trials: ArrayLike, *, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Wilson's score interval (JASA 22, 1927) of shares in [0, 1] over ``trials``, of one shape.

    A trial may count in part, as an image does that was kept under some conditions only.
    """
    share, count = np.asarray(rates, np.float64), np.asarray(trials, np.float64)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z**2 / (2 * count)
    reach = z * np.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    low, high = ((centre + side * reach) / (1 + z**2 / count) for side in (-1, 1))
    # In floating point a bound may miss a share of 0 or 1 by its last bit.
    return np.minimum(np.maximum(low, 0), share), np.maximum(np.minimum(high, 1), share)
