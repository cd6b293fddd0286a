"""What is done to study images before a network sees them, with TensorFlow itself as the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
import pytest
from numpy.typing import NDArray
from openvino import opset15 as operations

from robustness.models.engine import core
from robustness.models.frameworks import tensorflow
from robustness.models.graph import ANY_BATCH, Use, prepared, study_models
from robustness.models.record import Normalisation

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


def pixels_of_graph(use: Use) -> Any:
    """The study model of a network that answers with its pixels."""
    pixels = operations.parameter([-1, *use.shape, 3], np.float32)
    flat = operations.reshape(pixels, np.array([-1, use.classes]), False)
    network = openvino.Model([operations.result(flat)], [pixels])
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    return core().compile_model(study_models(network, use)(ANY_BATCH).raw, "CPU", precise)


@pytest.mark.parametrize(("side", "size"), RESIZED)
@pytest.mark.parametrize("kind", NORMALISATIONS)
def test_images_are_resized_ordered_and_normalised(side: int, size: int, kind: str) -> None:
    normalisation, images = NORMALISATIONS[kind], edges(side)
    pixels = resized(images, size)
    assert side == size or pixels.max() > 1, "these images would not show that it is clipped"
    pixels = pixels.clip(0, 1)[..., :: 1 if normalisation.order == "RGB" else -1]
    expected = (pixels * normalisation.scale - normalisation.mean) / normalisation.std
    use = Use(side, (size, size), normalisation, True, size * size * 3, False)
    of_pass = prepared(images, use, False, np.dtype(np.float32))
    in_graph = pixels_of_graph(use)(images)[0].reshape(of_pass.shape)
    for found in (of_pass, in_graph):
        assert found.shape == (2, size, size, 3)
        assert np.abs(found - expected).max() <= 1e-5 * normalisation.scale / min(normalisation.std)
