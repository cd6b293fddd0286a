"""From untrusted bytes to an upright image: 8-bit RGB without transparency, as a Pillow image.

All outside images pass through ``decode``. Unusable bytes or files raise ``ImageError`` with one
sentence. Every function is thread-safe. (Only the TIFF library may write to stderr.)

Conversions:

- transparency (alpha, transparent colours or palette entries): composited on white. A 16-bit
  transparent colour is compared by its upper 8 bits;
- grey of more than 8 bits: the largest value of the depth becomes 255, such as 65535 of 16 bits, in
  a TIFF also 4095 of 12 bits and 32767 of signed 16 bits. A file's stated maximum is used if it is
  that of a depth, such as 4095 in 16 bits, and no sample exceeds it. 32-bit integers are read as
  16 bits;
- floating point (TIFF): 0 to 1 becomes 0 to 255; other ranges are refused;
- CMYK: to sRGB by its embedded profile, without one by the plain conversion;
- RGB and grey: the stored values, ignoring profiles, as in the pipelines that train and evaluate
  ImageNet models. A wide-gamut photo (Display P3) looks slightly paler to the models than on a
  screen;
- animations and files with several pages: the first frame; of a HEIC its primary image.

The module also has the five sample photographs, the same files as in scikit-image's wheel. The
README beside them names their sources and terms. Each file is checked against its SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import math
import os
import re
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pi_heif
from PIL import (
    Image,
    ImageChops,
    ImageCms,
    ImageFile,
    ImageOps,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
)

from robustness.base.errors import ImageError
from robustness.base.registry import Registry

_BYTES_PER_PIXEL = {
    "JPEG": 13,  # all coefficients of a progressive one
    "MPO": 13,
    "PNG": 16,  # 16-bit grey with a transparent value
    "WEBP": 17,  # two canvases of the library, its result, and the image
    "GIF": 11,
    "BMP": 11,
    "TIFF": 24,  # floating point
    "AVIF": 26,  # 12 bits with transparency
    "HEIF": 22,  # likewise
}
"""Peak bytes per pixel of each decoder; measured and rounded up."""

_COEFFICIENT_BYTES = 8
"""Bytes per pixel of the coefficients of a JPEG with four components, none of them subsampled."""

_MOST_PER_PIXEL = max(_BYTES_PER_PIXEL.values())
_COPIES = 3
"""Copies of the file that a decoder may hold."""

_FIXED_BYTES = 16 * 1024 * 1024
"""Fixed bytes: tables, buffers, and the study image."""


class CostError(Exception):
    """Decoding may take ``needed`` bytes of memory, more than allowed."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def check_cost(
    pixels: int, kind: str | None, size: int, allowed: int | None, *, coefficients: int = 0
) -> None:
    """Raise ``CostError`` if decoding may take more than ``allowed`` bytes; None is no limit.

    The file has ``size`` bytes and ``pixels``; ``kind`` is a format name of Pillow. The
    decoder also holds ``coefficients``, in bytes.
    """
    per_pixel = _BYTES_PER_PIXEL.get(kind or "", _MOST_PER_PIXEL)
    copies = _COPIES
    if kind == "TIFF":
        copies = 2 * _COPIES  # one may be decoded twice
    needed = _FIXED_BYTES + copies * size + pixels * per_pixel + coefficients
    if allowed is not None and needed > allowed:
        raise CostError(needed)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP; None for another or a broken file."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            width = data[24:27]
            height = data[27:30]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None


MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 65_000_000
JPEG_SCALE = 2
"""A JPEG of more pixels is decoded at 1 / ``JPEG_SCALE`` of its width and height, by libjpeg, which
never makes the other pixels."""
MAX_JPEG_PIXELS = JPEG_SCALE**2 * MAX_PIXELS
MAX_LENGTH = 30_000
"""Largest width and height in pixels."""

ACCEPTED_EXTENSIONS = (
    "jpg",
    "jpeg",
    "png",
    "webp",
    "bmp",
    "tif",
    "tiff",
    "gif",
    "avif",
    "heic",
    "heif",
)

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF")  # JPEG includes MPO
_EXPECTED = "JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF or HEIC"
_KINDS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    "GIF": rb"GIF8[79]a",
    "AVIF": rb"....ftypavi[fs]",
    "HEIC": rb"....ftyp(hei|hev|mif1|msf1)",
    "a PDF document": rb"%PDF",
    "a zip archive": rb"PK\x03\x04",
    "an SVG drawing": rb"(?i)\s*(<\?xml.*)?<svg\b",
    "a web page": rb"(?i)\s*<(!doctype html|html|head|body)\b",
    "text": rb"[\t\n\r -~\x80-\xff]+\Z",
}  # by first bytes; the first match counts

_MAX_SLOW_PIXELS = MAX_PIXELS // 16  # for a run-length BMP, which Pillow decodes in Python
_MAX_SCANS = 100  # at the largest number of pixels; a smaller JPEG may have more
_MAX_JPEG_SEGMENTS = 5_000
_MAX_TIFF_LIST = 100_000
_DEPTHS = {2**bits - 1 for bits in range(8, 17)}
_JPEG_SEGMENT = re.compile(rb"\xff+([\x02-\xcf\xd9-\xfe])")
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # headers with the size of an image
_ARITHMETIC = range(0xC9, 0xD0)  # frames whose scans may leave out their last bytes
_RESTARTS = range(0xD0, 0xD8)
_BITS_PER_SAMPLE = 258  # tags of a TIFF
_COMPRESSION = 259
_PHOTOMETRIC = 262
_STRIP_OFFSETS = 273
_SAMPLES = 277
_ROWS_PER_STRIP = 278
_STRIP_LENGTHS = 279
_MAX_SAMPLE_VALUE = 281
_PLANES = 284
_TILE_WIDTH = 322
_TILE_HEIGHT = 323
_TILE_OFFSETS = 324
_TILE_LENGTHS = 325
_SAMPLE_FORMAT = 339
_SIGNED_MAX_SAMPLE_VALUE = 341
_JPEG_TABLES = 347
_JPEG_COMPRESSION = 7  # values of these tags
_WHITE_IS_ZERO = 0
_SEPARATE = 2  # planes, of which each has strips or tiles of its own
_SIGNED = 2
_NOISE = hashlib.shake_128(b"noise").digest(512).replace(b"\xff", b"\xfe")
_METADATA = re.compile(rb"(infe.{8}(?:..)?)(?:Exif|mime)", re.DOTALL)

# Hide Pillow's warnings about metadata and sizes: this module raises what matters. One filter,
# since `warnings.catch_warnings` is not thread-safe; the handler keeps Pillow's log from stderr.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())
# One thread, as each takes memory.
pi_heif.register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
)
# Pillow refuses twice this number of pixels before it says how many there are.
Image.MAX_IMAGE_PIXELS = MAX_JPEG_PIXELS // 2


def decode(
    data: bytes,
    *,
    name: str = "the image",
    allowed: int | None = None,
    pixels: int = MAX_PIXELS,
) -> Image.Image:
    """The image in ``data`` as an upright 8-bit image (mode "RGB") without transparency.

    ``name`` stands for the image in messages. The image may have ``pixels`` pixels, counted before
    decoding. A JPEG may have ``JPEG_SCALE ** 2`` times as many: one of more than ``pixels`` is
    decoded at half its width and height. Raises ``ImageError`` for larger images and anything but
    a whole image of an accepted format, and ``CostError`` if decoding may take more than
    ``allowed`` bytes of memory; None is no limit.
    """
    subject = as_subject(name)
    most = pixels
    if data.startswith(b"\xff\xd8"):
        most = JPEG_SCALE**2 * pixels
    _check_bytes(len(data), subject)
    try:
        scans = _jpeg_scans(data)
        _check_tiff_lists(data)
        canvas = webp_canvas(data)
        if canvas is not None:  # opening it would already take memory
            _check_size(canvas, subject, pixels)
            check_cost(math.prod(canvas), "WEBP", len(data), allowed)
        if data[4:8] == b"ftyp":
            # A broken EXIF or XMP block would make an AVIF or HEIC unreadable; their orientation
            # is stored elsewhere.
            file = io.BytesIO(_METADATA.sub(rb"\1free", data))
        else:
            _check_png_profile(data, subject)
            file = io.BytesIO(data)
        with Image.open(file, formats=_FORMATS) as image:
            _check_size(image.size, subject, most)
            _check_pixels(image, scans, pixels, most)
            _load_whole(image, data, scans, allowed=allowed, pixels=pixels)
            with contextlib.suppress(Exception):  # broken metadata must not cost the image
                ImageOps.exif_transpose(image, in_place=True)
        for decoder in ("_decoder", "_heif_file"):  # WebP, AVIF and HEIC keep their pixels in it
            vars(image).pop(decoder, None)
        return _flatten(image, subject)
    except (ImageError, CostError):
        raise
    except MemoryError as error:
        raise ImageError(
            f"{subject} takes too much memory to decode: expected a smaller file; save a copy "
            "of fewer pixels, without metadata such as colour profiles."
        ) from error
    except Image.DecompressionBombError as error:
        size = "far more"
        count = re.search(r"\d+", str(error))
        if count:
            size = f"{int(count[0]) // 10**6:,} million"
        raise _too_many_pixels(subject, size, most) from error
    except Exception as error:  # hostile bytes make Pillow raise nearly anything
        if "MAX_TEXT_CHUNK" in str(error):
            raise _too_much_metadata(subject) from error
        raise _unreadable(subject, data) from error


def _load_whole(
    image: ImageFile.ImageFile, data: bytes, scans: int, *, allowed: int | None, pixels: int
) -> None:
    """Load the opened ``image``, a JPEG of more than ``pixels`` at a smaller size.

    Raises ``ValueError`` if not all pixels come from ``data``, and ``CostError`` before decoding
    that may take more than ``allowed`` bytes.
    """
    coefficients = 0
    is_reduced = math.prod(image.size) > pixels
    if is_reduced:
        coefficients = _reduce_jpeg(image, scans)
    block = _largest_block(image)
    check_cost(block, image.format, len(data), allowed, coefficients=coefficients)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        _check_tiff_jpegs(image, data)
    # The check of several scans comes first, so that one image is in memory at a time.
    noisy = _noisy_digest(data, is_reduced) if scans > 1 else None
    transparent_colour = image.info.get("transparency")
    if transparent_colour and any(tile[3] == "RGB;16B" for tile in image.tile):
        # The pixels of a 16-bit PNG have only the upper 8 bits.
        image.info["transparency"] = tuple(value >> 8 for value in transparent_colour)
    image.load()
    if scans == 1 and _may_be_filled(image):
        noisy = _noisy_digest(data, is_reduced)
    if noisy is not None and noisy != _pixels_digest(image):
        raise ValueError("a JPEG with fewer rows than its header says")
    if image.format in {"PNG", "TIFF"}:
        _check_last_rows(image, data)


def read_file(path: str | os.PathLike[str], *, name: str = "") -> bytes:
    """The bytes of a regular, non-empty file of at most ``MAX_FILE_BYTES``; else ``ImageError``.

    ``name`` stands for the file in messages, by default its path.
    """
    subject = as_subject(name or os.fspath(path))
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{subject} is a folder: expected an image file; choose one in it.")
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device may block, or never end
            raise ImageError(f"{subject} is a pipe or device: expected an image file; choose one.")
        _check_bytes(status.st_size, subject)
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ImageError(f"{subject} does not exist: check its path.") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "the path is not valid").lower()
        raise ImageError(
            f"{subject} cannot be opened ({reason}): check the path and its permissions."
        ) from error
    _check_bytes(len(data), subject)
    return data


def _flatten(image: Image.Image, subject: str) -> Image.Image:
    """A loaded image in RGB, with transparency composited on white; may share its pixels."""
    if image.mode.startswith(("I", "F")):
        image = _eight_bit_grey(image, subject)
    if image.mode == "CMYK":
        rgb = _cmyk_to_rgb(image)
    elif image.has_transparency_data:
        if image.mode != "RGBA":
            image = image.convert("RGBA")
        mask = ImageChops.invert(image.getchannel("A"))
        rgb = image.convert("RGB")
        rgb.paste((255, 255, 255), mask=mask)
    elif image.mode == "RGB":
        # Reuse the pixels, without their file: a copy would take too much memory.
        rgb = image._new(image.im)
    else:
        rgb = image.convert("RGB")
    rgb.info.clear()  # a profile left here would be embedded again on saving
    return rgb


def _eight_bit_grey(image: Image.Image, subject: str) -> Image.Image:
    """Grey of 16 bits, 32 bits or floating point as mode "L", or "LA" with a transparent value."""
    values = np.asarray(image)
    low = values.min()
    high = values.max()
    is_floating = image.mode == "F"
    white = 1
    if not is_floating:
        white = _white_of(image, high)
    if not (low >= 0 and high <= white):  # also refuses NaN
        raise ImageError(
            f"{subject} cannot be placed between black and white: expected brightness from 0 to "
            f"{white}, got {low:g} to {high:g}; export it as an 8-bit PNG."
        )
    if is_floating:
        levels = np.rint(values * np.float32(255)).astype(np.uint8)
    else:
        levels = np.empty(values.shape, np.uint8)
        # Row by row, to save memory: each value takes 64 bits on its way.
        for level_row, value_row in zip(levels, values, strict=True):
            # 255 * value / white, rounded to the nearest level in whole numbers
            level_row[:] = (value_row.astype(np.uint64) * 510 + white) // (2 * white)
    if (
        isinstance(image, TiffImagePlugin.TiffImageFile)
        and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    ):
        levels = 255 - levels  # Pillow does this up to 8 bits only
    grey = Image.fromarray(levels)
    if "transparency" not in image.info:
        return grey
    opaque = values != image.info["transparency"]
    return Image.merge("LA", (grey, Image.fromarray(opaque.astype(np.uint8) * 255)))


def _white_of(image: Image.Image, high: int) -> int:
    """The value of white in integer grey with the maximum ``high``, by the file's depth."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 65535
    tags = image.tag_v2
    bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
    is_signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED
    if bits > 16:
        white = 65535
    elif is_signed:
        white = 2 ** (bits - 1) - 1
    else:
        white = 2**bits - 1
    for tag in (_MAX_SAMPLE_VALUE, _SIGNED_MAX_SAMPLE_VALUE):
        stated = tags.get(tag, 0)
        if isinstance(stated, tuple) and stated:  # one value a sample
            stated = stated[0]
        if stated in _DEPTHS and high <= stated < white:
            return int(stated)
    return white


def _cmyk_to_rgb(image: Image.Image) -> Image.Image:
    """CMYK to RGB by its profile; by the plain conversion if that is unusable."""
    try:
        transform = ImageCms.buildTransform(
            io.BytesIO(image.info["icc_profile"]),
            ImageCms.createProfile("sRGB"),
            "CMYK",
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, KeyError, TypeError):
        return image.convert("RGB")
    return transform.apply(image)


def _jpeg_scans(data: bytes) -> int:
    """Number of scans of a JPEG; 0 for another kind of file."""
    if not data.startswith(b"\xff\xd8"):
        return 0
    return sum(marker == _START_OF_SCAN for marker, _ in _jpeg_segments(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker and the start of each segment of a JPEG, to the end of its first image."""
    position = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        segment = _JPEG_SEGMENT.search(data, position)
        if segment is None:
            return
        (marker,) = segment[1]
        yield marker, segment.start()
        if marker == _END_OF_IMAGE:
            return
        position = segment.end() + int.from_bytes(data[segment.end() : segment.end() + 2])
    raise ValueError("too many segments in a JPEG")


# --- whether all pixels come from the file --------------------------------------------------------
#
# Decoders fill what the data lacks, without an error. Each check below decodes the image once more,
# so that what is filled comes out different, and is left out where the last pixels tell that
# nothing was filled.


def _may_be_filled(image: Image.Image) -> bool:
    """Whether the last pixel of a JPEG with one scan may stand for missing data.

    All coefficients of that are 0, which gives the middle of each range.
    """
    if image.mode == "CMYK":
        return True
    (last,) = _last_pixels(image, rows=1)
    return set(last) <= {127, 128}


def _last_pixels(image: Image.Image, rows: int) -> list[bytes]:
    """The last pixel of each of the last ``rows`` of a loaded image."""
    column = image.width - 1
    tops = range(max(0, image.height - rows), image.height)
    return [image.crop((column, top, column + 1, top + 1)).tobytes() for top in tops]


def _noisy_digest(data: bytes, is_reduced: bool) -> int | None:
    """The digest of a JPEG's pixels with noise after the data of each scan.

    A decoder skips what follows a whole scan, and takes it for missing rows of another. None for
    arithmetic coding.
    """
    noise = _NOISE + b"".join(bytes([0xFF, restart]) + _NOISE for restart in _RESTARTS)
    pieces = []
    copied = 0
    in_scan = False
    for marker, start in _jpeg_segments(data):
        if marker in _ARITHMETIC:
            return None
        if in_scan:
            pieces += [data[copied:start], noise]
            copied = start
        in_scan = marker == _START_OF_SCAN
    pieces.append(data[copied:])
    with Image.open(io.BytesIO(b"".join(pieces)), formats=("JPEG",)) as image:
        if is_reduced:
            _reduce_jpeg(image, scans=1)
        return _pixels_digest(image)


def _pixels_digest(image: Image.Image) -> int:
    return zlib.crc32(image.tobytes())


def _check_last_rows(image: ImageFile.ImageFile, data: bytes) -> None:
    """Raise ``ValueError`` if the last pixels of a loaded PNG or TIFF are not from its ``data``.

    Pillow begins with zeros. Where one is left, the image is decoded over ones.
    """
    last_pixels = _last_pixels(image, rows=2)  # an interlaced PNG ends with the last odd row
    if all(any(pixel) for pixel in last_pixels):
        return
    with Image.open(io.BytesIO(data), formats=(image.format or "",)) as again:
        again.load_prepare()
        ones: int | tuple[int, ...] = 1
        band_count = len(again.getbands())
        if band_count > 1:
            ones = (1,) * band_count
        again.im.paste(ones, (0, 0, *again.size))
        again.load()
        if _last_pixels(again, rows=2) != last_pixels:
            raise ValueError("an image with fewer rows than its header says")


def _check_tiff_jpegs(image: TiffImagePlugin.TiffImageFile, data: bytes) -> None:
    """Raise ``ValueError`` if a strip or tile of a TIFF is a JPEG without all of its pixels.

    The TIFF library takes a smaller one with a warning, and hands over memory for what it lacks.
    """
    tags = image.tag_v2
    if tags.get(_COMPRESSION) != _JPEG_COMPRESSION:
        return
    is_tiled = _TILE_OFFSETS in tags
    if is_tiled:
        offsets = tags[_TILE_OFFSETS]
        lengths = tags[_TILE_LENGTHS]
        width = tags[_TILE_WIDTH]
        rows = tags[_TILE_HEIGHT]
        pieces_across = math.ceil(image.width / width)
    else:
        offsets = tags[_STRIP_OFFSETS]
        lengths = tags[_STRIP_LENGTHS]
        width = image.width
        rows = tags.get(_ROWS_PER_STRIP, image.height)
        pieces_across = 1
    pieces_down = math.ceil(image.height / rows)
    planes = 1
    if tags.get(_PLANES) == _SEPARATE:
        planes = tags.get(_SAMPLES, 1)
    piece_count = pieces_across * pieces_down * planes
    pieces = list(zip(offsets, lengths, strict=True))[:piece_count]
    tables = tags.get(_JPEG_TABLES, b"")
    for index, (offset, length) in enumerate(pieces):
        height = rows
        most_rows = rows
        if not is_tiled:  # the last strip may have fewer rows
            row_of_strips = index % pieces_down
            height = min(rows, image.height - row_of_strips * rows)
            most_rows = min(rows, 2 * image.height)  # some writers fill it up
        jpeg = data[offset : offset + length]
        if tables:  # without its last marker, which ends it, and the first of the strip
            jpeg = tables[:-2] + jpeg[2:]
        _check_jpeg_pixels(jpeg, width, height, most_rows)


def _check_jpeg_pixels(jpeg: bytes, width: int, height: int, most_rows: int) -> None:
    """Raise ``ValueError`` if a JPEG has not ``width`` x ``height`` pixels from its data.

    It may have up to ``most_rows``. A larger one, which the TIFF library refuses, would take the
    memory of all its pixels here.
    """
    frames = [start for marker, start in _jpeg_segments(jpeg) if marker in _FRAMES]
    coded_height, coded_width = struct.unpack_from(">5xHH", jpeg, frames[0])
    if coded_width != width or not height <= coded_height <= most_rows:
        raise ValueError(f"a JPEG of {coded_width} x {coded_height} for {width} x {height} pixels")
    try:
        image = Image.open(io.BytesIO(jpeg), formats=("JPEG",))
    except UnidentifiedImageError:  # grey with transparency, which is no JPEG outside a TIFF
        return
    with image:
        image.load()
        if _jpeg_scans(jpeg) == 1 and not _may_be_filled(image):
            return
        noisy = _noisy_digest(jpeg, is_reduced=False)
        if noisy is not None and noisy != _pixels_digest(image):
            raise ValueError("a JPEG in a TIFF with fewer rows than its header says")


def _check_png_profile(data: bytes, subject: str) -> None:
    """Refuse a PNG with a colour profile that Pillow would read whole, and then refuse."""
    position = 8
    while data.startswith(b"\x89PNG") and position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4])
        kind = data[position + 4 : position + 8]
        if kind == b"iCCP" and length > PngImagePlugin.MAX_TEXT_CHUNK:
            raise _too_much_metadata(subject)
        if kind == b"IDAT":
            return
        position += 12 + length


def _too_much_metadata(subject: str) -> ImageError:
    return ImageError(
        f"{subject} holds too much besides its pixels: expected a colour profile and texts of at "
        f"most {PngImagePlugin.MAX_TEXT_CHUNK >> 20} MiB each, got more; save a copy without them."
    )


def _check_tiff_lists(data: bytes) -> None:
    """Raise ``ValueError`` for a TIFF with a list, as of tiles, that would take Pillow minutes."""
    if data[:2] not in {b"II", b"MM"}:
        return
    order = "<" if data.startswith(b"I") else ">"
    is_big = data[2:3] == b"+"
    if is_big:
        header_format = order + "8xQ"  # the place of the directory
        count_format = order + "Q"
        entry_format = order + "2xHQ8x"  # the type and the number of values
    else:
        header_format = order + "4xL"
        count_format = order + "H"
        entry_format = order + "2xHL4x"
    (directory,) = struct.unpack_from(header_format, data)
    (entry_count,) = struct.unpack_from(count_format, data, directory)
    start = directory + struct.calcsize(count_format)
    entry_size = struct.calcsize(entry_format)
    whole_entries = min(entry_count, (len(data) - start) // entry_size)
    entries = data[start : start + whole_entries * entry_size]
    for value_type, value_count in struct.iter_unpack(entry_format, entries):
        # Pillow reads text and bytes as one value and skips what exceeds the file.
        if value_type not in {1, 2, 7} and _MAX_TIFF_LIST < value_count <= len(data):
            raise ValueError(f"{value_count} values in a TIFF's list")
    if entry_count > _MAX_TIFF_LIST:
        raise ValueError(f"{entry_count} entries in a TIFF")


def as_subject(name: str) -> str:
    """``name`` as the subject of a message: one short line of printable characters, in quotes."""
    printable = "".join(character if character.isprintable() else " " for character in name)
    line = " ".join(printable.split())
    if line in {"", "the image"}:
        return "The image"
    if len(line) > 80:
        line = f"{line[:50]}…{line[-29:]}"
    return f'"{line}"'


def _check_bytes(size: int, subject: str) -> None:
    """Raise ``ImageError`` for an empty file, or one of more than ``MAX_FILE_BYTES``."""
    if size == 0:
        raise ImageError(f"{subject} is empty: expected an image file; choose another one.")
    if size > MAX_FILE_BYTES:
        raise ImageError(
            f"{subject} is too large: expected at most {MAX_FILE_BYTES >> 20} MiB, got "
            f"{size / 2**20:,.1f} MiB; save a smaller copy."
        )


def _reduce_jpeg(image: ImageFile.ImageFile, scans: int) -> int:
    """Have the decoder make a JPEG smaller; return the bytes that it still holds of the whole.

    Raises ``ValueError`` for a JPEG that cannot be decoded so.
    """
    whole = math.prod(image.size)
    reduced = image.draft(image.mode, (image.width // JPEG_SCALE, image.height // JPEG_SCALE))
    if reduced is None or math.prod(image.size) > whole / 2:
        raise ValueError("a JPEG that cannot be decoded at a smaller size")
    # Only of a JPEG in several scans, such as a progressive one, are all coefficients held.
    if scans > 1:
        return whole * _COEFFICIENT_BYTES
    return 0


def _check_pixels(image: ImageFile.ImageFile, scans: int, pixels: int, most: int) -> None:
    """Refuse, by its header, an image that would take too much memory or time to decode.

    A JPEG has ``most`` pixels, which exceed ``pixels`` where it is decoded at a smaller size.
    """
    pixel_count = math.prod(image.size)
    if pixel_count * scans > _MAX_SCANS * pixels:
        raise ValueError(f"{scans} scans in a JPEG")
    if _largest_block(image) > most:
        raise ValueError(f"{_largest_block(image)} pixels in a tile")
    is_run_length = any(tile[0] == "bmp_rle" for tile in image.tile)
    if is_run_length and pixel_count > _MAX_SLOW_PIXELS:
        raise ValueError(f"{pixel_count} pixels in a run-length BMP")


def _check_size(size: tuple[int, int], subject: str, pixels: int) -> None:
    """Raise ``ImageError`` for a side above ``MAX_LENGTH``, or more than ``pixels`` in all."""
    if max(size) > MAX_LENGTH or math.prod(size) > pixels:
        raise _too_many_pixels(subject, f"{size[0]:,} x {size[1]:,}", pixels)


def _largest_block(image: ImageFile.ImageFile) -> int:
    """Pixels of the largest block that the decoder holds: the image, or a tile of a TIFF."""
    pixel_count = image.width * image.height
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return pixel_count
    tile = image.tag_v2.get(_TILE_WIDTH, 1) * image.tag_v2.get(_TILE_HEIGHT, 1)
    return max(pixel_count, tile)


def _too_many_pixels(subject: str, size_text: str, pixels: int) -> ImageError:
    return ImageError(
        f"{subject} has too many pixels: expected at most {MAX_LENGTH:,} per side and "
        f"{pixels // 10**6} million in all, got {size_text}; save a smaller copy."
    )


def _unreadable(subject: str, data: bytes) -> ImageError:
    """The error for bytes without a decoder, by their apparent kind."""
    kind = _apparent_kind(data)
    if kind in _EXPECTED:
        return ImageError(
            f"{subject} cannot be decoded: expected a whole image, got a damaged, incomplete or "
            f"unusual {kind} file; export it again as PNG or JPEG."
        )
    return ImageError(
        f"{subject} is not an image of an accepted format: expected {_EXPECTED}, got {kind}; "
        "convert it and try again."
    )


def _apparent_kind(data: bytes) -> str:
    """What ``data`` is by its first bytes, in words."""
    for kind, start in _KINDS.items():
        if re.match(start, data[:1024], re.DOTALL):
            return kind
    return "bytes of an unknown kind"


FOLDER = Path(__file__).parent / "photographs"
_REMEDY = "fetch the dashboard's own files again"


@dataclass(frozen=True)
class Sample:
    """A bundled photograph.

    ``alt`` is its text alternative. ``credit`` names the author and the terms of use. ``synset`` is
    the WordNet id of its ImageNet class; None if ImageNet has no such class.
    """

    name: str
    label: str
    alt: str
    synset: str | None
    filename: str
    sha256: str
    credit: str


REGISTRY: Registry[Sample] = Registry("sample")

for _sample in (
    Sample(
        name="coffee",
        label="Cup of espresso",
        alt="A red cup of espresso with a small spoon on a red saucer, on a wooden table.",
        synset="n07920052",
        filename="coffee.png",
        sha256="cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        credit="Rachel Michetti, courtesy of Pikolo Espresso Bar (CC0)",
    ),
    Sample(
        name="chelsea",
        label="Chelsea the cat",
        alt="The face of a light brown tabby cat with green eyes, seen from close up.",
        synset="n02124075",
        filename="chelsea.png",
        sha256="596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        credit="Stefan van der Walt (CC0)",
    ),
    Sample(
        name="rocket",
        label="Rocket at dusk",
        alt="A white rocket upright on its launch pad between lattice towers, at dusk.",
        synset=None,
        filename="rocket.jpg",
        sha256="c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        credit="SpaceX (public domain)",
    ),
    Sample(
        name="motorcycle",
        label="Motorcycle in a garage",
        alt="A red motorcycle on its stand in a garage, in front of shelves full of boxes.",
        synset=None,
        filename="motorcycle_left.png",
        sha256="db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        credit="D. Scharstein et al., Middlebury Stereo Datasets 2014 (published with permission)",
    ),
    Sample(
        name="astronaut",
        label="Astronaut Eileen Collins",
        alt=(
            "A smiling woman in an orange space suit, her helmet in front of her, between a flag "
            "of the United States and a model of a space shuttle."
        ),
        synset=None,
        filename="astronaut.png",
        sha256="88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        credit="NASA (public domain)",
    ),
):
    REGISTRY.add(_sample)


def sample_path(name: str) -> Path:
    """The path of the sample ``name``; the file is not checked.

    Raises ``UnknownNameError`` for an unknown name.
    """
    return FOLDER / REGISTRY[name].filename


SAMPLE = "sample:"
"""Prefix of a sample in place of the path of an image: ``sample:coffee``."""


def picture_file(path: str | os.PathLike[str]) -> str:
    """``path`` itself, or the path of the sample that it names.

    Raises what ``sample_path`` raises.
    """
    text = os.fspath(path)
    if text.startswith(SAMPLE):
        return str(sample_path(text.removeprefix(SAMPLE)))
    return text


def sample_bytes(name: str) -> bytes:
    """The bytes of the sample ``name``, verified by their SHA-256.

    Raises what ``sample_path`` raises, and ``ImageError`` if the file is missing or not the
    expected one.
    """
    sample = REGISTRY[name]
    path = sample_path(name)
    try:
        data = read_file(path)
    except ImageError as error:
        raise ImageError(
            f'The sample "{name}" is missing: expected the file {path}; {_REMEDY}.'
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != sample.sha256:
        raise ImageError(
            f'The sample "{name}" is not the expected file: expected SHA-256 '
            f"{sample.sha256[:12]}…, got {digest[:12]}…; {_REMEDY}."
        )
    return data
