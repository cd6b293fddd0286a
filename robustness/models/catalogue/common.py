"""What several records of the catalogue share: normalisations, sources, Keras' own networks."""

from __future__ import annotations

from functools import partial
from typing import Any

from robustness.models.in_tensorflow.keras_applications import keras_application
from robustness.models.model_record import REGISTRY, ModelRecord, Normalisation
from robustness.models.weights.sources import published_file

CAFFE = Normalisation("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
TORCH = Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
INSIDE_MODEL = Normalisation("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
"""The three above: ``keras.applications`` ``imagenet_utils.preprocess_input``, modes "caffe" and
"torch"; Keras' EfficientNet normalises in its own first layers."""
MINUS_ONE_TO_ONE = Normalisation("RGB", 1.0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""``keras.applications`` ``imagenet_utils.preprocess_input``, mode "tf"; the same in the
preprocessor_config.json of google/vit-base-patch16-224."""

RESNET50_STAGES = (
    ("conv1", "pool1_pool"),
    ("conv2", "conv2_block3_out"),
    ("conv3", "conv3_block4_out"),
    ("conv4", "conv4_block6_out"),
    ("conv5", "avg_pool"),
)

KERAS_TABLE = "the table at keras.io/api/applications"
TESTBED = (
    "imagenet-testbed, on ImageNet-C's published JPEG files with torchvision's weights of the same "
    "architecture; relative mCE by the testbed's own AlexNet"
)


def add_keras_application(
    name: str, *, path: str, size: int | None = None, digest: str, **others: Any
) -> None:
    """Registers the network ``name`` of ``keras.applications``, for images of 224 pixels.

    ``path`` is where Keras' host has its weights; it and ``digest`` are as in the installed Keras'
    keras/src/applications, which a test compares. ``size`` is in bytes, where it was published.
    ``others`` are further fields of the record.
    """
    weights = published_file(f"https://storage.googleapis.com/{path}", size, digest)
    fields: dict[str, Any] = {"label": name, "build": partial(keras_application, name)} | others
    REGISTRY.add(ModelRecord(name=name, input_size=224, weights=weights, **fields))
