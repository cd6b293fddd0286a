"""The study's perturbations against answers known beforehand, and independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import color, transform

from robustness.perturbations import REGISTRY, Perturbation, apply
from tests.support.oracles import grey, photos, psnr


def test_brightness_keeps_hue_and_saturation() -> None:
    colours = np.array([[0.2, 0.1, 0.05], [0.9, 0.3, 0.6], [0, 0, 0], [1, 1, 1]], np.float32)
    expected = np.array([[0.5, 0.25, 0.125], [1, 1 / 3, 2 / 3], [0.3, 0.3, 0.3], [1, 1, 1]])
    image = np.tile(colours, (4, 1, 1))[None]
    result = apply(REGISTRY["brightness"], image, 0.6)
    np.testing.assert_allclose(result[0, 0], expected, atol=1e-6)
    image = np.clip(photos("chelsea"), 0.05, 0.6)
    before = color.rgb2hsv(image[0])
    after = color.rgb2hsv(apply(REGISTRY["brightness"], image, 0.6)[0])
    np.testing.assert_allclose(after[..., 1], before[..., 1], atol=1e-5)
    np.testing.assert_allclose(after[..., 2], before[..., 2] + 0.3, atol=1e-5)


def test_increased_contrast_keeps_the_channel_mean_and_doubles_the_spread() -> None:
    faint = 0.4 + 0.2 * photos("chelsea", "rocket")  # nothing to clip at factor 2
    result = apply(REGISTRY["increased_contrast"], faint, 0.5)
    means, spreads = faint.mean((1, 2), np.float64), faint.std((1, 2), np.float64)
    np.testing.assert_allclose(result.mean((1, 2), np.float64), means, atol=1e-5)
    np.testing.assert_allclose(result.std((1, 2), np.float64), 2 * spreads, rtol=1e-4)


def spread_of_a_point(record: Perturbation, side: int) -> tuple[float, float]:
    """Sum and horizontal variance (px^2) of what becomes of one bright pixel in the middle."""
    image = np.zeros((1, side, side, 3), dtype=np.float32)
    image[0, side // 2, side // 2] = 1.0
    profile = apply(record, image, 0.6)[0, :, :, 1].astype(np.float64).sum(axis=0)
    offset = np.arange(side) - side // 2
    return float(profile.sum()), float((profile * offset**2).sum() / profile.sum())


@pytest.mark.parametrize("side", [112, 224, 448])
def test_blurs_keep_the_light_and_scale_with_the_side(side: int) -> None:
    scale = side / 224
    total, variance = spread_of_a_point(REGISTRY["gaussian_blur"], side)
    assert total == pytest.approx(1, abs=1e-4)
    assert variance == pytest.approx((3 * scale) ** 2, rel=0.01)
    total, variance = spread_of_a_point(REGISTRY["defocus_blur"], side)
    assert total == pytest.approx(1, abs=1e-4)
    # A disk's variance along one axis is radius^2 / 4; the antialiasing adds its own 0.2 px^2.
    assert variance == pytest.approx((6 * scale) ** 2 / 4 + 0.2, rel=0.05)


def test_more_fog_is_more_of_the_same_cloud() -> None:
    record, image = REGISTRY["fog"], grey()
    clouds = []
    for strength in (0.05, 0.2, 0.4):  # where the decay, hence the cloud's texture, is constant
        amount = record.parameter_at(strength)
        result = apply(record, image, strength)[0, :, :, 0]
        clouds.append((result * (0.5 + amount) / 0.5 - 0.5) / amount)
    np.testing.assert_allclose(clouds[1], clouds[0], atol=1e-4)
    np.testing.assert_allclose(clouds[2], clouds[0], atol=1e-4)


def test_quarter_turns_and_flips_only_move_pixels() -> None:
    images = photos("coffee", "rocket", side=97)
    turn, left_right, up_down = (
        REGISTRY[name] for name in ("rotation", "horizontal_flip", "vertical_flip")
    )
    np.testing.assert_array_equal(apply(turn, images, 0.5), np.rot90(images, axes=(1, 2)))
    np.testing.assert_array_equal(apply(turn, images, 1.0), np.rot90(images, 2, axes=(1, 2)))
    for strength in (1e-9, 0.5, 1.0):
        np.testing.assert_array_equal(apply(left_right, images, strength), images[:, :, ::-1])
        np.testing.assert_array_equal(apply(up_down, images, strength), images[:, ::-1])


@pytest.mark.parametrize("angle", [5, 45, 120])
def test_other_turns_agree_with_scikit_image(angle: int) -> None:
    turned = apply(REGISTRY["rotation"], photos(), angle / 180)
    for image, result in zip(photos(), turned, strict=True):
        expected = transform.rotate(image, angle, order=3, mode="reflect")
        assert psnr(result, np.clip(expected, 0, 1)) > 42


@pytest.mark.parametrize("strength", [0.1, 0.6])
def test_salt_and_pepper_replaces_the_stated_share_of_whole_pixels(strength: float) -> None:
    record, image = REGISTRY["salt_and_pepper"], grey(0.25)
    amount = record.parameter_at(strength)
    result = apply(record, image, strength)[0]
    assert set(np.unique(result).tolist()) == {0.0, 0.25, 1.0}
    np.testing.assert_array_equal(result, np.repeat(result[..., :1], 3, axis=2))
    changed = float(np.mean(result[..., 0] != 0.25))
    assert changed == pytest.approx(amount, abs=5 * np.sqrt(amount) / 224)
    stronger = apply(record, image, min(1.0, strength + 0.1))[0]
    was_replaced = result != 0.25
    np.testing.assert_array_equal(stronger[was_replaced], result[was_replaced])
