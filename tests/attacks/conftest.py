"""A network that answers in a millisecond, and images for it: what holds of an attack does not
hang on the model."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.images.framing import Picture
from robustness.models import Classifier
from robustness.models.frameworks import keras
from tests.support.twelve_classes import of_twelve_classes

Images = NDArray[np.float32]
SIDE = 32


@pytest.fixture(scope="session")
def small(caches: object) -> Classifier:
    """It maps images of ``SIDE`` pixels to twelve classes, on random weights."""
    keras().utils.set_random_seed(3)
    layers = keras().layers
    pixels = layers.Input((SIDE, SIDE, 3))
    maps = layers.Conv2D(8, 3, strides=2, activation="relu", name="conv")(pixels)
    scores = layers.Dense(12, activation="softmax", name="head")(layers.Flatten()(maps))
    network = keras().Model(pixels, scores)
    return of_twelve_classes(network, SIDE, mean=0.5, spread=0.25)


@pytest.fixture(scope="session")
def thumbnails(photographs: Images) -> Images:
    """The photographs, (5, SIDE, SIDE, 3), in 8 bits."""
    smaller = [cv2.resize(image, (SIDE, SIDE), None, 0, 0, cv2.INTER_AREA) for image in photographs]
    return np.rint(np.stack(smaller) * 255).astype(np.float32) / np.float32(255)


@pytest.fixture(scope="session")
def little(thumbnails: Images) -> list[Picture]:
    return [Picture.of(f"photo {place}", image) for place, image in enumerate(thumbnails)]
