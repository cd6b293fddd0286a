"""Images as a Python session has them, as 8-bit RGB or PNG: arrays, PIL images or files."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.base.errors import ParameterError
from robustness.images.decoding import decode, picture_file, read_file
from robustness.images.pixels import from_uint8, to_png, to_uint8

Levels = NDArray[np.uint8]

_EXPECTED = (
    "an image: an array (height, width, 3) of uint8 or of numbers from 0 to 1, a PIL image or the "
    "path of a file"
)


def is_image(value: Any) -> bool:
    """Whether ``value`` is one image: an array of two or three axes, a PIL image, or a path."""
    if isinstance(value, str | os.PathLike | Image.Image):
        return True
    return getattr(value, "ndim", 0) in (2, 3) and hasattr(value, "dtype")


_NUMBER_MODES = ("F", "I")
"""Pillow's modes without a range. Such images are read as arrays, as a conversion to RGB clips
values above 255."""

_PNG_MODES = ("1", "L", "LA", "I;16", "I;16B", "P", "RGB", "RGBA")
"""Pillow's modes that a PNG can hold."""


def levels(image: Any, name: str = "the image") -> Levels:
    """Return ``image`` as 8-bit RGB of the shape (H, W, 3).

    ``image`` is a path, a PIL image, or an array (H, W, 3), (3, H, W) or grey: (H, W), (H, W, 1) or
    (1, H, W). Floating point in [0, 1] is rounded to 8 bits. Errors call it by its ``name``. Raises
    ``ImageError`` for a file that is no image, and ``ParameterError`` for anything else.
    """
    if isinstance(image, str | os.PathLike):
        path = picture_file(image)
        return np.asarray(decode(read_file(path), name=os.fspath(path)))
    if isinstance(image, Image.Image) and image.mode not in _NUMBER_MODES:
        return np.asarray(decode(_encoded(image), name=name))
    pixels = in_range(as_array(image, name), name)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif pixels.ndim == 3 and pixels.shape[0] == 1 and pixels.shape[2] != 3:
        pixels = pixels[0]
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim == 3 and pixels.shape[0] == 3:
        return np.ascontiguousarray(pixels.transpose(1, 2, 0))
    raise ParameterError(f"{name}: expected {_EXPECTED}, got an array of shape {pixels.shape}.")


def png(image: Any, name: str) -> bytes:
    """Return ``image`` as the bytes of a lossless PNG, or the own bytes of a file."""
    if isinstance(image, str | os.PathLike):
        return read_file(picture_file(image))
    if isinstance(image, Image.Image) and image.mode not in _NUMBER_MODES:
        return _encoded(image)
    return to_png(from_uint8(levels(image, name)))


def _encoded(image: Image.Image) -> bytes:
    converted = image
    if image.mode not in _PNG_MODES:
        converted = image.convert("RGB")
    file = io.BytesIO()
    # The EXIF data say which side is up.
    converted.save(file, "PNG", exif=image.getexif())
    return file.getvalue()


def as_array(array: Any, name: str = "images") -> NDArray[Any]:
    """Return ``array`` as a NumPy array of numbers; tensors of other libraries are converted.

    Raises ``ParameterError`` if it is empty, or if it is no array of numbers.
    """
    # Tensors of PyTorch may have gradients, or be on another device.
    if hasattr(array, "detach"):
        array = array.detach().cpu()
    try:
        converted = np.asarray(array)
    except Exception as error:
        # An unknown object may raise anything when it is asked for an array.
        raise ParameterError(f"{name}: expected {_EXPECTED}, got {kind_of(array)}.") from error
    if converted.dtype.kind not in "uif" or not converted.size:
        raise ParameterError(f"{name}: expected {_EXPECTED}, got {kind_of(array)}.")
    return converted


def kind_of(value: Any) -> str:
    """What ``value`` is, in a message: its type or, for an array, that of its values and shape."""
    dtype = getattr(value, "dtype", None)
    shape = getattr(value, "shape", None)
    if dtype is None or shape is None:
        return type(value).__name__
    return f"{dtype} of shape {tuple(shape)}"


def in_range(array: NDArray[Any], name: str) -> Levels:
    """Return ``array`` as uint8 of the same shape.

    Raises ``ParameterError`` unless its values are whole numbers from 0 to 255, or floating point
    in [0, 1].
    """
    if array.dtype == np.uint8:
        return array
    is_floating = array.dtype.kind == "f"
    most = 1 if is_floating else 255
    low = array.min()
    high = array.max()
    # Written so that NaN is out of range as well.
    if not (low >= 0 and high <= most):
        problem = f"{name}: expected values from 0 to {most}, got {low:g} to {high:g}"
        if is_floating and low >= 0 and 1 < high <= 255:
            problem += "; divide pixels by 255"
        raise ParameterError(f"{problem}.")
    if is_floating:
        return to_uint8(array.astype(np.float64))
    return array.astype(np.uint8)
