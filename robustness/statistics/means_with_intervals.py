"""Means over the rows of a run with intervals over its images.

Images may differ in their number of rows. Each gets a value such that the mean over images equals
the mean R over rows: R + (sum - R rows) / (mean rows per image).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.proportion_and_difference_intervals import (
    FEWEST,
    FEWEST_OF_A_MEAN,
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

    def named(self, name: str, place: int) -> dict[str, float | None]:
        """The figure in ``place`` as ``name``, ``name_low`` and ``name_high``; None for NaN."""
        return {
            name: number(self.value[place]),
            f"{name}_low": number(self.low[place]),
            f"{name}_high": number(self.high[place]),
        }

    @property
    def interval(self) -> dict[str, float | None]:
        """The only figure as ``value``, ``low`` and ``high``; None for NaN."""
        return {name: number(bound[0]) for name, bound in self._asdict().items()}


def picture_values(sums: Floats, counts: Floats) -> Floats:
    """The value of each image (n, k) in the means over rows; NaN without a row.

    ``sums`` (n, k) holds each image's total, ``counts`` (n, k) the number of its rows.
    """
    there = counts > 0
    pictures, rows = there.sum(axis=0), counts.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = sums.sum(axis=0) / rows
        values = mean + (sums - mean * counts) * (pictures / rows)
    return np.where(there, values, np.nan)


def mean_of_models(values: Floats) -> Floats:
    """(n, k): the value of each image in the mean of the models' means; NaN without any row.

    ``values`` (models, n, k) are those of ``picture_values`` of each. A model may count fewer
    images than another, as under attack: each still weighs alike. One without any is left out.
    """
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=1) / there.sum(axis=1)  # (models, k)
        images = there.any(axis=0).sum(axis=0)
        away = np.nan_to_num(values - mean[:, None]) * (images / there.sum(axis=1))[:, None]
    away[~there] = 0.0
    counted_models = ~np.isnan(mean)
    models = np.maximum(counted_models.sum(axis=0), 1)
    joint = (np.nan_to_num(mean).sum(axis=0) + away.sum(axis=0)) / models
    return np.where(there.any(axis=0), joint, np.nan)


def shares(values: Floats) -> Estimates:
    """Means of ``values`` (n, k), shares in [0, 1]; NaN where an image has none."""
    return Estimates(_mean(values), *share_bounds(values))


def flag_shares(total: NDArray[np.intp], n: NDArray[np.intp]) -> Estimates:
    """As ``shares`` of one prediction an image: ``total`` (k,) of ``n`` (k,) are true."""
    mean = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    return Estimates(mean, *flag_bounds(total.astype(np.float64), n.astype(np.float64)))


def means(values: Floats, least: float, most: float) -> Estimates:
    """Means of ``values`` (n, k) from ``least`` to ``most``; NaN where an image has none."""
    low, high = (np.clip(bound, least, most) for bound in mean_bounds(values))
    return Estimates(_mean(values), low, high)


def differences(values: Floats) -> Estimates:
    """Means of ``values`` (n, k), differences in [-1, 1]; NaN where an image has none."""
    return Estimates(_mean(values), *difference_bounds(values))


def over_conditions(
    values: Floats,
    there: NDArray[np.bool_],
    estimate: Callable[[Floats], Estimates],
    weights: Floats | None = None,
) -> Estimates:
    """The mean (1,) of ``values`` (n, k) over all conditions; ``estimate`` is that over images.

    ``values`` are NaN where a row is not ``there`` or does not count. Conditions that leave rows
    out weigh as much as the others; otherwise a model that is incorrect more often, and so has
    fewer rows under attack, would seem more consistent. The interval is the mean of the intervals
    of both kinds of conditions, which holds for any dependence between them. Without ``weights``
    (k,), all above 0, conditions weigh alike.
    """
    present = ~np.isnan(values)
    weights = np.ones(values.shape[1]) if weights is None else weights
    kinds = _kinds(present, there)
    parts = []
    for kind in kinds or [np.empty(0, np.intp)]:
        some, _ = present_values(values[:, kind])
        counts = present[:, kind] @ weights[kind, None]
        parts.append(estimate(picture_values(some @ weights[kind, None], counts)))
    if len(parts) == 1:
        return parts[0]
    least = -1.0 if estimate is differences else 0.0
    low, high = parts[1].low, parts[1].high  # of too few images: the whole range
    parts[1] = Estimates(parts[1].value, np.nan_to_num(low, nan=least), np.nan_to_num(high, nan=1))
    shares_of_kinds = [weights[kind].sum() for kind in kinds]
    return Estimates(*np.average(parts, axis=0, weights=shares_of_kinds))


def condition_shares(
    present: NDArray[np.bool_], there: NDArray[np.bool_], weights: Floats | None = None
) -> Floats:
    """(k,): by how much a row under each condition counts in the mean of ``over_conditions``."""
    weights = np.ones(present.shape[1]) if weights is None else weights
    row_weights = np.zeros(present.shape[1])
    for kind in _kinds(present, there):
        rows = present[:, kind].sum(axis=0) @ weights[kind]
        row_weights[kind] = weights[kind] * weights[kind].sum() / max(rows, 1e-300)
    return row_weights


def _kinds(present: NDArray[np.bool_], there: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The conditions that count every row, then those that leave rows out; none that has none."""
    used, leaves_out = present.any(axis=0), (there & ~present).any(axis=0)
    kinds = (np.flatnonzero(used & kind) for kind in (~leaves_out, leaves_out))
    return [kind for kind in kinds if len(kind)]


def side_by_side(*parts: Estimates) -> Estimates:
    """The figures of all ``parts``, in their order."""
    return Estimates(*np.concatenate(parts, axis=1))


def drops(clean: Floats, perturbed: Floats) -> tuple[Estimates, Estimates]:
    """The loss from ``clean`` to ``perturbed``, shares (n, k): absolute, and relative to clean.

    The relative loss, 1 - perturbed / clean, is undefined where no image was correct. Its interval
    is that of the mean of (1 - loss) clean - perturbed, which is 0, divided by the clean share.
    Where perturbed exceeds clean, the loss has no lower limit, and the interval is on the logarithm
    of perturbed / clean (Katz et al., Biometrics 34, 1978).
    """
    lost = differences(clean - perturbed)
    before = _mean(clean)
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(before > 0, lost.value / before, np.nan)
        retained = 1 - relative
        most = np.maximum(retained, 1)  # keeps differences in [-1, 1]
        bounds = difference_bounds((retained * clean - perturbed) / most)
        low, high = (
            np.where(
                retained > 1, 1 - retained * np.exp(-bound / before), relative + bound / before
            )
            for bound in bounds
        )
        return lost, Estimates(relative, low, np.minimum(high, 1))


def _mean(values: Floats) -> Floats:
    present, counts = present_values(values)
    totals = present.sum(axis=0)
    return np.divide(totals, counts, out=np.full(totals.shape, np.nan), where=counts > 0)


def number(value: float) -> float | None:
    """``value``; None for NaN."""
    return float(value) if np.isfinite(value) else None


def complement(entry: Mapping[str, float | None], name: str, other: str) -> dict[str, float | None]:
    """1 minus the rate ``name`` of ``entry``, called ``other``, with its bounds."""
    value, low, high = (entry[key] for key in (name, f"{name}_low", f"{name}_high"))
    return {
        other: None if value is None else 1 - value,
        f"{other}_low": None if high is None else 1 - high,
        f"{other}_high": None if low is None else 1 - low,
    }
