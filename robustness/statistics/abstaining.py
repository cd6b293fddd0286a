"""What a model gains if it abstains where its confidence is low.

Coverage is the share of images that are answered, risk the share of errors among them (El-Yaniv &
Wiener 2010). Without labels a changed prediction stands in for an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.estimates import shares
from robustness.statistics.grid import UNKNOWN, Grid, each_grid, ratio

Floats = NDArray[np.float64]

THRESHOLDS = (0.5, 0.7, 0.9)
_POINTS = 40

ABSTAINING_RULE = (
    "Coverage: share of images with a confidence of at least the threshold. Risk: share of errors "
    "among them. Avoided: share of all errors that are withheld. Withheld: share of all correct "
    "predictions below the threshold. Without labels a changed prediction counts as an error."
)


def risk_coverage(confidence: Floats, well: NDArray[Any]) -> tuple[Floats, Floats]:
    """(coverage, risk) at each different confidence (n,), from the highest; ``well`` is 0 or 1."""
    order = np.argsort(-confidence)  # in any order where equal, as only their last counts
    confidence, errors = confidence[order], np.cumsum(well[order] == 0, dtype=np.int32)
    del order  # these arrays are large
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return (ends + 1) / len(errors), errors[ends] / (ends + 1)


def by_threshold(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """What each of ``THRESHOLDS`` does for each model under each perturbation; "" is all.

    Keys: ``model``, ``perturbation``, ``threshold``, ``coverage`` with its interval, ``risk_all``
    (without a threshold), ``risk``, ``avoided`` and ``lost``. Unknown figures are None; predictions
    without a confidence do not count.
    """
    each = each_grid(partial(_of_model, column=column), some)
    return [entry for entries in each for entry in entries]


def _of_model(grid: Grid, column: str) -> list[dict[str, Any]]:
    confidence, well = grid.values("probability"), grid.flags(column)
    known = (well != UNKNOWN) & ~np.isnan(confidence)
    wrong = known & (well == 0)
    kept = {threshold: known & (confidence >= threshold) for threshold in THRESHOLDS}
    names = [key.perturbation for key in grid.conditions]
    found = []
    for name in ["", *dict.fromkeys(names)]:
        chosen = [at for at, each in enumerate(names) if name in ("", each)]
        rows, errors = (flags[:, chosen].sum(axis=1) for flags in (known, wrong))
        if not (counted := int(rows.sum())):
            continue
        failed = int(errors.sum())
        for threshold, flags in kept.items():
            answered = flags[:, chosen].sum(axis=1)
            sure, wrongly = int(answered.sum()), int((wrong & flags)[:, chosen].sum())
            found.append(
                {
                    "model": grid.model,
                    "perturbation": name,
                    "threshold": threshold,
                    **shares(ratio(answered, rows)[:, None]).named("coverage", 0),
                    "risk_all": _share(failed, counted),
                    "risk": _share(wrongly, sure),
                    "avoided": _share(failed - wrongly, failed),
                    "lost": _share(counted - failed - (sure - wrongly), counted - failed),
                }
            )
    return found


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def curves(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Risk over coverage of all perturbed images of each model, at 40 coverages at most.

    Keys: ``model``, ``coverage``, ``risk`` (lists) and ``area`` under the curve, lower is better.
    """
    # One at a time: its arrays are large.
    return [entry for grid in some if (entry := _curve(grid, column))]


def _curve(grid: Grid, column: str) -> dict[str, Any]:
    confidence, well = grid.values("probability"), grid.flags(column)
    known = (well != UNKNOWN) & ~np.isnan(confidence)
    if not known.any():
        return {}
    # By conditions, as they are in memory.
    coverage, risk = risk_coverage(confidence.T[known.T], well.T[known.T])
    steps = np.diff(coverage, prepend=0.0)
    at = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _POINTS)))
    at = at[at < len(coverage)]
    return {
        "model": grid.model,
        "coverage": coverage[at].tolist(),
        "risk": risk[at].tolist(),
        "area": float(risk @ steps),
    }
