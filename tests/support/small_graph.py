"""A study model as small as a test of the engines needs it, on random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.models.conversion import use_of
from robustness.models.frameworks import keras
from robustness.models.graph import ANY_BATCH, StudyModel, study_models
from robustness.models.keras import keras_graph
from robustness.models.record import Labels, Normalisation

SIDE = 16

LABELS = Labels("letters", tuple("abcdefghij"))

RECORD = replace(
    models.REGISTRY["SqueezeNet"],
    name="small",
    input_size=12,
    labels=lambda: LABELS,
    normalisation=Normalisation("BGR", 2.0, (0.4, 0.9, 1.3), (0.5, 1.0, 2.0)),
    stages=(("map", "active"), ("tokens", "tokens"), ("vector", "vector")),
)
"""Its stages have each of the ranks that activations come in."""


def small_network() -> Any:
    """The same network every time."""
    k = keras()
    layers = k.layers
    inputs = layers.Input((RECORD.input_size, RECORD.input_size, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="active")(layers.BatchNormalization(name="normal")(x))
    x = layers.Reshape((-1, 32), name="tokens")(x)
    x = layers.GlobalAveragePooling1D(name="vector")(x)
    network = k.Model(inputs, layers.Dense(len(LABELS), activation="softmax", name="head")(x))
    random = np.random.default_rng(3)
    network.set_weights(
        [
            random.uniform(0.2, 1.0, weight.shape) * random.choice([-1, 1], weight.shape)
            if weight.ndim > 1
            else random.uniform(0.5, 1.5, weight.shape)
            for weight in network.get_weights()
        ]
    )
    return network


def small_graph(side: int = SIDE) -> StudyModel:
    """Its study model."""
    read = keras_graph(small_network(), RECORD.stages, RECORD.shape)
    return study_models(read, use_of(RECORD, side), tapped=True)(ANY_BATCH)


def images(count: int, side: int = SIDE) -> NDArray[np.float32]:
    """Random study images."""
    return np.random.default_rng(count).random((count, side, side, 3), np.float32)
