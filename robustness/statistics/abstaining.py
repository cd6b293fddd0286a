"""What a model gains if it abstains where its confidence is low.

Coverage is the share of images that are answered, risk the share of errors among them (El-Yaniv &
Wiener 2010). Without labels a changed prediction stands in for an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.estimates import number, shares
from robustness.statistics.grid import Grid, mean_of_rows

Floats = NDArray[np.float64]

THRESHOLDS = (0.5, 0.7, 0.9)
_POINTS = 40

ABSTAINING_RULE = (
    "Coverage: share of images with a confidence of at least the threshold. Risk: share of errors "
    "among them. Avoided: share of all errors that are withheld. Withheld: share of all correct "
    "predictions below the threshold. Without labels a changed prediction counts as an error."
)


def risk_coverage(confidence: Floats, well: Floats) -> tuple[Floats, Floats]:
    """(coverage, risk) at each different confidence (n,), from the highest; ``well`` is 0 or 1."""
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(1 - well[order])
    answered = np.arange(1, len(order) + 1)
    ends = np.append(np.diff(confidence[order]) != 0, True)
    return (answered / len(order))[ends], (errors / answered)[ends]


def by_threshold(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """What each of ``THRESHOLDS`` does for each model under each perturbation; "" is all.

    Keys: ``model``, ``perturbation``, ``threshold``, ``coverage`` with its interval, ``risk_all``
    (without a threshold), ``risk``, ``avoided`` and ``lost``. Unknown figures are None; predictions
    without a confidence do not count.
    """
    found = []
    for grid in some:
        confidence, well = grid.values("probability"), grid.values(column)
        names = [key.perturbation for key in grid.conditions]
        for name in ["", *dict.fromkeys(names)]:
            chosen = [at for at, each in enumerate(names) if name in ("", each)]
            sure, right = confidence[:, chosen], well[:, chosen]
            known = ~np.isnan(right) & ~np.isnan(sure)
            if not known.any():
                continue
            for threshold in THRESHOLDS:
                answered = np.where(known, sure >= threshold, np.nan)
                kept = known & (sure >= threshold)
                wrong = known & (right == 0)
                found.append(
                    {
                        "model": grid.model,
                        "perturbation": name,
                        "threshold": threshold,
                        **shares(mean_of_rows(answered)[:, None]).named("coverage", 0),
                        "risk_all": _share(wrong, known),
                        "risk": _share(wrong & kept, kept),
                        "avoided": _share(wrong & ~kept, wrong),
                        "lost": _share(known & ~wrong & ~kept, known & ~wrong),
                    }
                )
    return found


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float | None:
    count = int(whole.sum())
    return number(float(part.sum() / count)) if count else None


def curves(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Risk over coverage of all perturbed images of each model, at 40 coverages at most.

    Keys: ``model``, ``coverage``, ``risk`` (lists) and ``area`` under the curve, lower is better.
    """
    found = []
    for grid in some:
        confidence, well = grid.values("probability"), grid.values(column)
        known = ~np.isnan(well) & ~np.isnan(confidence)
        if not known.any():
            continue
        coverage, risk = risk_coverage(confidence[known], well[known])
        steps = np.diff(coverage, prepend=0.0)
        at = np.unique(np.searchsorted(coverage, np.linspace(coverage[0], 1, _POINTS)))
        at = at[at < len(coverage)]
        found.append(
            {
                "model": grid.model,
                "coverage": coverage[at].tolist(),
                "risk": risk[at].tolist(),
                "area": float(risk @ steps),
            }
        )
    return found
