"""What several records of the catalogue share: normalisations, sources, Keras' builders."""

from __future__ import annotations

from typing import Any

from robustness.models.model_record import Normalisation
from robustness.models.runtime import keras

CAFFE = Normalisation("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INSIDE_MODEL = Normalisation("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""The three above: ``keras.applications`` ``imagenet_utils.preprocess_input``, modes "caffe" and
"torch"; Keras' EfficientNet normalises in its own first layers."""
MINUS_ONE_TO_ONE = Normalisation("RGB", 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""``keras.applications`` ``imagenet_utils.preprocess_input``, mode "tf"; the same in the
preprocessor_config.json of google/vit-base-patch16-224."""

# File names and MD5 hashes: the installed Keras' keras/src/applications; a test compares them.
KERAS_HOST = "https://storage.googleapis.com/"

KERAS_TABLE = "the table at keras.io/api/applications"
TESTBED = (
    "imagenet-testbed, on ImageNet-C's published JPEG files with torchvision's weights of the same "
    "architecture; relative mCE by the testbed's own AlexNet"
)


def keras_application(name: str, **options: Any) -> Any:
    """The network ``name`` of ``keras.applications`` without weights."""
    return getattr(keras().applications, name)(weights=None, **options)
