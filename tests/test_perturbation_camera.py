"""Camera and viewpoint against answers known beforehand and formulas written out again."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import transform

from robustness.perturbations import REGISTRY, Images, apply
from robustness.perturbations.compose import stream
from robustness.perturbations.viewpoint import OCCLUDER_GREY, area_weights
from tests.oracles import photos, psnr

LINEAR_LIGHT = 2e-6
"""Of full scale: what float32 at the encoded values allows, several times over."""


def to_light(encoded: NDArray[np.floating]) -> NDArray[np.float64]:
    """Linear light of sRGB values, by IEC 61966-2-1."""
    v = encoded.astype(np.float64)
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def flat(level: float, side: int = 224) -> Images:
    return np.full((1, side, side, 3), level, dtype=np.float32)


def ramp() -> Images:
    """Every value from 0 to 1 in equal steps, in all channels."""
    values = np.linspace(0.0, 1.0, 224 * 224, dtype=np.float32).reshape(1, 224, 224, 1)
    return np.repeat(values, 3, axis=3)


# --- exposure -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "strength", "stops"),
    [
        ("overexposure", 1 / 3, 1),
        ("overexposure", 1.0, 3),
        ("darkness", 0.2, -1),
        ("darkness", 0.6, -3),
        ("darkness", 1.0, -5),
    ],
)
def test_a_stop_doubles_or_halves_the_light(name: str, strength: float, stops: float) -> None:
    assert REGISTRY[name].parameter_at(strength) == pytest.approx(stops)
    images = np.concatenate([ramp(), photos("coffee", "rocket")])
    expected = np.minimum(to_light(images) * 2.0**stops, 1.0)
    result = to_light(apply(REGISTRY[name], images, strength))
    np.testing.assert_allclose(result, expected, atol=LINEAR_LIGHT)


def test_exposure_and_gamma_keep_the_order_of_tones() -> None:
    """Also across the knee of the sRGB curve, where two formulas meet."""
    for name in ("overexposure", "darkness", "gamma"):
        for strength in (0.01, 0.3, 1.0):
            tones = apply(REGISTRY[name], ramp(), strength)[0, :, :, 0].ravel()
            assert np.diff(tones).min() > -1e-6


def test_gamma_raises_to_the_stated_power() -> None:
    assert REGISTRY["gamma"].parameter_at(0.5) == 2.0
    np.testing.assert_allclose(apply(REGISTRY["gamma"], ramp(), 0.5), ramp() ** 2, atol=1e-6)
    for level in (0.0, 1.0):
        np.testing.assert_array_equal(apply(REGISTRY["gamma"], flat(level), 1.0), flat(level))


# --- optics -------------------------------------------------------------------------------------


@pytest.mark.parametrize("strength", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("side", [97, 225])
def test_vignetting_follows_the_cos4_law_to_the_stated_loss(strength: float, side: int) -> None:
    loss = REGISTRY["vignetting"].parameter_at(strength) / 100
    light = to_light(apply(REGISTRY["vignetting"], flat(0.8, side), strength)[0, :, :, 0])
    gain = light / to_light(flat(0.8, side))[0, :, :, 0]
    middle = side // 2
    assert gain[middle, middle] == pytest.approx(1.0, abs=1e-6)
    corners = gain[[0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, 1 - loss, atol=1e-5)
    focal_length = math.hypot(middle, middle) / math.tan(math.acos((1 - loss) ** 0.25))
    for row, column in ((0, middle), (10, 20), (middle, middle + 30)):
        angle = math.atan(math.hypot(row - middle, column - middle) / focal_length)
        assert gain[row, column] == pytest.approx(math.cos(angle) ** 4, abs=1e-5)


def test_chromatic_aberration_moves_red_out_and_blue_in() -> None:
    record = REGISTRY["chromatic_aberration"]
    images = photos("coffee", "chelsea")
    result = apply(record, images, 1.0)
    np.testing.assert_array_equal(result[..., 1], images[..., 1])
    # One bright disk on the diagonal, four fifths of the way to the corner.
    spot = np.zeros((1, 224, 224, 3), dtype=np.float32)
    place = 111.5 * 1.8
    y, x = np.mgrid[:224, :224]
    spot[0, np.hypot(y - place, x - place) < 4] = 1.0
    for strength in (0.5, 1.0):
        moved = apply(record, spot, strength)[0].astype(np.float64)
        expected = record.parameter_at(strength) * 0.8 / math.sqrt(2)
        for channel, sign in ((0, 1), (1, 0), (2, -1)):
            plane = moved[..., channel]
            for axis in (y, x):
                shift = (plane * axis).sum() / plane.sum() - (spot[0, ..., 0] * axis).sum() / (
                    spot[0, ..., 0].sum()
                )
                assert shift == pytest.approx(sign * expected, abs=0.1)


def test_chromatic_aberration_leaves_grey_grey_in_the_centre() -> None:
    grey = np.repeat(photos("chelsea")[..., 1:2], 3, axis=3)
    result = apply(REGISTRY["chromatic_aberration"], grey, 1.0)[0]
    spread = np.ptp(result, axis=2)
    # Less than 0.1 px either way, and growing outward.
    assert spread[110:114, 110:114].max() < 0.03
    assert spread[:20].mean() > 5 * spread[108:116, 108:116].mean()


@pytest.mark.parametrize("k1", [0.1, 0.5])
def test_barrel_distortion_agrees_with_scikit_image(k1: float) -> None:
    image = photos("astronaut")

    def source(places: NDArray[np.float64]) -> NDArray[np.float64]:
        offset = (places - 111.5) / math.hypot(111.5, 111.5)
        squared = (offset**2).sum(axis=1, keepdims=True)
        return 111.5 + (places - 111.5) * (1 + k1 * squared) / (1 + k1)

    expected = transform.warp(image[0], source, order=3, mode="reflect")
    result = apply(REGISTRY["lens_distortion"], image, k1 / 0.5)
    assert psnr(result[0], np.clip(expected, 0, 1)) > 40
    corners = ([0, 0, -1, -1], [0, -1, 0, -1])
    np.testing.assert_allclose(result[0][corners], image[0][corners], atol=1e-6)


# --- flicker bands ------------------------------------------------------------------------------


def test_bands_modulate_rows_by_a_sine_of_zero_mean_and_the_stated_depth() -> None:
    record, image = REGISTRY["rolling_bands"], flat(0.6)  # 1.9 times its light does not clip
    counts = set()
    for seed in range(12):
        shapes = []
        for strength in (0.3, 1.0):
            depth = record.parameter_at(strength) / 100
            light = to_light(apply(record, image, strength, seed=seed)[0, :, :, 0])
            np.testing.assert_array_equal(light, np.repeat(light[:, :1], 224, axis=1))
            modulation = light[:, 0] / to_light(image)[0, 0, 0, 0] - 1
            assert modulation.mean() == pytest.approx(0, abs=1e-5)
            spectrum = np.abs(np.fft.rfft(modulation)) / 112
            assert spectrum.max() == pytest.approx(depth, abs=1e-5)
            assert np.sort(spectrum)[-2] < 1e-5  # one frequency alone
            counts.add(int(spectrum.argmax()))
            shapes.append(modulation / depth)
        np.testing.assert_allclose(shapes[0], shapes[1], atol=1e-4)
    assert counts <= {3, 4, 5, 6}
    assert len(counts) > 1


# --- viewpoint ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [28, 56, 112])
def test_whole_shifts_only_move_pixels(shift: int) -> None:
    images = photos("coffee", "rocket")
    result = apply(REGISTRY["translation"], images, shift / 112)
    inside = np.roll(images, shift, axis=2)[:, :, shift:]
    np.testing.assert_allclose(result[:, :, shift:], inside, atol=1e-6)
    mirrored = images[:, :, 1 : shift + 1][:, :, ::-1]
    np.testing.assert_allclose(result[:, :, :shift], mirrored, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3])
def test_closer_equals_a_crop_enlarged(scale: int) -> None:
    """OpenCV's own resizing of the middle of the picture."""
    side, start = 48 * scale, 24 * (scale - 1)
    images = photos("coffee", "chelsea", side=side)
    result = apply(REGISTRY["zoom_in"], images, (scale - 1) / 2)
    margin = 4 * scale  # there the crop repeats its border, while the picture goes on
    inner = (slice(margin, -margin), slice(margin, -margin))
    for image, out in zip(images, result, strict=True):
        crop = np.ascontiguousarray(image[start : start + 48, start : start + 48])
        expected = cv2.resize(crop, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        assert psnr(out[inner], expected[inner]) > 38


def test_farther_by_four_is_the_mean_of_blocks_on_grey() -> None:
    images = photos("coffee", "rocket")
    result = apply(REGISTRY["zoom_out"], images, 1.0)
    blocks = images.reshape(2, 56, 4, 56, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(result[:, 84:140, 84:140], blocks, atol=1e-5)
    outside = np.ones((224, 224), dtype=bool)
    outside[84:140, 84:140] = False
    np.testing.assert_array_equal(result[:, outside], 0.5)


@pytest.mark.parametrize("scale", [1.0, 0.999, 0.77, 0.31, 0.25])
def test_farther_keeps_the_light(scale: float) -> None:
    """Every old pixel gives ``scale`` of its light along an axis, every inner new one sums to 1."""
    weights = area_weights(96, scale)
    np.testing.assert_allclose(weights.sum(axis=0), scale, atol=1e-9)
    inside = weights.sum(axis=1)
    assert inside.max() == pytest.approx(1.0)
    assert inside.sum() == pytest.approx(96 * scale)
    np.testing.assert_allclose(inside, inside[::-1], atol=1e-9)


def test_perspective_is_nothing_at_no_angle() -> None:
    images = photos("coffee", "astronaut")
    np.testing.assert_allclose(apply(REGISTRY["perspective"], images, 1e-9), images, atol=1e-6)


@pytest.mark.parametrize("strength", [0.25, 0.5, 1.0])
def test_perspective_sees_the_edges_where_a_pinhole_would(strength: float) -> None:
    """A white picture on grey: its silhouette, from similar triangles, in sides of the picture."""
    angle = math.radians(REGISTRY["perspective"].parameter_at(strength))
    white = apply(REGISTRY["perspective"], flat(1.0), strength)[0, :, :, 0] > 0.75
    middle = np.flatnonzero(white[112])
    distance = 50 / 36
    for edge, found in ((-0.5, middle[0]), (0.5, middle[-1])):
        away = distance + edge * math.sin(angle)
        expected = 111.5 + 224 * distance * edge * math.cos(angle) / away
        assert found == pytest.approx(
            max(expected, 0), abs=1.5
        )  # the near edge may be out of sight
    column = middle[-1] - 2
    seen = (column - 111.5) / 224
    place = seen * distance / (distance * math.cos(angle) - seen * math.sin(angle))
    expected = 224 * distance / (distance + place * math.sin(angle))
    assert white[:, column].sum() == pytest.approx(expected, abs=1.5)


# --- occlusion ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [96, 224])
@pytest.mark.parametrize("strength", [0.02, 0.3, 0.77, 1.0])
def test_occlusion_hides_the_stated_share_and_only_that(strength: float, side: int) -> None:
    record, images = REGISTRY["occlusion"], flat(1.0, side)
    share = record.parameter_at(strength) / 100
    for seed in range(5):
        result = apply(record, images, strength, seed=seed)[0].astype(np.float64)
        hidden = (1 - result) / (1 - OCCLUDER_GREY)
        assert hidden.mean() == pytest.approx(share, abs=1e-5)
        np.testing.assert_array_equal(result, np.repeat(result[..., :1], 3, axis=2))
        rows, columns = (np.flatnonzero(hidden[..., 0].any(axis=axis)) for axis in (1, 0))
        for used in (rows, columns):  # one interval, whole but for its two ends
            assert used[-1] - used[0] + 1 == len(used) <= math.sqrt(share) * side + 2
        inner = hidden[rows[1] : rows[-1], columns[1] : columns[-1]]
        np.testing.assert_allclose(inner, 1.0, atol=1e-6)


def test_the_square_grows_about_its_place_and_elsewhere_nothing_changes() -> None:
    record, images = REGISTRY["occlusion"], photos("chelsea")
    before = np.zeros((224, 224))
    for strength in (0.05, 0.2, 0.5, 1.0):
        white = apply(record, flat(1.0), strength, digests=["x"])[0, :, :, 0]
        hidden = (1 - white.astype(np.float64)) / (1 - OCCLUDER_GREY)
        assert (hidden >= before - 1e-6).all()
        before = hidden
        result = apply(record, images, strength, digests=["x"])[0]
        np.testing.assert_array_equal(result[hidden == 0], images[0][hidden == 0])
        whole = hidden > 1 - 1e-6
        np.testing.assert_allclose(result[whole], OCCLUDER_GREY, atol=1e-6)
    source = stream(0, "x", "occlusion")
    row, column = (int(source.random() * 224) for _ in range(2))
    assert before[row, column] > 0
