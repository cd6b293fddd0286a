"""The classifiers: what there is, whether it is ready, and one compiled pass over each.

Nothing here imports TensorFlow until a model is loaded.
"""

from __future__ import annotations

from robustness.models import catalogue as _catalogue  # noqa: F401  (registers the models)
from robustness.models.classifier import Classifier, Outputs
from robustness.models.loaded import load
from robustness.models.record import (
    MODERN,
    OFFLINE,
    OWN,
    REGISTRY,
    STUDY,
    Labels,
    ModelRecord,
    UserFile,
    Weights,
    by_labels,
    class_name,
    classes,
    imagenet,
    label,
)
from robustness.models.weights import WeightsState, default_names, digest, require, resolve, state

__all__ = [
    "MODERN",
    "OFFLINE",
    "OWN",
    "REGISTRY",
    "STUDY",
    "Classifier",
    "Labels",
    "ModelRecord",
    "Outputs",
    "UserFile",
    "Weights",
    "WeightsState",
    "by_labels",
    "class_name",
    "classes",
    "default_names",
    "digest",
    "imagenet",
    "label",
    "load",
    "require",
    "resolve",
    "state",
]
