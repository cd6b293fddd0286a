"""95% confidence intervals with the image as the unit.

``values`` have shape (n, ...): one number per image, such as the share of conditions with an
unchanged prediction; NaN if an image has none. Bounds have the remaining shape, NaN for too few
images. docs/intervals.md shows their coverage.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ParameterError

Floats = NDArray[np.float64]
Bounds = tuple[Floats, Floats]

FEWEST = 5
"""Fewest images for an interval: the exact one of 4 successes in 4 still spans 40% to 100%."""

FEWEST_OF_A_MEAN = 30
"""Fewest images for an interval of a mean of unbounded numbers. With fewer, a kind of image that
is one in ten may be missing, and its values are unknown."""

_CELLS = 250_000  # values worked on at once: some arrays of 2 MB
TAIL = 0.025
"""Share of cases beyond each end of an interval, which is one of 95%."""

_SHARE_PSEUDO = 6.0
_DIFFERENCE_PSEUDO = 1.0
"""Pseudo-images, half at each end of the range, so that few images do not understate the spread.
The smallest number with which ``benchmarks.interval_coverage`` finds at most 3% of the truths
beyond either bound for every kind of images."""


class Interval(NamedTuple):
    """A rate in [0, 1] with the bounds of its confidence interval."""

    rate: float
    low: float
    high: float


def rate_interval(successes: int, trials: int) -> Interval:
    """``successes`` out of independent ``trials``, with Clopper & Pearson's exact interval.

    It is that of ``share_bounds`` for one prediction per image, however few there are.

    Raises ``ParameterError`` without trials or with more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ParameterError(
            f"A rate needs at least one trial and no more successes than trials, got "
            f"{successes} of {trials}."
        )
    rate = successes / trials
    low, high = _beta_bounds(np.array(rate), np.array(float(trials)), TAIL)
    return Interval(rate, float(low), float(high))


def share_bounds(values: Floats) -> Bounds:
    """The interval of the mean of shares, each in [0, 1].

    Clopper & Pearson's with the effective number of images: n divided by the design effect, times
    (z / t)^2 with n - 1 degrees of freedom (Korn & Graubard, Survey Methodology 24, 1998; Dean &
    Pagano, Journal of Survey Statistics and Methodology 3, 2015). It is at least n, since shares
    vary no more than single predictions. One prediction per image gives the exact interval.
    """
    present, n = present_values(values)
    share = _share_estimate(present, n, pseudo=_SHARE_PSEUDO, tail=TAIL)
    return share.low, share.high


def flag_bounds(total: Floats, n: Floats) -> Bounds:
    """``share_bounds`` of ``total`` successes in ``n`` images, one prediction each."""
    # The square of 0 or 1 is itself, and so is the total of the squares.
    share = _estimate_from_totals(n, total, total, pseudo=_SHARE_PSEUDO, tail=TAIL)
    return share.low, share.high


def difference_bounds(values: Floats, *, tests: int = 1) -> Bounds:
    """The interval of the mean of differences, each in [-1, 1].

    Gains and losses are two shares, and no image has both. Their intervals by ``share_bounds`` give
    that of the difference by Zou & Donner's method of variance estimates recovery (Statistics in
    Medicine 27, 2008), with the implied covariance.

    With ``tests`` it is one of so many intervals that all hold together in 95% of cases
    (Bonferroni).
    """
    if values.ndim == 2 and values.shape[1] > 1 and values.size > _CELLS:
        lows = []
        highs = []
        step = max(1, _CELLS // len(values))
        for start in range(0, values.shape[1], step):
            low, high = difference_bounds(values[:, start : start + step], tests=tests)
            lows.append(low)
            highs.append(high)
        return np.hstack(lows), np.hstack(highs)
    present, n = present_values(values)
    tail = TAIL / tests
    gain = _share_estimate(np.maximum(present, 0), n, pseudo=_DIFFERENCE_PSEUDO, tail=tail)
    loss = _share_estimate(np.maximum(-present, 0), n, pseudo=_DIFFERENCE_PSEUDO, tail=tail)
    covariance = gain.mean * loss.mean / n
    correlation = _ratio(covariance, gain.standard_error * loss.standard_error, 0.0)
    correlation = np.minimum(correlation, 1.0)
    difference = gain.mean - loss.mean
    below = _joined(gain.mean - gain.low, loss.high - loss.mean, correlation)
    above = _joined(gain.high - gain.mean, loss.mean - loss.low, correlation)
    return np.maximum(difference - below, -1), np.minimum(difference + above, 1)


def mean_bounds(values: Floats) -> Bounds:
    """The interval of the mean of at least ``FEWEST_OF_A_MEAN`` numbers of any range.

    Student's, with one extra image as far from the mean as the farthest: a sample shows few images
    from the long tail of a skewed distribution. NaN if all are equal, since a width of 0 would
    claim certainty.
    """
    present, n = present_values(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = present.sum(axis=0) / n
        squares = values - mean
        if present is not values:  # there are gaps
            squares[np.isnan(values)] = 0.0
        squares *= squares
        farthest = squares.max(axis=0, initial=0.0)
        variance = (squares.sum(axis=0) + farthest) / (n - 1)
        half_width = _t(n, TAIL) * np.sqrt(variance / n)
    is_known = (n >= FEWEST_OF_A_MEAN) & (half_width > 1e-12)
    half_width = np.where(is_known, half_width, np.nan)
    return mean - half_width, mean + half_width


def present_values(values: Floats) -> tuple[Floats, Floats]:
    """(``values`` (n, ...) with 0 in place of NaN, how many are not NaN (...))."""
    is_missing = np.isnan(values)
    if not is_missing.any():
        return values, np.full(values.shape[1:], float(len(values)))
    counts = np.asarray((~is_missing).sum(axis=0), np.float64)
    return np.where(is_missing, 0.0, values), counts


class _ShareEstimate(NamedTuple):
    """The mean of shares in [0, 1], the bounds of its interval, and its standard error."""

    mean: Floats
    low: Floats
    high: Floats
    standard_error: Floats


def _share_estimate(values: Floats, n: Floats, *, pseudo: float, tail: float) -> _ShareEstimate:
    """The mean of ``n`` shares, with ``tail`` beyond each bound; other ``values`` are 0."""
    total = values.sum(axis=0)
    squares = (values**2).sum(axis=0)
    return _estimate_from_totals(n, total, squares, pseudo=pseudo, tail=tail)


def _estimate_from_totals(
    n: Floats, total: Floats, squares: Floats, *, pseudo: float, tail: float
) -> _ShareEstimate:
    """``_share_estimate`` from the total of the values and that of their squares."""
    padded = (total + pseudo / 2) / (n + pseudo)
    # Squared distances from the padded mean, including the pseudo-images at 0 and 1.
    deviation = squares - 2 * padded * total + n * padded**2
    deviation += pseudo / 2 * (padded**2 + (1 - padded) ** 2)
    design = padded * (1 - padded) * (n - 1 + pseudo) / deviation
    normal_quantile = NormalDist().inv_cdf(1 - tail)
    per_image = np.maximum(1.0, design * (normal_quantile / _t(n, tail)) ** 2)
    effective = np.where(n >= FEWEST, n * per_image, np.nan)
    mean = np.clip(_ratio(total, n, np.nan), 0, 1)
    low, high = _beta_bounds(mean, effective, tail)
    standard_error = np.sqrt(mean * (1 - mean) / effective)
    return _ShareEstimate(mean, low, high, standard_error)


def _beta_bounds(rate: Floats, trials: Floats, tail: float) -> Bounds:
    """Clopper & Pearson's bounds of ``rate`` in ``trials``, which may be fractions, with ``tail``
    beyond each; NaN for NaN trials."""
    from scipy.special import betaincinv  # slow to import

    successes = rate * trials
    failures = (1 - rate) * trials
    tiny = 1e-9  # rounding of a rate of 0 or 1
    low = betaincinv(np.maximum(successes, tiny), failures + 1, tail)
    high = betaincinv(successes + 1, np.maximum(failures, tiny), 1 - tail)
    is_unknown = np.isnan(trials)
    low = np.where(successes > tiny, low, np.where(is_unknown, np.nan, 0.0))
    high = np.where(failures > tiny, high, np.where(is_unknown, np.nan, 1.0))
    return np.minimum(low, rate), np.maximum(high, rate)


def _joined(gain_width: Floats, loss_width: Floats, correlation: Floats) -> Floats:
    """The half-width of a difference from those of its parts, which are negatively correlated."""
    return np.sqrt(gain_width**2 + loss_width**2 + 2 * correlation * gain_width * loss_width)


def _t(n: Floats, tail: float) -> Floats:
    """The quantile of Student's t with ``n`` - 1 degrees of freedom, ``tail`` beyond it."""
    from scipy.special import stdtrit

    quantile: Floats = -stdtrit(np.maximum(n - 1, 1), tail)
    return quantile


def _ratio(numerator: Floats, denominator: Floats, otherwise: float) -> Floats:
    """``numerator / denominator``, or ``otherwise`` where that is 0 or NaN."""
    quotient = np.full(np.shape(denominator), otherwise)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)
