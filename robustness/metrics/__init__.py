"""Metrics of predictions, features and images: pure NumPy, one registered record each."""

from robustness.metrics import cosine_and_euclidean_similarity, image_similarity, prediction_changes
from robustness.metrics.metric import FEATURES, PICTURE, PREDICTION, REGISTRY, Metric
from robustness.metrics.proportion_and_difference_intervals import Interval, rate_interval

__all__ = [
    "FEATURES",
    "PICTURE",
    "PREDICTION",
    "REGISTRY",
    "Interval",
    "Metric",
    "cosine_and_euclidean_similarity",
    "image_similarity",
    "prediction_changes",
    "rate_interval",
]
