"""The accuracy to expect of a model: from confidence, by simulation, and from labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustness.matching.confidence import COLLECTIONS, AccuracyEstimate, bounded
from robustness.matching.image_statistics import Values
from robustness.matching.labelling import combined


@dataclass(frozen=True)
class ExpectedAccuracy:
    """A model's accuracy to expect on the production images, with a 95 % interval.

    It is ``confidence``, the estimate from confidences; with labelled images both combined; else
    ``labels`` alone. ``simulation`` is beside it, under the composition that explains the
    difference. ``reference`` is the accuracy on the reference, None without labels there.
    """

    model: str
    value: float
    low: float
    high: float
    reference: float | None
    confidence: AccuracyEstimate | None = None
    simulation: AccuracyEstimate | None = None
    labels: AccuracyEstimate | None = None
    labelled: int = 0

    @property
    def disagreement(self) -> str:
        """Two estimates that lie outside the interval of each other; "" without any."""
        sources = ("confidence", "simulation", "labels")
        parts = [(name, part) for name in sources if (part := getattr(self, name))]
        for index, (name, part) in enumerate(parts):
            for other_name, other in parts[index + 1 :]:
                if not (
                    part.low <= other.value <= part.high or other.low <= part.value <= other.high
                ):
                    return f"{name} and {other_name}"
        return ""


def headline(accuracy: ExpectedAccuracy) -> ExpectedAccuracy:
    """``accuracy`` with the value and the interval of its best estimate.

    Simulation does not enter: see docs/match.md for how the estimates were chosen.
    """
    confidence, labels = accuracy.confidence, accuracy.labels
    best = confidence or labels or accuracy.simulation
    if confidence and labels:
        best = combined(confidence, labels)
    if best is None:
        return accuracy
    return replace(accuracy, value=best.value, low=best.low, high=best.high)


def with_simulation(
    accuracies: Sequence[ExpectedAccuracy], simulated: Sequence[ExpectedAccuracy]
) -> tuple[ExpectedAccuracy, ...]:
    """``accuracies`` with those by simulation beside them, or alone."""
    estimates = {part.model: part for part in accuracies}
    parts = []
    for part in simulated:
        error = max(part.high - part.low, 1e-3) / (2 * 1.96)
        beside = AccuracyEstimate(part.value, part.low, part.high, error)
        parts.append(headline(replace(estimates.get(part.model, part), simulation=beside)))
    return tuple(parts)


def expect_accuracy(
    name: str,
    original: Values,
    best: Values,
    changes: Values,
    share: float,
    images: int,
    remainder: float = 0.0,
) -> ExpectedAccuracy:
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
    return ExpectedAccuracy(name, value, part.low, part.high, reference)
