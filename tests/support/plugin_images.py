"""Images under the perturbation of a plugin."""

from __future__ import annotations

import numpy as np

from robustness.perturbations import compose
from robustness.plugins.plugin_laws import images


def image(name: str, strength: float = 0.5) -> np.ndarray:
    """Three images of 64 pixels under the perturbation ``name``."""
    return compose(images(64), {name: strength}, seed=1, digests=["a", "b", "c"])
