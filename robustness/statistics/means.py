"""Means over the rows of a run with intervals over its images.

Images may differ in their number of rows. Each gets a value such that the mean over images equals
the mean R over rows: R + (sum - R rows) / (mean rows per image).

Two models, runs or remedies on the same images: difference, interval, test, images needed.

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
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.intervals import (
    FEWEST,
    FEWEST_OF_A_MEAN,
    TAIL,
    difference_bounds,
    flag_bounds,
    mean_bounds,
    present_values,
    share_bounds,
)

Floats = NDArray[np.float64]

INTERVAL_RULE = (
    "95% intervals; each image counts once. Rates: exact binomial interval (Clopper and Pearson) "
    "with the effective number of images. Differences: from the intervals of both rates. Other "
    f"means: Student's interval, from {FEWEST_OF_A_MEAN} images. Fewer than {FEWEST} images have "
    "none."
)
"""How intervals are computed, for a help text."""

TOO_FEW = f"Fewer than {FEWEST} images: no intervals, and these figures describe these images only."


class Estimates(NamedTuple):
    """k figures: their values (k,) and bounds (k,); NaN: undefined, or too few images."""

    value: Floats
    low: Floats
    high: Floats

    def named(self, name: str, index: int) -> dict[str, float | None]:
        """One figure as ``name``, ``name_low`` and ``name_high``; None for NaN."""
        return {
            name: number(self.value[index]),
            f"{name}_low": number(self.low[index]),
            f"{name}_high": number(self.high[index]),
        }

    @property
    def interval(self) -> dict[str, float | None]:
        """The only figure as ``value``, ``low`` and ``high``; None for NaN."""
        return {
            "value": number(self.value[0]),
            "low": number(self.low[0]),
            "high": number(self.high[0]),
        }


def image_values(sums: Floats, counts: Floats) -> Floats:
    """The value of each image (n, k) in the means over rows; NaN without a row.

    ``sums`` (n, k) holds each image's total, ``counts`` (n, k) the number of its rows.
    """
    has_row = counts > 0
    image_count = has_row.sum(axis=0)
    row_count = counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / row_count
        values = mean + (sums - mean * counts) * (image_count / row_count)
    return np.where(has_row, values, np.nan)


def mean_of_models(values: Floats) -> Floats:
    """(n, k): the value of each image in the mean of the models' means; NaN without any row.

    ``values`` (models, n, k) are those of ``image_values`` of each. A model may count fewer
    images than another, as under attack: each still weighs alike. One without any is left out.
    """
    is_known = ~np.isnan(values)
    known_images = is_known.sum(axis=1)  # (models, k)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=1) / known_images
        # So that a model weighs alike however few of all images it counts.
        image_weights = is_known.any(axis=0).sum(axis=0) / known_images
        deviations = np.nan_to_num(values - mean[:, None]) * image_weights[:, None]
    deviations[~is_known] = 0.0
    model_count = np.maximum((~np.isnan(mean)).sum(axis=0), 1)
    joint = (np.nan_to_num(mean).sum(axis=0) + deviations.sum(axis=0)) / model_count
    return np.where(is_known.any(axis=0), joint, np.nan)


def shares(values: Floats) -> Estimates:
    """Means of ``values`` (n, k), shares in [0, 1]; NaN where an image has none."""
    return Estimates(_mean(values), *share_bounds(values))


def flag_shares(total: NDArray[np.intp], n: NDArray[np.intp]) -> Estimates:
    """As ``shares`` of one prediction an image: ``total`` (k,) of ``n`` (k,) are true."""
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    return Estimates(mean, *flag_bounds(total.astype(np.float64), n.astype(np.float64)))


def means(values: Floats, least: float, most: float) -> Estimates:
    """Means of ``values`` (n, k) from ``least`` to ``most``; NaN where an image has none."""
    low, high = mean_bounds(values)
    return Estimates(_mean(values), np.clip(low, least, most), np.clip(high, least, most))


def differences(values: Floats) -> Estimates:
    """Means of ``values`` (n, k), differences in [-1, 1]; NaN where an image has none."""
    return Estimates(_mean(values), *difference_bounds(values))


def over_conditions(
    values: Floats,
    has_row: NDArray[np.bool_],
    estimate: Callable[[Floats], Estimates],
    weights: Floats | None = None,
) -> Estimates:
    """The mean (1,) of ``values`` (n, k) over all conditions; ``estimate`` is that over images.

    ``values`` are NaN where there is no row or it does not count. Conditions that leave rows
    out weigh as much as the others; otherwise a model that is incorrect more often, and so has
    fewer rows under attack, would seem more consistent. The interval is the mean of the intervals
    of both kinds of conditions, which holds for any dependence between them. Without ``weights``
    (k,), all above 0, conditions weigh alike.
    """
    is_counted = ~np.isnan(values)
    if weights is None:
        weights = np.ones(values.shape[1])
    kinds = _kinds(is_counted, has_row)
    parts = []
    for columns in kinds or [np.empty(0, np.intp)]:
        column_weights = weights[columns, None]
        filled, _ = present_values(values[:, columns])
        counts = is_counted[:, columns] @ column_weights
        parts.append(estimate(image_values(filled @ column_weights, counts)))
    if len(parts) == 1:
        return parts[0]
    complete, incomplete = parts
    # Attacks may leave too few images for an interval: then anything is possible.
    least = -1.0 if estimate is differences else 0.0
    incomplete = incomplete._replace(
        low=np.nan_to_num(incomplete.low, nan=least), high=np.nan_to_num(incomplete.high, nan=1)
    )
    kind_weights = [weights[columns].sum() for columns in kinds]
    return Estimates(*np.average([complete, incomplete], axis=0, weights=kind_weights))


def condition_shares(
    is_counted: NDArray[np.bool_], has_row: NDArray[np.bool_], weights: Floats | None = None
) -> Floats:
    """(k,): by how much a row under each condition counts in the mean of ``over_conditions``."""
    if weights is None:
        weights = np.ones(is_counted.shape[1])
    row_weights = np.zeros(is_counted.shape[1])
    for columns in _kinds(is_counted, has_row):
        weighted_rows = is_counted[:, columns].sum(axis=0) @ weights[columns]
        row_weights[columns] = (
            weights[columns] * weights[columns].sum() / max(weighted_rows, 1e-300)
        )
    return row_weights


def _kinds(is_counted: NDArray[np.bool_], has_row: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The conditions that count every row, then those that leave rows out, if there are any."""
    is_used = is_counted.any(axis=0)
    leaves_out = (has_row & ~is_counted).any(axis=0)
    complete = np.flatnonzero(is_used & ~leaves_out)
    incomplete = np.flatnonzero(is_used & leaves_out)
    return [columns for columns in (complete, incomplete) if len(columns)]


def side_by_side(*parts: Estimates) -> Estimates:
    """The figures of all ``parts``, in their order."""
    return Estimates(*np.concatenate(parts, axis=1))


class Drops(NamedTuple):
    """The loss from clean to perturbed, as a difference and relative to the clean share."""

    absolute: Estimates
    relative: Estimates


def drops(clean: Floats, perturbed: Floats) -> Drops:
    """The loss from ``clean`` to ``perturbed``, which are shares (n, k).

    The relative loss, 1 - perturbed / clean, is undefined where no image was correct. Its interval
    is that of the mean of (1 - loss) clean - perturbed, which is 0, divided by the clean share.
    Where perturbed exceeds clean, the loss has no lower limit, and the interval is on the logarithm
    of perturbed / clean (Katz et al., Biometrics 34, 1978).
    """
    absolute = differences(clean - perturbed)
    clean_share = _mean(clean)
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = np.where(clean_share > 0, absolute.value / clean_share, np.nan)
        retained = 1 - loss
        scale = np.maximum(retained, 1)  # keeps differences in [-1, 1]
        bounds = []
        for bound in difference_bounds((retained * clean - perturbed) / scale):
            step = bound / clean_share
            by_logarithm = 1 - retained * np.exp(-step)
            bounds.append(np.where(retained > 1, by_logarithm, loss + step))
        low, high = bounds
        return Drops(absolute, Estimates(loss, low, np.minimum(high, 1)))


def _mean(values: Floats) -> Floats:
    present, counts = present_values(values)
    totals = present.sum(axis=0)
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def number(value: float) -> float | None:
    """``value``; None for NaN."""
    return float(value) if np.isfinite(value) else None


def complement(entry: Mapping[str, float | None], name: str, other: str) -> dict[str, float | None]:
    """1 minus the rate ``name`` of ``entry``, called ``other``, with its bounds."""
    value = entry[name]
    low = entry[f"{name}_low"]
    high = entry[f"{name}_high"]
    return {
        other: None if value is None else 1 - value,
        f"{other}_low": None if high is None else 1 - high,
        f"{other}_high": None if low is None else 1 - low,
    }


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
_FINE_TOTAL = 1000
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

    def reversed(self) -> PairedDifference:
        """The difference with the sides exchanged."""
        return self._replace(
            value=_negative(self.value), low=_negative(self.high), high=_negative(self.low)
        )


def _negative(value: float | None) -> float | None:
    """Minus ``value``, but never a negative zero."""
    return None if value is None else 0.0 - value


def overall(
    gaps: Cells, is_compared: Flags, has_row: Flags, weights: NDArray[np.float64] | None = None
) -> PairedDifference:
    """The difference over all conditions, as ``over_conditions`` weighs them.

    ``gaps`` (images, conditions) are 1 where only the first went well, -1 where only the second
    did, and 0 otherwise; under a profile the mean of that. Conditions weigh alike without
    ``weights``. The test gives each image the weights that the mean has.
    """
    weigh_alike = weights is None or np.ptp(weights) == 0
    if weigh_alike and is_compared.size and is_compared.all():
        # The usual case needs neither weights nor copies of large arrays.
        net = gaps.sum(axis=1, dtype=np.int64 if gaps.dtype.kind == "i" else np.float64)
        estimates = differences(net[:, None] / gaps.shape[1])
    else:
        compared_gaps = np.where(is_compared, gaps, np.nan)
        estimates = over_conditions(compared_gaps, has_row, differences, weights)
        whole_weights = _whole_weights(condition_shares(is_compared, has_row, weights))
        net = np.where(is_compared, gaps, 0) @ whole_weights
    is_image_compared = np.logical_or.reduce(is_compared, axis=1)
    return _tested(estimates, net[:, None], is_image_compared[:, None])[0]


def _whole_weights(weights: NDArray[np.float64]) -> Integers:
    """``weights`` (k,) as whole numbers without a common divisor, which the exact test needs."""
    whole = np.rint(_STEPS * weights / max(weights.max(initial=0), 1e-300)).astype(np.int64)
    whole = np.where(weights > 0, np.maximum(whole, 1), 0)
    return np.asarray(whole // max(1, math.gcd(*whole.tolist())))


def by_condition(gaps: Cells, is_compared: Flags) -> list[PairedDifference]:
    """The difference under each condition by itself; arguments are those of ``overall``."""
    estimates = differences(np.where(is_compared, gaps, np.nan))
    return _tested(estimates, np.where(is_compared, gaps, 0), is_compared)


def _tested(estimates: Estimates, nets: Cells, is_compared: Flags) -> list[PairedDifference]:
    """The ``estimates`` (k,) with tests of ``nets`` (images, k), what images differ by."""
    tested = []
    for column in range(nets.shape[1]):
        net = whole_numbers(nets[:, column])
        tested.append(
            PairedDifference(
                value=number(estimates.value[column]),
                low=number(estimates.low[column]),
                high=number(estimates.high[column]),
                p=sign_flip(net),
                images=int(is_compared[:, column].sum()),
                moved=int(np.count_nonzero(net)),
            )
        )
    return tested


def whole_numbers(net: Cells) -> Integers:
    """``net`` (n,), sums of shares of few compositions, as multiples of their common part.

    Sums without one, such as those of scores, are rounded so finely that their total is
    ``_FINE_TOTAL`` or more.
    """
    if net.dtype.kind == "i":
        return net.astype(np.int64)
    for parts in range(1, _MOST_PARTS):
        whole = np.rint(net * parts)
        if np.abs(net * parts - whole).max(initial=0) < 1e-6:
            return whole.astype(np.int64)
    steps = max(_STEPS, _FINE_TOTAL / float(np.abs(net).sum()))
    return np.rint(net * steps).astype(np.int64)


def sign_flip(net: Integers, exact: int = EXACT_TOTAL) -> float:
    """Two-sided p that coin tosses for the signs of ``net`` (n,) give a total as far from 0.

    Worked out exactly where the sum of |net| is at most ``exact``, else by the normal distribution.
    """
    sizes = np.abs(net)
    observed = abs(int(net.sum()))
    total = int(sizes.sum())
    if not observed:
        return 1.0
    if total > exact:
        from scipy.special import chdtrc  # slow to import

        squares = float((sizes.astype(float) ** 2).sum())
        return float(chdtrc(1, observed**2 / squares))
    image_counts = np.bincount(sizes)
    chances = np.ones(1)  # of every sum, from -total to total
    for size in np.flatnonzero(image_counts[1:]) + 1:
        coins = int(image_counts[size])
        step = np.zeros(2 * size * coins + 1)  # each coin moves by twice its size
        step[:: 2 * size] = _heads(coins)
        chances = np.convolve(chances, step)
    sums = np.arange(-total, total + 1)
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


@lru_cache(maxsize=512)  # many pairs of models have the same few counts
def _heads(coins: int) -> NDArray[np.float64]:
    """The chances of 0 to ``coins`` heads; not to be changed."""
    # scipy.stats has this, too, but takes half a second to import.
    middle = coins // 2
    counts = np.arange(middle, coins)
    # How much less likely one head more is, from the most likely count on; fewer heads mirror it.
    from_middle = np.concatenate([[1.0], np.cumprod((coins - counts) / (counts + 1))])
    heads = np.arange(coins + 1)
    chances = from_middle[np.maximum(heads, coins - heads) - middle]
    return chances / chances.sum()


def established(p: float, low: float | None, high: float | None) -> bool:
    """Whether a difference is: p, corrected, is below ``ALPHA``, and its interval leaves out 0.

    The sign-flip test takes equal models for exchangeable. Where many images go a little better and
    a few much worse, the means may be equal, and with 10 to 30 images the test still sees a
    difference in up to four cases of ten; the interval does not.
    """
    if low is None or high is None:
        return False
    excludes_zero = low > 0 or high < 0
    return p < ALPHA and excludes_zero


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: Holm, Scandinavian Journal of Statistics 6, 1979."""
    factors = range(len(p_values), 0, -1)
    raised = [min(1.0, p * factor) for p, factor in zip(sorted(p_values), factors, strict=True)]
    by_rank = np.maximum.accumulate(raised)  # a larger p is never adjusted to a smaller one
    ranks = np.argsort(np.argsort(p_values, kind="stable"), kind="stable")
    return [float(by_rank[rank]) for rank in ranks]


def images_needed(
    difference: float, low: float, images: int, tests: int, smallest: float = SMALLEST
) -> int | None:
    """The number of images that show a true difference of ``smallest`` with 80% power.

    ``low`` is the lower bound of the 95% interval of ``difference``, both found on ``images``
    images. Their distance shrinks with the square root of the number of images; the level is
    ``ALPHA / tests``, the strictest that Holm's correction asks for. None if ``images`` are already
    enough, or more than ``SENSIBLE`` are needed.
    """
    from scipy.special import ndtri  # slow to import

    standard_error = (difference - low) / -ndtri(TAIL)
    quantiles = ndtri(POWER) - ndtri(ALPHA / (2 * tests))
    needed = images * (quantiles * standard_error / smallest) ** 2
    if images < needed < SENSIBLE:
        return math.ceil(needed)
    return None
