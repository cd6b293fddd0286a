"""Folding batch normalisations: the same outputs, and nothing folded that must not be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from robustness.models.in_tensorflow.folding import fold_batch_normalisation
from robustness.models.in_tensorflow.runtime import keras


def inverted_residual(layers: Any, x: Any) -> Any:
    """As in EfficientNet: depthwise, squeeze-and-excitation, a shortcut."""
    y = layers.Conv2D(12, 1, use_bias=False)(x)
    y = layers.Activation("swish")(layers.BatchNormalization()(y))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(y)
    y = layers.Activation("swish")(layers.BatchNormalization(epsilon=0.1)(y))
    gate = layers.Reshape((1, 1, 24))(layers.GlobalAveragePooling2D()(y))
    gate = layers.Conv2D(24, 1, activation="sigmoid")(layers.Conv2D(3, 1)(gate))
    y = layers.Conv2D(x.shape[-1], 1)(layers.multiply([y, gate]))
    return layers.add([x, layers.BatchNormalization(scale=False)(y)])


def after_input_statistics(layers: Any, x: Any) -> Any:
    """As Keras' EfficientNet begins; that layer computes with what it derives from its weights."""
    return inverted_residual(layers, layers.Normalization()(x))


def dense_block(layers: Any, x: Any) -> Any:
    """As in DenseNet: normalisation first, and each output read by all that follow."""
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        y = layers.Conv2D(8, 1, use_bias=False)(y)
        y = layers.ReLU()(layers.BatchNormalization(center=False)(y))
        y = layers.Conv2D(4, 3, padding="same", groups=2, use_bias=False)(y)
        x = layers.concatenate([x, y])
    return layers.BatchNormalization()(layers.DepthwiseConv2D(3, strides=2)(x))


def read_twice(layers: Any, x: Any) -> Any:
    y = layers.Conv2D(8, 3)(x)
    return layers.add([y, layers.BatchNormalization()(y)])


def with_activation(layers: Any, x: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x))


def over_rows(layers: Any, x: Any) -> Any:
    return layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3)(x))


def normalisation_used_twice(layers: Any, x: Any) -> Any:
    normalise = layers.BatchNormalization()
    active = layers.Conv2D(8, 3, activation="relu")(x)
    return layers.add([normalise(layers.Conv2D(8, 3)(x)), normalise(active)])


def convolution_used_twice(layers: Any, x: Any) -> Any:
    convolve = layers.Conv2D(8, 3, padding="same")
    return layers.add([layers.BatchNormalization()(convolve(x)), convolve(layers.ReLU()(x))])


def shown_as_output(layers: Any, x: Any) -> Any:
    y = layers.Conv2D(8, 3)(x)
    return [y, layers.BatchNormalization()(y)]


def with_random_weights(body: Any) -> Any:
    inputs = keras().layers.Input((9, 9, 6))
    network = keras().Model(inputs, body(keras().layers, inputs))
    rng = np.random.default_rng(11)
    network.set_weights([rng.uniform(0.2, 1.2, w.shape) for w in network.get_weights()])
    for layer in network.layers:
        if isinstance(layer, keras().layers.Normalization):
            layer.finalize_state()
    return network


def normalisations(network: Any) -> int:
    kind = keras().layers.BatchNormalization
    return sum(isinstance(layer, kind) for layer in network.layers)


def assert_equal_outputs(one: Any, other: Any) -> None:
    images = np.random.default_rng(12).normal(size=(3, 9, 9, 6)).astype(np.float32)
    flatten = keras().tree.flatten
    for a, b in zip(flatten(one(images)), flatten(other(images)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize(
    ("body", "left"), [(inverted_residual, 0), (after_input_statistics, 0), (dense_block, 2)]
)
def test_folding_keeps_outputs_and_layer_names(body: Any, left: int) -> None:
    network = with_random_weights(body)
    folded = fold_batch_normalisation(network)
    assert_equal_outputs(network, folded)
    assert normalisations(network) == left + 3
    assert normalisations(folded) == left
    names = [{layer.name for layer in n.layers[1:]} for n in (network, folded)]
    assert names[0] == names[1]


@pytest.mark.parametrize(
    "body",
    [
        read_twice,
        with_activation,
        over_rows,
        normalisation_used_twice,
        convolution_used_twice,
        shown_as_output,
    ],
)
def test_what_cannot_be_folded_is_left(body: Any) -> None:
    network = with_random_weights(body)
    folded = fold_batch_normalisation(network)
    assert_equal_outputs(network, folded)
    assert normalisations(folded) == 1
