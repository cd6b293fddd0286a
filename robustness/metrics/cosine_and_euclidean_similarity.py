"""How far a representation moved: metrics over features, rows (N, D)."""

from __future__ import annotations

import numpy as np

from robustness.metrics.metric import FEATURES, REGISTRY, RUN, STRENGTHS, Floats, Scores, metric


@metric(
    label="Cosine similarity",
    subject=FEATURES,
    higher_is_better=True,
    low=-1.0,
    formula="a · b / (||a|| ||b||)",
    meaning="Compares the direction of two features, not their length: 1 for the same direction, 0 "
    "if they have nothing in common.",
    title="Cosine",
    views=(STRENGTHS, RUN),
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
    meaning="Compares direction and length: 1 minus the distance of the two features divided by "
    "the sum of their lengths. 1 if they are equal, 0 if they point in opposite directions.",
    title="Euclidean",
    views=(STRENGTHS, RUN),
)
def euclidean(clean: Floats, perturbed: Floats) -> Scores:
    """1 - ||a - b|| / (||a|| + ||b||), in [0, 1]; two zero vectors count as 1."""
    a, b = _rows(clean, perturbed)
    distance = np.linalg.norm(a - b, axis=1)
    size = np.linalg.norm(a, axis=1) + np.linalg.norm(b, axis=1)
    relative = np.divide(distance, size, out=np.zeros_like(distance), where=size > 0)
    return np.clip(1.0 - relative, 0.0, 1.0)


RESCALED = {
    record.name: f"{record.name}_rescaled" for record in REGISTRY if record.subject == FEATURES
}
"""Names of the metrics above after ``rescaled``."""


def rescaled(similarity: Scores, floor: float) -> Scores:
    """(similarity - floor) / (1 - floor): 1 is unchanged, 0 like unrelated images.

    ``floor`` is the mean similarity of unrelated images. Features that are equal for all images
    have a floor of 1 and keep their ``similarity``.
    """
    span = 1.0 - floor
    return (similarity - floor) / span if span > _NO_SPAN else similarity


_NO_SPAN = 1e-6  # float32 rounding of equal features


def _rows(clean: Floats, perturbed: Floats) -> tuple[Scores, Scores]:
    a, b = np.broadcast_arrays(clean.astype(np.float64), perturbed.astype(np.float64))
    return a, b
