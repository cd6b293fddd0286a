"""The networks of ``keras.applications``, with Keras itself as the oracle, on random weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.models.frameworks import keras, tensorflow
from robustness.models.keras import load_network
from robustness.models.replay import ReplayedNetwork
from robustness.models.sources import keras_cache
from robustness.models.stages import find_last_grid
from tests.conftest import save_official
from tests.support.preparing import prepared, undone
from tests.support.unset_weights import recycled_weights, unset_weights

Floats = NDArray[np.float32]

# Keras' own writer of the HDF5 layout.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PREPROCESSING = {  # the module of keras.applications whose preprocess_input belongs to the model
    "VGG16": "vgg16",
    "ResNet50": "resnet",
    "DenseNet121": "densenet",
    "EfficientNetB0": "efficientnet",
    "ResNet50V2": "resnet_v2",
    "MobileNetV3Large": "mobilenet_v3",
    "EfficientNetV2B0": "efficientnet_v2",
    "ConvNeXtTiny": "convnext",
}
DIFFERENT = ("ResNet50", "ResNet50V2", "DenseNet121", "EfficientNetB0")
"""One for each preprocessing that there is."""
COMPARED = ("EfficientNetB0", "ResNet50V2", "MobileNetV3Large", "ConvNeXtTiny")
"""All that the catalogue builds in a way of its own, and one of those that Keras builds."""

READERS = {  # stages that have no layer of their own in Keras' network: the layer that reads them
    "MobileNetV3Large": {"embedding": "logits"},
    "ConvNeXtTiny": {
        "stage1": "convnext_tiny_downsampling_block_0",
        "stage2": "convnext_tiny_downsampling_block_1",
        "stage3": "convnext_tiny_downsampling_block_2",
        "stage4": "convnext_tiny_head_gap",
    },
}
WIDTHS = {
    "MobileNetV3Large": [16, 24, 40, 112, 160, 1280],
    "ConvNeXtTiny": [96, 192, 384, 768, 768],
}
CHANNEL_MEANS, CHANNEL_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class Compared:
    """A model on random weights, and what Keras alone makes of two photographs."""

    classifier: models.Classifier
    network: Any  # Keras' own, as the classifier was made of it
    outputs: models.Outputs
    parameters: int
    keras_probabilities: Floats
    keras_features: list[Floats]
    wrongly_prepared: Floats  # the first photograph after the preprocessing of other models


def activation(network: Any, name: str, layer: str) -> Any:
    """The tensor of Keras' ``network`` that our ``layer`` of the model ``name`` puts out."""
    reader = READERS.get(name, {}).get(layer)
    if reader is None:
        return network.get_layer(layer).output
    (node,) = network.get_layer(reader)._inbound_nodes
    return node.input_tensors[0]


def randomise(network: Any) -> None:
    """Random numbers for what Keras begins with zeros or ones.

    The statistics of normalisations and the head are still to come.
    """
    layers, rng = keras().layers, np.random.default_rng(5)
    for weight in network.trainable_weights:
        if len(weight.shape) == 1:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    for layer in network._flatten_layers():
        if isinstance(layer, layers.BatchNormalization | layers.LayerNormalization):
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
        elif type(layer).__name__ == "LayerScale":
            layer.gamma.assign(rng.uniform(0.2, 1, layer.gamma.shape))
        elif isinstance(layer, layers.Normalization) and layer.weights:
            statistics = (CHANNEL_MEANS, CHANNEL_DEVIATIONS, 0)  # as in Keras' published file
            layer.set_weights([np.array(values) for values in statistics])
            layer.finalize_state()  # it computes with what this derives from its weights


@contextmanager
def statistics_of_what_passes() -> Iterator[None]:
    """Each batch normalisation takes the statistics of its input, and then normalises with them as
    ever: with others the signal would fade on its way."""
    normalisation = keras().layers.BatchNormalization
    call = normalisation.call

    def take(layer: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        mean, variance = tensorflow().nn.moments(inputs, (0, 1, 2))
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)
        return call(layer, inputs, training=False, mask=mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalisation, "call", take)
        yield


def keras_answers(network: Any, stages: list[Any], prepared: Floats) -> list[Floats]:
    """Probabilities for the images ``prepared``, and the activations of ``stages``, by Keras alone.

    The weights of ``network`` become complete in passing. The last layer is scaled to the
    embeddings, so that the answers differ between images, as trained ones do.
    """
    with grouped_convolutions_at_once(), statistics_of_what_passes():
        body = keras().Model(network.input, stages)
        found = body(prepared, training=False)  # predict() would compile it
    features = found[-1].numpy().reshape(len(prepared), -1)
    kernel = np.random.default_rng(6).normal(size=(features.shape[1], 1000))
    kernel *= 2 / ((features - features.mean(0)) @ kernel).std()
    head = [layer for layer in network.layers if layer.weights][-1]
    head.set_weights([kernel.reshape(head.kernel.shape), -features.mean(0) @ kernel])
    probabilities = keras().Model(stages[-1], network.output)(found[-1], training=False)
    return [np.asarray(values) for values in (probabilities, *found)]


class _PlainFunctions:
    """TensorFlow, but for its compiling of functions: they stay as they are."""

    def __getattr__(self, name: str) -> Any:
        return getattr(tensorflow(), name)

    def function(self, **_: Any) -> Callable[[Any], Any]:
        return lambda function: function


@contextmanager
def grouped_convolutions_at_once() -> Iterator[None]:
    """Keras has each call of one compiled anew by XLA, for their gradients' sake, which none asks
    for here: of ConvNeXt that is a third of the time."""
    keras()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.backend.tensorflow.nn.tf", _PlainFunctions())
        yield


def official_network(record: models.ModelRecord) -> Any:
    """The network of ``keras.applications`` for its ImageNet weights, without reading them.

    What it would fetch is checked to be the file of ``record``.
    """

    def get_file(name: str, origin: str, *, file_hash: str, cache_subdir: str) -> str:
        algorithm = {32: "md5", 64: "sha256"}[len(file_hash)]
        published = record.weights
        asked = replace(published, url=origin, digest=f"{algorithm}:{file_hash}")
        assert (name, asked) == (published.name, published)
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", get_file)
        patch.setattr(keras().Model, "load_weights", lambda *_: None)
        build = getattr(keras().applications, record.name)
        return build(weights="imagenet", input_shape=(224, 224, 3))


def load_through_a_file(
    network: Any, record: models.ModelRecord, folder: Path
) -> tuple[models.Classifier, Any, int]:
    """Our classifier of ``record`` from a file of the weights of ``network``, and its parameters.

    That it finds its stages is worth a look: Keras numbers unnamed layers on from ``network``,
    which was built before.
    """
    parameters = []

    def build() -> Any:
        with unset_weights():
            built = record.build()
        parameters.append(built.count_params())
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(folder))
        path = keras_cache() / record.weights.name
        file = save_official(network, path)
        filled, stages = load_network(replace(record, weights=file, build=build))
        return keras_classifier(record, filled, stages), filled, parameters[0]


def kerass_preprocessing(name: str, images: Floats) -> Floats:
    module = getattr(keras().applications, PREPROCESSING[name])
    return np.asarray(module.preprocess_input(images * np.float32(255)))


slow = pytest.mark.slow


@pytest.fixture(scope="module", params=[pytest.param(name, marks=slow) for name in COMPARED])
def compared(
    request: pytest.FixtureRequest, photographs: Floats, tmp_path_factory: pytest.TempPathFactory
) -> Compared:
    record, images = models.REGISTRY[request.param], photographs[:2]

    with recycled_weights():
        network = official_network(record)
    randomise(network)
    stages = [activation(network, record.name, layer) for _, layer in record.stages]
    probabilities, *activations = keras_answers(
        network, stages, kerass_preprocessing(record.name, images)
    )
    folder = tmp_path_factory.mktemp("keras")
    classifier, used, parameters = load_through_a_file(network, record, folder)
    own = record.normalisation
    others = [name for name in DIFFERENT if models.REGISTRY[name].normalisation != own]
    wrong = [undone(own, kerass_preprocessing(name, images[:1])) for name in others]
    shown = np.concatenate([images, *wrong])
    # One by one: to be asked about several at once, it would be compiled a second time.
    outputs = models.Outputs.join([classifier.unchecked(image[None]) for image in shown])
    return Compared(
        classifier,
        used,
        outputs[:2],
        parameters,
        probabilities,
        [a if a.ndim == 2 else a.mean(axis=(1, 2)) for a in activations],
        outputs.probabilities[2:],
    )


def test_it_answers_as_kerass_own_pipeline(compared: Compared) -> None:
    """That computes in TensorFlow, ours in OpenVINO."""
    assert compared.classifier.engine.startswith("openvino")
    ours = compared.outputs.probabilities
    assert np.abs(ours - compared.keras_probabilities).max() <= 2e-5
    assert len(set(ours.argmax(1))) > 1, "weights that do not tell images apart test nothing"
    assert len(compared.wrongly_prepared) == len(DIFFERENT) - 1
    differences = np.abs(compared.wrongly_prepared - compared.keras_probabilities[0]).max(axis=1)
    assert differences.min() > 0.01, "a wrong preprocessing would not show"


@pytest.mark.parametrize("name", PREPROCESSING)
def test_the_normalisation_of_a_record_is_kerass_preprocessing(
    photographs: Floats, name: str
) -> None:
    images = photographs[:1]
    found = prepared(models.REGISTRY[name].normalisation, images)
    np.testing.assert_allclose(found, kerass_preprocessing(name, images), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PREPROCESSING if name not in COMPARED])
def test_a_record_of_keras_has_its_stages_parameters_and_file(name: str) -> None:
    record = models.REGISTRY[name]
    with unset_weights():
        network = official_network(record)
    assert network.count_params() == record.parameters
    sides = [network.get_layer(layer).output.shape[1:-1] for _, layer in record.stages]
    assert sides == sorted(sides, reverse=True)
    assert len(set(sides)) >= 4
    assert sides[-1] == ()


def test_its_network_has_the_parameters_of_its_record(compared: Compared) -> None:
    assert compared.parameters == compared.classifier.record.parameters


def test_features_are_kerass_activations_averaged_stage_by_stage(compared: Compared) -> None:
    record, features = compared.classifier.record, compared.outputs.features
    assert list(features) == [stage for stage, _ in record.stages]
    assert len(features) >= 5
    for (stage, values), expected in zip(features.items(), compared.keras_features, strict=True):
        assert values.shape == expected.shape == (2, values.shape[1]), stage
        assert np.abs(values - expected).max() <= 1e-4 * np.abs(expected).max(), stage
        assert values.std(axis=0).max() > 0, f"{stage} does not depend on the image"
    widths = WIDTHS.get(record.name)
    assert widths is None or [values.shape[1] for values in features.values()] == widths


def test_its_batch_normalisations_stay_whole(compared: Compared) -> None:
    """Hardening trains their factors; OpenVINO folds them when it compiles."""
    types = [node.get_type_name() for node in compared.classifier.forward.model.get_ops()]
    layers = [type(layer).__name__ for layer in compared.network._flatten_layers()]
    assert types.count("BatchNormInference") == layers.count("BatchNormalization")


def test_heat_maps_find_its_last_grid(compared: Compared) -> None:
    record, network = compared.classifier.record, compared.classifier.graph
    assert isinstance(network, ReplayedNetwork)
    layout = find_last_grid(record.label, network.graph).layout
    assert (layout.height, layout.width) == (7, 7)
