"""The perturbations: plain batched functions, each registered with its record.

Importing this package registers them all.
"""

from robustness.perturbations import lighting
from robustness.perturbations.compose import apply, compose, image_digest, ordered
from robustness.perturbations.record import (
    GEOMETRIC,
    LIGHTING,
    NOISE,
    REFERENCE_SIDE,
    REGISTRY,
    Images,
    Perturbation,
    Stage,
)

__all__ = [
    "GEOMETRIC",
    "LIGHTING",
    "NOISE",
    "REFERENCE_SIDE",
    "REGISTRY",
    "Images",
    "Perturbation",
    "Stage",
    "apply",
    "compose",
    "image_digest",
    "lighting",
    "ordered",
]
