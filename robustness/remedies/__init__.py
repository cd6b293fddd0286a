"""The remedies: what can be done between a perturbed image and its prediction, without training.

Importing this package registers them all.
"""

from __future__ import annotations

from robustness.remedies.chain import ON_IMAGE, REGISTRY, Chain, Remedy, parse, parse_all, python

__all__ = [
    "ON_IMAGE",
    "REGISTRY",
    "Chain",
    "Remedy",
    "parse",
    "parse_all",
    "python",
]
