"""Files of small images, the same every time, and a bomb: few bytes, very many pixels."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(width: int = 48, height: int = 40) -> Image.Image:
    """A small picture with structure in it, the same every time."""
    rows, columns = np.mgrid[0:height, 0:width]
    channels = [rows * 5, columns * 5, (rows * columns) % 256]
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def plain(mode: str, colour: Any, side: int = 16) -> Image.Image:
    return Image.new(mode, (side, side), colour)


def webp_bomb(side: int) -> bytes:
    """A lossless WebP of one colour, ``side`` x ``side``, in about 40 bytes."""
    small = saved(plain("RGB", (200, 30, 30)), "WEBP", lossless=True)
    (bits,) = struct.unpack_from("<L", small, 21)
    bits = bits & ~0xFFFFFFF | (side - 1) | (side - 1) << 14
    return small[:21] + struct.pack("<L", bits) + small[25:]
