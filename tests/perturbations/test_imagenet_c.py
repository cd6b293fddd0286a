"""The corruptions of ImageNet-C that are not the study's, against answers known beforehand."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from benchmarks.support.original_corruptions import frost_photograph, levels_above
from robustness.perturbations import REGISTRY, apply
from robustness.perturbations.weather import OCTAVES, SHEETS, sheet, snow_cover
from tests.support.oracles import PHOTOS, at_every_severity, grey, photo_bytes, photos, psnr

# --- noise --------------------------------------------------------------------------------------


@at_every_severity
@pytest.mark.parametrize("level", [0, 40, 255])
def test_shot_noise_is_poisson(level: int, severity: int) -> None:
    photons = (60, 25, 12, 5, 3)[severity - 1]
    result = apply(REGISTRY["shot_noise"], grey(level / 255), severity / 5)
    counts = np.rint(result.astype(np.float64) * photons).astype(int)
    np.testing.assert_allclose(result, counts / photons, atol=1e-6)
    seen = np.bincount(counts.ravel(), minlength=photons + 1)
    chances = stats.poisson.pmf(np.arange(photons + 1), photons * level / 255)
    chances[-1] = stats.poisson.sf(photons - 1, photons * level / 255)  # all above are white
    common = chances > 1e-4
    np.testing.assert_allclose(
        (seen / counts.size)[common],
        chances[common],
        atol=6e-4 + 5 * float(np.sqrt(chances.max() / counts.size)),
    )
    assert seen[~common].sum() / counts.size < 0.002


def test_an_impulse_stays_at_every_greater_amount() -> None:
    record, image = REGISTRY["impulse_noise"], grey(0.25)
    weaker, stronger = (apply(record, image, strength) for strength in (0.3, 0.9))
    hit = weaker != 0.25
    np.testing.assert_array_equal(stronger[hit], weaker[hit])
    assert hit.mean() == pytest.approx(record.parameter_at(0.3), abs=0.003)
    together = hit.all(axis=3).mean()
    assert together == pytest.approx(record.parameter_at(0.3) ** 3, abs=0.0005)


# --- blurs --------------------------------------------------------------------------------------


def test_a_motion_keeps_its_direction_as_the_slider_moves() -> None:
    point = np.zeros((1, 224, 224, 3), dtype=np.float32)
    point[0, 112, 112] = 1.0
    angles = []
    for strength in (0.2, 0.6, 1.0):
        trail = apply(REGISTRY["motion_blur"], point, strength)[0, :, :, 0]
        rows, columns = np.nonzero(trail)
        offsets = np.average(np.stack([rows, columns]) - 112, axis=1, weights=trail[rows, columns])
        angles.append(np.arctan(offsets[0] / offsets[1]))
    np.testing.assert_allclose(angles, angles[0], atol=0.1)
    assert abs(angles[0]) < np.pi / 4 + 0.1


# --- weather ------------------------------------------------------------------------------------


def test_snow_begins_with_a_few_flakes() -> None:
    assert snow_cover(0.0) == 0.0
    covers = [snow_cover(strength) for strength in (0.02, 0.1, 0.15, 0.2)]
    assert covers == sorted(covers)
    assert covers[-1] == pytest.approx(stats.norm.sf((0.5 - 0.1) / 0.3))
    black = grey(0.0)
    lit = [np.mean(apply(REGISTRY["snow"], black, s) > 0.2) for s in (0.02, 0.15, 0.2)]
    assert lit[0] == 0.0
    assert 0.0 < lit[1] < lit[2]


@pytest.mark.parametrize("number", range(len(SHEETS)))
def test_a_sheet_of_ice_has_the_colour_and_contrast_of_the_originals_photograph(
    number: int,
) -> None:
    """Crops of 224: mean and spread of each channel, and the contrast at every fineness."""
    ours, theirs = (
        crop_statistics(picture)
        for picture in (sheet(number), frost_photograph(number) / np.float32(255))
    )
    np.testing.assert_allclose(ours[:3], theirs[:3], atol=0.02)
    np.testing.assert_allclose(ours[3:6], theirs[3:6], rtol=0.1)
    # of fewer waves than 4 a crop, a sheet has too few for a close measurement
    np.testing.assert_allclose(ours[6:], theirs[6:], rtol=0.15)
    assert not sheet(number).flags.writeable


def crop_statistics(picture: np.ndarray) -> np.ndarray:
    """Mean and spread of each channel, contrast in each finer octave: averages over crops."""
    rows, columns = (np.linspace(0, length - 224, 4).astype(int) for length in picture.shape[:2])
    crops = [picture[r : r + 224, c : c + 224] for r in rows for c in columns]
    window = np.outer(np.hanning(224), np.hanning(224))
    cycles = 224 * np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224))
    octave = np.digitize(cycles, OCTAVES[3:]).ravel()
    power = np.zeros(len(OCTAVES) - 4)
    for crop in crops:
        grey = crop.mean(axis=2)
        spectrum = np.abs(np.fft.fft2((grey - grey.mean()) * window)) ** 2
        power += np.bincount(octave, spectrum.ravel())[1 : len(power) + 1]
    power /= len(crops) * 224**4 * np.mean(window**2)
    means, spreads = np.mean([[crop.mean((0, 1)), crop.std((0, 1))] for crop in crops], axis=0)
    return np.concatenate([means, spreads, np.sqrt(power)])


def test_spatter_mixes_the_two_severities_around_it() -> None:
    record, image = REGISTRY["spatter"], photos("coffee")
    for lower in range(5):
        below, above = (apply(record, image, level / 5) for level in (lower, lower + 1))
        between = apply(record, image, (lower + 0.25) / 5)
        np.testing.assert_allclose(between, 0.75 * below + 0.25 * above, atol=1e-5)


@pytest.mark.parametrize("name", ["snow", "frost", "spatter", "elastic_transform"])
def test_layers_are_the_same_at_another_side(name: str) -> None:
    large, small = photos("chelsea"), photos("chelsea", side=112)
    results = [apply(REGISTRY[name], batch, 0.6, digests=["one"])[0] for batch in (large, small)]
    halved = cv2.resize(results[0], (112, 112), interpolation=cv2.INTER_AREA)
    other = apply(REGISTRY[name], small, 0.6, digests=["another"])[0]
    assert psnr(results[1], halved) > psnr(other, halved) + 4


# --- the rest -----------------------------------------------------------------------------------


def test_a_saved_picture_is_that_of_the_originals_own_writer() -> None:
    """Pillow, which saved ImageNet-C, with the settings of ``make_imagenet_c.py``."""
    for photo, result in zip(PHOTOS, apply(REGISTRY["saved_as_jpeg"], photos(), 1.0), strict=True):
        file = io.BytesIO()
        Image.fromarray(photo_bytes(photo)).save(file, "JPEG", quality=85, optimize=True)
        assert not levels_above(result, np.asarray(Image.open(file))).any()


@pytest.mark.parametrize("side", [224, 250])
@at_every_severity
def test_pixelate_shows_squares_of_their_mean(severity: int, side: int) -> None:
    image = photos("coffee", side=side)
    few = round(REGISTRY["pixelate"].parameter_at(severity / 5) * side / 224)
    result = apply(REGISTRY["pixelate"], image, severity / 5)[0]
    cell = np.floor((np.arange(side) + 0.5) * few / side).astype(int)
    for row, column in ((0, 0), (few // 2, few // 3), (few - 1, few - 1)):
        inside = np.ix_(cell == row, cell == column)
        mean = image[0][inside].mean((0, 1))
        np.testing.assert_allclose(
            result[inside], np.broadcast_to(mean, result[inside].shape), atol=1e-6
        )
