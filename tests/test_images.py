"""The gate: what must be refused is, with one sentence; what is odd comes out right."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms

from robustness import images
from robustness.errors import ImageError, ParameterError, UnknownNameError
from robustness.samples import REGISTRY as SAMPLES
from robustness.samples import sample_bytes, sample_path
from tests.bad_images import (
    BAD,
    GOOD_ODD,
    RED,
    RGB,
    WIDE_PRIMARIES,
    Builder,
    exif,
    photo,
    plain,
    quarters,
    saved,
    wide_profile,
)

# pytest replaces the filter that the module installs; that nothing is printed is tested below.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:::PIL.{module}")
    for module in ("Image", "JpegImagePlugin", "PngImagePlugin", "TiffImagePlugin")
]

CLOSE = 6  # levels of 255: what lossy formats may change


def pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(images.decode(data), dtype=np.int16)


def check_sentence(message: str) -> None:
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in message
    assert "Error" not in message
    assert 30 < len(message) < 300


# What is refused


@pytest.mark.parametrize("build", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_sentence_at_once(build: Builder) -> None:
    data = build()
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        images.study_image(data, name="holiday.jpg")
    assert time.perf_counter() - started < 1
    message = str(caught.value)
    check_sentence(message)
    assert message.startswith('"holiday.jpg" ')


def test_bad_input_takes_little_memory_and_warns_of_nothing() -> None:
    pytest.importorskip("resource")
    script = (
        "import resource, sys\n"
        "from tests.bad_images import BAD\n"
        "from robustness import images\n"
        "for build in BAD.values():\n"
        "    data = build()\n"
        "    try:\n"
        "        images.decode(data)\n"
        "    except images.ImageError:\n"
        "        pass\n"
        "unit = 1 if sys.platform == 'darwin' else 1024\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit >> 20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert int(done.stdout) < 200, "MiB at the peak"
    assert done.stderr == ""


def test_what_came_is_named() -> None:
    expected = {
        "html": "a web page",
        "svg": "an SVG drawing",
        "heic": "a HEIC photo",
        "pdf": "a PDF document",
        "text": "got text",
        "truncated PNG": "incomplete or unusual PNG file",
        "9,000 x 9,000 PNG": "got 9,000 x 9,000",
        "float TIFF beyond 1": "expected brightness from 0 to 1, got 200 to 200",
    }
    for name, words in expected.items():
        with pytest.raises(ImageError, match=words):
            images.decode(BAD[name]())


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("the picture", "The picture"),
        ("", "The picture"),
        ("a.png", '"a.png"'),
        ("a\r\n\x1b[31m\u202eb\t.png", '"a [31m b .png"'),
        ("x" * 200 + ".jpeg", f'"{"x" * 50}…{"x" * 24}.jpeg"'),
    ],
)
def test_the_name_in_a_message_is_one_short_printable_line(name: str, subject: str) -> None:
    with pytest.raises(ImageError) as caught:
        images.decode(b"nonsense", name=name)
    assert str(caught.value).startswith(f"{subject} is not a picture")
    check_sentence(str(caught.value))


def test_a_file_over_the_limit_is_refused_before_decoding() -> None:
    with pytest.raises(ImageError, match="at most 64 MiB"):
        images.decode(bytes(images.MAX_FILE_BYTES + 1))


def test_an_exhausted_memory_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    data = saved(photo(), "PNG")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError) as caught:
        images.decode(data)
    check_sentence(str(caught.value))


SEEDS = [
    saved(photo(), "JPEG", exif=exif(6), icc_profile=wide_profile()),
    saved(photo(), "JPEG", progressive=True),
    saved(photo().convert("CMYK"), "JPEG"),
    saved(photo(), "PNG", icc_profile=wide_profile(), exif=exif(3)),
    saved(photo().convert("P"), "PNG", transparency=b"\0\x80"),
    saved(photo().convert("P"), "GIF", save_all=True, append_images=[plain("P", 3)]),
    saved(photo().convert("P"), "BMP"),
    saved(photo(), "TIFF"),
    saved(plain("I;16", 700), "TIFF"),
    saved(photo(), "WEBP", exif=exif(8)),
    saved(photo().convert("RGBA"), "WEBP", lossless=True),
    saved(photo(), "AVIF"),
]
MUTATION = st.tuples(
    st.sampled_from(["set", "insert", "delete", "cut"]),
    st.one_of(st.integers(0, 150), st.integers(0, 8000)),
    st.binary(min_size=1, max_size=6),
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.sampled_from(SEEDS), mutations=st.lists(MUTATION, min_size=1, max_size=8))
def test_mutated_files_raise_image_error_or_nothing(
    seed: bytes, mutations: list[tuple[str, int, bytes]]
) -> None:
    data = bytearray(seed)
    for action, position, value in mutations:
        start = position % max(1, len(data))
        stop = {"set": start + len(value), "insert": start, "delete": start + len(value)}
        data[start : stop.get(action, len(data))] = value if action in {"set", "insert"} else b""
    try:
        study = images.study_image(bytes(data))
    except ImageError as error:
        check_sentence(str(error))
    else:
        assert study.shape == (224, 224, 3)
        assert 0 <= study.min() <= study.max() <= 1


# Files


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(saved(photo(), "PNG"))
    assert images.read_file(path) == images.read_file(str(path)) == path.read_bytes()
    np.testing.assert_array_equal(
        images.load_study_image(path, fit="squash", side=64),
        images.study_image(path.read_bytes(), fit="squash", side=64),
    )


def _pipe(folder: Path) -> Path:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(folder / "pipe")
    return folder / "pipe"


def _large(folder: Path) -> Path:
    with (folder / "large.png").open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no room
    return folder / "large.png"


def _empty(folder: Path) -> Path:
    (folder / "empty.png").touch()
    return folder / "empty.png"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder, "is a folder"),
        (lambda folder: folder / "missing.png", "no such file"),
        (lambda folder: _empty(folder) / "below a file", "not a directory"),
        (lambda folder: folder / ("n" * 300), "too long"),
        (lambda folder: str(folder) + "/a\0b", "the path is not valid"),
        (_empty, "is empty"),
        (_pipe, "is a pipe or device"),
        (_large, "at most 64 MiB"),
    ],
)
def test_unusable_files(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        images.load_study_image(make(tmp_path))
    check_sentence(str(caught.value))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may read anything
    with pytest.raises(ImageError, match="permission denied"):
        images.read_file(path)


# What is odd but good


@pytest.mark.parametrize(("build", "colour"), GOOD_ODD.values(), ids=GOOD_ODD.keys())
def test_odd_pictures_come_out_right(build: Builder, colour: RGB) -> None:
    image = images.decode(build())
    assert image.mode == "RGB"
    assert not image.info, "a profile left behind would be embedded again on saving"
    np.testing.assert_allclose(np.asarray(image)[0, 0], colour, atol=CLOSE)
    for name in images.FITS:
        study = images.fit(image, fit=name)
        assert study.shape == (224, 224, 3)
        assert study.dtype == np.float32


UPRIGHT: dict[int, Callable[[NDArray[np.int16]], NDArray[np.int16]]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_every_orientation(orientation: int) -> None:
    turned = pixels(saved(quarters(), "PNG", exif=exif(orientation)))
    expected = UPRIGHT[orientation](np.asarray(quarters(), dtype=np.int16))
    np.testing.assert_array_equal(turned, expected)


def test_sixteen_bits_are_scaled_to_the_nearest_level() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    levels = pixels(saved(Image.fromarray(values), "PNG"))[..., 0]
    np.testing.assert_array_equal(levels, np.rint(values / 257))


def test_half_transparent_on_white() -> None:
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = plain("RGBA", (200, 100, 0))
    image.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    expected = share * np.array([200, 100, 0]) + (1 - share) * 255
    np.testing.assert_allclose(pixels(saved(image, "PNG")), expected, atol=0.51)


def test_a_wide_profile_is_converted_to_srgb() -> None:
    """Against the arithmetic: gamma 2.2, matrix to XYZ, inverse of sRGB's matrix, sRGB's curve."""
    stored = np.array([[180, 100, 60], [60, 120, 100], [128, 128, 128], [90, 90, 140]], np.uint8)
    to_xyz_srgb = np.array(
        [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
    )
    linear = (stored / 255) ** 2.2 @ WIDE_PRIMARIES.T @ np.linalg.inv(to_xyz_srgb).T
    curve = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    image = Image.fromarray(stored[None])
    for kind in ("PNG", "TIFF"):
        converted = pixels(saved(image, kind, icc_profile=wide_profile()))[0]
        np.testing.assert_allclose(converted, curve * 255, atol=1.01)
    assert np.abs(curve * 255 - stored).max() > 10


def test_an_adobe_rgb_profile_is_converted_except_in_the_reference_picture() -> None:
    reference = Image.open(sample_path("rocket"))
    profile = reference.info["icc_profile"]
    again = saved(reference.convert("RGB"), "PNG", icc_profile=profile)
    stored = pixels(sample_bytes("rocket"))
    np.testing.assert_array_equal(stored, np.asarray(reference.convert("RGB")))
    assert np.abs(pixels(again) - stored).mean() > 2


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    stored = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(stored), "PNG", icc_profile=profile)
    np.testing.assert_array_equal(pixels(data), stored)


def test_the_picture_is_free_of_its_bytes() -> None:
    image = images.decode(saved(photo(), "PNG"))
    assert type(image) is Image.Image
    image.load()


# The study image


@pytest.mark.parametrize("name", SAMPLES.names)
def test_the_samples_match_the_reference_recipe_bit_for_bit(name: str) -> None:
    plain_image = Image.open(sample_path(name)).convert("RGB")
    decoded = images.decode(sample_bytes(name))
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(plain_image))
    short = min(plain_image.size)
    width, height = (round(length * 256 / short) for length in plain_image.size)
    resized = plain_image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - 224) // 2, (height - 224) // 2
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224)), np.float32) / 255
    np.testing.assert_array_equal(images.study_image(sample_bytes(name)), expected)


@pytest.mark.parametrize("fit", images.FITS)
@pytest.mark.parametrize(
    "size", [(1, 1), (1, 2), (3, 1000), (20_000, 1), (1, 20_000), (224, 224), (500, 333)]
)
def test_every_shape_fits(fit: str, size: tuple[int, int]) -> None:
    started = time.perf_counter()
    for side in (224, 64, 1, 384):
        study = images.fit(Image.new("RGB", size, RED), fit=fit, side=side)
        assert study.shape == (side, side, 3)
        assert study.dtype == np.float32
        if fit != "letterbox":
            np.testing.assert_array_equal(study.reshape(-1, 3), np.array([[1, 0, 0]] * side**2))
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize("size", [(5000, 300), (300, 5000), (8000, 40), (40, 8000)])
def test_a_long_picture_is_cropped_as_if_it_were_resized_whole(size: tuple[int, int]) -> None:
    image = images.decode(sample_bytes("astronaut")).resize(size, Image.Resampling.BICUBIC)
    width, height = (round(length * 256 / min(size)) for length in size)
    left, top = (width - 224) // 2, (height - 224) // 2
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)), np.float32)
    np.testing.assert_allclose(images.fit(image) * 255, expected, atol=2.01)


def test_letterbox_keeps_the_whole_picture_on_grey() -> None:
    study = images.fit(Image.new("RGB", (400, 200), RED), fit="letterbox")
    np.testing.assert_array_equal(study[56:168], np.broadcast_to([1, 0, 0], (112, 224, 3)))
    assert np.all(study[:56] == np.float32(128 / 255))
    assert np.all(study[168:] == np.float32(128 / 255))


def test_squash_keeps_the_corners() -> None:
    study = images.fit(quarters(), fit="squash")
    np.testing.assert_array_equal(images.to_uint8(study)[[0, 0, -1], [0, -1, 0]], np.eye(3) * 255)


def test_a_wrong_fit_side_or_mode_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="crop, squash, letterbox"):
        images.fit(photo(), fit="stretch")
    for side in (0, -1, 10**6):
        with pytest.raises(ParameterError, match=f"got {side}"):
            images.fit(photo(), side=side)
    with pytest.raises(ParameterError, match="mode L"):
        images.fit(photo().convert("L"))


def test_to_png_is_lossless_and_the_same_every_time() -> None:
    study = images.study_image(sample_bytes("coffee"))
    data = images.to_png(study)
    assert data == images.to_png(study.copy())
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), images.to_uint8(study))
    np.testing.assert_array_equal(images.to_uint8(study), np.rint(study * 255))


def test_to_uint8_rounds_and_takes_batches() -> None:
    batch = np.array([[0.0, 0.4 / 255, 0.6 / 255, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(images.to_uint8(batch), [[0, 0, 1, 255]])


def test_threads_get_what_one_gets() -> None:
    names = [name for name in GOOD_ODD if "wide" not in name]
    data = [GOOD_ODD[name][0]() for name in names] + [BAD[name]() for name in ("text", "html")]

    def outcome(one: bytes) -> bytes:
        try:
            return images.study_image(one, side=32).tobytes()
        except ImageError as error:
            return str(error).encode()

    alone = [outcome(one) for one in data]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, data * 4)) == alone * 4


def test_the_module_is_quick_to_import() -> None:
    code = (
        "import sys, robustness.images; print([m for m in sys.modules if m in set(sys.argv[1:])])"
    )
    heavy = ["skimage", "scipy", "tensorflow", "pandas", "cv2", "streamlit"]
    done = subprocess.run(
        [sys.executable, "-c", code, *heavy],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
