"""One global test of whether two sets of images differ in their statistics."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.matching.image_statistics import Floats

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
_NAMED = 5


@dataclass(frozen=True)
class SetDifference:
    """A distance with the largest that is ordinary, and the statistics that differ most."""

    distance: float
    ordinary: float
    sizes: NDArray[np.float64]
    """Differences of the means in standard errors, by statistic."""

    @property
    def significant(self) -> bool:
        return self.distance > self.ordinary

    @property
    def largest(self) -> list[int]:
        """Positions of the statistics that differ most, largest first."""
        return np.argsort(-np.abs(self.sizes))[:_NAMED].tolist()


def difference(first: Floats, second: Floats, seed: int) -> SetDifference:
    """How ``first`` (n, D) differs from ``second`` (m, D), scaled statistics of images.

    The distance is that of the means in standard errors, whitened. It is compared with that of
    random parts of ``second`` from the rest.
    """
    count = min(len(first), len(second) // 3)
    draws = np.random.default_rng(seed)
    distances = []
    for _ in range(_PARTS):
        order = draws.permutation(len(second))
        distances.append(_distance(second[order[:count]], second[order[count:]]))
    ordinary = float(np.quantile(distances, _LEVEL)) * ORDINARY
    share = 1 / len(first) + 1 / len(second) + COLLECTIONS
    error = share * second.var(0) + FLOOR
    sizes = (first.mean(0) - second.mean(0)) / np.sqrt(error)
    return SetDifference(_distance(first, second), ordinary, sizes.astype(np.float64))


def _distance(first: Floats, second: Floats) -> float:
    from scipy import linalg  # slow to import

    share = 1 / len(first) + 1 / len(second) + COLLECTIONS
    spread = shrunk_covariance(second)  # of a mixture that of both would hide the difference
    covariance = share * spread + FLOOR * np.eye(len(spread))
    gap = (first.mean(0) - second.mean(0)).astype(np.float64)
    return float(gap @ linalg.solve(covariance, gap, assume_a="pos"))


def shrunk_covariance(values: Floats) -> NDArray[np.float64]:
    """The covariance (D, D) of rows (n, D), with correlations shrunk towards none.

    By the share that has the least expected error (Schaefer & Strimmer 2005): few rows leave
    directions without any spread, in which every difference would look large.
    """
    count = len(values)
    deviations = values.std(0, ddof=1, dtype=np.float64) + 1e-9
    scaled = (values - values.mean(0)) / deviations
    products = scaled.T @ scaled / count
    errors = (scaled**2).T @ scaled**2 / count - products**2  # variances of the products
    others = ~np.eye(len(products), dtype=bool)
    share = errors[others].sum() / max(count * (products[others] ** 2).sum(), 1e-9)
    share = min(share, 1.0)
    correlations = (1 - share) * products * count / (count - 1)
    np.fill_diagonal(correlations, 1.0)
    return np.asarray(correlations * np.outer(deviations, deviations))
