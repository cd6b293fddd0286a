"""Where heat maps take hold: the last grid of features and the logits of whatever network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.support.keras_classifiers import keras_classifier
from robustness import models
from robustness.base.errors import ExplanationError
from robustness.models import own
from robustness.models.catalogue import Transformer, rewire
from robustness.models.frameworks import keras, tensorflow
from robustness.models.heat_map import heat_maps
from robustness.models.record import Labels
from tests.support.grad_cam_oracle import Floats, upsampled, weighed
from tests.support.transformer_oracle import needs_hub, normalised, randomise
from tests.support.user_models import DIGITS, describe, small_network

# Keras' reader of its own format.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def small_classifier(network: Any, *, embedding: str | None = None) -> models.Classifier:
    """``network``, from images of 8 pixels to ten digits, as a classifier."""
    record = replace(
        models.REGISTRY["EfficientNetLite0"],
        name="small",
        label="Small",
        input_size=8,
        labels=lambda: Labels("digits", DIGITS),
    )
    return keras_classifier(
        record, network, (("embedding", embedding or network.layers[-1].name),), side=8
    )


# --- logits ---------------------------------------------------------------------------------------


def test_a_pooled_linear_head_splits_its_logit_among_the_cells(photographs: Floats) -> None:
    """Where no cell speaks against the class, the map sums to the logit less its bias."""
    layers = keras().layers
    keras().utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 3))
    maps = layers.Conv2D(6, 3, padding="same", activation="relu")(inputs)
    head = layers.Dense(10, "softmax", kernel_initializer="ones", bias_initializer="ones")
    network = keras().Model(inputs, head(layers.GlobalAveragePooling2D(name="pooled")(maps)))
    kernel = np.random.default_rng(0).random((6, 10), np.float32)
    head.set_weights([kernel, np.ones(10)])
    classifier = small_classifier(network, embedding="pooled")
    images = np.stack([cv2.resize(image, (8, 8)) for image in photographs])
    values = heat_maps(classifier, images, 4).values  # of as many cells as the image has pixels
    expected = classifier(images).features["embedding"] @ kernel[:, 4]
    np.testing.assert_allclose(values.sum((1, 2)), expected, rtol=1e-4)


def endings() -> list[Callable[[Any], Any]]:
    """Ways to end a network in probabilities, after the layer that gives its logits."""
    layers, ops = keras().layers, keras().ops
    return [ops.softmax, lambda logits: layers.Identity()(layers.Softmax()(logits))]


def with_ending(head: Any, end: Callable[[Any], Any]) -> Any:
    body = small_network(activation=None)
    body.get_layer("head").set_weights(head)
    return keras().Model(body.inputs, end(body.output))


def test_maps_are_of_the_logit_however_the_network_ends(photographs: Floats) -> None:
    """A probability near 1 has no gradient left; the logit has all of it."""
    images = np.stack([cv2.resize(image, (8, 8)) for image in photographs])
    keras().utils.set_random_seed(0)
    dense = small_network()
    kernel, bias = dense.get_layer("head").get_weights()
    kernel *= 200
    dense.get_layer("head").set_weights([kernel, bias])
    classifier = small_classifier(dense)
    classes = classifier(images).probabilities.argmax(1)
    assert np.median(classifier(images).probabilities.max(1)) > 0.999
    expected = heat_maps(classifier, images, classes).values
    assert (expected.max((1, 2)) > 0.1).any()
    shared = [layer.get_weights() for layer in dense.layers]
    for end in endings():
        network = with_ending([kernel, bias], end)
        for layer, weights in zip(network.layers, shared, strict=False):
            layer.set_weights(weights)
        found = heat_maps(small_classifier(network), images, classes).values
        np.testing.assert_allclose(found, expected, atol=1e-4 * expected.max())


def test_without_a_softmax_the_log_probability_is_explained(photographs: Floats) -> None:
    layers, ops = keras().layers, keras().ops
    inputs = layers.Input((8, 8, 3))
    maps = layers.Conv2D(10, 3, activation="relu", name="maps")(inputs)
    positive = ops.add(layers.GlobalAveragePooling2D()(maps), 0.1)
    shares = ops.divide(positive, ops.sum(positive, axis=-1, keepdims=True))
    network = keras().Model(inputs, layers.Identity(name="answer")(shares))
    classifier = small_classifier(network)
    images = np.stack([cv2.resize(image, (8, 8)) for image in photographs])
    found = heat_maps(classifier, images, 3).values
    norm = classifier.record.normalisation
    pixels = ((images * norm.scale - norm.mean) / np.array(norm.std)).astype(np.float32)
    values = keras().Model(inputs, maps)(pixels).numpy()
    cells = values.shape[1] * values.shape[2]
    sums = values.mean((1, 2)) + 0.1
    slopes = -np.ones((len(images), 10)) / sums.sum(1, keepdims=True)  # of log(s_3 / sum of s)
    slopes[:, 3] += 1 / sums[:, 3]
    expected = np.maximum(np.einsum("nk,nhwk->nhw", slopes / cells, values), 0)
    np.testing.assert_allclose(
        found, upsampled(expected.astype(np.float32), 8), atol=1e-4 * expected.max()
    )


# --- architectures --------------------------------------------------------------------------------


@needs_hub
@pytest.mark.slow
def test_a_transformers_map_is_of_the_patches_that_its_last_attention_reads(
    photographs: Floats,
) -> None:
    """DeiT has two tokens before its patches; ViT, which is otherwise the same, has one."""
    images, classes = photographs[:2], [3, 700]
    record = models.REGISTRY["DeiTTiny"]
    keras().utils.set_random_seed(1)
    small = Transformer("DeiT", heads=3, width=48, blocks=2)
    stages = tuple(stage for stage in record.stages if stage[0] in ("block1", "head"))
    record = replace(record, weights=small.preset("keras/deit/keras/small/1"), stages=stages)
    task = small.build()
    prepared = normalised(record, images)
    randomise(task, prepared)
    tf = tensorflow()
    _, embed, encoder = task.backbone.layers
    tokens = embed(prepared)
    *blocks, last = encoder.encoder_layers
    for block in blocks:
        tokens, _ = block(tokens)
    with tf.GradientTape() as tape:
        read = last.layer_norm_1(tokens)
        tape.watch(read)
        attended = tokens + last.mha(read, read)
        hidden = last.mlp(last.layer_norm_2(attended))
        after = last.output_layer(hidden, attended)
        logits = task.output_dense(encoder.layer_norm(after)[:, 0])
        total = logits[0, classes[0]] + logits[1, classes[1]]
    np.testing.assert_allclose(logits, task(prepared), atol=1e-4 * np.abs(logits).max())
    patches, slopes = (
        tf.reshape(values[:, -196:], (2, 14, 14, -1))
        for values in (read, tape.gradient(total, read))
    )
    expected = upsampled(weighed(patches, slopes), 224)
    classifier = keras_classifier(record, rewire(task), record.stages)
    found = heat_maps(classifier, images, classes)
    assert found.cells == (14, 14)
    assert (expected.max((1, 2)) > 0).all()
    np.testing.assert_allclose(found.values, expected, atol=1e-3 * expected.max())


# --- models of one's own --------------------------------------------------------------------------


def test_a_nested_base_is_explained_by_what_it_gives(models_folder: Path) -> None:
    layers = keras().layers
    base = keras().Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu")], name="base"
    )
    stack = [layers.Input((8, 8, 3)), base, layers.Flatten(), layers.Dense(10, "softmax")]
    keras().Sequential(stack).save(models_folder / "digits.keras")
    describe(models_folder)
    own.refresh()
    pictures = np.random.default_rng(0).random((2, 8, 8, 3), np.float32)
    found = heat_maps(models.load("digits", side=8), pictures, [1, 2])
    assert found.cells == (6, 6)
    assert found.values.shape == (2, 8, 8)


def test_a_network_without_places_or_with_several_grids_is_refused(models_folder: Path) -> None:
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    scaled = layers.Normalization(mean=0.5, variance=1.0)(inputs)
    flat = layers.Dense(10, "softmax")(layers.Flatten()(scaled))
    left, right = (layers.GlobalMaxPooling2D()(layers.Conv2D(4, size)(inputs)) for size in (3, 5))
    both = layers.Dense(10, "softmax")(layers.Concatenate()([left, right]))
    for answer in (flat, both):
        classifier = small_classifier(keras().Model(inputs, answer))
        with pytest.raises(ExplanationError, match="Small looks cannot be shown"):
            heat_maps(classifier, np.zeros((1, 8, 8, 3), np.float32), 0)
