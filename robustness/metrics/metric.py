"""What is known about a metric, and the registry of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.base.registry import Registry

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]

PREDICTION = "prediction"
FEATURES = "features"
PICTURE = "picture"


@dataclass(frozen=True)
class Metric:
    """Compares what belongs to clean images with what belongs to their perturbed versions.

    ``function(clean, perturbed)`` takes two arrays of N rows (``clean`` may have one row, which
    is then compared with every perturbed one) and gives N scores. The rows are, by ``subject``:
    class probabilities (PREDICTION), stage features (FEATURES), or study images (PICTURE).
    ``low`` and ``high`` bound the score; ``formula`` is how tables and reports explain it.
    """

    name: str
    function: Callable[[Floats, Floats], Scores]
    label: str
    subject: str
    higher_is_better: bool
    formula: str
    low: float = 0.0
    high: float = 1.0


REGISTRY: Registry[Metric] = Registry("metric")
metric = REGISTRY.decorator(Metric)
"""Registers the function below it under its name; the keywords are the fields of ``Metric``."""
