"""Overlays of heat maps: what the colours promise."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from robustness.base.errors import ParameterError
from robustness.models.run.heat_map import colours, overlay
from robustness.pictures.eight_bits import to_png, to_uint8

Floats = NDArray[np.float32]

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
