"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.metrics.intervals import difference_bounds
from robustness.statistics.estimates import Estimates, each_picture, shares
from robustness.statistics.grid import Grid, grids, mean_of_rows

Floats = NDArray[np.float64]

BINS = 15
"""Equal-width bins ((m - 1) / 15, m / 15], as Guo, Pleiss, Sun & Weinberger, *On Calibration of
Modern Neural Networks*, ICML 2017."""

KINDS = {"clean": ("clean_probability", "clean_correct"), "perturbed": ("probability", "correct")}
"""The columns of the top-1 probability and of correctness."""


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


def estimated_error(confidence: Floats, correct: Floats, *, together: bool = True) -> Estimates:
    """The expected calibration error over answers (n, k), k to an image, with its interval.

    NaN in ``correct`` where an image has none. Of all answers ``together``, or the mean of the
    errors of the k conditions. Had a bin's gap its sign known, the error would be a mean over
    images of signed gaps, with the interval of such a difference. The signs are those found,
    which can only make the error seem larger: ``_seeming`` estimates by how much, and that is taken
    off the lower bound. docs/intervals.md has how often that holds.
    """
    values, seeming = _signed_gaps(confidence, correct, together=together)
    there = ~np.isnan(seeming)
    if not there.any():
        nothing = np.full(1, np.nan)
        return Estimates(nothing, nothing, nothing)
    low, high = difference_bounds(mean_of_rows(values)[:, None])
    error = np.nanmean(values[:, there], axis=0).mean(keepdims=True)
    return Estimates(error, np.maximum(low - seeming[there].mean(), 0.0), np.maximum(high, error))


def condition_errors(confidence: Floats, correct: Floats) -> Estimates:
    """The expected calibration error under each of k conditions alone, answers (n, k).

    Each as ``estimated_error`` has it; NaN where no image has an answer.
    """
    values, seeming = _signed_gaps(confidence, correct, together=False)
    low, high = difference_bounds(values)
    error = mean_of_rows(values.T)
    return Estimates(error, np.maximum(low - seeming, 0.0), np.maximum(high, error))


def _signed_gaps(confidence: Floats, correct: Floats, *, together: bool) -> tuple[Floats, Floats]:
    """What ``_signed`` finds of all answers (n, k) together, or of each condition: (n, g), (g,).

    NaN where there is no answer.
    """
    k = confidence.shape[1]
    groups = [slice(None)] if together else [slice(at, at + 1) for at in range(k)]
    values, seeming = np.full((len(confidence), len(groups)), np.nan), np.full(len(groups), np.nan)
    for at, group in enumerate(groups):
        if not np.isnan(correct[:, group]).all():
            values[:, at], seeming[at] = _signed(confidence[:, group], correct[:, group])
    return values, seeming


def _signed(confidence: Floats, correct: Floats) -> tuple[Floats, float]:
    """(each image's gaps, signed as those of their bins are, what that alone adds to the error).

    The mean of the first (n,) is the calibration error of the answers (n, k).
    """
    known = ~np.isnan(correct)
    sure, gaps = confidence[known], (correct - confidence)[known]
    places = bin_of(sure)
    sums: Floats = np.zeros((len(known), BINS))
    np.add.at(sums, (np.nonzero(known)[0], places), gaps)
    each = each_picture(sums, known.sum(axis=1, keepdims=True).astype(float))
    gap = np.nanmean(each, axis=0)
    noise = np.nanstd(each, axis=0) / np.sqrt(max(known.any(axis=1).sum() - 1, 1))
    # Few answers may happen to be alike: they vary no less than those of a calibrated model.
    least = np.sqrt(np.bincount(places, sure * (1 - sure), minlength=BINS)) / len(gaps)
    seeming = _seeming(np.abs(gap), np.maximum(noise, least))
    return each @ np.where(gap < 0, -1.0, 1.0), float(seeming.sum())


_FADING = 2.0
"""Standard errors of a gap over which ``_seeming`` fades. Smaller values take less off the error of
a model that is miscalibrated, and more often leave one above 0 to a model that is not; with 2 that
is 2.5 % at most in ``benchmarks.claims``."""


def _seeming(gap: Floats, noise: Floats) -> Floats:
    """By how much the size of a normal number exceeds, on average, the size of its mean.

    ``gap`` is the size found, ``noise`` the standard deviation. The excess is largest at a mean of
    0, sqrt(2 / pi) noise. With a mean of m noises this has the mean sqrt(2 / pi) noise
    exp(-m^2 / (2 + 2 fading^2)), which is no less than the excess, whatever m.
    """
    ratio = np.divide(gap, noise, out=np.zeros_like(gap), where=noise > 0)
    most = np.sqrt(2 / np.pi * (1 + _FADING**-2)) * noise
    found: Floats = most * np.exp(-((ratio / _FADING) ** 2) / 2)
    return found


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
