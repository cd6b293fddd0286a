"""The study image: bit for bit the reference recipe, and sound for every shape."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.image_files import photo
from benchmarks.support.repository import ROOT
from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images import framing as image_framing
from robustness.images.decoding import sample_bytes, sample_path
from robustness.images.framing import Framing
from robustness.images.pixels import to_png, to_uint8
from tests.support.bad_images import RED


@pytest.mark.parametrize("name", ["coffee", "rocket"])
def test_the_samples_match_the_reference_recipe_bit_for_bit(name: str) -> None:
    plain_image = Image.open(sample_path(name)).convert("RGB")
    decoded = image_framing.decode(sample_bytes(name))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(plain_image))
    short = min(plain_image.size)
    width, height = (round(length * 256 / short) for length in plain_image.size)
    resized = plain_image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32) / 255
    np.testing.assert_array_equal(image_framing.study_image(sample_bytes(name)), expected)


@pytest.mark.parametrize("fit", image_framing.FITS)
@pytest.mark.parametrize("size", [(1, 1), (3, 1000), (20_000, 1), (1, 20_000)])
def test_every_shape_fits_without_a_giant_in_between(
    fit: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    resize = Image.Image.resize

    def noted(image: Image.Image, size: tuple[int, int], *rest: Any, **more: Any) -> Image.Image:
        assert max(size) <= 20 * side / image_framing.CROP_SHARE, "a 20,000 x 1 image would be huge"
        return resize(image, size, *rest, **more)

    monkeypatch.setattr(Image.Image, "resize", noted)
    for side in (224, 64, image_framing.MIN_SIDE, 384):
        study = image_framing.fit(Image.new("RGB", size, RED), Framing(fit, side))
        assert study.shape == (side, side, 3)
        assert study.dtype == np.float32
        if fit != "letterbox":
            np.testing.assert_array_equal(study.reshape(-1, 3), np.array([[1, 0, 0]] * side**2))


@pytest.mark.parametrize("size", [(5000, 300), (40, 8000)])
def test_a_long_picture_is_cropped_as_if_it_were_resized_whole(size: tuple[int, int]) -> None:
    image = image_framing.decode(sample_bytes("astronaut")).resize(size, Image.Resampling.BICUBIC)
    width, height = (round(length * 256 / min(size)) for length in size)
    left, top = (width - 224) // 2, (height - 224) // 2
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)), np.float32)
    np.testing.assert_allclose(image_framing.fit(image) * 255, expected, atol=2.01)


def test_letterbox_keeps_the_whole_picture_on_grey() -> None:
    study = image_framing.fit(Image.new("RGB", (400, 200), RED), Framing("letterbox"))
    np.testing.assert_array_equal(study[56:168], np.broadcast_to([1, 0, 0], (112, 224, 3)))
    assert np.all(study[:56] == np.float32(128 / 255))
    assert np.all(study[168:] == np.float32(128 / 255))


def test_a_wrong_fit_side_or_mode_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="crop, squash, letterbox"):
        image_framing.fit(photo(), Framing("stretch"))
    for side in (0, -1, 10**6):
        with pytest.raises(ParameterError, match=f"got {side}"):
            image_framing.fit(photo(), Framing(side=side))
    with pytest.raises(ParameterError, match="mode L"):
        image_framing.fit(photo().convert("L"))


def test_to_png_is_lossless_and_the_same_every_time() -> None:
    study = image_framing.study_image(sample_bytes("coffee"))
    data = to_png(study)
    assert data == to_png(study.copy())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), to_uint8(study))
    np.testing.assert_array_equal(to_uint8(study), np.rint(study * 255))


def test_the_module_is_quick_to_import() -> None:
    code = (
        "import sys, robustness.images.framing; "
        "print([m for m in sys.modules if m in set(sys.argv[1:])])"
    )
    heavy = ["skimage", "scipy", "tensorflow", "pandas", "cv2", "streamlit"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_a_framing_reads_back_from_its_mapping_and_has_one_form() -> None:
    for framing, values in (
        (Framing(), {"fit": "crop", "side": 224}),
        (Framing(crop_pct=0.875), {"fit": "crop", "side": 224}),
        (Framing("squash", 96, 0.9), {"fit": "squash", "side": 96, "crop_pct": 0.9}),
        (
            Framing("letterbox", padding=(0, 0, 0), interpolation="lanczos"),
            {"fit": "letterbox", "side": 224, "padding": [0, 0, 0], "interpolation": "lanczos"},
        ),
    ):
        assert image_framing.check_framing(framing).as_dict() == values
        assert Framing.of(json.loads(json.dumps(values))) == image_framing.check_framing(framing)
    assert Framing().text == "crop at 224 px"
    assert "0.95" in Framing(crop_pct=0.95).text


@pytest.mark.parametrize(
    "values",
    [
        {"fit": "crop", "other": 1},
        {"crop_pct": float("nan")},
        {"crop_pct": True},
        {"side": "224"},
        {"interpolation": "area"},
        {"antialias": False},
        {"resize": "imagemagick"},
        {"padding": [0, 0, 256]},
        {"padding": "black"},
    ],
)
def test_what_is_no_framing_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises((ParameterError, UnknownNameError)) as refused:
        Framing.of(values)
    assert str(refused.value).count(". ") <= 1
