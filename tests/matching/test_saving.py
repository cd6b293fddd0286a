"""Like with like: reference images are saved as production's files state."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

import robustness as rb
from robustness import matching
from robustness.api.images import open_images
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8, to_jpeg
from robustness.images.properties import PropertyValues
from robustness.matching import Match, MatchSettings, emulator, fit
from robustness.matching.run import saved_conditions
from robustness.matching.saving import (
    FileFacts,
    FileScale,
    SavedFile,
    SaveStep,
    Saving,
    file_framing,
    is_alike,
    is_visible,
    perturbed_and_saved,
    saved_files,
)
from robustness.matching.simulation import simulated_statistics
from robustness.matching.statistics import image_statistics
from robustness.measure.request import read_request, suite_conditions
from robustness.perturbations import compose
from robustness.report import match as report_match
from tests.matching.test_run import example, textures

SIDE = 64
FILE_SIDE = 96
QUALITY = 30
SETTINGS = MatchSettings(fit="squash", side=SIDE)
FRAMING = Framing("squash", SIDE)


def jpegs(pixels: NDArray[np.uint8], quality: int = QUALITY) -> list[bytes]:
    return [to_jpeg(from_uint8(image), quality) for image in pixels]


def decoded(files: list[bytes]) -> NDArray[np.uint8]:
    images = []
    for data in files:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        images.append(np.asarray(image, np.uint8))
    return np.stack(images)


def facts(quality: int, megapixels: float, aspect: float = 1.0) -> PropertyValues:
    return {"jpeg_quality": float(quality), "original_size": megapixels, "aspect": aspect}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NDArray[np.uint8]]:
    """Reference images of the size of the files, with small emulators in a cache of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(emulator, "SIMULATIONS", 600)
        patch.setattr(emulator, "_EPOCHS", 20)
        patch.setattr(fit, "MOST", 1)
        yield textures(60, 0, FILE_SIDE)


def answer(production: object, reference: object) -> Match:
    return matching.match(open_images(production), open_images(reference), SETTINGS)


def test_a_camera_that_only_saves_makes_no_other_difference(
    reference: NDArray[np.uint8],
) -> None:
    files = jpegs(textures(40, 1, FILE_SIDE))
    found = answer(files, reference)
    assert found.saving is not None
    assert not found.different
    first, second, *_ = report_match.sentences(found)
    assert first.startswith(f"Your files are JPEG of quality {QUALITY} at {FILE_SIDE} px")
    assert second.startswith("No difference found")
    assert found.as_dict()["saving"]["production"]["quality"] == (QUALITY, QUALITY)
    assert json.dumps(found.as_dict(), allow_nan=False)
    # The profile repeats it.
    (condition,) = found.conditions
    assert condition.perturbations == ("jpeg_compression",)
    assert condition.strength == found.saving.jpeg_compression

    # The same pixels in files that state nothing differ, and nothing is assumed of these.
    found = answer(decoded(files), reference)
    assert found.saving is None
    assert found.different
    assert found.as_dict()["saving"] is None


def test_what_happened_before_a_file_was_saved_is_still_named(
    reference: NDArray[np.uint8],
) -> None:
    images = from_uint8(textures(40, 2, FILE_SIDE))
    dark = [to_jpeg(image, QUALITY) for image in compose(images, {"darkness": 0.5})]
    found = answer(dark, reference)
    assert found.matched
    assert set(found.strengths) == {"darkness"}
    assert found.strengths["darkness"] == pytest.approx(0.5, abs=0.1)
    assert found.saving is not None
    compressed = [dict(each.steps)["jpeg_compression"] for each in found.conditions]
    assert compressed == pytest.approx([found.saving.jpeg_compression] * len(compressed), abs=0.01)


def test_a_reference_that_is_saved_alike_is_not_saved_again(
    reference: NDArray[np.uint8],
) -> None:
    found = answer(jpegs(textures(40, 3, FILE_SIDE)), jpegs(reference))
    assert found.saving is None
    assert not found.different


@pytest.mark.parametrize(
    ("production", "reference", "is_taken"),
    [
        ([facts(38, 0.16)], [{"original_size": 0.16, "aspect": 1.0}], True),
        ([facts(38, 0.16)], [facts(95, 0.25)], True),
        ([facts(38, 0.16)], [facts(38, 1.6)], True),
        ([facts(38, 0.16)], [facts(38, 0.16)], False),
        ([facts(38, 0.16)], [facts(30, 0.16)], False),
        ([facts(90, 12.0, 4 / 3)], [{"original_size": 0.16, "aspect": 1.0}], False),
        ([facts(38, 0.16), {}, {}], [{"original_size": 0.16, "aspect": 1.0}], False),
        ([{}], [facts(95, 0.25)], False),
    ],
)
def test_the_step_is_taken_where_files_say_so_and_it_shows(
    production: list[PropertyValues], reference: list[PropertyValues], is_taken: bool
) -> None:
    framing = Framing()
    yours = saved_files(production, framing)
    theirs = saved_files(reference, framing)
    taken = is_visible(yours, framing) and not is_alike(yours, theirs, framing)
    assert taken == is_taken


def test_each_image_draws_one_file_by_its_digest_alike_in_every_framing() -> None:
    files = [SavedFile(quality, 400, 300, False) for quality in range(20, 60)]
    digests = [str(number) for number in range(100)]
    framing = Framing()
    side = file_framing(files, framing).side
    assert side == 262, "seven eighths of the short side"
    pixels = np.zeros((100, side, side, 3), np.uint8)
    originals = np.zeros((100, 224, 224, 3), np.uint8)
    steps = FileScale.of(pixels, originals, files, framing, digests, 0).steps
    qualities = [step.quality for step in steps]
    assert len(set(qualities)) > 20
    backwards = FileScale.of(pixels, originals, files, framing, digests[::-1], 0).steps
    assert backwards[::-1] == steps
    other_seed = FileScale.of(pixels, originals, files, framing, digests, 1).steps
    assert [step.quality for step in other_seed] != qualities
    squash = Framing("squash")
    side = file_framing(files, squash).side
    pixels = np.zeros((100, side, side, 3), np.uint8)
    squashed = FileScale.of(pixels, originals, files, squash, digests, 0).steps
    assert [step.quality for step in squashed] == qualities


def test_a_file_that_states_nothing_is_no_step() -> None:
    (file,) = saved_files([{"original_size": 1.0, "aspect": 1.0}], FRAMING)
    image = textures(1, 0)
    scale = FileScale.of(image, image, [file], FRAMING, ["digest"], 0)
    np.testing.assert_array_equal(scale.originals, image)


def test_large_files_are_saved_smaller_and_finer() -> None:
    file = SavedFile(30, 4000, 3000, False)
    framing = file_framing([file], Framing())
    assert framing.side < 450
    (step,) = FileScale.of(
        np.zeros((1, framing.side, framing.side, 3), np.uint8),
        np.zeros((1, 224, 224, 3), np.uint8),
        [file],
        Framing(),
        ["digest"],
        0,
    ).steps
    assert step.side == framing.side
    assert step.quality > file.quality


def test_a_step_without_a_jpeg_gives_the_study_image_back() -> None:
    """Also to a small image, which has been enlarged to the scale of the files."""
    small = textures(1, 0, SIDE)
    file = SavedFile(QUALITY, FILE_SIDE, FILE_SIDE, False)
    enlarged = cv2.resize(small[0], (FILE_SIDE, FILE_SIDE), interpolation=cv2.INTER_CUBIC)
    scale = FileScale.of(enlarged[None], small, [file], FRAMING, ["digest"], 0)
    lost = np.abs(scale.unsaved([0]).astype(float) - small).mean()
    assert lost < np.abs(scale.originals.astype(float) - small).mean() / 2

    as_it_is = perturbed_and_saved(enlarged, {}, 0, "", SaveStep(FILE_SIDE), FRAMING)
    assert lost < np.abs(as_it_is.astype(float) - small[0]).mean() / 2


def test_an_image_is_perturbed_before_it_is_saved_and_resized() -> None:
    image = textures(1, 0, FILE_SIDE)[0]
    step = SaveStep(FILE_SIDE, quality=QUALITY)
    strengths = {"darkness": 0.5}
    dark = compose(from_uint8(image)[None], strengths)[0]
    (file,) = decoded([to_jpeg(dark, QUALITY)])
    expected = open_images([file])
    pixels = matching.run.sample_pixels(expected, FRAMING, 1, 0, lambda *_: None).pixels[0]
    saved = perturbed_and_saved(image, strengths, 0, "digest", step, FRAMING)
    np.testing.assert_array_equal(saved, pixels)


@pytest.mark.parametrize("name", ["gaussian_blur", "low_resolution", "gaussian_noise", "darkness"])
def test_a_strength_does_to_a_study_image_about_what_it_does_at_the_scale_of_files(
    name: str,
) -> None:
    # In images of 64 pixels a blur is narrower than a pixel.
    side, file_side = 224, 400
    small = textures(4, 0, side)
    enlarged = np.stack([cv2.resize(each, (file_side, file_side)) for each in small])
    # So fine a quality that it does not show.
    file = SavedFile(100, file_side, file_side, False)
    digests = [str(row) for row in range(4)]
    scale = FileScale.of(enlarged, small, [file], Framing("squash", side), digests, 0)
    for strength in (0.3, 0.6):
        expected = compose(from_uint8(small), {name: strength}, digests=digests)
        found = np.stack([scale.image(row, {name: strength}, 0, digests[row]) for row in range(4)])
        change = np.abs(from_uint8(found) - from_uint8(small)).mean()
        assert change == pytest.approx(np.abs(expected - from_uint8(small)).mean(), rel=0.25)


def test_processes_save_as_this_one_would() -> None:
    files = [SavedFile(20, 100, 90, False), SavedFile(60, 70, 80, False), None]
    framing = Framing("crop", SIDE)
    side = file_framing(files, framing).side
    digests = ["one", "two", "three", "four"]
    scale = FileScale.of(textures(4, 0, side), textures(4, 0, SIDE), files, framing, digests, 0)
    strengths = [{"gaussian_noise": 0.2}, {"fog": 0.3}, {}, {"gaussian_blur": 0.4}]
    rows = [3, 0, 1, 2]
    vectors = simulated_statistics(scale, rows, strengths, digests, 5)
    expected = []
    for row, composition, digest in zip(rows, strengths, digests, strict=True):
        expected.append(image_statistics(from_uint8(scale.image(row, composition, 5, digest))))
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-5)


def test_a_profile_ends_with_the_files_compression(tmp_path: Path) -> None:
    match = example(0.3, 0.5)
    unaffected = matching.run.as_profile([rb.Condition.of({name: 0.0}) for name in ("fog", "snow")])
    conditions = saved_conditions([*match.conditions, *unaffected], 0.04)
    assert len(set(conditions)) == len(match.conditions) + 2
    for condition in conditions:
        assert dict(condition.steps)["jpeg_compression"] == pytest.approx(0.04, abs=0.001)
    file = tmp_path / "camera.toml"
    saving = Saving(FileFacts((38, 38), (400, 400), False), FileFacts(None, (288, 288), True), 0.04)
    match = replace(match, conditions=conditions, saving=saving)
    file.write_text(matching.as_toml(match))
    assert read_request(file).conditions == conditions
    assert suite_conditions(str(file)) == conditions
    assert tomllib.loads(file.read_text())["models"] == ["SqueezeNet"]
    (strong,) = saved_conditions([rb.Condition.of({"jpeg_compression": 0.5})], 0.04)
    assert strong.strength == 0.5, "what compresses more already"


@pytest.mark.parametrize(
    ("yours", "theirs", "said"),
    [
        (
            FileFacts((38, 38), (400, 400), False),
            FileFacts(None, (288, 288), True),
            "Your files are JPEG of quality 38 at 400 px, the reference's are lossless.",
        ),
        (
            FileFacts((25, 60), (320, 500), False),
            FileFacts((95, 95), (500, 500), False),
            "Your files are JPEG of quality 25 to 60 at 320 to 500 px, the reference's are JPEG "
            "of quality 95 at 500 px.",
        ),
    ],
)
def test_files_are_told_first(yours: FileFacts, theirs: FileFacts, said: str) -> None:
    match = replace(example(0.3, 0.5), saving=Saving(yours, theirs, 0.04))
    assert report_match.sentences(match)[0] == said
