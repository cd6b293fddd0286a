"""Does a model's confidence mean what it says? Confidence against the share of right answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.statistics.estimates import each_picture, shares
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
    (answers), ``confidence`` (their mean), and ``accuracy`` with its interval. Empty without
    labels.
    """
    found: list[dict[str, Any]] = []
    for grid in grids(frame):
        for kind in KINDS:
            found += _bins(grid, kind)
    return found


def _bins(grid: Grid, kind: str) -> list[dict[str, Any]]:
    confidence, correct = (
        # What is clean is the same under every condition.
        grid.per_image(column)[:, None] if kind == "clean" else grid.values(column)
        for column in KINDS[kind]
    )
    known = ~np.isnan(correct)
    places = np.where(known, bin_of(np.where(known, confidence, 0.0)), -1)
    entries: list[dict[str, Any]] = []
    for place in np.unique(places[known]).tolist():
        inside = places == place
        right = np.where(inside, correct, 0.0).sum(axis=1, keepdims=True)
        rows = inside.sum(axis=1, keepdims=True)
        entries.append(
            {
                "model": grid.model,
                "kind": kind,
                "low": place / BINS,
                "high": (place + 1) / BINS,
                "n": int(rows.sum()),
                "confidence": float(confidence[inside].mean()),
                **shares(each_picture(right, rows.astype(float))).named("accuracy", 0),
            }
        )
    return entries
