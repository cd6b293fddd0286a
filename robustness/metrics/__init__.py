"""Metrics of predictions, features and images: pure NumPy, one registered record each."""

from robustness.metrics import feature_similarity, image_similarity, prediction_changes
from robustness.metrics.intervals import Interval, wilson
from robustness.metrics.metric import FEATURES, PICTURE, PREDICTION, REGISTRY, Metric

__all__ = [
    "FEATURES",
    "PICTURE",
    "PREDICTION",
    "REGISTRY",
    "Interval",
    "Metric",
    "feature_similarity",
    "image_similarity",
    "prediction_changes",
    "wilson",
]
