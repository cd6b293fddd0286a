"""One global test of whether two sets of images differ in their statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.matching.image_statistics import Floats, Values

_PARTS = 100
"""Random parts of the second set that give the distribution of the distance."""
_LEVEL = 0.99
ORDINARY = 1.4
"""Ratio by which two collections may differ, to the distance between parts of one. Measured: 30
folders of 50 photographs lay within 1.2 of 300 photographs of another collection."""
COLLECTIONS = 0.04
"""Variance of a mean between collections of the same kind, as a share of the variance of images.
Measured: 200 photographs differ from 300 of another collection by eight times what sampling alone
explains, alike in all directions."""
FLOOR = 1e-4
"""Variance of each statistic that no covariance may fall below."""
LEAST = 0.2
"""Share of the reference's spread that simulations have at least, in every direction."""
_NAMED = 5


@dataclass(frozen=True)
class SetDifference:
    """A distance with the largest that is ordinary, and the statistics that differ most."""

    distance: float
    ordinary: float
    sizes: Values
    """Differences of the means in standard errors, by statistic."""

    @property
    def significant(self) -> bool:
        return self.distance > self.ordinary

    @property
    def largest(self) -> list[int]:
        """Positions of the statistics that differ most, largest first."""
        return np.argsort(-np.abs(self.sizes))[:_NAMED].tolist()


def difference(first: Floats, second: Floats, reference: Floats, seed: int) -> SetDifference:
    """How ``first`` (n, D) differs from ``second`` (m, D), scaled statistics of images.

    The distance of the means is compared with that of random parts of ``second`` from the rest.
    Spreads are those of ``second``, at least a share of the spread of the ``reference`` (r, D).
    """
    count = min(len(first), len(second) // 3)
    draws = np.random.default_rng(seed)
    least = shrunk_covariance(reference)
    distances = []
    for _ in range(_PARTS):
        order = draws.permutation(len(second))
        part, rest = second[order[:count]], second[order[count:]]
        error = mean_covariance(spread(rest, least), count, len(rest))
        distances.append(distance(part.mean(0) - rest.mean(0), error))
    ordinary = float(np.quantile(distances, _LEVEL)) * ORDINARY
    # The spread of a mixture of both would hide the difference.
    error = mean_covariance(spread(second, least), len(first), len(second))
    gap = first.mean(0) - second.mean(0)
    sizes = (gap / np.sqrt(np.diag(error))).astype(np.float64)
    return SetDifference(distance(gap, error), ordinary, sizes)


def distance(gap: NDArray[Any], error: Values) -> float:
    """The squared length of the ``gap`` (D,) of two means in standard errors, whitened."""
    from scipy import linalg  # slow to import

    gap = gap.astype(np.float64)
    return float(gap @ linalg.solve(error, gap, assume_a="pos"))


def mean_covariance(covariance: Values, first: int, second: int) -> Values:
    """The covariance (D, D) of the gap between means of ``first`` and ``second`` images."""
    share = 1 / first + 1 / second + COLLECTIONS
    return np.asarray(share * covariance + FLOOR * np.eye(len(covariance)))


def spread(values: Floats, least: Values) -> Values:
    """The covariance (D, D) of images (m, D), in no direction below ``LEAST`` times ``least``.

    Where simulations hardly vary, such as the blocks of strong compression, any gap would look
    large.
    """
    from scipy import linalg  # slow to import

    shares, sides = linalg.eigh(shrunk_covariance(values), least)
    sides = least @ sides
    return np.asarray((sides * np.maximum(shares, LEAST)) @ sides.T)


def shrunk_covariance(values: Floats) -> Values:
    """The covariance (D, D) of rows (n, D), with correlations shrunk towards none.

    By the share that has the least expected error (Schaefer & Strimmer 2005): few rows leave
    directions without any spread, in which every difference would look large.
    """
    count = len(values)
    deviations = values.std(0, ddof=1, dtype=np.float64) + 1e-4
    scaled = (values - values.mean(0)) / deviations
    products = scaled.T @ scaled / count
    errors = (scaled**2).T @ scaled**2 / count - products**2  # variances of the products
    others = ~np.eye(len(products), dtype=bool)
    share = errors[others].sum() / max(count * (products[others] ** 2).sum(), 1e-9)
    share = min(share, 1.0)
    correlations = (1 - share) * products * count / (count - 1)
    np.fill_diagonal(correlations, 1.0)
    return np.asarray(correlations * np.outer(deviations, deviations))
