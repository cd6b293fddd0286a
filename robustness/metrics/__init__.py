"""Metrics of predictions, features and images: pure NumPy, one registered record each."""

from __future__ import annotations

from robustness.metrics import scores
from robustness.metrics.intervals import Interval, rate_interval
from robustness.metrics.record import FEATURES, PICTURE, PREDICTION, REGISTRY, Metric

__all__ = [
    "FEATURES",
    "PICTURE",
    "PREDICTION",
    "REGISTRY",
    "Interval",
    "Metric",
    "rate_interval",
    "scores",
]
