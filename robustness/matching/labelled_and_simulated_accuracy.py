"""The accuracy to expect of a model, from confidence and from labels.

The accuracy under simulated perturbations is not among them: it tests a cause. Labels correct the
mean confidence of all images (prediction-powered inference with tuning, Angelopoulos et al.,
"PPI++", 2023). Both estimates are combined by their precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from robustness.base.pydantic_validation import CONFIG
from robustness.matching.image_statistics import Values
from robustness.metrics.proportion_and_difference_intervals import rate_interval

COLLECTIONS = 0.05
"""Standard deviation of accuracy between collections of images of the same kind."""
STEPS = (20, 50, 100)
"""Numbers of labels for which the width of the interval is forecast."""
_PSEUDO = 4.0
"""Pseudo-images, half of them correct, in the variance of few labels (Agresti & Coull 1998)."""
_UNSURE = 6.0
"""Over the number of labels: by how much their variance, which few labels tell badly, is larger.
Chosen on practice cameras, so that intervals from 20 labels hold."""
_EXPLAINED = 0.15
"""Share of the variance of correctness that confidence explains, for forecasts."""


@dataclass(frozen=True)
class AccuracyEstimate:
    """An accuracy with its 95 % interval; ``error`` is the standard error.

    ``parts`` are the accuracies of which it is the mean, or others beside it, by method.
    """

    __pydantic_config__ = CONFIG

    value: float
    low: float
    high: float
    error: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A model's accuracy to expect on the production images, with a 95 % interval.

    It is ``confidence``, the estimate from confidences; with ``labelled`` images both combined;
    else ``labels`` alone. ``reference`` is the accuracy on the reference, None without labels
    there.
    """

    model: str
    reference: float | None = None
    confidence: AccuracyEstimate | None = None
    labels: AccuracyEstimate | None = None
    labelled: int = 0

    @cached_property
    def best(self) -> AccuracyEstimate:
        """The estimate that has the value and the interval; there is at least one."""
        if self.confidence and self.labels:
            return combined(self.confidence, self.labels)
        estimate = self.confidence or self.labels
        if estimate is None:
            raise ValueError(f"{self.model} has neither an estimate from confidence nor labels")
        return estimate

    @property
    def value(self) -> float:
        return self.best.value

    @property
    def low(self) -> float:
        return self.best.low

    @property
    def high(self) -> float:
        return self.best.high

    @property
    def disagreement(self) -> str:
        """Two estimates that lie outside the interval of each other; "" without any."""
        part, other = self.confidence, self.labels
        if part is None or other is None:
            return ""
        if part.low <= other.value <= part.high or other.low <= part.value <= other.high:
            return ""
        return "confidence and labels"


def simulated_estimate(
    original: Values,
    best: Values,
    changes: Values,
    share: float,
    images: int,
    remainder: float = 0.0,
) -> AccuracyEstimate:
    """The accuracy where ``share`` of the images are affected, from correct predictions (images,).

    ``changes`` (compositions, images) are those of the profile minus the best composition. A
    ``remainder`` of the squared difference in statistics may be that share of the squared drop.
    The bounds are shares that so many images can have.
    """
    shifts = np.nanmean(changes, 1)
    noise = np.nanvar(changes, 1) / changes.shape[1]
    reference = float(np.nanmean(original))
    affected = float(np.clip(np.nanmean(best) + shifts.mean(), 0, 1))
    value = share * affected + (1 - share) * reference
    between = share**2 * max(float(shifts.var() - noise.mean()), 0.0)
    between += (reference - affected) ** 2 * (share * (1 - share) / images + share * remainder)
    binomial = max(value * (1 - value), 0.01)
    sampling = binomial * (1 / images + 1 / np.isfinite(best).sum())
    part = bounded(value, between + sampling + COLLECTIONS**2, images)
    return replace(part, error=max(part.high - part.low, 1e-3) / (2 * 1.96))


def labelled_estimate(
    correct: Values, confidences: Values, mean_confidence: float, images: int
) -> AccuracyEstimate:
    """The accuracy from ``correct`` (n,) and ``confidences`` (n,) of a random part of ``images``.

    ``mean_confidence`` is that of all images. ``parts`` has the accuracy by labels alone. Where all
    or none are correct, the interval holds the exact one.
    """
    count = len(correct)
    share = count / (count + _PSEUDO)
    rate = share * correct.mean() + (1 - share) / 2
    spread = float(confidences.var())
    weight = 0.0
    if count > 2 and spread > 1e-9:
        covariance = float(np.cov(correct, confidences)[0, 1])
        weight = float(np.clip(covariance / spread / (1 + count / images), 0, 1.5)) * share
    value = rate + weight * (mean_confidence - confidences.mean())
    residual = correct - weight * confidences
    variance = count * residual.var() + _PSEUDO / 4
    variance = variance / (count + _PSEUDO) / max(count - 1, 1) * (1 + _UNSURE / count)
    variance += weight**2 * spread / images
    value = float(np.clip(value, 0, 1))
    part = bounded(value, float(variance), None, {"labels": float(correct.mean())})
    if correct.min() < correct.max():
        return part
    exact = exact_estimate(correct)
    return replace(part, low=min(part.low, exact.low), high=max(part.high, exact.high))


def exact_estimate(correct: Values) -> AccuracyEstimate:
    """The accuracy from ``correct`` (n,) with the exact interval of Clopper and Pearson (1934)."""
    value, low, high = rate_interval(int(correct.sum()), len(correct))
    return AccuracyEstimate(value, low, high, (high - low) / (2 * 1.96))


def combined(confidence: AccuracyEstimate, labels: AccuracyEstimate) -> AccuracyEstimate:
    """Both estimates, weighted by their precision.

    Where labels are the more precise, 0 and 1 stay possible as they are by labels.
    """
    weights = np.array([confidence.error, labels.error]) ** -2.0
    value = float(weights @ [confidence.value, labels.value] / weights.sum())
    both = bounded(value, float(1 / weights.sum()))
    if labels.error > confidence.error:
        return both
    low, high = 0.0 if labels.low == 0 else both.low, 1.0 if labels.high == 1 else both.high
    return replace(both, low=low, high=high)


def forecast(estimate: AccuracyEstimate | None, images: int) -> dict[int, float]:
    """Half the width of the interval to expect after labelling some of ``images``."""
    result = {}
    for count in sorted({min(step, images) for step in STEPS}):
        value = estimate.value if estimate else 0.5
        variance = max(value * (1 - value), 0.01) / count
        if estimate:
            variance = 1 / (estimate.error**-2 + 1 / (variance * (1 - _EXPLAINED)))
        bounds = bounded(value, variance)
        result[count] = (bounds.high - bounds.low) / 2
    return result


def bounded(
    value: float,
    variance: float,
    images: int | None = None,
    parts: Mapping[str, float] | None = None,
) -> AccuracyEstimate:
    """``value`` with its 95 % interval, those of a beta distribution of that ``variance``.

    The bounds are shares that so many ``images`` can have, unless there are any number.
    """
    from scipy import stats  # slow to import

    count = max(max(value * (1 - value), 0.01) / variance, 1.0)
    low, high = stats.beta.ppf((0.025, 0.975), value * count + 0.5, (1 - value) * count + 0.5)
    if images is not None:
        low, high = np.floor(low * images) / images, np.ceil(high * images) / images
    return AccuracyEstimate(
        value,
        float(min(low, value)),
        float(max(high, value)),
        float(np.sqrt(variance)),
        dict(parts or {}),
    )
