"""The perturbations: plain batched functions, each registered with its record.

Importing this package registers them all.
"""

from importlib import import_module

import cv2

from robustness.perturbations.compose import apply, compose, image_digest, ordered
from robustness.perturbations.record import (
    BLUR,
    COLOUR,
    DIGITAL,
    FAMILIES,
    GEOMETRIC,
    LIGHTING,
    NOISE,
    REFERENCE_SIDE,
    REGISTRY,
    WEATHER,
    Images,
    Perturbation,
    Stage,
)

# Two, not one a core: study images are small, and the other cores are TensorFlow's.
cv2.setNumThreads(2)

# The registry keeps the order of registration, so the study's come first, in its order: an import
# statement would be sorted by name.
for _module in (
    "lighting",
    "blur",
    "weather",
    "geometric",
    "noise",
    "sensor",
    "motion",
    "overlays",
    "frost",
    "warping",
    "digital",
    "colour",
    "camera",
    "viewpoint",
):
    import_module(f"{__name__}.{_module}")

__all__ = [
    "BLUR",
    "COLOUR",
    "DIGITAL",
    "FAMILIES",
    "GEOMETRIC",
    "LIGHTING",
    "NOISE",
    "REFERENCE_SIDE",
    "REGISTRY",
    "WEATHER",
    "Images",
    "Perturbation",
    "Stage",
    "apply",
    "compose",
    "image_digest",
    "ordered",
]
