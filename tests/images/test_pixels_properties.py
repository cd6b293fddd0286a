"""The measured properties of images against other implementations and known files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from robustness.images import sandbox
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8
from robustness.images.properties import PROPERTIES, measured

RNG = np.random.default_rng(0)
PIXELS = ndimage.gaussian_filter(RNG.uniform(0, 255, (64, 96, 3)), (2, 2, 0)).astype(np.uint8)


def jpeg(quality: int = 90, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def test_pixels_are_measured_as_elsewhere() -> None:
    image = Image.fromarray(PIXELS)
    told = measured(b"", image.size, np.asarray(image))
    luma = PIXELS.astype(float) @ [0.299, 0.587, 0.114]
    kernel = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    laplacian = ndimage.convolve(luma, kernel, mode="mirror")
    assert told["brightness"] == pytest.approx(luma.mean() / 255, rel=1e-4)
    assert told["contrast"] == pytest.approx(luma.std() / 255, rel=1e-4)
    assert told["sharpness"] == pytest.approx(laplacian.var(), rel=1e-3)


def test_noise_is_measured_in_levels_and_grey_has_no_colour() -> None:
    grey = np.clip(128 + RNG.normal(0, 6, (200, 200)), 0, 255).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(grey)] * 3)
    told = measured(b"", image.size, np.asarray(image))
    assert told["noise"] == pytest.approx(6, rel=0.05)
    assert told["colourfulness"] == 0


@pytest.mark.parametrize("quality", [25, 75])
def test_the_quality_of_a_jpeg_is_found(quality: int) -> None:
    _, told = sandbox.measured_image(jpeg(quality), [Framing(side=32)])
    assert told["jpeg_quality"] == pytest.approx(quality, abs=1)


def test_what_the_camera_wrote_is_read_and_the_pixels_stay_the_same() -> None:
    exif = Image.Exif()
    exif[271], exif[272], exif[274] = "Canon", "Canon EOS\0 80D", 6
    exif.get_ifd(0x8769).update({33434: 0.01, 34855: 400})
    data = jpeg(exif=exif)
    image, told = sandbox.measured_image(data, [Framing(side=32)])
    expected = sandbox.untrusted_image(data, Framing(side=32))
    np.testing.assert_array_equal(from_uint8(image.pixels[0]), expected)
    assert (told["camera"], told["orientation"]) == ("Canon EOS 80D", "6")
    assert (told["exposure"], told["iso"]) == (pytest.approx(0.01), 400)
    assert told["aspect"] == pytest.approx(64 / 96)  # upright
    assert set(told) == set(PROPERTIES)


def test_headers_that_are_broken_or_of_another_kind_tell_nothing() -> None:
    image = Image.fromarray(PIXELS)
    for data in (b"\xff\xd8\xff nonsense", b"II", b"\x89PNG"):
        assert "camera" not in measured(data, image.size, np.asarray(image))
