"""How the libraries of models resize images, without importing them.

Each agrees with its library to one grey level, after rounding to 8 bits: ``pil`` and ``torch``
with torchvision's transforms of Pillow images and of tensors, ``tensorflow`` with
``tf.image.resize``, ``opencv`` with ``cv2.resize``. ``study`` is Pillow's resizing, with the
rounding of ``framing_and_study_image``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.pictures.eight_bits import Floats

STUDY, PIL, TORCH, TENSORFLOW, OPENCV = "study", "pil", "torch", "tensorflow", "opencv"

Values = NDArray[Any]

PILLOW = {
    name: Image.Resampling[name.upper()]
    for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
}
_OPENCV = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "lanczos": "INTER_LANCZOS4",
    "area": "INTER_AREA",
}

INTERPOLATIONS = {
    STUDY: tuple(PILLOW),
    PIL: tuple(PILLOW),
    TORCH: ("nearest", "bilinear", "bicubic"),
    TENSORFLOW: ("nearest", "bilinear", "bicubic", "lanczos", "area"),
    OPENCV: tuple(_OPENCV),
}
"""The interpolations of each library."""

_ALIASED = {(TENSORFLOW, "lanczos")} | {
    (library, name) for library in (TORCH, TENSORFLOW) for name in ("bilinear", "bicubic")
}
"""Library and interpolation where antialiasing can be left out."""


def check_resizing(library: str, interpolation: str, antialias: bool) -> None:
    """Raise ``UnknownNameError`` or ``ParameterError`` for a resizing that no library has."""
    if library not in tuple(INTERPOLATIONS):
        known = ", ".join(INTERPOLATIONS)
        raise UnknownNameError(f"There is no resize called {library!r}. Known: {known}.")
    if interpolation not in INTERPOLATIONS[library]:
        known = ", ".join(INTERPOLATIONS[library])
        raise UnknownNameError(
            f"There is no interpolation called {interpolation!r} with resize {library!r}. "
            f"Known: {known}."
        )
    if not (antialias is True or (antialias is False and (library, interpolation) in _ALIASED)):
        raise ParameterError(
            f"Expected antialias = true with resize {library!r} and {interpolation!r}, got "
            f"{antialias!r}: only torch and tensorflow can leave it out, for smooth interpolations."
        )


def resize(
    image: Image.Image, size: tuple[int, int], library: str, interpolation: str, antialias: bool
) -> Image.Image:
    """``image`` (mode "RGB") in ``size``, (width, height), as ``library`` makes it, in 8 bits."""
    if library in (STUDY, PIL):
        return image.resize(size, PILLOW[interpolation])
    pixels, smooth = np.asarray(image), (library, interpolation) in _ALIASED
    along: Along | None = None
    if library != OPENCV and interpolation == "nearest":
        along = partial(_nearest, library)
    elif smooth and (antialias or library == TENSORFLOW or interpolation == "bilinear"):
        along = partial(_sampled, *_KERNELS[interpolation], antialias)
    elif library == TENSORFLOW and interpolation == "area" and np.less(image.size, size).any():
        along = _cover
    if along is None:
        return Image.fromarray(_by_opencv(pixels, size, interpolation))
    height, width = np.divide(size[::-1], pixels.shape[:2])
    for axis in (0, 1) if height < 2 * width else (1, 0):  # to shrink first saves memory
        pixels = along(pixels.swapaxes(0, axis), size[1 - axis]).swapaxes(0, axis)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.clip(0, 255, out=pixels), out=pixels).astype(np.uint8)
    return Image.fromarray(pixels)


Along = Callable[[Values, int], Values]
"""From an array and a number of rows to the array with so many."""


def _by_opencv(pixels: Values, size: tuple[int, int], interpolation: str) -> Values:
    import cv2  # slow to import

    return cv2.resize(pixels, size, interpolation=getattr(cv2, _OPENCV[interpolation]))


def _nearest(library: str, values: Values, new: int) -> Values:
    """Whole pixels, chosen in the precision of ``library``."""
    centre = np.float32(0.5 if library == TENSORFLOW else 0)
    places = (np.arange(new, dtype=np.float32) + centre) * np.float32(len(values) / new)
    return values[np.minimum(places.astype(int), len(values) - 1)]


def _sampled(
    kernel: Callable[[Floats], Floats], reach: float, antialias: bool, values: Values, new: int
) -> Values:
    """The mean around each of ``new`` rows, weighted by ``kernel`` up to ``reach`` rows away.

    Antialiased, the kernel is as wide as the rows that become one.
    """
    result = np.empty((new, *values.shape[1:]), np.float32)
    scale = len(values) / new
    width = max(1.0, scale) if antialias else 1.0
    for row, centre in enumerate((np.arange(new) + 0.5) * scale):
        low = max(0, int(centre - reach * width))
        places = np.arange(low, min(len(values), int(centre + reach * width) + 1)) + 0.5
        distances = np.abs(places - centre) / width
        weights = np.where(distances < reach, kernel(distances), 0)
        weights = (weights / weights.sum()).astype(np.float32)
        # not by a product of matrices: its library ends a process that is short of memory
        part = values[low : low + len(places)].astype(np.float32)
        np.einsum("t,t...->...", weights, part, out=result[row])
    return result


def _keys(x: Floats) -> Floats:
    """The cubic kernel of Keys 1981, with a = -0.5."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)


def _lanczos(x: Floats) -> Floats:
    """The windowed sinc of three lobes."""
    return np.sinc(x) * np.sinc(x / 3)


_KERNELS = {"bilinear": (lambda x: 1 - x, 1), "bicubic": (_keys, 2), "lanczos": (_lanczos, 3)}


def _cover(values: Values, new: int) -> Values:
    """The mean over what each of ``new`` rows covers."""
    if new <= len(values):
        flat = np.ascontiguousarray(values).reshape(len(values), -1)
        return _by_opencv(flat, (flat.shape[1], new), "area").reshape(new, *values.shape[1:])
    width = len(values) / new
    return _sampled(lambda x: ((1 + width) / 2 - x).clip(0, width), 1, False, values, new)
