"""Intervals by resampling images: an image is drawn with all its rows, or not at all.

Percentile bootstrap (Efron, Annals of Statistics 7, 1979). All figures of a run see the same
resamples, so that differences between models and between conditions are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.intervals import wilson_bounds

Floats = NDArray[np.float64]

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0
_CELLS = 4_000_000  # of the matrix of draws held at once: 32 MB

INTERVAL_RULE = (
    "95 % percentile interval over 2000 resamples of the images. Where all images agree, or so few "
    "are labelled that a resample may hold none of them, resampling cannot show the doubt: a rate "
    "then has Wilson's interval with the number of images, any other figure none."
)

FEW_IMAGES = 30
"""Images below which a percentile interval is clearly too narrow."""


def resampled_totals(values: Floats, *, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
    """(resamples, k): column totals of ``values`` (n, k) over n rows drawn with replacement.

    The draws depend on n, ``resamples`` and ``seed`` alone.
    """
    return np.concatenate([w @ values for w in _draws(len(values), resamples, seed)])


def _draws(n: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each of ``n`` images was drawn: blocks (b, n) that make ``resamples`` rows."""
    rng = np.random.default_rng(seed)
    block = max(1, min(resamples, _CELLS // n))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, n, (rows, n))
        drawn += np.arange(rows)[:, None] * n
        counts = np.bincount(drawn.ravel(), minlength=rows * n)
        yield counts.reshape(rows, n).astype(np.float64)


@dataclass(frozen=True)
class Estimates:
    """k figures: their values (k,), replicates (resamples, k) and bounds (k,); NaN: undefined."""

    value: Floats
    replicates: Floats
    low: Floats
    high: Floats

    def named(self, name: str, place: int) -> dict[str, float | None]:
        """The figure in ``place`` as ``name``, ``name_low`` and ``name_high``; None for NaN."""
        return {
            name: _number(self.value[place]),
            f"{name}_low": _number(self.low[place]),
            f"{name}_high": _number(self.high[place]),
        }


def means(sums: Floats, counts: Floats, *, rates: bool | NDArray[np.bool_]) -> Estimates:
    """Means over all rows of all images: the total of ``sums`` by that of ``counts``, (n, k) each.

    ``sums`` holds each image's total, ``counts`` the number of its rows, 0 where it has none.
    ``rates`` says which of the k figures are shares of rows, in [0, 1].
    """
    k = sums.shape[1]
    rows = counts.sum(axis=0)
    value = _ratio(sums.sum(axis=0), rows)
    if np.all(counts == counts[:1]):  # the same number of rows for every image
        replicates = _ratio(resampled_totals(sums), np.broadcast_to(rows, (RESAMPLES, k)))
    else:
        totals = resampled_totals(np.hstack([sums, counts]))
        replicates = _ratio(totals[:, :k], totals[:, k:])
    low, high = bounds(replicates)
    alike, images = _agreement(sums, counts)
    low[alike] = high[alike] = np.nan
    use = np.isnan(low) & (images > 0) & np.broadcast_to(rates, (k,))
    low[use], high[use] = wilson_bounds(value[use], images[use], confidence=CONFIDENCE)
    return Estimates(value, replicates, low, high)


def derived(value: Floats, replicates: Floats) -> Estimates:
    """Figures worked out from others, value from values and replicate from replicates."""
    return Estimates(value, replicates, *bounds(replicates))


def bounds(replicates: Floats) -> tuple[Floats, Floats]:
    """The percentile interval of each column, (k,) and (k,).

    NaN where a replicate is undefined, or where all are equal: no width would claim certainty.
    """
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(replicates, (tail, 100 - tail), axis=0)
    flat = np.ptp(replicates, axis=0) < 1e-12
    low[flat] = high[flat] = np.nan
    return low, high


def _agreement(sums: Floats, counts: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which figures are the same for all images that have them, and how many images these are."""
    there = counts > 0
    each = _ratio(sums, counts)
    highest = np.where(there, each, -np.inf).max(axis=0)
    lowest = np.where(there, each, np.inf).min(axis=0)
    images = there.sum(axis=0).astype(np.float64)
    return (images > 0) & (highest - lowest < 1e-12), images


def _ratio(totals: Floats, counts: Floats) -> Floats:
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def complement(entry: Mapping[str, float | None], name: str, other: str) -> dict[str, float | None]:
    """1 minus the rate ``name`` of ``entry``, called ``other``, with its bounds."""
    value, low, high = (entry[key] for key in (name, f"{name}_low", f"{name}_high"))
    return {
        other: None if value is None else 1 - value,
        f"{other}_low": None if high is None else 1 - high,
        f"{other}_high": None if low is None else 1 - low,
    }
