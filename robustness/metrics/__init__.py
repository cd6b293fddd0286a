"""Metrics of predictions, features and images: pure NumPy, one registered record each."""

from robustness.metrics import features, pictures, predictions
from robustness.metrics.intervals import Interval, wilson
from robustness.metrics.metric import (
    FEATURES,
    PICTURE,
    PREDICTION,
    REGISTRY,
    RUN,
    STRENGTHS,
    TABLES,
    Metric,
)

__all__ = [
    "FEATURES",
    "PICTURE",
    "PREDICTION",
    "REGISTRY",
    "RUN",
    "STRENGTHS",
    "TABLES",
    "Interval",
    "Metric",
    "features",
    "pictures",
    "predictions",
    "wilson",
]
