"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.metrics.intervals import difference_bounds
from robustness.remedies import REGISTRY
from robustness.statistics.grid import Columns, mean_of_rows
from robustness.statistics.means import Estimates, image_values, shares, side_by_side

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 15
"""Equal-width bins ((m - 1) / 15, m / 15], as Guo, Pleiss, Sun & Weinberger, *On Calibration of
Modern Neural Networks*, ICML 2017."""

_CELLS = 250_000  # predictions computed at once

KINDS = {"clean": ("clean_probability", "clean_correct"), "perturbed": ("probability", "correct")}
"""The columns of the top-1 probability and of correctness."""


def calibration_error(confidence: Floats, correct: Floats) -> tuple[float, float]:
    """(expected calibration error, its value by chance alone), both in [0, 1]; inputs are (N,).

    The error is the mean over predictions of |accuracy - mean confidence| of their bin. With few
    images it is above 0 even for a calibrated model; the second figure approximates by how much:
    the sum over bins of sqrt(2 / pi * sum p (1 - p)) / N. NaN without predictions.
    """
    present = _present(confidence, correct)
    confidence = confidence[present]
    correct = correct[present]
    if not len(correct):
        return np.nan, np.nan
    places = _bins_of(confidence)
    gaps = np.bincount(places, correct - confidence, minlength=BINS)
    variances = np.bincount(places, confidence * (1 - confidence), minlength=BINS)
    by_chance = np.sqrt(2 / np.pi * variances).sum() / len(correct)
    return float(np.abs(gaps).sum() / len(correct)), float(by_chance)


@dataclass(frozen=True)
class ConditionErrors:
    """The expected calibration error of each of k conditions, and their ``mean`` (1,).

    ``by_chance`` (k,) is that of ``calibration_error``. NaN without predictions.
    """

    by_condition: Estimates
    mean: Estimates
    by_chance: Floats


def condition_errors(
    confidence: Floats, correct: Floats, groups: Sequence[Columns] | None = None
) -> ConditionErrors:
    """The errors of each of k conditions over predictions (n, k), with intervals.

    With ``groups`` of columns, those of each group together, as ``group_errors`` has them.
    """
    groups = [slice(at, at + 1) for at in range(confidence.shape[1])] if groups is None else groups
    if confidence.shape[1] == 1 or not (_same(confidence) and _same(correct)):
        return group_errors(confidence, correct, groups)
    once = group_errors(confidence[:, :1], correct[:, :1], [slice(1)])
    k = len(groups)
    by_condition = side_by_side(*[once.by_condition] * k)  # such as of the originals
    return ConditionErrors(by_condition, once.mean, np.repeat(once.by_chance, k))


def _same(values: Floats) -> bool:
    return np.array_equal(values, np.broadcast_to(values[:, :1], values.shape), equal_nan=True)


def group_errors(confidence: Floats, correct: Floats, groups: Sequence[Columns]) -> ConditionErrors:
    """The error over the predictions of each group of columns of (n, k), with its interval.

    ``correct`` is NaN where a prediction is missing. Given the sign of each bin's gap, the error is
    a mean over images of signed gaps, which has the interval of a difference. The signs are
    estimated, which can only enlarge the error: ``_seeming`` estimates by how much, and the lower
    bound is reduced by that. docs/intervals.md shows how often the interval holds. What chance
    gives over several columns is not known.
    """
    values = np.full((len(confidence), len(groups)), np.nan, order="F")  # filled by columns
    seeming, by_chance = np.full((2, len(groups)), np.nan)
    for at, group in enumerate(groups):
        sure = confidence[:, group]
        right = correct[:, group]
        if _present(sure, right).any():
            values[:, at], seeming[at] = _signed(sure, right)
            if sure.shape[1] == 1:
                by_chance[at] = calibration_error(sure[:, 0], right[:, 0])[1]
    error = mean_of_rows(values.T)
    there = ~np.isnan(seeming)
    low, high = difference_bounds(values)
    each = Estimates(error, np.maximum(low - seeming, 0.0), np.maximum(high, error))
    if not there.any():
        return ConditionErrors(each, Estimates(*np.full((3, 1), np.nan)), by_chance)
    mean = error[there].mean(keepdims=True)
    low, high = difference_bounds(mean_of_rows(values)[:, None])
    low = np.maximum(low - seeming[there].mean(), 0.0)
    return ConditionErrors(each, Estimates(mean, low, np.maximum(high, mean)), by_chance)


def _signed(confidence: Floats, correct: Floats) -> tuple[Floats, float]:
    """(each image's gaps with the signs of their bins, the part of the error due to estimated
    signs).

    The mean of the first (n,) is the calibration error of the predictions (n, k).
    """
    present = _present(confidence, correct)
    if present.shape[1] == 1:
        return _signed_once(confidence[present], correct[present], present[:, 0])
    sums: Floats = np.zeros((len(present), BINS))
    variances = np.zeros(BINS)
    for images, cells, places, sure, right in _in_blocks(present, confidence, correct):
        sums[images] = np.bincount(cells, right - sure, sums[images].size).reshape(-1, BINS)
        variances += np.bincount(places, sure * (1 - sure), BINS)
    by_image = image_values(sums, present.sum(axis=1, keepdims=True).astype(float))
    gap = np.nanmean(by_image, axis=0)
    noise = np.nanstd(by_image, axis=0) / np.sqrt(max(present.any(axis=1).sum() - 1, 1))
    return by_image @ _signs(gap), _seeming(gap, noise, variances, int(present.sum()))


def _signed_once(sure: Floats, right: Floats, present: Flags) -> tuple[Floats, float]:
    """``_signed`` of one prediction an image at most, which is in one bin alone."""
    places = _bins_of(sure)
    n = len(sure)
    gaps = right - sure
    gap: Floats = np.bincount(places, gaps, BINS) / n
    others = n - np.bincount(places, minlength=BINS)
    spread = np.bincount(places, (gaps - gap[places]) ** 2, BINS) + others * gap**2
    noise = np.sqrt(spread / n) / np.sqrt(max(n - 1, 1))
    variances: Floats = np.bincount(places, sure * (1 - sure), BINS).astype(np.float64)
    values = np.full(len(present), np.nan)
    values[present] = gaps * _signs(gap)[places]
    return values, _seeming(gap, noise, variances, n)


def _signs(gap: Floats) -> Floats:
    return np.where(gap < 0, -1.0, 1.0)


_FADING = 2.0
"""Standard errors of a gap over which ``_seeming`` fades. Smaller values reduce the error of a
miscalibrated model less, but leave more calibrated models above 0; with 2 these are at most 2.5%
in ``benchmarks.claims``."""


def _seeming(gap: Floats, noise: Floats, variances: Floats, predictions: int) -> float:
    """The sum of the mean excesses of normal numbers' absolute values over those of their means.

    ``gap`` are the values, ``noise`` their standard deviations. An excess is largest at a mean of
    0: sqrt(2 / pi) noise. For a mean of m noises the result averages sqrt(2 / pi) noise
    exp(-m^2 / (2 + 2 fading^2)), which is never below the excess.
    """
    # Few predictions may happen to agree: assume at least the spread of a calibrated model.
    noise = np.maximum(noise, np.sqrt(variances) / predictions)
    ratio = np.divide(np.abs(gap), noise, out=np.zeros_like(gap), where=noise > 0)
    most = np.sqrt(2 / np.pi * (1 + _FADING**-2)) * noise
    return float((most * np.exp(-((ratio / _FADING) ** 2) / 2)).sum())


def _present(confidence: Floats, correct: Floats) -> Flags:
    """The cells with a label and a confidence, which tables may leave out."""
    return ~(np.isnan(correct) | np.isnan(confidence))


def _in_blocks(
    present: Flags, confidence: Floats, correct: Floats
) -> Iterator[tuple[slice, NDArray[np.intp], NDArray[np.intp], Floats, Floats]]:
    """Some images at a time: their predictions' cells, bins, confidences and truth values.

    A cell counts ``BINS`` for each of these images before, and the bin.
    """
    step = max(1, _CELLS // max(1, present.shape[1]))
    for start in range(0, len(present), step):
        images = slice(start, start + step)
        here = present[images]
        sure = confidence[images][here]
        places = _bins_of(sure)
        yield images, np.nonzero(here)[0] * BINS + places, places, sure, correct[images][here]


def _bins_of(confidence: Floats) -> NDArray[np.intp]:
    """The bin, 0 to 14, of each probability."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def bins(model: str, kind: str, confidence: Floats, correct: Floats) -> list[dict[str, Any]]:
    """The bins of a reliability diagram with predictions, from those (n, k) of ``model``.

    Keys: ``model``, ``kind`` (a key of ``KINDS``), ``low`` and ``high`` (the bin), ``n``
    (predictions), ``confidence`` (their mean), and ``accuracy`` with its interval. Empty without
    labels.
    """
    present = _present(confidence, correct)
    right, rows = np.zeros((2, len(present), BINS))
    sums = np.zeros(BINS)
    for images, cells, places, sure, well in _in_blocks(present, confidence, correct):
        size = rows[images].size
        right[images] = np.bincount(cells, well, size).reshape(-1, BINS)
        rows[images] = np.bincount(cells, minlength=size).reshape(-1, BINS)
        sums += np.bincount(places, sure, BINS)
    counts = rows.sum(axis=0)
    accuracy = shares(image_values(right, rows))
    return [
        {
            "model": model,
            "kind": kind,
            "low": place / BINS,
            "high": (place + 1) / BINS,
            "n": int(counts[place]),
            "confidence": float(sums[place] / counts[place]),
            **accuracy.named("accuracy", place),
        }
        for place in np.flatnonzero(counts).tolist()
    ]


# --- temperature scaling --------------------------------------------------------------------------


def fit_temperature(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.intp]) -> float:
    """The temperature with the least negative log-likelihood of the classes ``truth`` (N,).

    ``probabilities`` are (N, classes). Within the range of the remedy, to three digits. The
    log-likelihood is concave in the inverse temperature, so there is one.
    """
    from scipy.optimize import minimize_scalar  # slow to import
    from scipy.special import logsumexp

    with np.errstate(divide="ignore"):
        logits = np.log(probabilities.astype(np.float64))
    own = -true_class_losses(probabilities, truth)

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(inverse * logits, axis=1) - inverse * own).mean())

    low, high = REGISTRY["temperature"].range or (1.0, 1.0)
    minimum = minimize_scalar(loss, bounds=(np.log(low), np.log(high)), method="bounded")
    return float(f"{np.clip(np.exp(minimum.x), low, high):.3g}")


def true_class_losses(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.intp]) -> Floats:
    """The negative log-likelihood (N,) of the classes ``truth``, in nats.

    A probability of 0 counts as the smallest of ``probabilities`` that is not 0.
    """
    own = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, probabilities[probabilities > 0].min())))


def fits_temperature(digest: str) -> bool:
    """Whether the image of this ``digest`` is in the half that fits temperatures.

    The digest alone decides, so that each run knows which images may certify a threshold.
    """
    return hashlib.sha256(f"temperature {digest}".encode()).digest()[0] % 2 == 0
