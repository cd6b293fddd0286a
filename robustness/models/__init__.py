"""The classifiers: what there is, whether it is ready, and one compiled pass over each.

Nothing here imports TensorFlow until a model is loaded.
"""

from robustness.models import catalogue as _catalogue  # noqa: F401  (registers the models)
from robustness.models.class_labels import Labels, imagenet
from robustness.models.classifier_with_probabilities_and_features import Classifier, Outputs
from robustness.models.loaded_models import load
from robustness.models.model_and_weights_record import (
    MODERN,
    OFFLINE,
    OWN,
    REGISTRY,
    STUDY,
    ModelRecord,
    UserFile,
    Weights,
    by_labels,
    class_name,
    classes,
    label,
)
from robustness.models.weights.weights_state_and_digest import (
    WeightsState,
    default_names,
    digest,
    require,
    resolve,
    state,
)

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
