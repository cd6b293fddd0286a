"""Files of small images, the same every time, and a bomb: few bytes, very many pixels."""

from __future__ import annotations

import io
import os
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.images.decoding import read_file
from robustness.images.framing import STUDY_FRAMING, Framing, study_image


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


def load_study_image(
    path: str | os.PathLike[str], framing: Framing = STUDY_FRAMING
) -> NDArray[np.float32]:
    """The study image of an image file; raises what ``read_file`` and ``study_image`` raise."""
    return study_image(read_file(path), framing, name=os.fspath(path))


def webp_bomb(side: int) -> bytes:
    """A lossless WebP of one colour, ``side`` x ``side``, in about 40 bytes."""
    small = saved(plain("RGB", (200, 30, 30)), "WEBP", lossless=True)
    (bits,) = struct.unpack_from("<L", small, 21)
    bits = bits & ~0xFFFFFFF | (side - 1) | (side - 1) << 14
    return small[:21] + struct.pack("<L", bits) + small[25:]
