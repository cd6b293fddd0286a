"""Calibration: confidence compared with accuracy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

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
    is_known = _is_known(confidence, correct)
    confidence = confidence[is_known]
    correct = correct[is_known]
    n = len(correct)
    if not n:
        return np.nan, np.nan
    bin_of = _bins_of(confidence)
    gaps = np.bincount(bin_of, correct - confidence, minlength=BINS)
    variances = np.bincount(bin_of, confidence * (1 - confidence), minlength=BINS)
    by_chance = np.sqrt(2 / np.pi * variances).sum() / n
    return float(np.abs(gaps).sum() / n), float(by_chance)


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
    if groups is None:
        groups = [slice(column, column + 1) for column in range(confidence.shape[1])]
    is_one_column = confidence.shape[1] == 1
    if is_one_column or not (_columns_are_equal(confidence) and _columns_are_equal(correct)):
        return group_errors(confidence, correct, groups)
    # Originals are the same under every condition: one estimate is that of all.
    once = group_errors(confidence[:, :1], correct[:, :1], [slice(1)])
    k = len(groups)
    by_condition = side_by_side(*[once.by_condition] * k)
    return ConditionErrors(by_condition, once.mean, np.repeat(once.by_chance, k))


def _columns_are_equal(values: Floats) -> bool:
    return np.array_equal(values, np.broadcast_to(values[:, :1], values.shape), equal_nan=True)


def group_errors(confidence: Floats, correct: Floats, groups: Sequence[Columns]) -> ConditionErrors:
    """The error over the predictions of each group of columns of (n, k), with its interval.

    ``correct`` is NaN where a prediction is missing. Given the sign of each bin's gap, the error is
    a mean over images of signed gaps, which has the interval of a difference. The signs are
    estimated, which can only enlarge the error: ``_excess`` estimates by how much, and the lower
    bound is reduced by that. docs/intervals.md shows how often the interval holds. What chance
    gives over several columns is not known.
    """
    values = np.full((len(confidence), len(groups)), np.nan, order="F")  # filled by columns
    excess = np.full(len(groups), np.nan)
    by_chance = np.full(len(groups), np.nan)
    for index, columns in enumerate(groups):
        group_confidence = confidence[:, columns]
        group_correct = correct[:, columns]
        if not _is_known(group_confidence, group_correct).any():
            continue
        signed = _signed(group_confidence, group_correct)
        values[:, index] = signed.gaps
        excess[index] = signed.excess
        if group_confidence.shape[1] == 1:
            _, by_chance[index] = calibration_error(group_confidence[:, 0], group_correct[:, 0])
    error = mean_of_rows(values.T)
    low, high = difference_bounds(values)
    by_condition = Estimates(error, np.maximum(low - excess, 0.0), np.maximum(high, error))

    is_known = ~np.isnan(excess)
    if not is_known.any():
        unknown = np.full(1, np.nan)
        return ConditionErrors(by_condition, Estimates(unknown, unknown, unknown), by_chance)
    mean = error[is_known].mean(keepdims=True)
    low, high = difference_bounds(mean_of_rows(values)[:, None])
    low = np.maximum(low - excess[is_known].mean(), 0.0)
    return ConditionErrors(by_condition, Estimates(mean, low, np.maximum(high, mean)), by_chance)


class _Signed(NamedTuple):
    """The ``gaps`` (n,) of images with the signs of their bins, of which the error is the mean.

    ``excess`` is the part of the error that is due to estimated signs.
    """

    gaps: Floats
    excess: float


def _signed(confidence: Floats, correct: Floats) -> _Signed:
    """The signed gaps of predictions (n, k)."""
    is_known = _is_known(confidence, correct)
    if is_known.shape[1] == 1:
        return _signed_once(confidence[is_known], correct[is_known], is_known[:, 0])
    sums: Floats = np.zeros((len(is_known), BINS))
    variances = np.zeros(BINS)
    for block in _in_blocks(is_known, confidence, correct):
        sums[block.images] = block.sums_by_image(block.correct - block.confidence)
        variances += np.bincount(
            block.bins, block.confidence * (1 - block.confidence), minlength=BINS
        )
    by_image = image_values(sums, is_known.sum(axis=1, keepdims=True).astype(float))
    gap = np.nanmean(by_image, axis=0)
    image_count = is_known.any(axis=1).sum()
    standard_error = np.nanstd(by_image, axis=0) / np.sqrt(max(image_count - 1, 1))
    excess = _excess(gap, standard_error, variances, int(is_known.sum()))
    return _Signed(by_image @ _signs(gap), excess)


def _signed_once(confidence: Floats, correct: Floats, is_known: Flags) -> _Signed:
    """``_signed`` of one prediction an image at most, which is in one bin alone.

    ``confidence`` and ``correct`` are those of the images that ``is_known`` (n,).
    """
    bin_of = _bins_of(confidence)
    n = len(confidence)
    gaps = correct - confidence
    gap: Floats = np.bincount(bin_of, gaps, minlength=BINS) / n
    # An image outside a bin has a gap of 0 there.
    images_outside = n - np.bincount(bin_of, minlength=BINS)
    squares_inside = np.bincount(bin_of, (gaps - gap[bin_of]) ** 2, minlength=BINS)
    squares = squares_inside + images_outside * gap**2
    standard_error = np.sqrt(squares / n) / np.sqrt(max(n - 1, 1))
    variances = np.bincount(bin_of, confidence * (1 - confidence), minlength=BINS)
    values = np.full(len(is_known), np.nan)
    values[is_known] = gaps * _signs(gap)[bin_of]
    return _Signed(values, _excess(gap, standard_error, variances.astype(np.float64), n))


def _signs(gap: Floats) -> Floats:
    return np.where(gap < 0, -1.0, 1.0)


_FADING = 2.0
"""Standard errors of a gap over which ``_excess`` fades. Smaller values reduce the error of a
miscalibrated model less, but leave more calibrated models above 0; with 2 these are at most 2.5%
in ``benchmarks.claims``."""


def _excess(gap: Floats, noise: Floats, variances: Floats, predictions: int) -> float:
    """The sum of the mean excesses of normal numbers' absolute values over those of their means.

    ``gap`` are the values, ``noise`` their standard deviations. An excess is largest at a mean of
    0: sqrt(2 / pi) noise. For a mean of m noises the result averages sqrt(2 / pi) noise
    exp(-m^2 / (2 + 2 fading^2)), which is never below the excess.
    """
    # Few predictions may happen to agree: assume at least the spread of a calibrated model.
    noise = np.maximum(noise, np.sqrt(variances) / predictions)
    ratio = np.divide(np.abs(gap), noise, out=np.zeros_like(gap), where=noise > 0)
    largest = np.sqrt(2 / np.pi * (1 + _FADING**-2)) * noise
    return float((largest * np.exp(-((ratio / _FADING) ** 2) / 2)).sum())


def _is_known(confidence: Floats, correct: Floats) -> Flags:
    """The cells with a label and a confidence, which tables may leave out."""
    return ~(np.isnan(correct) | np.isnan(confidence))


class _Block(NamedTuple):
    """The known predictions (p,) of some ``images``, in one array each.

    ``rows`` (p,) are their images, counted from the first of the block, ``bins`` (p,) their bins.
    """

    images: slice
    image_count: int
    rows: NDArray[np.intp]
    bins: NDArray[np.intp]
    confidence: Floats
    correct: Floats

    def sums_by_image(self, values: Floats | None = None) -> Floats:
        """(images, ``BINS``): the sum of ``values`` (p,), by default the number of predictions."""
        cells = self.rows * BINS + self.bins
        sums = np.bincount(cells, values, minlength=self.image_count * BINS)
        return sums.reshape(-1, BINS).astype(np.float64, copy=False)


def _in_blocks(is_known: Flags, confidence: Floats, correct: Floats) -> Iterator[_Block]:
    """The predictions (n, k) of some images at a time, as arrays of all are large."""
    step = max(1, _CELLS // max(1, is_known.shape[1]))
    for start in range(0, len(is_known), step):
        images = slice(start, start + step)
        known = is_known[images]
        known_confidence = confidence[images][known]
        rows, _ = np.nonzero(known)
        yield _Block(
            images=images,
            image_count=len(known),
            rows=rows,
            bins=_bins_of(known_confidence),
            confidence=known_confidence,
            correct=correct[images][known],
        )


def _bins_of(confidence: Floats) -> NDArray[np.intp]:
    """The bin, 0 to 14, of each probability."""
    return np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)


def bins(model: str, kind: str, confidence: Floats, correct: Floats) -> list[dict[str, Any]]:
    """The bins of a reliability diagram with predictions, from those (n, k) of ``model``.

    Keys: ``model``, ``kind`` (a key of ``KINDS``), ``low`` and ``high`` (the bin), ``n``
    (predictions), ``confidence`` (their mean), and ``accuracy`` with its interval. Empty without
    labels.
    """
    is_known = _is_known(confidence, correct)
    correct_by_image = np.zeros((len(is_known), BINS))
    count_by_image = np.zeros((len(is_known), BINS))
    confidence_sums = np.zeros(BINS)
    for block in _in_blocks(is_known, confidence, correct):
        correct_by_image[block.images] = block.sums_by_image(block.correct)
        count_by_image[block.images] = block.sums_by_image()
        confidence_sums += np.bincount(block.bins, block.confidence, minlength=BINS)
    counts = count_by_image.sum(axis=0)
    accuracy = shares(image_values(correct_by_image, count_by_image))
    entries = []
    for index in np.flatnonzero(counts).tolist():
        entries.append(
            {
                "model": model,
                "kind": kind,
                "low": index / BINS,
                "high": (index + 1) / BINS,
                "n": int(counts[index]),
                "confidence": float(confidence_sums[index] / counts[index]),
                **accuracy.named("accuracy", index),
            }
        )
    return entries


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
    true_class_logits = -true_class_losses(probabilities, truth)

    def loss(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((logsumexp(inverse * logits, axis=1) - inverse * true_class_logits).mean())

    low, high = REGISTRY["temperature"].range or (1.0, 1.0)
    minimum = minimize_scalar(loss, bounds=(np.log(low), np.log(high)), method="bounded")
    return float(f"{np.clip(np.exp(minimum.x), low, high):.3g}")


def true_class_losses(probabilities: NDArray[np.floating[Any]], truth: NDArray[np.intp]) -> Floats:
    """The negative log-likelihood (N,) of the classes ``truth``, in nats.

    A probability of 0 counts as the smallest of ``probabilities`` that is not 0.
    """
    likelihood = probabilities[np.arange(len(truth)), truth].astype(np.float64)
    smallest = probabilities[probabilities > 0].min()
    return np.asarray(-np.log(np.maximum(likelihood, smallest)))


def fits_temperature(digest: str) -> bool:
    """Whether the image of this ``digest`` is in the half that fits temperatures.

    The digest alone decides, so that each run knows which images may certify a threshold.
    """
    return hashlib.sha256(f"temperature {digest}".encode()).digest()[0] % 2 == 0
