"""Adapted batch normalisation against the same sums done by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.adaptation import can_adapt
from robustness.models import Classifier
from robustness.models.run.adaptation import PRIOR
from robustness.models.tensorflow_runtime import keras
from robustness.remedies import parse

Images = NDArray[np.float32]

SIDE = 16
RECORD = replace(models.REGISTRY["EfficientNetLite0"], input_size=SIDE)
DRAWN = np.random.default_rng(3)
APART: Images = (DRAWN.integers(0, 256, (8, SIDE, SIDE, 3)) / 255).astype(np.float32)
ASKED: Images = (DRAWN.integers(0, 256, (3, SIDE, SIDE, 3)) / 255).astype(np.float32)


@pytest.fixture(scope="module")
def network() -> Any:
    """Two convolutions, of which only one can be folded, and normalisations of all four kinds."""
    k = keras()
    k.utils.set_random_seed(1)
    given = k.Input((SIDE, SIDE, 3))
    values = k.layers.Conv2D(6, 3, use_bias=False)(given)
    values = k.layers.BatchNormalization(epsilon=0.1)(values)
    values = k.layers.ReLU()(values)
    values = k.layers.DepthwiseConv2D(3)(values)
    values = k.layers.BatchNormalization(scale=False)(values)
    values = k.layers.BatchNormalization(center=False, name="last")(k.layers.ReLU()(values))
    values = k.layers.GlobalAveragePooling2D(name="pooled")(values)
    values = k.layers.BatchNormalization(name="of_a_vector")(values)  # no maps: left alone
    found = k.Model(given, k.layers.Dense(1000, activation="softmax")(values))
    for layer in found.layers:
        if isinstance(layer, k.layers.BatchNormalization):
            drawn = [DRAWN.uniform(0.5, 2, weight.shape) for weight in layer.weights]
            layer.set_weights(drawn)
    head = found.layers[-1]
    head.set_weights([20 * head.get_weights()[0], head.get_weights()[1]])  # as if trained
    return found


def classifier(network: Any) -> Classifier:
    return Classifier.of(RECORD, network, (("features", "pooled"),), side=SIDE)


def adapted_by_hand(network: Any, images: Images) -> Any:
    """A copy of ``network`` with the mixed statistics, worked out layer by layer."""
    k = keras()
    copy = k.models.clone_model(network)
    copy.set_weights(network.get_weights())
    own = len(images) / (PRIOR + len(images))
    values = (images * 255 - np.array(RECORD.normalisation.mean)) / np.array(
        RECORD.normalisation.std
    )
    for layer in copy.layers[1:]:
        if isinstance(layer, k.layers.BatchNormalization) and layer.name != "of_a_vector":
            before = np.asarray(values)
            mean, variance = before.mean((0, 1, 2)), before.var((0, 1, 2))
            layer.moving_mean.assign((1 - own) * layer.moving_mean + own * mean)
            layer.moving_variance.assign((1 - own) * layer.moving_variance + own * variance)
        values = layer(values)
    return copy


def test_adapted_statistics_are_the_mixture_worked_out_layer_by_layer(network: Any) -> None:
    expected = classifier(adapted_by_hand(network, APART))
    found = classifier(network).with_remedies("batch_norm", reference=APART)
    wanted, got = expected(ASKED), found(ASKED)
    np.testing.assert_allclose(got.probabilities, wanted.probabilities, atol=1e-6)
    np.testing.assert_allclose(got.features["features"], wanted.features["features"], rtol=1e-4)
    assert np.abs(got.probabilities - classifier(network)(ASKED).probabilities).max() > 0.01
    classes = wanted.probabilities.argmax(1).astype(np.int32)
    np.testing.assert_allclose(
        found.gradients(ASKED, classes).gradient,
        expected.gradients(ASKED, classes).gradient,
        rtol=1e-3,
        atol=1e-5,
    )


def test_statistics_of_many_conditions_go_through_one_network(network: Any) -> None:
    adaptable = classifier(network).adaptable
    sets = (APART, APART**2, APART[:2])
    for apart, statistics in zip(sets, adaptable.statistics(sets), strict=True):
        found = adaptable.probabilities(ASKED, statistics)
        wanted = classifier(network).with_remedies("batch_norm", reference=apart)(ASKED)
        np.testing.assert_allclose(found, wanted.probabilities, atol=1e-6)


def test_remedies_before_it_change_what_it_adapts_to(network: Any) -> None:
    median = parse("median")
    found = classifier(network).with_remedies("median+batch_norm", reference=APART)(ASKED)
    adapted = classifier(network).with_remedies("batch_norm", reference=median.images(APART))
    wanted = adapted(median.images(ASKED))
    np.testing.assert_allclose(found.probabilities, wanted.probabilities, atol=1e-6)


def test_what_cannot_be_adapted_is_one_sentence(network: Any) -> None:
    with pytest.raises(ParameterError, match="expects about 32 images to adapt to"):
        classifier(network).with_remedies("batch_norm")
    with pytest.raises(ParameterError, match="expects no reference images"):
        classifier(network).with_remedies("median", reference=APART)
    given = keras().Input((SIDE, SIDE, 3))
    values = keras().layers.GlobalAveragePooling2D(name="pooled")(given)
    plain = keras().Model(given, keras().layers.Dense(1000, activation="softmax")(values))
    with pytest.raises(ParameterError, match="no batch normalisations"):
        classifier(plain).with_remedies("batch_norm", reference=APART)


def test_a_network_that_cannot_be_adapted_is_made_once(network: Any) -> None:
    known = classifier(network)
    tried = []

    class Predicting:
        """A pass by another runtime."""

        stages = known.stages

        @property
        def model(self) -> None:
            tried.append(1)

    refused = Classifier(known.record, cast(Any, Predicting()), lambda: known.graph, SIDE)
    for _ in range(2):
        assert not can_adapt(refused)
    assert len(tried) == 1
    assert can_adapt(known)


def test_networks_within_a_network_are_adapted_as_well(network: Any) -> None:
    k = keras()
    given = k.Input((SIDE, SIDE, 3))
    base = k.Model(network.inputs, network.get_layer("pooled").output)
    values = k.layers.Reshape((6,), name="pooled_again")(base(given))
    outer = k.Model(given, network.layers[-1](network.layers[-2](values)))
    stages = (("features", "pooled_again"),)
    found = Classifier.of(RECORD, outer, stages, side=SIDE).with_remedies(
        "batch_norm", reference=APART
    )
    wanted = classifier(network).with_remedies("batch_norm", reference=APART)(ASKED)
    np.testing.assert_allclose(found(ASKED).probabilities, wanted.probabilities, atol=1e-6)
