"""The one gate from untrusted bytes to the study image.

A **study image** is float32 RGB in [0, 1], shape (S, S, 3), S = 224 unless a ``side`` is given.
Everything that comes from outside passes through ``decode``, which yields an upright 8-bit sRGB
picture without transparency, and ``fit``, which makes the study image of it. Bytes or files that
cannot be used raise ``ImageError`` with one sentence; every function may be called from several
threads. (The TIFF library alone writes a line to stderr about damaged data, out of our reach.)

What odd pictures become:

- transparency (alpha, transparent colours or palette entries): composited on white;
- 16-bit grey: 0 to 65535 becomes 0 to 255; whole numbers of 32 bits are read on the same scale;
- floating point (TIFF): 0 to 1 becomes 0 to 255; other ranges are refused, never guessed;
- CMYK: through its embedded profile, else by the plain conversion;
- RGB and grey with an embedded profile: converted to sRGB, unless the profile is sRGB already or
  cannot be used; then the stored numbers stand;
- animations and files of several pages: the first frame.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import stat
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageFile, TiffImagePlugin

from robustness.errors import ImageError, ParameterError, UnknownNameError

Floats = NDArray[np.floating[Any]]

STUDY_SIDE = 224
MAX_SIDE = 1024
FITS = ("crop", "squash", "letterbox")
DEFAULT_FIT = "crop"

CROP_SHARE = 0.875
"""Share of the short side that the centre crop keeps: 224 of 256, as ImageNet models are tested."""

PADDING = (128, 128, 128)
"""Colour around a letterboxed picture: the mid-grey of 8 bits, so that a PNG stays lossless."""

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 65_000_000
MAX_LENGTH = 30_000
"""Most pixels along either side of a picture."""

ACCEPTED_EXTENSIONS = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif", "avif")

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")  # JPEG includes phones' MPO
_EXPECTED = "JPEG, PNG, WebP, BMP, TIFF, GIF or AVIF"
_KINDS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb"....ftypavi[fs]",
    "a HEIC photo": rb"....ftyp(hei|hev|mif1|msf1)",
    "a PDF document": rb"%PDF",
    "a zip archive": rb"PK\x03\x04",
    "an SVG drawing": rb"(?i)\s*(<\?xml.*)?<svg\b",
    "a web page": rb"(?i)\s*<(!doctype html|html|head|body)\b",
    "text": rb"[\t\n\r -~\x80-\xff]+\Z",
}  # what a file is, by how it starts; the first that matches

_MAX_SLOW_PIXELS = MAX_PIXELS // 16  # of a run-length BMP, which Pillow decodes in Python
_MAX_SCANNED_PIXELS = MAX_PIXELS * 100
_MAX_JPEG_SEGMENTS = 5_000
_JPEG_SEGMENT = re.compile(rb"\xff([\x02-\xcf\xd9-\xfe])")

_PROFILE_IGNORED = frozenset(
    # scikit-image's rocket.jpg is tagged Adobe RGB, but the reference outputs that the models are
    # checked against were computed from the stored numbers.
    {"c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"}
)
_SRGB_TOLERANCE = 2  # levels of 255 within which a profile is sRGB: vendors' tables differ a bit
_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Pillow warns about odd metadata and large sizes; here what matters is raised, the rest is noise.
# `warnings.catch_warnings` is not safe between threads, hence one filter, for Pillow only; the
# handler keeps Pillow's log from stderr as long as nobody has asked for logs.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


def decode(data: bytes, *, name: str = "the picture") -> Image.Image:
    """The picture in ``data`` as an upright 8-bit sRGB image (mode "RGB") without transparency.

    ``name`` stands for the picture in messages. Raises ``ImageError`` for anything that is not a
    whole picture of an accepted format and size; sizes are checked before pixels are decoded.
    """
    subject = _subject(name)
    _check_bytes(len(data), subject)
    try:
        scans = _jpeg_scans(data)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            _check_pixels(image, scans, subject)
            image.load()
            rgb = _flatten(image, data, subject)
            turn = _turn(image)
            return rgb if turn is None else rgb.transpose(turn)
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(subject, "far more") from error
    except Exception as error:  # hostile bytes make Pillow raise nearly anything
        raise _unreadable(subject, data) from error


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular, non-empty file of at most ``MAX_FILE_BYTES``; else ``ImageError``."""
    subject = _subject(os.fspath(path))
    try:
        found = os.stat(path)
        if stat.S_ISDIR(found.st_mode):
            raise ImageError(f"{subject} is a folder: expected a picture file; choose one in it.")
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may block, or never end
            raise ImageError(f"{subject} is a pipe or device: expected a picture file; choose one.")
        _check_bytes(found.st_size, subject)
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "the path is not valid").lower()
        raise ImageError(
            f"{subject} cannot be opened: expected a readable picture file, got the answer "
            f"'{reason}'; check the path and its permissions."
        ) from error
    _check_bytes(len(data), subject)
    return data


def fit(
    image: Image.Image, *, fit: str = DEFAULT_FIT, side: int = STUDY_SIDE
) -> NDArray[np.float32]:
    """The study image of ``image`` (mode "RGB", from ``decode``): (side, side, 3) in [0, 1].

    - ``crop``: the short side to ``side / 0.875`` (256 for 224), then the central square;
    - ``squash``: both sides to ``side``, whatever the shape;
    - ``letterbox``: the long side to ``side``, centred on mid-grey (128 of 255).

    Resizing is bicubic and antialiased, on 8 bits. Raises ``UnknownNameError`` for another
    ``fit`` and ``ParameterError`` for a side outside 1 to ``MAX_SIDE`` or an image not in RGB.
    """
    if fit not in _FITTERS:
        raise UnknownNameError(f"There is no fit called {fit!r}. Known: {', '.join(FITS)}.")
    if not 1 <= side <= MAX_SIDE:
        raise ParameterError(f"A side must lie between 1 and {MAX_SIDE} pixels, got {side}.")
    if image.mode != "RGB":
        raise ParameterError(f"Expected an RGB image as decode returns it, got mode {image.mode}.")
    return np.asarray(_FITTERS[fit](image, side), dtype=np.float32) / np.float32(255)


def study_image(
    data: bytes, *, name: str = "the picture", fit: str = DEFAULT_FIT, side: int = STUDY_SIDE
) -> NDArray[np.float32]:
    """The study image of the picture in ``data``; raises what ``decode`` and ``fit`` raise."""
    return _fit(decode(data, name=name), fit=fit, side=side)


def load_study_image(
    path: str | os.PathLike[str], *, fit: str = DEFAULT_FIT, side: int = STUDY_SIDE
) -> NDArray[np.float32]:
    """The study image of a picture file; raises what ``read_file`` and ``study_image`` raise."""
    return study_image(read_file(path), name=os.fspath(path), fit=fit, side=side)


def to_uint8(images: Floats) -> NDArray[np.uint8]:
    """Study images, in any number of axes, on the scale 0 to 255, rounded to the nearest."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def to_png(image: Floats) -> bytes:
    """One study image (S, S, 3) as a lossless 8-bit PNG: the same bytes every time."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _scaled(size: tuple[int, int], target: int, reference: int) -> tuple[int, int]:
    """``size`` scaled so that the length ``reference`` becomes ``target``; at least 1 x 1."""
    width, height = (max(1, round(length * target / reference)) for length in size)
    return width, height


def _crop(image: Image.Image, side: int) -> Image.Image:
    short = round(side / CROP_SHARE)
    width, height = _scaled(image.size, short, min(image.size))
    left, top = (width - side) // 2, (height - side) // 2
    if max(width, height) > 16 * short:
        # A 20,000 x 1 picture would become 5 million x 256: make only the part that is kept.
        return _resize_part(image, (width, height), (left, top), side)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    return resized.crop((left, top, left + side, top + side))


def _resize_part(
    image: Image.Image, size: tuple[int, int], corner: tuple[int, int], side: int
) -> Image.Image:
    """The square at ``corner`` of ``image`` resized to ``size``, without making the rest of it."""
    scale = np.divide(image.size, size)
    low, high = np.array(corner) * scale, (np.array(corner) + side) * scale
    reach = 2 * np.maximum(scale, 1) + 1  # the bicubic filter looks two pixels to either side
    start = np.maximum(np.floor(low - reach), 0)
    stop = np.minimum(np.ceil(high + reach), image.size)
    # Cropping first keeps the box's numbers small: Pillow holds them in single precision.
    part = image.crop(_box(start, stop))
    box = _box(low - start, high - start)
    return part.resize((side, side), Image.Resampling.BICUBIC, box=box)


def _box(low: Floats, high: Floats) -> tuple[float, float, float, float]:
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _squash(image: Image.Image, side: int) -> Image.Image:
    return image.resize((side, side), Image.Resampling.BICUBIC)


def _letterbox(image: Image.Image, side: int) -> Image.Image:
    width, height = _scaled(image.size, side, max(image.size))
    square = Image.new("RGB", (side, side), PADDING)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    square.paste(resized, ((side - width) // 2, (side - height) // 2))
    return square


_FITTERS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "crop": _crop,
    "squash": _squash,
    "letterbox": _letterbox,
}
_fit = fit  # for the functions that have a parameter of that name


def _flatten(image: Image.Image, data: bytes, subject: str) -> Image.Image:
    """A loaded image of any mode as new 8-bit sRGB, with transparency composited on white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = _eight_bit_grey(image, subject)
    alpha = None
    if image.has_transparency_data:
        grey = image.mode in {"1", "L", "La", "LA"}
        image = image.convert("LA" if grey else "RGBA")
        alpha = image.getchannel("A")
        image = image.convert("L" if grey else "RGB")
    if image.mode not in _PROFILE_SPACES:
        image = image.convert("RGB")
    to_srgb = _to_srgb(image.mode, profile) if profile else None
    if to_srgb is not None and hashlib.sha256(data).hexdigest() not in _PROFILE_IGNORED:
        image = to_srgb.apply(image)
    rgb = image.convert("RGB")
    if alpha is not None:
        rgb.paste((255, 255, 255), mask=ImageChops.invert(alpha))
    rgb.info.clear()  # a profile left here would be embedded again on saving
    return rgb


def _eight_bit_grey(image: Image.Image, subject: str) -> Image.Image:
    """Grey of 16 bits, 32 bits or floating point as mode "L", or "LA" with a transparent value."""
    values = np.asarray(image)
    top = 1 if image.mode == "F" else 65535
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= top):  # also refuses NaN
        raise ImageError(
            f"{subject} cannot be placed between black and white: expected brightness from 0 to "
            f"{top}, got {low:g} to {high:g}; export it as an 8-bit PNG."
        )
    if image.mode == "F":
        levels = np.rint(values * np.float32(255)).astype(np.uint8)
    else:
        whole, rest = np.divmod(values.astype(np.uint16, copy=False), 257)
        levels = (whole + (rest > 128)).astype(np.uint8)
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(262) == 0:
        levels = 255 - levels  # "white is zero", which Pillow heeds up to 8 bits only
    grey = Image.fromarray(levels)
    if "transparency" not in image.info:
        return grey
    opaque = values != image.info["transparency"]
    return Image.merge("LA", (grey, Image.fromarray(opaque.astype(np.uint8) * 255)))


def _to_srgb(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """The conversion from ``profile`` to sRGB; None if it cannot be used or is sRGB already."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        if mode == "RGB":
            levels = np.linspace(0, 255, 9).astype(np.uint8)
            probe = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
            moved = np.asarray(transform.apply(Image.fromarray(probe)), dtype=np.int16) - probe
            if np.abs(moved).max() <= _SRGB_TOLERANCE:
                return None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return transform


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a loaded image upright by its EXIF or XMP orientation; None for nothing."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # broken metadata must not cost the picture
        return None


def _jpeg_scans(data: bytes) -> int:
    """How often the decoder would go over the pixels of a JPEG; 0 for another kind of file."""
    if not data.startswith(b"\xff\xd8"):
        return 0
    scans = position = 0
    for _ in range(_MAX_JPEG_SEGMENTS):
        segment = _JPEG_SEGMENT.search(data, position)
        if segment is None or segment[1] == b"\xd9":
            return scans
        scans += segment[1] == b"\xda"
        position = segment.end() + int.from_bytes(data[segment.end() : segment.end() + 2])
    raise ValueError("too many segments in a JPEG")


def _subject(name: str) -> str:
    """``name`` as the subject of a message: one short line of printable characters, in quotes."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in name).split())
    if len(clean) > 80:
        clean = f"{clean[:50]}…{clean[-29:]}"
    return "The picture" if clean in {"", "the picture"} else f'"{clean}"'


def _check_bytes(size: int, subject: str) -> None:
    if size == 0:
        raise ImageError(f"{subject} is empty: expected a picture file; choose another one.")
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"{subject} is too large a file: expected at most {MAX_FILE_BYTES >> 20} MiB, got "
            f"{size / 2**20:,.1f} MiB; save a smaller copy."
        )


def _check_pixels(image: ImageFile.ImageFile, scans: int, subject: str) -> None:
    """Refuse what would take too much memory or time to decode, from the header alone."""
    width, height = image.size
    pixels = width * height
    if max(width, height) > MAX_LENGTH or pixels > MAX_PIXELS:
        raise _too_many_pixels(subject, f"{width:,} x {height:,}")
    if pixels * scans > _MAX_SCANNED_PIXELS:
        raise ValueError(f"{scans} scans in a JPEG")
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tile = image.tag_v2.get(322, 1) * image.tag_v2.get(323, 1)
        if tile > MAX_PIXELS:
            raise ValueError(f"{tile} pixels in a tile")
    if pixels > _MAX_SLOW_PIXELS and any(tile[0] == "bmp_rle" for tile in image.tile):
        raise ValueError(f"{pixels} pixels in a run-length BMP")


def _too_many_pixels(subject: str, found: str) -> ImageError:
    return ImageError(
        f"{subject} has too many pixels: expected at most {MAX_LENGTH:,} a side and "
        f"{MAX_PIXELS // 10**6} million in all, got {found}; save a smaller copy."
    )


def _unreadable(subject: str, data: bytes) -> ImageError:
    """The error for bytes that no decoder takes, by what they seem to be."""
    found = (kind for kind, start in _KINDS.items() if re.match(start, data[:1024], re.DOTALL))
    kind = next(found, "bytes of an unknown kind")
    if kind in _EXPECTED:
        return ImageError(
            f"{subject} cannot be decoded: expected a whole picture, got a damaged, incomplete or "
            f"unusual {kind} file; export it anew as PNG or JPEG."
        )
    return ImageError(
        f"{subject} is not a picture of an accepted format: expected {_EXPECTED}, got {kind}; "
        "convert it and try again."
    )
