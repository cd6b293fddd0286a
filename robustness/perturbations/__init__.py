"""The perturbations: plain batched functions, each registered with its record.

Importing this package registers them all.
"""

from __future__ import annotations

from importlib import import_module

import cv2

from robustness.base import memory
from robustness.perturbations.record import (
    REGISTRY,
    Images,
    Perturbation,
    Stage,
    apply,
    check_seed,
    compose,
    ordered,
)

__all__ = [
    "REGISTRY",
    "SAVED_AS_JPEG",
    "Images",
    "Perturbation",
    "Stage",
    "apply",
    "check_seed",
    "compose",
    "ordered",
]

# Two threads, not one per core: study images are small, and TensorFlow needs the other cores.
cv2.setNumThreads(2)
memory.keep_arrays()

SAVED_AS_JPEG = "saved_as_jpeg"
"""The switch that saves an image as JPEG, as in the published ImageNet-C."""

_MODULES = ("blur", "light", "digital", "geometry", "noise", "weather")
for _module in _MODULES:
    import_module(f"{__name__}.{_module}")

_ORDER = (
    "brightness",
    "increased_contrast",
    "gaussian_blur",
    "defocus_blur",
    "fog",
    "rotation",
    "horizontal_flip",
    "vertical_flip",
    "gaussian_noise",
    "salt_and_pepper",
    "impulse_noise",
    "shot_noise",
    "speckle_noise",
    "motion_blur",
    "zoom_blur",
    "glass_blur",
    "snow",
    "spatter",
    "frost",
    "elastic_transform",
    "pixelate",
    "low_resolution",
    "jpeg_compression",
    "webp_compression",
    "saved_as_jpeg",
    "contrast",
    "saturate",
    "greyscale",
    "hue_shift",
    "warm_cast",
    "cool_cast",
    "exposure",
    "darkness",
    "gamma",
    "vignetting",
    "chromatic_aberration",
    "rolling_bands",
    "translation",
    "zoom_in",
    "zoom_out",
    "perspective",
    "occlusion",
)
"""The order of display and, within a stage, of composition: the study's first, in its order. One
that is not named here comes last."""
REGISTRY.arrange(_ORDER)
