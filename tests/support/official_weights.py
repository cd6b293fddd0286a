"""A network as small as a test of weight files needs it."""

from __future__ import annotations

from typing import Any

from robustness.models.frameworks import keras


def small_network(filters: int = 4, extra: bool = False) -> Any:
    layers = keras().layers
    inputs = layers.Input((16, 16, 3))
    x = layers.Conv2D(filters, 3, use_bias=False, name="conv")(inputs)
    x = layers.ReLU(name="active")(layers.BatchNormalization(name="normal")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    if extra:
        x = layers.Dense(4, name="extra")(x)
    return keras().Model(inputs, layers.Dense(10, activation="softmax", name="head")(x))
