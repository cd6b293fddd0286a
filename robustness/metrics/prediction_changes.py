"""Metrics of changed predictions over class probabilities, rows (N, C).

They sum to 1, except for quantised models, whose probabilities are rounded.
"""

from __future__ import annotations

import math

import numpy as np

from robustness.metrics.metric import PREDICTION, RUN, Floats, Scores, metric

_TINY = 1e-12


@metric(
    label="Prediction consistency",
    subject=PREDICTION,
    higher_is_better=True,
    formula="share of perturbed images with the original's top-1 class",
    meaning="The share of perturbed images with an unchanged prediction. It is not accuracy: a "
    "model that stays incorrect is consistent.",
    views=(),
)
def consistent(clean: Floats, perturbed: Floats) -> Scores:
    """1.0 if the most probable class is the same, else 0.0."""
    return (clean.argmax(1) == perturbed.argmax(1)).astype(np.float64)


def top_k(probabilities: Floats, k: int = 5) -> np.ndarray:
    """Indices (N, k) of the ``k`` most probable classes, most probable first; ties by index."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, :k]


@metric(
    label="Top-5 overlap",
    subject=PREDICTION,
    higher_is_better=True,
    formula="|top5(original) ∩ top5(perturbed)| / 5",
    meaning="The share of the original top-5 classes that are still in the top-5, in any order.",
    form=".1%",
    views=(RUN,),
    tolerance=math.inf,  # classes of nearly equal probability trade places
)
def top5_overlap(clean: Floats, perturbed: Floats) -> Scores:
    """Share of the original top-5 classes that stay in the top-5, in any order."""
    before, after = top_k(clean), top_k(perturbed)
    return (before[:, :, None] == after[:, None, :]).any(2).mean(1)


@metric(
    label="Confidence change",
    subject=PREDICTION,
    higher_is_better=True,
    low=-1.0,
    formula="p(c, perturbed) - p(c, original), c the original top-1 class",
    meaning="The change in the probability of the original top-1 class; negative is a loss.",
    views=(),
)
def confidence_change(clean: Floats, perturbed: Floats) -> Scores:
    """Change in the probability of the original top-1 class, in [-1, 1]; negative is a loss."""
    winner = np.broadcast_to(clean.argmax(1), len(perturbed))
    rows = np.arange(len(perturbed))
    before = np.broadcast_to(clean, perturbed.shape)[rows, winner].astype(np.float64)
    return perturbed[rows, winner] - before


@metric(
    label="Jensen-Shannon divergence",
    subject=PREDICTION,
    higher_is_better=False,
    formula="(KL(p || m) + KL(q || m)) / 2 in bits, m = (p + q) / 2, p and q over their sums",
    meaning="The distance between the class probabilities before and after, in bits: 0 if they are "
    "equal, 1 if no class has a probability in both.",
    unit="bits",
    views=(),
)
def divergence(clean: Floats, perturbed: Floats) -> Scores:
    """Jensen-Shannon divergence in bits, in [0, 1]: Lin, IEEE Trans. Inf. Theory 37, 1991.

    Each row is divided by its sum first, which is not 1 for a quantised model.
    """
    # Full copies: summing a broadcast view would make the order of addition depend on the batch.
    p = np.broadcast_to(clean, perturbed.shape).astype(np.float64, order="C")
    q = perturbed.astype(np.float64, order="C")
    p, q = (rows / np.maximum(rows.sum(1, keepdims=True), _TINY) for rows in (p, q))
    middle = (p + q) / 2
    mean = _relative_entropy(p, middle) / 2 + _relative_entropy(q, middle) / 2
    return np.clip(mean, 0.0, 1.0)


def _relative_entropy(p: Scores, q: Scores) -> Scores:
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    return (p * np.log2(ratio)).sum(1)
