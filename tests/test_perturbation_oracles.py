"""The perturbations against independent implementations, and against answers known beforehand.

The peer is the PyPI package ``imagecorruptions``, which carries the code that made ImageNet-C.
"""

from __future__ import annotations

import imagecorruptions
import numpy as np
import pytest
from imagecorruptions import corruptions as peer
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from skimage import color, transform

from robustness.perturbations import REGISTRY, Images, Perturbation, apply, image_digest
from robustness.perturbations.arrays import random_words, standard_normals
from robustness.perturbations.blur import disk
from robustness.perturbations.compose import stream
from robustness.perturbations.weather import fog_decay, plasma
from tests.oracles import PHOTOS, of_peer, photo_bytes, photos, psnr

COUNTERPARTS = [record for record in REGISTRY if record.imagenet_c and record.in_study]
SEVERITIES = (1, 2, 3, 4, 5)
SEEDS = {"fog": 120}
"""Seeds averaged over, 24 by default: clouds differ more from one another than noises do."""
TOLERANCE = {"fog": (0.03, 0.01)}
"""Of full scale, for mean and spread; four standard errors or more. (0.0015, 0.0008) by default."""

LEAST_PSNR = 40.0
"""dB, to the peer's uint8, where truncation alone costs it all above 53."""
LEAST_UNROUNDED_PSNR = {"brightness": 130.0, "gaussian_blur": 130.0, "defocus_blur": 58.0}
"""dB, to what the peer computes before it rounds, for those that repeat it step by step."""

at_every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def grey(level: float = 0.5, side: int = 224) -> Images:
    return np.full((1, side, side, 3), level, dtype=np.float32)


@at_every_severity
@pytest.mark.parametrize(
    "record", [r for r in COUNTERPARTS if not r.random], ids=lambda record: record.name
)
def test_deterministic_ones_equal_the_peer(record: Perturbation, severity: int) -> None:
    name = record.imagenet_c
    assert name is not None
    ours = apply(record, photos(), record.severity_strengths[severity - 1])
    for photo, result in zip(PHOTOS, ours, strict=True):
        rounded = imagecorruptions.corrupt(photo_bytes(photo), severity, name) / 255
        assert psnr(result, rounded) >= LEAST_PSNR, photo
        unrounded = of_peer(name, photo, severity)
        assert psnr(result, unrounded) >= LEAST_UNROUNDED_PSNR.get(record.name, 0.0), photo


@at_every_severity
@pytest.mark.parametrize(
    "record", [r for r in COUNTERPARTS if r.random], ids=lambda record: record.name
)
def test_random_ones_have_the_peers_mean_and_spread(record: Perturbation, severity: int) -> None:
    """Mean and standard deviation of the picture, averaged over seeds, within ``TOLERANCE``."""
    name = record.imagenet_c
    assert name is not None
    image, strength = photos("chelsea"), record.severity_strengths[severity - 1]
    seeds = range(SEEDS.get(record.name, 24))
    ours = [apply(record, image, strength, seed=seed) for seed in seeds]
    theirs = [of_peer(name, "chelsea", severity, seed) for seed in seeds]
    (mean, spread), (peer_mean, peer_spread) = (
        np.mean([(x.mean(), x.std()) for x in results], axis=0) for results in (ours, theirs)
    )
    of_mean, of_spread = TOLERANCE.get(record.name, (0.0015, 0.0008))
    assert mean == pytest.approx(peer_mean, abs=of_mean)
    assert spread == pytest.approx(peer_spread, abs=of_spread)


@at_every_severity
def test_fog_equals_the_peer_on_the_same_random_numbers(
    severity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, record = photos("coffee"), REGISTRY["fog"]
    ours = apply(record, image, record.severity_strengths[severity - 1], seed=5)
    source = stream(5, image_digest(image[0]), "fog")
    numbers = random_words(source, (256 * 256 - 1,), np.int16) / 32768
    taken = 0

    def replay(low: float, high: float, shape: tuple[int, ...]) -> NDArray[np.float64]:
        nonlocal taken
        assert low == -high
        chosen = numbers[taken : taken + int(np.prod(shape))].reshape(shape)
        taken += chosen.size
        return high * chosen

    monkeypatch.setattr(np.random, "uniform", replay)
    theirs = of_peer("fog", "coffee", severity)
    assert taken == numbers.size
    assert psnr(ours[0], theirs) > 100


@at_every_severity
def test_gaussian_noise_equals_the_peer_on_the_same_random_numbers(
    severity: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, record = photos("rocket"), REGISTRY["gaussian_noise"]
    ours = apply(record, image, record.severity_strengths[severity - 1], seed=5)
    source = stream(5, image_digest(image[0]), record.name)

    def replay(size: tuple[int, ...], scale: float) -> NDArray[np.float64]:
        return standard_normals(source, size).astype(np.float64) * scale

    monkeypatch.setattr(np.random, "normal", replay)
    assert psnr(ours[0], of_peer(record.name, "rocket", severity)) > 130


@at_every_severity
def test_each_channel_of_salt_and_pepper_is_distributed_as_the_peers(severity: int) -> None:
    """Shares of black and of white within 5 standard deviations of a binomial, on both sides."""
    record = REGISTRY["salt_and_pepper"]
    amount = record.parameter_at(record.severity_strengths[severity - 1])
    between = np.clip(photos("coffee"), 0.1, 0.9)
    ours = apply(record, between, record.severity_strengths[severity - 1])[0]
    given = Image.fromarray((between[0] * 255).astype(np.uint8))
    theirs = peer.impulse_noise(given, severity, seed=severity) / 255
    tolerance = 5 * np.sqrt(amount / 2 / (224 * 224))
    for result in (ours, theirs):
        for channel in range(3):
            for extreme in (0.0, 1.0):
                share = float(np.mean(result[..., channel] == extreme))
                assert share == pytest.approx(amount / 2, abs=tolerance)


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


@at_every_severity
def test_disk_is_the_peers_but_for_the_margin_it_lacks(severity: int) -> None:
    radius, alias = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][severity - 1]
    ours, theirs = (
        np.pad(k, 12 - len(k) // 2) for k in (disk(float(radius), alias), peer.disk(radius, alias))
    )
    # Its blur is mirrored at the end of a grid that reaches to 8, or to a radius above 8.
    safe = 12 if radius < 8 else radius - 2
    core = slice(12 - safe, 13 + safe)
    np.testing.assert_allclose(ours[core, core], theirs[core, core], atol=2e-6, rtol=3e-3)
    assert ours.sum() == pytest.approx(1, abs=1e-6)


def test_disk_grows_between_whole_radii() -> None:
    radii = np.linspace(0, 12, 601)
    areas = np.array([1 / float(disk(radius, 0.0).max()) for radius in radii])
    assert np.diff(areas).min() >= 0
    assert np.diff(areas).max() < 8  # a ring of 8 or 12 cells never enters at once
    np.testing.assert_allclose(areas[200:], np.pi * radii[200:] ** 2, rtol=0.15)


def test_more_fog_is_more_of_the_same_cloud() -> None:
    record, image = REGISTRY["fog"], grey()
    clouds = []
    for strength in (0.05, 0.2, 0.4):  # where the decay, hence the cloud's texture, is constant
        amount = record.parameter_at(strength)
        result = apply(record, image, strength)[0, :, :, 0]
        clouds.append((result * (0.5 + amount) / 0.5 - 0.5) / amount)
    np.testing.assert_allclose(clouds[1], clouds[0], atol=1e-4)
    np.testing.assert_allclose(clouds[2], clouds[0], atol=1e-4)


def test_plasma_is_rougher_where_the_decay_is_smaller() -> None:
    numbers = random_words(np.random.default_rng(1), (256 * 256 - 1,), np.int16)
    roughness = []
    for strength in (0.4, 0.6, 0.8, 1.0):
        cloud = plasma(numbers, fog_decay(strength))
        assert (cloud.min(), cloud.max()) == (0.0, 1.0)
        assert np.abs(cloud[0] - cloud[-1]).max() < 0.2  # the borders meet: it lies on a torus
        roughness.append(float(np.abs(np.diff(cloud)).mean()))
    assert roughness == sorted(roughness)
    assert roughness[-1] > 2 * roughness[0]


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


@pytest.mark.parametrize("angle", [5, 30, 45, 89, 120, 179])
def test_other_turns_agree_with_scikit_image(angle: int) -> None:
    turned = apply(REGISTRY["rotation"], photos(), angle / 180)
    for image, result in zip(photos(), turned, strict=True):
        expected = transform.rotate(image, angle, order=3, mode="reflect")
        assert psnr(result, np.clip(expected, 0, 1)) > 42


def test_standard_normals_are_standard_normal_and_independent() -> None:
    numbers = standard_normals(np.random.default_rng(3), (500, 1001))
    assert (numbers.shape, numbers.dtype) == (numbers.shape, np.float32)
    sample = numbers.ravel().astype(np.float64)
    assert stats.kstest(sample, "norm").pvalue > 0.01
    assert stats.kurtosis(sample) == pytest.approx(0, abs=0.03)
    for lag in (1, 2, 3, 4, 1001):  # four numbers come of each random word
        correlation = np.mean(sample[lag:] * sample[:-lag])
        assert abs(correlation) < 5 / np.sqrt(sample.size)


@at_every_severity
def test_gaussian_noise_on_mid_grey_has_the_stated_deviation(severity: int) -> None:
    """Known answer: a normal of that deviation, cut where it leaves [0, 1]."""
    record = REGISTRY["gaussian_noise"]
    sigma = record.parameter_at(record.severity_strengths[severity - 1])
    result = apply(record, grey(), record.severity_strengths[severity - 1]).astype(np.float64)
    inside = (result > 0) & (result < 1)
    assert np.mean(~inside) == pytest.approx(2 * stats.norm.sf(0.5 / sigma), rel=0.05, abs=1e-4)
    expected = stats.truncnorm.std(-0.5 / sigma, 0.5 / sigma, scale=sigma)
    assert result[inside].std() == pytest.approx(expected, rel=0.01)
    assert result.mean() == pytest.approx(0.5, abs=5 * sigma / np.sqrt(result.size))
    channels = result.reshape(-1, 3).T
    assert np.abs(np.corrcoef(channels) - np.eye(3)).max() < 5 / 224


@pytest.mark.parametrize("strength", [0.1, 0.2, 0.6, 1.0])
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
