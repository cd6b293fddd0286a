"""The classifiers: reference outputs, Keras as the oracle, folding, and calls from threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from robustness import models, samples
from robustness.errors import ParameterError
from robustness.images import study_image
from robustness.models.classifier import MAX_BATCH
from robustness.models.folding import fold_batch_normalisation
from robustness.models.runtime import keras
from robustness.models.weights import keras_cache
from tests.conftest import OFFLINE_NAMES, register, save_official

Floats = NDArray[np.float32]

# Keras' own writer of the HDF5 layout.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

REFERENCE = json.loads(Path(__file__).with_name("reference_models.json").read_text())
PREPROCESSING = {  # the module of keras.applications whose preprocess_input belongs to the model
    "VGG16": "vgg16",
    "ResNet50": "resnet",
    "DenseNet121": "densenet",
    "EfficientNetB0": "efficientnet",
}
CHANNEL_MEANS, CHANNEL_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("name", OFFLINE_NAMES)
@pytest.mark.parametrize("sample", samples.REGISTRY.names)
def test_an_offline_model_gives_the_reference_answers(
    name: str, sample: str, classifiers: Mapping[str, models.Classifier]
) -> None:
    reference, classifier = REFERENCE["models"][name], classifiers[name]
    file = samples.REGISTRY[sample].filename
    assert samples.REGISTRY[sample].sha256 == REFERENCE["images"][file]
    assert classifier.side == classifier.record.input_size == reference["input"]
    image = study_image(samples.sample_bytes(sample), side=classifier.side)
    probabilities = classifier(image[None]).probabilities[0]
    classes, expected = zip(*reference["top5"][file], strict=True)
    assert np.argsort(-probabilities)[:5].tolist() == list(classes)
    np.testing.assert_allclose(probabilities[list(classes)], expected, rtol=0, atol=0.002)


@pytest.mark.parametrize("name", OFFLINE_NAMES)
def test_an_offline_network_has_the_parameters_of_its_record(name: str) -> None:
    record = models.REGISTRY[name]
    assert record.build().count_params() == record.parameters
    assert record.parameters == REFERENCE["models"][name]["parameters"]


@dataclass
class Study:
    """A model of the study on random weights, and what Keras alone makes of three photographs."""

    classifier: models.Classifier
    outputs: models.Outputs
    parameters: int
    keras_probabilities: Floats
    keras_features: list[Floats]
    wrongly_prepared: Floats  # the first photograph after the preprocessing of other models


def randomise(network: Any, embedding: str, prepared: Floats) -> None:
    """Random weights that tell the images ``prepared`` apart, as trained ones do.

    Normalisations get the images' own statistics, else the signal would fade on its way; the
    last layer is scaled to the embeddings so that the answers differ between images.
    """
    layers, rng = keras().layers, np.random.default_rng(5)
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
            layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
        elif isinstance(layer, layers.Normalization):  # as in the file that Keras publishes
            statistics = (CHANNEL_MEANS, CHANNEL_DEVIATIONS, 0)
            layer.set_weights([np.array(values) for values in statistics])
            layer.finalize_state()  # it computes with what this derives from its weights
    embed = keras().Model(network.input, network.get_layer(embedding).output)
    features = embed(prepared, training=True).numpy()
    kernel = rng.normal(size=(features.shape[1], 1000))
    kernel *= 2 / ((features - features.mean(0)) @ kernel).std()
    network.layers[-1].set_weights([kernel, -features.mean(0) @ kernel])


def official_network(record: models.ModelRecord) -> Any:
    """What ``keras.applications`` builds for its ImageNet weights, without reading any."""

    def get_file(name: str, origin: str, *, file_hash: str, cache_subdir: str) -> str:
        published = models.PublishedFile(origin, record.weights.size, file_hash)
        assert (name, published) == (record.weights.filename, record.weights)
        return name

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keras.src.utils.file_utils.get_file", get_file)
        patch.setattr(keras().Model, "load_weights", lambda *_: None)
        return getattr(keras().applications, record.name)(weights="imagenet")


def load_through_a_file(
    network: Any, record: models.ModelRecord, folder: Path
) -> tuple[models.Classifier, int]:
    """Our classifier of ``record`` from a file of the weights of ``network``, and its parameters.

    It goes by another name, because a loaded classifier stays for the rest of the process.
    """
    parameters = []

    def build() -> Any:
        built = record.build()
        parameters.append(built.count_params())
        return built

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_HOME", str(folder))
        file = save_official(network, keras_cache() / record.weights.filename)
        name = f"{record.name} on random weights"
        register(patch, replace(record, name=name, weights=file, build=build))
        return models.load(name), *parameters


@pytest.fixture(scope="module", params=PREPROCESSING)
def study(
    request: pytest.FixtureRequest, photographs: Floats, tmp_path_factory: pytest.TempPathFactory
) -> Study:
    record, images = models.REGISTRY[request.param], photographs[:3]

    def prepare(name: str, images: Floats) -> Floats:
        module = getattr(keras().applications, PREPROCESSING[name])
        return np.asarray(module.preprocess_input(images * np.float32(255)))

    keras().utils.set_random_seed(5)
    on_disk = record.name != "VGG16"  # its 553 MB are not written for a test
    network = official_network(record) if on_disk else record.build()
    layer = dict(record.stages)[record.embedding]
    randomise(network, layer, prepare(record.name, images))
    if on_disk:
        folder = tmp_path_factory.mktemp("keras")
        classifier, parameters = load_through_a_file(network, record, folder)
    else:
        classifier, parameters = models.Classifier(record, network), network.count_params()
    stages = [network.get_layer(name).output for _, name in record.stages]
    oracle = keras().Model(network.input, [network.output, *stages])
    own = record.name if on_disk else "ResNet50"  # VGG16 shares its preprocessing
    others = sorted({"ResNet50", "DenseNet121", "EfficientNetB0"} - {own})
    batches = [prepare(record.name, images), *(prepare(name, images[:1]) for name in others)]
    probabilities, *activations = oracle.predict(np.concatenate(batches), verbose=0)
    return Study(
        classifier,
        classifier(images),
        parameters,
        probabilities[:3],
        [a[:3] if a.ndim == 2 else a[:3].mean(axis=(1, 2)) for a in activations],
        probabilities[3:],
    )


def test_a_study_model_answers_as_kerass_own_pipeline(study: Study) -> None:
    ours = study.outputs.probabilities
    assert np.abs(ours - study.keras_probabilities).max() <= 1e-4
    assert len(set(ours.argmax(1))) > 1, "weights that do not tell images apart test nothing"
    assert len(study.wrongly_prepared) == 2
    differences = np.abs(study.wrongly_prepared - study.keras_probabilities[0]).max(axis=1)
    assert differences.min() > 0.01, "a wrong preprocessing would not show"


def test_a_study_network_has_the_parameters_of_its_record(study: Study) -> None:
    assert study.parameters == study.classifier.record.parameters


def test_features_are_kerass_activations_averaged_stage_by_stage(study: Study) -> None:
    record, features = study.classifier.record, study.outputs.features
    assert list(features) == [stage for stage, _ in record.stages]
    assert record.embedding == list(features)[-1]
    assert len(features) >= 5
    for (stage, values), expected in zip(features.items(), study.keras_features, strict=True):
        assert values.shape == expected.shape == (3, values.shape[1]), stage
        assert np.abs(values - expected).max() <= 1e-4 * np.abs(expected).max(), stage
        assert values.std(axis=0).max() > 0, f"{stage} does not depend on the image"


def test_what_is_left_of_the_network_has_no_normalisation_to_fold(
    study: Study, classifiers: Mapping[str, models.Classifier]
) -> None:
    for classifier in (study.classifier, *classifiers.values()):
        assert fold_batch_normalisation(classifier._model) is classifier._model
    kinds = {type(layer).__name__ for layer in classifiers["EfficientNetLite0"]._model.layers}
    assert "FoldedNormalisation" in kinds
    assert "BatchNormalization" not in kinds


def test_one_trace_serves_every_batch_size(
    classifiers: Mapping[str, models.Classifier], photographs: Floats
) -> None:
    classifier, images = classifiers["SqueezeNet"], np.tile(photographs, (4, 1, 1, 1))
    assert len(images) == 20 > MAX_BATCH
    before = images.copy()
    whole = classifier(images)
    for size in (1, 2, 11):
        pieces = [classifier(images[start : start + size]) for start in range(0, 20, size)]
        joined = models.Outputs.join(pieces)
        assert list(joined.features) == list(whole.features)
        assert np.abs(joined.probabilities - whole.probabilities).max() <= 1e-5
        for stage, values in whole.features.items():
            np.testing.assert_allclose(
                joined.features[stage], values, rtol=0, atol=1e-5 * np.abs(values).max()
            )
    assert len(whole) == 20
    np.testing.assert_array_equal(whole[3:7].probabilities, whole.probabilities[3:7])
    np.testing.assert_array_equal(whole[3:7].features["fire5"], whole.features["fire5"][3:7])
    np.testing.assert_allclose(whole.probabilities.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(images, before)
    assert classifier.trace_count == 1


def test_threads_get_bitwise_the_results_of_one_caller(
    classifiers: Mapping[str, models.Classifier], photographs: Floats
) -> None:
    classifier = classifiers["EfficientNetLite0"]
    batches = [np.ascontiguousarray(np.roll(photographs, k, axis=0)[:3]) for k in range(4)]
    alone = [classifier(batch) for batch in batches]
    barrier = threading.Barrier(4)

    def together(batch: Floats) -> list[models.Outputs]:
        barrier.wait()
        return [classifier(batch) for _ in range(3)]

    with ThreadPoolExecutor(4) as pool:
        for expected, repeated in zip(alone, pool.map(together, batches), strict=True):
            for outputs in repeated:
                np.testing.assert_array_equal(outputs.probabilities, expected.probabilities)
                for stage, values in expected.features.items():
                    np.testing.assert_array_equal(outputs.features[stage], values)
    assert classifier.trace_count == 1


@pytest.mark.parametrize(
    "shape", [(0, 224, 224, 3), (224, 224, 3), (1, 224, 224, 1), (1, 240, 224, 3), (1, 3, 224, 224)]
)
def test_another_shape_is_refused(
    shape: tuple[int, ...], classifiers: Mapping[str, models.Classifier]
) -> None:
    with pytest.raises(ParameterError, match=r"SqueezeNet expects .*\(N, 224, 224, 3\), got \("):
        classifiers["SqueezeNet"](np.zeros(shape, np.float32))


@pytest.mark.parametrize(("name", "side"), [("EfficientNetLite1", 224), ("SqueezeNet", 300)])
def test_images_are_resized_to_the_models_size(
    name: str, side: int, classifiers: Mapping[str, models.Classifier]
) -> None:
    at_size = classifiers[name]
    image = study_image(samples.sample_bytes("coffee"), side=side)
    channels = [Image.fromarray(channel) for channel in np.moveaxis(image, -1, 0)]
    size = (at_size.side, at_size.side)
    resized = [np.asarray(c.resize(size, Image.Resampling.BICUBIC)) for c in channels]
    expected = at_size(np.stack(resized, axis=-1).clip(0, 1)[None])
    outputs = models.load(name, side=side)(image[None])
    assert outputs.probabilities.argmax() == 967
    assert np.abs(outputs.probabilities - expected.probabilities).max() <= 1e-3
    for stage, values in expected.features.items():
        assert np.abs(outputs.features[stage] - values).max() <= 1e-3 * np.abs(values).max()


def test_threads_that_load_at_once_get_one_classifier() -> None:
    barrier = threading.Barrier(4)

    def load(_: int) -> models.Classifier:
        barrier.wait()
        return models.load("SqueezeNet", side=64)

    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(load, range(4)))
    assert len({id(classifier) for classifier in loaded}) == 1
    assert loaded[0] is models.load("SqueezeNet", side=64)
    assert np.isfinite(loaded[0](np.ones((2, 64, 64, 3), np.float32)).probabilities).all()
