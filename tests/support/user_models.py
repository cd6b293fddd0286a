"""Small models of one's own for the tests, and the file that describes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.models.frameworks import keras

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 8 x 8 digits as RGB images in [0, 1], (1797, 8, 8, 3), and their classes."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = (digits.images / 16).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=-1), digits.target


def digit_file(folder: Path, number: int) -> Path:
    """An image file of the first digit ``number`` among those kept from the training."""
    images, classes = digits_images()
    index = 1500 + int(np.flatnonzero(classes[1500:] == number)[0])
    path = folder / f"{DIGITS[number]}.png"
    Image.fromarray((images[index] * 255).round().astype(np.uint8)).save(path)
    return path


def small_network(
    *,
    side: int = 8,
    classes: int = 10,
    activation: str | None = "softmax",
    shape: tuple[int, int] | None = None,
) -> Any:
    """A convolutional network with a batch normalisation, untrained."""
    layers = keras().layers
    inputs = layers.Input((*(shape or (side, side)), 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.ReLU(name="active1")(layers.BatchNormalization(name="normal1")(x))
    x = layers.MaxPooling2D(name="pool1")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.GlobalMaxPooling2D(name="pool2")(x)
    x = layers.Dropout(0.1, name="dropout")(x)
    return keras().Model(inputs, layers.Dense(classes, activation=activation, name="head")(x))


def describe(folder: Path, name: str = "digits", **changes: Any) -> Path:
    """Writes ``models.toml`` and a label file into ``folder``; None leaves a key out."""
    (folder / "digits.txt").write_text("\n".join(DIGITS) + "\n", encoding="utf-8")
    values: dict[str, Any] = {
        "path": "digits.keras",
        "labels": "digits.txt",
        "input_size": 8,
        "normalisation": "0..1",
        **changes,
    }
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
    file = folder / "models.toml"
    file.write_text(f'["{name}"]\n' + "\n".join(lines) + "\n", encoding="utf-8")
    return file


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value) if isinstance(value, float) else json.dumps(value)


def with_lambda(models_folder: Path) -> None:
    """Writes a model whose file holds code, which is not to be run."""
    layers = keras().layers
    inputs = layers.Input((8, 8, 3))
    x = layers.Flatten()(layers.Lambda(lambda x: x * 2)(inputs))
    keras().Model(inputs, layers.Dense(10, activation="softmax")(x)).save(
        models_folder / "digits.keras"
    )
