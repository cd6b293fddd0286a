"""How far a representation moved: metrics over features, rows (N, D)."""

from __future__ import annotations

import numpy as np

from robustness.metrics.metric import FEATURES, Floats, Scores, metric


@metric(
    label="Cosine similarity",
    subject=FEATURES,
    higher_is_better=True,
    low=-1.0,
    formula="a · b / (||a|| ||b||)",
)
def cosine(clean: Floats, perturbed: Floats) -> Scores:
    """Cosine similarity, in [-1, 1]; two zero vectors count as 1, one zero vector as 0."""
    a, b = _rows(clean, perturbed)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dots = np.einsum("nd,nd->n", a, b)
    similarity = np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0)
    both_zero = ~a.any(1) & ~b.any(1)
    return np.clip(np.where(both_zero, 1.0, similarity), -1.0, 1.0)


@metric(
    label="Euclidean similarity",
    subject=FEATURES,
    higher_is_better=True,
    formula="1 - ||a - b|| / (||a|| + ||b||)",
)
def euclidean(clean: Floats, perturbed: Floats) -> Scores:
    """1 - ||a - b|| / (||a|| + ||b||), in [0, 1]; two zero vectors count as 1."""
    a, b = _rows(clean, perturbed)
    distance = np.linalg.norm(a - b, axis=1)
    size = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    relative = np.divide(distance, size, out=np.zeros_like(distance), where=size > 0)
    return np.clip(1.0 - relative, 0.0, 1.0)


def _rows(clean: Floats, perturbed: Floats) -> tuple[Scores, Scores]:
    a, b = np.broadcast_arrays(clean.astype(np.float64), perturbed.astype(np.float64))
    return a, b
