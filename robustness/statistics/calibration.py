"""Does a model's confidence mean what it says? Confidence against the share of right answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.metrics import wilson
from robustness.statistics.grid import Grid, grids

Floats = NDArray[np.float64]

BINS = 15
"""Equal-width bins ((m - 1) / 15, m / 15], as Guo, Pleiss, Sun & Weinberger, *On Calibration of
Modern Neural Networks*, ICML 2017."""

KINDS = {"clean": ("clean_probability", "clean_correct"), "perturbed": ("probability", "correct")}
"""The columns of the top-1 probability and of whether the answer was right."""


def calibration_error(confidence: Floats, correct: Floats) -> tuple[float, float]:
    """(expected calibration error, what chance alone would give), both in [0, 1]; (N,) each.

    The error is the mean over the answers of |accuracy - mean confidence| of their bin. With few
    images it is above 0 even for a perfectly calibrated model: the second figure is how much, the
    normal approximation sum over bins of sqrt(2 / pi * sum p (1 - p)) / N. NaN without answers.
    """
    known = ~np.isnan(correct)
    confidence, correct = confidence[known], correct[known]
    if not len(correct):
        return np.nan, np.nan
    places = bin_of(confidence)
    gaps = np.bincount(places, correct - confidence, minlength=BINS)
    variances = np.bincount(places, confidence * (1 - confidence), minlength=BINS)
    by_chance = np.sqrt(2 / np.pi * variances).sum() / len(correct)
    return float(np.abs(gaps).sum() / len(correct)), float(by_chance)


def bin_of(confidence: Floats) -> NDArray[np.intp]:
    """The bin, 0 to 14, of each probability."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def reliability(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The bins of a reliability diagram: per model, clean and perturbed, those with answers.

    Keys: ``model``, ``kind`` (a key of ``KINDS``), ``low`` and ``high`` (the bin), ``n``
    (answers), ``confidence`` (their mean), ``accuracy``, and for the clean pictures its Wilson
    interval ``accuracy_low``, ``accuracy_high``; perturbed rows of one image are not
    independent, so there it is None. Empty without labels.
    """
    found: list[dict[str, Any]] = []
    for grid in grids(frame):
        for kind in KINDS:
            found += _bins(grid, kind)
    return found


def _bins(grid: Grid, kind: str) -> list[dict[str, Any]]:
    once = kind == "clean"  # the same under every condition
    read = grid.per_image if once else grid.values
    confidence, correct = (read(column) for column in KINDS[kind])
    known = ~np.isnan(correct)
    confidence, correct = confidence[known], correct[known]
    places = bin_of(confidence)
    entries: list[dict[str, Any]] = []
    for place in np.unique(places).tolist():
        inside = places == place
        n, right = int(inside.sum()), int(correct[inside].sum())
        interval = wilson(right, n) if once else None
        entries.append(
            {
                "model": grid.model,
                "kind": kind,
                "low": place / BINS,
                "high": (place + 1) / BINS,
                "n": n,
                "confidence": float(confidence[inside].mean()),
                "accuracy": right / n,
                "accuracy_low": interval.low if interval else None,
                "accuracy_high": interval.high if interval else None,
            }
        )
    return entries
