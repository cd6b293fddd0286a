"""Confidence intervals of rates."""

from __future__ import annotations

from typing import NamedTuple

from robustness.base.errors import ParameterError


class Interval(NamedTuple):
    """A rate in [0, 1] with the bounds of its confidence interval."""

    rate: float
    low: float
    high: float


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """``successes`` out of ``trials`` with Wilson's score interval (JASA 22, 1927).

    Raises ``ParameterError`` without trials or with more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ParameterError(
            f"A rate needs at least one trial and no more successes than trials, got "
            f"{successes} of {trials}."
        )
    from scipy.stats import binomtest  # slow to import, and not every command needs it

    bounds = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high))
