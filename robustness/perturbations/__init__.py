"""The perturbations: plain batched functions, each registered with its record.

Importing this package registers them all.
"""

from importlib import import_module

import cv2

from robustness.base import allocator
from robustness.perturbations.compose import apply, compose, ordered
from robustness.perturbations.perturbation import (
    BLUR,
    COLOUR,
    DIGITAL,
    FAMILIES,
    GEOMETRIC,
    LIGHTING,
    MAX_SEED,
    NOISE,
    REFERENCE_SIDE,
    REGISTRY,
    RISKS,
    WEATHER,
    Images,
    Perturbation,
    Stage,
    check_seed,
)

# Two threads, not one per core: study images are small, and TensorFlow needs the other cores.
cv2.setNumThreads(2)
allocator.keep_arrays()

SAVED_AS_JPEG = "saved_as_jpeg"
"""The switch that saves an image as JPEG, as in the published ImageNet-C."""

# The registry keeps the order of registration: the study's perturbations first, in its order. An
# import statement would be sorted by name.
for _module in (
    "lighting",
    "blur",
    "weather",
    "geometric",
    "noise",
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
    "MAX_SEED",
    "NOISE",
    "REFERENCE_SIDE",
    "REGISTRY",
    "RISKS",
    "SAVED_AS_JPEG",
    "WEATHER",
    "Images",
    "Perturbation",
    "Stage",
    "apply",
    "check_seed",
    "compose",
    "ordered",
]
