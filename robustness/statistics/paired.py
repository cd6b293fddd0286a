"""Paired tests of two models on the same images, and how many images they need.

With one condition an image adds at most 1 to either side, and McNemar's test counts the images
that do. Under several conditions the rows of one image are not independent. Then the image's net
count d (how often it went well under a only, minus under b only) is what is exchangeable: under
the null hypothesis its sign is a coin toss, and the test asks how often coin tosses give a total
as far from 0. With one condition that is McNemar's exact test; its normal approximation,
(sum d)^2 / sum d^2 on one degree of freedom, is the cluster-adjusted McNemar test of Durkalski,
Palesch, Lipsitz & Rust, Statistics in Medicine 22, 2003, for clusters of equal size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

ALPHA = 0.05
POWER = 0.8
SMALLEST = 0.01
"""Difference that planned images are meant to show, unless a larger or smaller one is asked for.
The difference that a pilot measured is no basis: pilots that are not significant but look promising
overstate it, and the power at the number they give falls to 20% (``benchmarks.claims``)."""
SENSIBLE = 1_000_000
"""No larger number of images is named."""
EXACT_DISCORDANT = 1000
"""Discordant images up to which McNemar's test is the exact binomial one."""
EXACT_TOTAL = 5000
"""Total of |d| up to which the sign-flip distribution is worked out exactly."""


def mcnemar(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> tuple[int, int, float]:
    """(images that only ``a`` has right, only ``b``, two-sided p); (n,) truth values each.

    Exact up to ``EXACT_DISCORDANT`` discordant images, else chi-squared with continuity
    correction.
    """
    from scipy.stats import binom, chi2  # slow to import

    only_a, only_b = int((a & ~b).sum()), int((~a & b).sum())
    discordant = only_a + only_b
    if discordant == 0:
        return 0, 0, 1.0
    if discordant <= EXACT_DISCORDANT:
        p = 2 * binom.cdf(min(only_a, only_b), discordant, 0.5)
    else:
        p = chi2.sf((abs(only_a - only_b) - 1) ** 2 / discordant, 1)
    return only_a, only_b, min(1.0, float(p))


def sign_flip(net: Integers) -> float:
    """Two-sided p that coin tosses for the signs of ``net`` (n,) give a total as far from 0."""
    sizes = np.abs(net[net != 0])
    observed, total = abs(int(net.sum())), int(sizes.sum())
    if not observed:
        return 1.0
    if total > EXACT_TOTAL:
        from scipy.stats import chi2  # slow to import

        return float(chi2.sf(observed**2 / float((sizes.astype(float) ** 2).sum()), 1))
    chances = _distribution(sizes)
    sums = np.arange(-total, total + 1)
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def _distribution(sizes: Integers) -> NDArray[np.float64]:
    """The chances of every total of ``sizes`` with random signs, from -sum to +sum."""
    chances = np.ones(1)
    for size, count in zip(*np.unique(sizes, return_counts=True), strict=True):
        step = np.zeros(2 * size * count + 1)  # count coins of that size: steps of twice the size
        step[:: 2 * size] = _heads(int(count))
        chances = np.convolve(chances, step)
    return chances


@lru_cache(maxsize=512)  # many pairs of models have the same few counts
def _heads(coins: int) -> NDArray[np.float64]:
    """The chances of 0 to ``coins`` heads; not to be changed."""
    from scipy.stats import binom

    found: NDArray[np.float64] = binom.pmf(np.arange(coins + 1), coins, 0.5)
    return found


def established(p: float, low: float | None, high: float | None) -> bool:
    """Whether a difference is: p, corrected, is below 0.05, and its interval leaves out 0.

    The sign-flip test takes equal models for exchangeable. Where many images go a little better and
    a few much worse, the means may be equal, and with 10 to 30 images the test still sees a
    difference in up to four cases of ten; the interval does not.
    """
    apart = low is not None and high is not None and (low > 0 or high < 0)
    return p < ALPHA and apart


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
