"""The remedies: what can be done between a perturbed image and its prediction, without training.

Importing this package registers them all.
"""

from importlib import import_module

from robustness.remedies.chain import Chain, parse, parse_all, python
from robustness.remedies.remedy import (
    GATED,
    ON_IMAGE,
    ON_PREDICTION,
    REGISTRY,
    SEVERAL_MODELS,
    Gate,
    ImageView,
    Remedy,
    remedy,
)

for _module in ("on_image", "on_prediction"):  # the order of display
    import_module(f"{__name__}.{_module}")

__all__ = [
    "GATED",
    "ON_IMAGE",
    "ON_PREDICTION",
    "REGISTRY",
    "SEVERAL_MODELS",
    "Chain",
    "Gate",
    "ImageView",
    "Remedy",
    "parse",
    "parse_all",
    "python",
    "remedy",
]
