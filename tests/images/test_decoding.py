"""The gate: what must be refused is, with one sentence; what is odd comes out right."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin, TiffImagePlugin

from benchmarks.support.image_files import photo, plain, saved
from benchmarks.support.repository import ROOT
from robustness.base.errors import ImageError
from robustness.images import decoding, framing, sandbox
from tests.support.bad_images import (
    BAD,
    GOOD_ODD,
    RGB,
    Builder,
    chunk,
    exif,
    heic,
    linear_grey_profile,
    png,
    quarters,
    tiff,
    wide_profile,
)
from tests.support.property_tests import property_test

# pytest replaces the filter that the module installs; that nothing is printed is tested below.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:::PIL.{module}")
    for module in ("Image", "JpegImagePlugin", "PngImagePlugin", "TiffImagePlugin")
]

CLOSE = 6  # levels of 255: what lossy formats may change


def pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(decoding.decode(data), dtype=np.int16)


def check_sentence(message: str) -> None:
    assert message.endswith(".")
    assert "\n" not in message
    assert "Traceback" not in message
    assert "Error" not in message
    assert 30 < len(message) < 300


# What is refused


@pytest.mark.parametrize("build", BAD.values(), ids=BAD.keys())
def test_bad_input_gets_one_sentence_at_once(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    load = ImageFile.ImageFile.load

    def noted(image: ImageFile.ImageFile) -> object:
        decoded.append(image.width * image.height)
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", noted)
    data = build()
    with pytest.raises(ImageError) as caught:
        decoding.decode(data, name="holiday.jpg")
    assert all(pixels < 10_000 for pixels in decoded), "nothing large is decoded in vain"
    message = str(caught.value)
    check_sentence(message)
    assert message.startswith('"holiday.jpg" ')


@pytest.mark.parametrize(
    "name",
    [
        "TIFF of a million tiles",
        "big TIFF of a million entries",
        "JPEG of a million segments",
    ],
)
def test_a_list_that_takes_long_to_read_is_refused_before_pillow_reads_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = BAD[name]()
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("Pillow was asked"))
    with pytest.raises(ImageError):
        decoding.decode(data)


def test_bad_input_takes_little_memory_and_warns_of_nothing() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell a process its own peak of memory")
    script = (
        "import re\n"
        "from tests.support.bad_images import BAD\n"
        "from robustness.images.decoding import decode\n"
        "from robustness.base.errors import ImageError\n"
        "for build in BAD.values():\n"
        "    data = build()\n"
        "    try:\n"
        "        decode(data)\n"
        "    except ImageError:\n"
        "        pass\n"
        "status = open('/proc/self/status').read()\n"  # getrusage would count the parent's, too
        "print(int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) >> 10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 200, "MiB at the peak"
    assert done.stderr == ""


def test_what_came_is_named() -> None:
    expected = {
        "html": "a web page",
        "svg": "an SVG drawing",
        "heic": "unusual HEIC file",
        "pdf": "a PDF document",
        "text": "got text",
        "truncated PNG": "incomplete or unusual PNG file",
        "9,000 x 9,000 PNG": "got 9,000 x 9,000",
        "float TIFF beyond 1": "expected brightness from 0 to 1, got 200 to 200",
    }
    for name, words in expected.items():
        with pytest.raises(ImageError, match=words):
            decoding.decode(BAD[name]())


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("the image", "The image"),
        ("", "The image"),
        ("a\r\n\x1b[31m\u202eb\t.png", '"a [31m b .png"'),
        ("x" * 200 + ".jpeg", f'"{"x" * 50}…{"x" * 24}.jpeg"'),
    ],
)
def test_the_name_in_a_message_is_one_short_printable_line(name: str, subject: str) -> None:
    with pytest.raises(ImageError) as caught:
        decoding.decode(b"nonsense", name=name)
    assert str(caught.value).startswith(f"{subject} is not an image")
    check_sentence(str(caught.value))


def test_an_exhausted_memory_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    data = saved(photo(), "PNG")
    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(ImageError) as caught:
        decoding.decode(data)
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
    heic("turned"),
    heic("transparent"),
]


def mutated_files(st: Any) -> list[Any]:
    """A file of ``SEEDS``, and what is changed in it."""
    mutation = st.tuples(
        st.sampled_from(["set", "insert", "delete", "cut"]),
        st.one_of(st.integers(0, 150), st.integers(0, 8000)),
        st.binary(min_size=1, max_size=6),
    )
    return [st.sampled_from(SEEDS), st.lists(mutation, min_size=1, max_size=8)]


@property_test(mutated_files, examples=150)
def test_mutated_files_raise_image_error_or_nothing(
    seed: bytes, mutations: list[tuple[str, int, bytes]]
) -> None:
    data = bytearray(seed)
    for action, position, value in mutations:
        start = position % max(1, len(data))
        stop = {"set": start + len(value), "insert": start, "delete": start + len(value)}
        data[start : stop.get(action, len(data))] = value if action in {"set", "insert"} else b""
    try:
        study = framing.study_image(bytes(data))
    except ImageError as error:
        check_sentence(str(error))
    else:
        assert study.shape == (224, 224, 3)
        assert 0 <= study.min() <= study.max() <= 1


# Files


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
        (lambda folder: folder / "missing.png", "does not exist"),
        (lambda folder: _empty(folder) / "below a file", "not a directory"),
        (lambda folder: str(folder) + "/a\0b", "the path is not valid"),
        (_empty, "is empty"),
        (_pipe, "is a pipe or device"),
        (_large, "at most 64 MiB"),
    ],
)
def test_unusable_files(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decoding.read_file(make(tmp_path))
    check_sentence(str(caught.value))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may read anything
    with pytest.raises(ImageError, match="permission denied"):
        decoding.read_file(path)


# What is odd but good


@pytest.mark.parametrize(("build", "colour"), GOOD_ODD.values(), ids=GOOD_ODD.keys())
def test_odd_pictures_come_out_right(build: Builder, colour: RGB) -> None:
    image = decoding.decode(build())
    assert image.mode == "RGB"
    assert not image.info, "a profile left behind would be embedded again on saving"
    np.testing.assert_allclose(np.asarray(image)[0, 0], colour, atol=CLOSE)
    for name in framing.FITS:
        study = framing.fit(image, framing.Framing(name))
        assert study.shape == (224, 224, 3)
        assert study.dtype == np.float32


def test_every_orientation_of_exif_is_turned_upright() -> None:
    stored = np.asarray(quarters(), dtype=np.int16)
    upright = [
        *(stored, stored[:, ::-1], stored[::-1, ::-1], stored[::-1]),
        *(stored.transpose(1, 0, 2), np.rot90(stored, -1)),
        *(stored[::-1, ::-1].transpose(1, 0, 2), np.rot90(stored, 1)),
    ]
    for orientation, expected in enumerate(upright, start=1):
        turned = pixels(saved(quarters(), "PNG", exif=exif(orientation)))
        np.testing.assert_array_equal(turned, expected)


def test_sixteen_bits_are_scaled_to_the_nearest_level() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    levels = pixels(saved(Image.fromarray(values), "PNG"))[..., 0]
    np.testing.assert_array_equal(levels, np.rint(values / 257))


def grey_tiff(values: NDArray[np.int64], bits: int, *tags: tuple[int, int, int, int]) -> bytes:
    """One row of ``values`` as a grey TIFF whose samples have ``bits`` of depth."""
    body = values.astype("<i2").tobytes()
    if bits == 12:
        first, second = values[::2], values[1::2]
        packed = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
        body = np.stack(packed, axis=1).astype(np.uint8).tobytes()
    shape = [(256, 4, 1, len(values)), (257, 4, 1, 1), (258, 3, 1, bits), (259, 3, 1, 1)]
    place = [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 1), (279, 4, 1, len(body))]
    return tiff(body, *sorted([*shape, *place, *tags]))


@pytest.mark.parametrize(
    ("bits", "tags", "top"),
    [
        (12, [], 4095),
        (16, [], 65535),
        (16, [(339, 3, 1, 2)], 32767),
        (16, [(281, 3, 1, 4095)], 4095),
        (16, [(339, 3, 1, 2), (341, 3, 1, 1023)], 1023),
        (16, [(281, 3, 1, 65535), (339, 3, 1, 2)], 32767),
        (16, [(281, 3, 1, 3000)], 65535),  # the brightest value of the image, no depth
    ],
)
def test_grey_is_scaled_by_the_depth_of_its_file(
    bits: int, tags: list[tuple[int, int, int, int]], top: int
) -> None:
    values = np.linspace(0, top, 100).astype(np.int64)
    levels = pixels(grey_tiff(values, bits, *tags))[0, :, 0]
    np.testing.assert_array_equal(levels, np.floor(values * 255 / top + 0.5))
    assert (levels[0], levels[-1]) == (0, 255)


def test_grey_below_black_is_refused() -> None:
    with pytest.raises(ImageError, match="expected brightness from 0 to 32767, got -5 to 100"):
        decoding.decode(grey_tiff(np.array([-5, 100]), 16, (339, 3, 1, 2)))


def test_half_transparent_on_white() -> None:
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = plain("RGBA", (200, 100, 0))
    image.putalpha(Image.fromarray(alpha))
    share = alpha[..., None] / 255
    expected = share * np.array([200, 100, 0]) + (1 - share) * 255
    np.testing.assert_allclose(pixels(saved(image, "PNG")), expected, atol=0.51)


@pytest.mark.parametrize("bits", [8, 16])
def test_a_transparent_colour_is_white_in_whatever_depth(bits: int) -> None:
    """Of 16 bits Pillow reads the upper ones, and says what is transparent in all of them."""
    seen, hidden = (np.array(colour) << bits - 8 for colour in ((200, 100, 50), (18, 86, 154)))
    kind = f">u{bits // 8}"
    row = b"\0" + np.stack([seen, hidden]).astype(kind).tobytes()
    chunks = chunk(b"tRNS", hidden.astype(">u2").tobytes()), chunk(b"IDAT", zlib.compress(row))
    data = png(2, 1, *chunks, bits=bits, colour=2)
    assert pixels(data).tolist() == [[[200, 100, 50], [255, 255, 255]]]


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "PNG"), ("L", "TIFF")])
def test_the_stored_numbers_stand_whatever_the_profile(mode: str, kind: str) -> None:
    profile = wide_profile() if mode == "RGB" else linear_grey_profile()
    stored = photo().convert(mode)
    srgb = ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(stored, io.BytesIO(profile), srgb, outputMode="RGB")
    expected = np.asarray(stored.convert("RGB"), dtype=np.int16)
    assert np.abs(np.asarray(shown) - expected).max() > 10, "on a screen they would look different"
    np.testing.assert_array_equal(pixels(saved(stored, kind, icc_profile=profile)), expected)


def noise(mode: str = "RGB") -> Image.Image:
    levels = np.random.default_rng(1).integers(0, 256, (20, 16, 3), np.uint8)
    return Image.fromarray(levels).resize((128, 160), Image.Resampling.NEAREST).convert(mode)


def taller_jpeg(data: bytes) -> bytes:
    """The JPEG with a header that claims twice its 160 rows."""
    return data.replace(b"\x00\xa0\x00\x80", b"\x01\x40\x00\x80", 1)


def taller_png(data: bytes) -> bytes:
    header = data[12:20] + (320).to_bytes(4) + data[24:29]
    return data[:12] + header + zlib.crc32(header).to_bytes(4) + data[33:]


def taller_tiff(data: bytes) -> bytes:
    """The TIFF with a header that claims twice its 160 rows, all in one strip."""
    for tag in (257, 278):  # its rows, and those of a strip
        for kind in (3, 4):
            entry = struct.pack("<HHL", tag, kind, 1)
            data = data.replace(entry + struct.pack("<L", 160), entry + struct.pack("<L", 320))
    return data


def cut_and_closed(data: bytes) -> bytes:
    """The first half of a JPEG with the marker of its end."""
    return data[: len(data) // 2] + b"\xff\xd9"


SHORT = {
    "baseline": taller_jpeg(saved(noise(), "JPEG")),
    "progressive": taller_jpeg(saved(noise(), "JPEG", progressive=True)),
    "grey": taller_jpeg(saved(noise("L"), "JPEG")),
    "CMYK": taller_jpeg(saved(noise("CMYK"), "JPEG")),
    "restarts": taller_jpeg(saved(noise(), "JPEG", restart_marker_rows=1)),
    "half, baseline": cut_and_closed(saved(noise(), "JPEG")),
    "half, progressive": cut_and_closed(saved(noise(), "JPEG", progressive=True)),
    "PNG": taller_png(saved(noise(), "PNG")),
    "grey PNG": taller_png(saved(noise("L"), "PNG")),
    "TIFF of a smaller JPEG": taller_tiff(saved(noise(), "TIFF", compression="jpeg")),
    "CMYK TIFF of a smaller JPEG": taller_tiff(saved(noise("CMYK"), "TIFF", compression="jpeg")),
    "TIFF of a JPEG without its last rows": taller_jpeg(
        taller_tiff(saved(noise(), "TIFF", compression="jpeg"))
    ),
    "grey TIFF of a JPEG without its last rows": taller_jpeg(
        taller_tiff(saved(noise("L"), "TIFF", compression="jpeg"))
    ),
}


@pytest.mark.parametrize("data", SHORT.values(), ids=SHORT.keys())
def test_rows_that_a_decoder_would_make_up_are_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="expected a whole image"):
        decoding.decode(data)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("level", [0, 127, 128, 255])
def test_whole_images_of_one_colour_are_not_taken_for_missing_rows(mode: str, level: int) -> None:
    flat = Image.new("L", (150, 90), level).convert(mode)
    options: list[dict[str, Any]] = [{}, {"progressive": True}, {"restart_marker_rows": 1}]
    files = [saved(flat, "JPEG", **option) for option in options]
    files.append(saved(flat, "TIFF"))
    files.append(saved(flat, "TIFF", compression="jpeg"))
    if mode != "CMYK":
        files.append(saved(flat, "PNG"))
    for data in files:
        assert decoding.decode(data).size == (150, 90)


def test_whole_files_of_the_kinds_above_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", 8192)  # several strips
    files = [saved(noise(mode), "TIFF", compression="jpeg") for mode in ("RGB", "L", "LA", "CMYK")]
    for data in files:
        assert decoding.decode(data).size == (128, 160)


@pytest.mark.parametrize("size", [3 * 2**20, 50 * 2**20])
def test_a_large_colour_profile_is_refused_for_what_it_is(size: int) -> None:
    profile = np.random.default_rng(0).bytes(size)
    with pytest.raises(ImageError, match="colour profile") as caught:
        sandbox.framed_image(saved(noise(), "PNG", icc_profile=profile), [framing.STUDY_FRAMING])
    assert "fewer pixels" not in str(caught.value)


def test_threads_get_what_one_gets() -> None:
    names = [name for name in GOOD_ODD if "wide" not in name]
    data = [GOOD_ODD[name][0]() for name in names] + [BAD[name]() for name in ("text", "html")]

    def outcome(one: bytes) -> bytes:
        try:
            return framing.study_image(one, framing.Framing(side=32)).tobytes()
        except ImageError as error:
            return str(error).encode()

    alone = [outcome(one) for one in data]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, data * 4)) == alone * 4


def test_a_tiff_of_a_far_larger_jpeg_is_refused_before_that_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiff = saved(Image.new("L", (64, 64)), "TIFF", compression="jpeg")
    larger = saved(Image.new("L", (640, 640)), "JPEG")
    for tag, value in ((273, len(tiff)), (279, len(larger))):  # where its strip is, and how long
        start = tiff.index(struct.pack("<HHL", tag, 4, 1))
        tiff = tiff[: start + 8] + struct.pack("<L", value) + tiff[start + 12 :]
    decoded: list[tuple[int, int]] = []
    load = JpegImagePlugin.JpegImageFile.load

    def note(image: JpegImagePlugin.JpegImageFile) -> Any:
        decoded.append(image.size)
        return load(image)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "load", note)
    with pytest.raises(ImageError, match="expected a whole image"):
        decoding.decode(tiff + larger)
    assert (640, 640) not in decoded
