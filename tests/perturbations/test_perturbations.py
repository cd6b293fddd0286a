"""Laws that every registered perturbation obeys."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest

from robustness.base.errors import ParameterError
from robustness.images.framing import MIN_SIDE
from robustness.images.pixels import LEVELS
from robustness.perturbations import REGISTRY, Images, Perturbation, apply
from robustness.perturbations.record import (
    FAMILIES,
    GEOMETRIC,
    LIGHTING,
    NOISE,
    RISKS,
    SEVERITY_STRENGTHS,
)
from tests.support.oracles import photos

STUDY = {
    "brightness": ("Increased brightness", LIGHTING, 0.3),
    "increased_contrast": ("Increased contrast", LIGHTING, 2.0),
    "gaussian_blur": ("Gaussian blur", LIGHTING, 3.0),
    "defocus_blur": ("Defocus blur", LIGHTING, 6.0),
    "fog": ("Fog effect", LIGHTING, 2.5),
    "rotation": ("Rotation", GEOMETRIC, 90.0),
    "horizontal_flip": ("Horizontal flip", GEOMETRIC, 1.0),
    "vertical_flip": ("Vertical flip", GEOMETRIC, 1.0),
    "gaussian_noise": ("Random noise", NOISE, 0.18),
    "salt_and_pepper": ("Salt & pepper noise", NOISE, 0.09),
}

STRENGTHS = (1e-6, 0.1, 0.37, 0.6, 1.0)
TWENTIETHS = np.linspace(0.0, 1.0, 21).tolist()

everyone = pytest.mark.parametrize("record", REGISTRY, ids=REGISTRY.names)
graded = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.graded], ids=lambda record: record.name
)
continuous = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.graded and r.continuous], ids=lambda record: record.name
)
random = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.random], ids=lambda record: record.name
)
monotone = pytest.mark.parametrize(
    "record", [r for r in REGISTRY if r.monotone], ids=lambda record: record.name
)


def distance(first: Images, second: Images) -> float:
    """Mean absolute difference."""
    return float(np.abs(first.astype(np.float64) - second).mean())


# --- the record ---------------------------------------------------------------------------------


def test_the_study_is_registered_in_its_order_with_its_settings() -> None:
    study = [record for record in REGISTRY if record.in_study]
    assert [record.name for record in study] == list(STUDY)
    for record in study:
        assert record.study_strength is not None
        found = (record.label, record.family, record.parameter_at(record.study_strength))
        assert found == (*STUDY[record.name][:2], pytest.approx(STUDY[record.name][2]))


@everyone
def test_record_is_complete(record: Perturbation) -> None:
    for text in (record.label, record.parameter, record.unit):
        assert text == text.strip()
        assert text
    assert len(record.source) > 20
    assert (record.function.__doc__ or "").strip()
    assert record.family in FAMILIES
    assert record.risk in RISKS
    values = [record.parameter_at(strength) for strength in (0.0, *STRENGTHS)]
    assert all(math.isfinite(value) for value in values)
    assert len(set(values)) > 1
    if record.study_strength is not None:
        assert 0 < record.study_strength <= 1


def test_every_risk_is_stood_for() -> None:
    assert {record.risk for record in REGISTRY} == set(RISKS)
    assert len(set(RISKS)) == len(RISKS)


@everyone
def test_values_are_said_as_people_say_them(record: Perturbation) -> None:
    assert record.value_text(0.0) == "off"
    texts = [record.value_text(strength) for strength in (0.1, 0.2, 0.5, 1.0)]
    assert len(set(texts)) == (4 if record.graded else 1)
    for text in texts:
        assert text == text.strip()
        assert "times" not in text
        assert "scale" not in text
        assert not re.match(r"[\d.]+ of\b", text), "a bare share"
        assert not re.search(r"[\d.]e[+-]?\d", text), "a power of ten"


@everyone
def test_severities_lie_on_the_strength_axis(record: Perturbation) -> None:
    if record.imagenet_c is None:
        assert record.severity_strengths == ()
        assert record.severity_at(0.5) is None
        return
    assert record.severity_strengths == SEVERITY_STRENGTHS
    assert [record.severity_at(s) for s in (0.0, *SEVERITY_STRENGTHS)] == [0, 1, 2, 3, 4, 5]
    assert record.severity_at(0.29) == 1
    assert record.severity_at(0.31) == 2


# --- one perturbation ---------------------------------------------------------------------------


@everyone
def test_returns_a_new_study_image_and_leaves_the_old_one(record: Perturbation) -> None:
    images = photos("coffee", "chelsea", side=112)
    before = images.tobytes()
    for strength in STRENGTHS:
        result = apply(record, images, strength)
        assert images.tobytes() == before, strength
        assert not np.shares_memory(result, images)
        assert (result.shape, result.dtype) == (images.shape, np.float32)
        assert result.flags.c_contiguous
        assert result.flags.writeable
        assert 0.0 <= result.min() <= result.max() <= 1.0, strength  # false for NaN as well


@everyone
def test_reads_any_memory_layout(record: Perturbation) -> None:
    images = photos("coffee", side=112)
    plain = apply(record, images, 0.6)
    frozen = np.asfortranarray(images)
    frozen.flags.writeable = False
    result = apply(record, frozen, 0.6)
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, plain)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])[:, :, ::-1]
    np.testing.assert_array_equal(apply(record, mirrored, 0.6), plain)


@everyone
def test_flat_smallest_and_no_images_stay_images(record: Perturbation) -> None:
    flat = [np.full((1, 64, 64, 3), level, dtype=np.float32) for level in (0.0, 0.5, 1.0)]
    smallest = np.random.default_rng(0).random((1, MIN_SIDE, MIN_SIDE, 3), dtype=np.float32)
    for images in (*flat, smallest, flat[0][:0]):
        with np.errstate(all="raise"):
            result = apply(record, images, 1.0)
        assert (result.shape, result.dtype) == (images.shape, np.float32)
        assert np.isfinite(result).all()
        assert 0.0 <= result.min(initial=0) <= result.max(initial=1) <= 1.0


def test_one_pixel_is_refused() -> None:
    with pytest.raises(ParameterError, match="got one pixel"):
        apply(REGISTRY["fog"], np.zeros((1, 1, 1, 3), np.float32), 1.0)


OF_THE_GRID = {
    "pixelate",
    "low_resolution",
    "jpeg_compression",
    "webp_compression",
    "saved_as_jpeg",
}
"""Perturbations relative to the pixels that there are: more pixels lose less of what one sees."""


@everyone
def test_a_severity_looks_the_same_at_another_side(record: Perturbation) -> None:
    strength = 0.6 if record.graded else 1.0
    small, large = (
        distance(apply(record, images, strength, digests=["one", "two"]), images)
        for images in (photos("astronaut", "coffee", side=side) for side in (224, 384))
    )
    least = 0.6 if record.name in OF_THE_GRID else 0.8
    assert least < large / small < 1.25


@random
def test_a_random_change_is_as_strong_at_another_side_of_equal_display_size(
    record: Perturbation,
) -> None:
    """Both are compared at 112 pixels: resizing to 224 blurs a grain of one pixel itself."""

    def strength_at_112(images: Images) -> float:
        change = apply(record, images, 0.6, digests=["one", "two"]) - images
        shrunk = [cv2.resize(each, (112, 112), interpolation=cv2.INTER_AREA) for each in change]
        return float(np.sqrt(np.square(shrunk).mean()))

    small, large = (
        strength_at_112(photos("astronaut", "coffee", side=side)) for side in (224, 384)
    )
    assert 0.85 < large / small < 1.18


@everyone
def test_same_seed_gives_the_same_bytes_alone_or_in_any_place(record: Perturbation) -> None:
    images = photos(side=112)
    batch = apply(record, images, 0.5, seed=7)
    np.testing.assert_array_equal(batch, apply(record, images, 0.5, seed=7))
    np.testing.assert_array_equal(batch[::-1], apply(record, images[::-1], 0.5, seed=7))
    for place in (0, 3):
        alone = apply(record, images[place : place + 1], 0.5, seed=7)
        np.testing.assert_array_equal(batch[place : place + 1], alone)


@graded
def test_effect_vanishes_with_the_strength(record: Perturbation) -> None:
    images = photos(side=112)
    for strength, limit in ((1e-300, 1e-7), (1e-5, 5e-4), (1e-3, 0.03)):
        after = distance(apply(record, images, strength), images)
        assert after < (limit if record.continuous else 0.03)


@continuous
def test_no_pixel_jumps_at_the_smallest_strength(record: Perturbation) -> None:
    images = np.repeat(photos("coffee", side=64), 8, axis=0)
    change = apply(record, images, 1e-6, digests=[f"draw {index}" for index in range(8)]) - images
    assert np.abs(change).max() < 1 / LEVELS


@continuous
def test_the_picture_follows_the_slider_without_a_jump(record: Perturbation) -> None:
    images = photos("coffee", side=112)
    results = (
        apply(record, images, strength, digests=["coffee"])
        for strength in np.linspace(0.016, 1.0, 62)
    )
    steps = [
        float(np.abs(after - before).mean(dtype=np.float64)) for before, after in pairwise(results)
    ]
    for place in range(1, len(steps) - 1):
        # A steep slope has steep neighbours; a jump stands alone.
        around = max(steps[place - 1], steps[place + 1])
        strength = 0.016 * (place + 1)
        assert steps[place] < 2 * around + 3e-4, f"jumps by {steps[place]:.4f} after {strength}"


@pytest.mark.parametrize("record", [r for r in REGISTRY if not r.continuous], ids=lambda r: r.name)
def test_what_moves_in_steps_moves_in_small_ones(record: Perturbation) -> None:
    """The record says that the effect stands still in places; elsewhere it takes no leap."""
    images = photos("coffee")
    results = [apply(record, images, strength) for strength in np.linspace(0.002, 1.0, 100)]
    steps = [distance(before, after) for before, after in pairwise(results)]
    values = [record.parameter_at(strength) for strength in np.linspace(0.0, 1.0, 1001)]
    assert all(value == round(value) for value in values), "steps are those of a whole number"
    assert min(np.diff(values)) == -1.0
    assert 0.0 == min(steps) < max(steps) < 0.06


@monotone
def test_difference_from_the_clean_image_never_shrinks(record: Perturbation) -> None:
    images = photos(side=112)
    results = [apply(record, images, strength) for strength in TWENTIETHS]
    for place in range(len(images)):
        grown = [distance(result[place], images[place]) for result in results]
        assert all(after >= before for before, after in pairwise(grown)), grown


@everyone
def test_does_something_at_every_setting_that_people_meet(record: Perturbation) -> None:
    images = photos("coffee", "rocket")
    for strength in {*record.severity_strengths, record.study_strength or 1.0}:
        for image, result in zip(images, apply(record, images, strength), strict=True):
            far_off = np.mean(np.abs(result - image) > 0.1)  # as a few drops on the lens are
            assert distance(result, image) > 0.005 or far_off > 0.002


# --- random streams -----------------------------------------------------------------------------


@random
def test_seeds_and_images_have_their_own_noise(record: Perturbation) -> None:
    photo = photos("astronaut", side=64)[0]
    images = np.stack([photo, photo, np.minimum(photo + np.float32(1e-4), 1)])
    digests = ["first", "second", "first"]
    result = apply(record, images, 0.6, seed=1, digests=digests)
    assert distance(result[0], result[1]) > 0.01
    assert distance(result[0], result[2]) < 0.001
    assert distance(result, apply(record, images, 0.6, seed=2, digests=digests)) > 0.01
    assert distance(*apply(record, images[1:], 0.6)) > 0.01  # the default digests tell them apart


NOISES = [record for record in REGISTRY if record.family == NOISE]


@pytest.mark.parametrize("side", [96, 260])
@pytest.mark.parametrize("record", NOISES, ids=lambda record: record.name)
def test_every_side_sees_the_same_grain(record: Perturbation, side: int) -> None:
    """That of side 224, at the nearest pixel."""

    def field(side: int) -> Images:
        grey = np.full((1, side, side, 3), 0.5, np.float32)
        return apply(record, grey, 0.6, seed=1, digests=["one image"])[0] - 0.5

    nearest = (2 * np.arange(side) + 1) * 224 // (2 * side)
    expected, drawn = field(224)[np.ix_(nearest, nearest)], field(side)
    assert np.corrcoef(expected.ravel(), drawn.ravel())[0, 1] > 0.8
    assert drawn.std() == pytest.approx(field(224).std(), rel=0.02)
