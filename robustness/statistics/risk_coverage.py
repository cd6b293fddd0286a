"""Errors among the accepted predictions over the share that is accepted.

That share is the coverage, and that of errors the risk (El-Yaniv & Wiener 2010). Without labels a
changed prediction counts as an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.measurement_grid import UNKNOWN, Grid

Floats = NDArray[np.float64]

_POINTS = 40


def risk_coverage(confidence: Floats, well: NDArray[Any]) -> tuple[Floats, Floats]:
    """(coverage, risk) at each different confidence (n,), from the highest; ``well`` is 0 or 1."""
    order = np.argsort(-confidence)  # in any order where equal, as only their last counts
    confidence, errors = confidence[order], np.cumsum(well[order] == 0, dtype=np.int32)
    del order  # these arrays are large
    ends = np.flatnonzero(np.append(confidence[1:] != confidence[:-1], True))
    return (ends + 1) / len(errors), errors[ends] / (ends + 1)


def curves(grids: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Risk over coverage of the perturbed images of each model, at 40 coverages at most.

    Attacks are left out, as they are for a safe threshold: they look for confident errors.
    Keys: ``model``, ``coverage``, ``risk`` (lists) and ``area`` under the curve, lower is better.
    """
    # One at a time: its arrays are large.
    return [entry for grid in grids if (entry := _curve(grid, column))]


def _curve(grid: Grid, column: str) -> dict[str, Any]:
    confidence, well = grid.values("probability"), grid.flags(column)
    natural = [at for at, key in enumerate(grid.conditions) if not key.is_attack]
    if len(natural) < len(grid.conditions):
        confidence, well = confidence[:, natural], well[:, natural]
    present = (well != UNKNOWN) & ~np.isnan(confidence)
    if not present.any():
        return {}
    # By conditions, as they are in memory.
    coverage, risk = risk_coverage(confidence.T[present.T], well.T[present.T])
    steps = np.diff(coverage, prepend=0.0)
    at = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _POINTS)))
    at = at[at < len(coverage)]
    return {
        "model": grid.model,
        "coverage": coverage[at].tolist(),
        "risk": risk[at].tolist(),
        "area": float(risk @ steps),
    }
