"""Heat maps, with Grad-CAM written out from the paper's formula as the oracle."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.base.errors import ParameterError
from robustness.images.pixels import to_png, to_uint8
from robustness.models.frameworks import keras, tensorflow
from robustness.models.heat_map import HeatMaps, colours, heat_maps, overlay
from robustness.models.keras import load_network
from tests.support.grad_cam_oracle import Floats, upsampled, weighed
from tests.support.small_graph import RECORD, SIDE, small_network

LAST_MAPS = {"SqueezeNet": "conv10", "EfficientNetLite0": "bn1_relu6"}
"""The last convolution's activations, by the name that the network's builder gives them."""


def paper_grad_cam(
    record: models.ModelRecord, network: Any, images: Floats, classes: list[int]
) -> Floats:
    """The map (N, h, w) of each of ``images``, in eager Keras, on ``network`` as it was built.

    Its logits come of the head run layer by layer, the last without its softmax.
    """
    tf, layers = tensorflow(), keras().layers
    norm = record.normalisation
    pixels = images * norm.scale
    if norm.order == "BGR":
        pixels = pixels[..., ::-1]
    pixels = ((pixels - np.array(norm.mean)) / np.array(norm.std)).astype(np.float32)
    names = [layer.name for layer in network.layers]
    last = LAST_MAPS[record.name]
    activations = keras().Model(network.inputs, network.get_layer(last).output)([pixels])
    with tf.GradientTape() as tape:
        tape.watch(activations)
        values = activations
        for layer in network.layers[names.index(last) + 1 :]:
            if isinstance(layer, layers.Dense):
                values = tf.linalg.matmul(values, layer.kernel) + layer.bias
            elif not isinstance(layer, layers.Softmax):
                values = layer(values)
        scores = [values[n, c] for n, c in enumerate(classes)]
        total = tf.add_n(scores)
    return weighed(activations, tape.gradient(total, activations))


@pytest.mark.parametrize(
    "name", ["SqueezeNet", pytest.param("EfficientNetLite0", marks=pytest.mark.slow)]
)
def test_maps_are_those_of_the_papers_formula(
    classifiers: Mapping[str, models.Classifier], photographs: Floats, name: str
) -> None:
    classifier, images = classifiers[name], photographs[:2]
    network, _ = load_network(classifier.record)
    top = classifier(images).probabilities.argsort(1)
    for classes in (top[:, -1], top[:, -2]):
        grid = paper_grad_cam(classifier.record, network, images, list(classes))
        expected = upsampled(grid, 224)
        found = heat_maps(classifier, images, classes)
        assert found.values.max() > 0.1
        np.testing.assert_allclose(found.values, expected, atol=2e-4 * expected.max())


# --- laws -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def offline(classifiers: Mapping[str, models.Classifier]) -> models.Classifier:
    return classifiers["EfficientNetLite0"]


def resizing() -> models.Classifier:
    """A small network for images of another size than its own."""
    record = replace(RECORD, stages=RECORD.stages[:1])
    return keras_classifier(record, small_network(), record.stages, side=SIDE)


@pytest.mark.parametrize("name", ["SqueezeNet", "one that resizes"])
def test_shape_range_and_scale(
    classifiers: Mapping[str, models.Classifier],
    photographs: Floats,
    name: str,
) -> None:
    classifier = resizing() if name == "one that resizes" else classifiers[name]
    images = np.stack([cv2.resize(image, (classifier.side,) * 2) for image in photographs[:3]])
    kept = images.copy()
    found = heat_maps(classifier, images, classifier(images).probabilities.argmax(1))
    assert found.values.shape == images.shape[:3]
    assert found.values.dtype == found.relative.dtype == np.float32
    assert found.values.min() >= 0
    assert np.isfinite(found.values).all()
    assert found.scale == found.values.max() > 0
    assert found.relative.max() == 1
    np.testing.assert_allclose(found.relative * found.scale, found.values, rtol=1e-5)
    np.testing.assert_array_equal(images, kept)


def test_no_evidence_has_no_scale() -> None:
    nothing = HeatMaps(np.zeros((2, 4, 4), np.float32), (2, 2))
    assert nothing.scale == 0
    np.testing.assert_array_equal(nothing.relative, nothing.values)


def test_a_map_does_not_depend_on_its_batch(
    offline: models.Classifier, photographs: Floats
) -> None:
    images = np.tile(photographs, (4, 1, 1, 1))  # more than one pass
    classes = np.arange(20) * 37
    whole = heat_maps(offline, images, classes).values
    for n in (0, 7, 19):
        alone = heat_maps(offline, images[n : n + 1], int(classes[n])).values[0]
        np.testing.assert_allclose(alone, whole[n], atol=1e-5 * whole.max())


@pytest.mark.parametrize("classes", [-1, 1000, [0, 1], 0.5, [[0]]])
def test_a_class_that_there_is_not_is_refused(
    offline: models.Classifier, photographs: Floats, classes: Any
) -> None:
    with pytest.raises(ParameterError):
        heat_maps(offline, photographs[:1], classes)


def test_pictures_of_another_shape_are_refused(offline: models.Classifier) -> None:
    for shape in ((0, 224, 224, 3), (1, 200, 224, 3), (224, 224, 3)):
        with pytest.raises(ParameterError, match="shape"):
            heat_maps(offline, np.zeros(shape, np.float32), 0)


# --- overlays -------------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, 64, dtype=np.float32)
# Viénot, Brettel & Mollon, Digital video colourmaps for checking the legibility of displays by
# dichromats, 1999: linear RGB as people without red (protan) or green (deutan) cones see it.
WITHOUT_RED = [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
WITHOUT_GREEN = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]


@pytest.mark.parametrize("eyes", [np.eye(3), WITHOUT_RED, WITHOUT_GREEN], ids=str)
def test_more_heat_is_lighter_for_everybody(eyes: list[list[float]]) -> None:
    linear = colours(RAMP).astype(float) ** 2.2
    seen = np.clip(linear @ np.array(eyes).T, 0, 1) ** (1 / 2.2)
    lightness = rgb2lab(seen)[:, 0]
    assert (np.diff(lightness) > 0).all()
    assert lightness[-1] - lightness[0] > 80


def test_without_heat_the_picture_stays_in_grey(photographs: Floats) -> None:
    heat = np.zeros(photographs.shape[:3], np.float32)
    result = overlay(photographs, heat)
    assert result.shape == photographs.shape
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result[..., 0], result[..., 2])
    grey = np.asarray(Image.fromarray(to_uint8(photographs[0])).convert("L"), int)
    assert np.abs(to_uint8(result[0])[..., 0].astype(int) - grey).max() <= 1


def test_results_stay_in_range_and_nothing_is_written_over(photographs: Floats) -> None:
    heat = np.random.default_rng(0).random(photographs.shape[:3], np.float32)
    kept = photographs.copy(), heat.copy()
    result = overlay(photographs, heat)
    assert result.min() >= 0
    assert result.max() <= 1
    for now, before in zip((photographs, heat), kept, strict=True):
        np.testing.assert_array_equal(now, before)
    np.testing.assert_array_equal(overlay(photographs[2], heat[2]), result[2])
    with Image.open(io.BytesIO(to_png(result[0]))) as image:
        np.testing.assert_array_equal(np.asarray(image), to_uint8(result[0]))


def test_heat_of_another_shape_or_range_is_refused(photographs: Floats) -> None:
    with pytest.raises(ParameterError, match="shape"):
        overlay(photographs[0], np.zeros((7, 7), np.float32))
    for value in (-0.1, 1.5, np.nan):
        with pytest.raises(ParameterError, match="common scale"):
            overlay(photographs[0], np.full((224, 224), value, np.float32))
