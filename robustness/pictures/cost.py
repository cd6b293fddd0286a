"""Estimated memory for decoding an image, from its header."""

from __future__ import annotations

import struct

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

_MOST_PER_PIXEL = max(_BYTES_PER_PIXEL.values())
_COPIES = 3
"""Copies of the file that a decoder may hold."""

_ANY = 16 * 1024 * 1024
"""Fixed bytes: tables, buffers, and the study image."""


class CostError(Exception):
    """Decoding may take ``needed`` bytes of memory, more than allowed."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def memory_needed(pixels: int, kind: str | None, size: int) -> int:
    """Bytes that decoding ``pixels`` of a file of ``size`` bytes may take.

    ``kind`` is a format name of Pillow.
    """
    return _ANY + _COPIES * size + pixels * _BYTES_PER_PIXEL.get(kind or "", _MOST_PER_PIXEL)


def check_cost(pixels: int, kind: str | None, size: int, allowed: int | None) -> None:
    """Raise ``CostError`` if ``memory_needed`` exceeds ``allowed``; None is no limit."""
    needed = memory_needed(pixels, kind, size)
    if allowed is not None and needed > allowed:
        raise CostError(needed)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height in the header of a WebP; None for another or a broken file."""
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
