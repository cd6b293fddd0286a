"""What is done to study images before a network sees them, with TensorFlow itself as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness.models.in_tensorflow.runtime import tensorflow
from robustness.models.in_tensorflow.study_graph import preparation
from robustness.models.model_record import Normalisation

Floats = NDArray[np.float32]

RESIZED = [(224, 240), (224, 224), (300, 224), (640, 12)]

NORMALISATIONS = {
    "RGB": Normalisation("RGB", 1.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "BGR": Normalisation("BGR", 255.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "as they are": Normalisation("RGB", 255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def resized(images: Floats, size: int) -> Floats:
    shrinks = images.shape[1] > size
    found = tensorflow().image.resize(images, (size, size), "bicubic", antialias=shrinks)
    return np.asarray(found)


def edges(side: int) -> Floats:
    """Noise of black and white, and an image of two edges and a ramp; bicubic overshoots."""
    noise = np.random.default_rng(side).integers(0, 2, (side, side, 3)).astype(np.float32)
    plain = np.zeros_like(noise)
    plain[side // 2 :, :, 0] = 1
    plain[:, side // 3 :, 1] = 1
    plain[..., 2] = np.linspace(0, 1, side)
    return np.stack([noise, plain])


@pytest.mark.parametrize(("side", "size"), RESIZED)
@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_images_are_resized_ordered_and_normalised(side: int, size: int, kind: str) -> None:
    normalisation, images = NORMALISATIONS[kind], edges(side)
    pixels = resized(images, size)
    assert side == size or pixels.max() > 1, "these images would not show that it is clipped"
    pixels = pixels.clip(0, 1)[..., :: 1 if normalisation.order == "RGB" else -1]
    expected = (pixels * normalisation.scale - normalisation.mean) / normalisation.std
    found = np.asarray(preparation(normalisation, (size, size), side)(images))
    assert found.shape == (2, size, size, 3)
    assert np.abs(found - expected).max() <= 1e-5 * normalisation.scale / min(normalisation.std)
