"""How much memory the decoding of an image may take, told by its header."""

from __future__ import annotations

import struct

_BYTES_PER_PIXEL = {
    "JPEG": 13,  # progressive: all its coefficients
    "MPO": 13,
    "PNG": 16,  # 16-bit grey with a transparent value
    "WEBP": 17,  # two canvases of the library's, its answer, and the image
    "GIF": 11,
    "BMP": 11,
    "TIFF": 24,  # floating point
    "AVIF": 26,  # 12 bits with transparency
}
"""The most at any moment, of the pixels that a decoder holds; measured, and rounded up."""

_MOST_PER_PIXEL = max(_BYTES_PER_PIXEL.values())
_COPIES = 3
"""How many times a decoder may hold the file itself."""

_ANY = 16 * 1024 * 1024
"""Bytes for any image: tables, buffers, and the study image."""


class CostError(Exception):
    """Decoding an image may take ``needed`` bytes of memory, which is more than it may."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def memory_needed(pixels: int, kind: str | None, size: int) -> int:
    """Bytes that the decoding of ``pixels`` may take from a file of ``size`` bytes.

    ``kind`` is a format of Pillow's.
    """
    return _ANY + _COPIES * size + pixels * _BYTES_PER_PIXEL.get(kind or "", _MOST_PER_PIXEL)


def check_cost(pixels: int, kind: str | None, size: int, allowed: int | None) -> None:
    """Raise ``CostError`` where ``memory_needed`` is more than ``allowed``, if that is a limit."""
    needed = memory_needed(pixels, kind, size)
    if allowed is not None and needed > allowed:
        raise CostError(needed)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WebP states; None of another kind of file, or of a broken one."""
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP" or len(data) < 30:
        return None
    match data[12:16]:
        case b"VP8X":
            width, height = data[24:27], data[27:30]
            return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
        case b"VP8L":
            bits = int.from_bytes(data[21:25], "little")
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    return None
