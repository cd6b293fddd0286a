"""The record of a metric and the registry of metrics."""

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
PICTURE = "image"


@dataclass(frozen=True)
class Metric:
    """A comparison of original images with their perturbed versions.

    ``function(clean, perturbed)`` takes two arrays of N rows and gives N scores; a single row of
    ``clean`` is compared with every perturbed one. By ``subject`` a row holds class probabilities
    (PREDICTION), stage features (FEATURES) or a study image (PICTURE). ``low`` and ``high`` bound
    the score; ``formula`` is shown in tables and reports.
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
"""A decorator that registers a function under its name; keywords are fields of ``Metric``."""
