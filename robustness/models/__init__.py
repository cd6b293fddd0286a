"""The classifiers: what there is, whether it is ready, and one compiled pass over each.

Nothing here imports TensorFlow until a model is loaded.
"""

from robustness.models import catalogue
from robustness.models.classifier import Classifier, Outputs, load
from robustness.models.labels import class_names, synsets
from robustness.models.record import OFFLINE, REGISTRY, STUDY, ModelRecord, PublishedFile
from robustness.models.weights import WeightsState, default_names, require, resolve, state

__all__ = [
    "OFFLINE",
    "REGISTRY",
    "STUDY",
    "Classifier",
    "ModelRecord",
    "Outputs",
    "PublishedFile",
    "WeightsState",
    "catalogue",
    "class_names",
    "default_names",
    "load",
    "require",
    "resolve",
    "state",
    "synsets",
]
