"""Metrics of predictions, features and images: pure NumPy, one registered record each."""

from robustness.metrics import features, pictures, predictions
from robustness.metrics.intervals import Interval, wilson
from robustness.metrics.metric import FEATURES, PICTURE, PREDICTION, REGISTRY, Metric

__all__ = [
    "FEATURES",
    "PICTURE",
    "PREDICTION",
    "REGISTRY",
    "Interval",
    "Metric",
    "features",
    "pictures",
    "predictions",
    "wilson",
]
