"""The remedies: what can be done between a perturbed image and its prediction, without training.

Importing this package registers them all.
"""

from importlib import import_module

from robustness.remedies.chain import Chain, parse, parse_all, python
from robustness.remedies.remedy import ON_IMAGE, REGISTRY, Remedy

for _module in ("on_image", "views_and_ensembles"):  # the order of display
    import_module(f"{__name__}.{_module}")

__all__ = [
    "ON_IMAGE",
    "REGISTRY",
    "Chain",
    "Remedy",
    "parse",
    "parse_all",
    "python",
]
