"""Two models, runs or remedies on the same images: difference, interval, test, images needed.

With one condition an image adds at most 1 to either side, and McNemar's test counts the images
that do. Under several conditions the rows of one image are not independent. Then the image's net
count d (how often it went well under a only, minus under b only) is what is exchangeable: under
the null hypothesis its sign is a coin toss, and the test asks how often coin tosses give a total
as far from 0. With one condition that is McNemar's exact test; its normal approximation,
(sum d)^2 / sum d^2 on one degree of freedom, is the cluster-adjusted McNemar test of Durkalski,
Palesch, Lipsitz & Rust, Statistics in Medicine 22, 2003, for clusters of equal size. Under a
profile an image counts with the difference of its means over the compositions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.means_with_intervals import (
    Estimates,
    condition_shares,
    differences,
    number,
    over_conditions,
)

Cells = NDArray[np.integer[Any]] | NDArray[np.float64]
Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

ALPHA = 0.05
POWER = 0.8
SMALLEST = 0.01
"""Difference that planned images are meant to show, unless a larger or smaller one is asked for.
The difference that a pilot measured is no basis: pilots that are not significant but look promising
overstate it, and the power at the number they give falls to 20% (``benchmarks.claims``)."""
SENSIBLE = 1_000_000
"""No larger number of images is named."""
EXACT_TOTAL = 5000
"""Total of |d| up to which the sign-flip distribution is worked out exactly."""
_MOST_PARTS = 400  # of two profiles of 20 compositions each
_STEPS = 100  # conditions weigh whole numbers of hundredths of the largest weight in the test


class PairedDifference(NamedTuple):
    """A mean difference with its 95% interval and the p of its test.

    ``value`` is None where nothing can be compared, the bounds also with too few images. ``images``
    counts the compared ones, ``moved`` those that differ.
    """

    value: float | None
    low: float | None
    high: float | None
    p: float
    images: int
    moved: int


def overall(
    gaps: Cells, present: Flags, there: Flags, weights: NDArray[np.float64] | None = None
) -> PairedDifference:
    """The difference over all conditions, as ``over_conditions`` weighs them.

    ``gaps`` (images, conditions) are 1 where only the first went well, -1 where only the second
    did, and 0 otherwise; under a profile the mean of that. ``present`` says which are compared,
    ``there`` which have rows. Conditions weigh alike without ``weights``. The test gives each image
    the weights that the mean has.
    """
    alike = weights is None or np.ptp(weights) == 0
    if alike and present.size and present.all():
        net = gaps.sum(axis=1, dtype=np.int64 if gaps.dtype.kind == "i" else np.float64)
        bounds = differences(net[:, None] / gaps.shape[1])
    else:
        bounds = over_conditions(np.where(present, gaps, np.nan), there, differences, weights)
        share = condition_shares(present, there, weights)
        steps = np.rint(_STEPS * share / max(share.max(initial=0), 1e-300)).astype(np.int64)
        steps = np.where(share > 0, np.maximum(steps, 1), 0)
        net = np.where(present, gaps, 0) @ (steps // max(1, math.gcd(*steps.tolist())))
    return _tested(bounds, net[:, None], np.logical_or.reduce(present, axis=1)[:, None])[0]


def by_condition(gaps: Cells, present: Flags) -> list[PairedDifference]:
    """The difference under each condition by itself; arguments are those of ``overall``."""
    bounds = differences(np.where(present, gaps, np.nan))
    return _tested(bounds, np.where(present, gaps, 0), present)


def _tested(estimates: Estimates, nets: Cells, present: Flags) -> list[PairedDifference]:
    whole = map(whole_numbers, nets.T)
    columns = zip(*estimates, whole, present.T, strict=True)
    return [
        PairedDifference(
            number(value),
            number(low),
            number(high),
            sign_flip(net),
            int(compared.sum()),
            int(np.count_nonzero(net)),
        )
        for value, low, high, net, compared in columns
    ]


def whole_numbers(net: Cells) -> Integers:
    """``net`` (n,), sums of shares of few compositions, as multiples of their common part."""
    if net.dtype.kind == "i":
        return net.astype(np.int64)
    for parts in range(1, _MOST_PARTS):
        whole = np.rint(net * parts)
        if np.abs(net * parts - whole).max(initial=0) < 1e-6:
            return whole.astype(np.int64)
    return np.rint(net * _STEPS).astype(np.int64)


def sign_flip(net: Integers, exact: int = EXACT_TOTAL) -> float:
    """Two-sided p that coin tosses for the signs of ``net`` (n,) give a total as far from 0.

    Worked out exactly where the sum of |net| is at most ``exact``, else by the normal distribution.
    """
    sizes = np.abs(net)
    observed, total = abs(int(net.sum())), int(sizes.sum())
    if not observed:
        return 1.0
    if total > exact:
        from scipy.stats import chi2  # slow to import

        return float(chi2.sf(observed**2 / float((sizes.astype(float) ** 2).sum()), 1))
    counts = np.bincount(sizes)
    chances = np.ones(1)  # of every sum, from -total to total
    for size in np.flatnonzero(counts[1:]) + 1:
        step = np.zeros(2 * size * counts[size] + 1)  # each coin moves by twice its size
        step[:: 2 * size] = _heads(int(counts[size]))
        chances = np.convolve(chances, step)
    sums = np.arange(-total, total + 1)
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


@lru_cache(maxsize=512)  # many pairs of models have the same few counts
def _heads(coins: int) -> NDArray[np.float64]:
    """The chances of 0 to ``coins`` heads; not to be changed."""
    from scipy.stats import binom

    chances: NDArray[np.float64] = binom.pmf(np.arange(coins + 1), coins, 0.5)
    return chances


def established(p: float, low: float | None, high: float | None) -> bool:
    """Whether a difference is: p, corrected, is below 0.05, and its interval leaves out 0.

    The sign-flip test takes equal models for exchangeable. Where many images go a little better and
    a few much worse, the means may be equal, and with 10 to 30 images the test still sees a
    difference in up to four cases of ten; the interval does not.
    """
    significant = low is not None and high is not None and (low > 0 or high < 0)
    return p < ALPHA and significant


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: Holm, Scandinavian Journal of Statistics 6, 1979."""
    left = range(len(p_values), 0, -1)
    raised = [min(1.0, p * n) for p, n in zip(sorted(p_values), left, strict=True)]
    by_rank = np.maximum.accumulate(raised)  # a larger p is never adjusted to a smaller one
    ranks = np.argsort(np.argsort(p_values, kind="stable"), kind="stable")
    return [float(by_rank[rank]) for rank in ranks]


def images_needed(
    difference: float, low: float, images: int, tests: int, smallest: float = SMALLEST
) -> int | None:
    """The number of images that show a true difference of ``smallest`` with 80% power.

    ``low`` is the lower bound of the 95% interval of ``difference``, both found on ``images``
    images. Their distance shrinks with the square root of the number of images; the level is
    0.05 / ``tests``, the strictest that Holm's correction asks for. None if ``images`` are already
    enough, or more than ``SENSIBLE`` are needed.
    """
    from scipy.stats import norm  # slow to import

    alone, corrected = norm.isf([ALPHA / 2, ALPHA / (2 * tests)])
    reach = (difference - low) / alone
    needed = images * ((corrected + norm.ppf(POWER)) * reach / smallest) ** 2
    return math.ceil(needed) if images < needed < SENSIBLE else None
