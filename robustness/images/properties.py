"""Properties of an image that may explain why models fail on it, from its file and its pixels.

Measured properties are those of the study image, so that images of any size compare;
``original_size`` and ``aspect`` refer to the whole image.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

PropertyValues = dict[str, float | str]
"""Properties of one image by name; those that are unknown are left out."""


class Property(NamedTuple):
    """A property: its label and how a number of it is written; "" is a text, "%" a share."""

    label: str
    form: str = ""


PROPERTIES: Mapping[str, Property] = {
    "brightness": Property("Brightness", ".0%"),
    "contrast": Property("Contrast", ".1%"),
    "sharpness": Property("Sharpness", ".3g"),
    "colourfulness": Property("Colourfulness", ".3g"),
    "noise": Property("Noise (8-bit levels)", ".2f"),
    "jpeg_quality": Property("JPEG quality", ".0f"),
    "aspect": Property("Aspect ratio", ".2f"),
    "original_size": Property("Megapixels", ".2f"),
    "camera": Property("Camera"),
    "exposure": Property("Exposure time in s", ".3g"),
    "iso": Property("ISO", ".0f"),
    "orientation": Property("EXIF orientation"),
}
"""By name, in the order of pages and files."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)

_STANDARD_SUM = 3680
"""Sum of the standard luminance table of JPEG (ITU-T T.81, Annex K), which is quality 50."""

_MAKE = 271  # tags of EXIF
_MODEL = 272
_ORIENTATION = 274
_DETAILS = 0x8769
_EXPOSURE = 33434
_ISO = 34855

_LONGEST = 60  # characters of the name of a camera


def measured(data: bytes, size: tuple[int, int], pixels: NDArray[np.uint8]) -> PropertyValues:
    """The properties of the image in the file ``data``, whose upright ``size`` is (width, height).

    ``pixels`` (S, S, 3) are those of its study image; ``data`` must have passed ``decode``.
    """
    width, height = size
    return {
        **of_pixels(pixels),
        "aspect": width / height,
        "original_size": width * height / 1e6,
        **_of_file(data),
    }


def of_pixels(pixels: NDArray[np.uint8]) -> PropertyValues:
    """Mean and standard deviation of luma in [0, 1]; the others in 8-bit levels.

    Sharpness is the variance of the Laplacian (Pech-Pacheco et al. 2000), colourfulness that of
    Hasler & Suesstrunk 2003, noise the standard deviation after Immerkaer 1996.
    """
    colours = pixels.astype(np.float32)
    luma = colours @ np.array(_LUMA, np.float32)
    red, green, blue = colours.transpose(2, 0, 1)
    red_green = red - green
    yellow_blue = (red + green) / 2 - blue
    spread = np.hypot(red_green.std(), yellow_blue.std())
    offset = np.hypot(red_green.mean(), yellow_blue.mean())
    properties: PropertyValues = {
        "brightness": float(luma.mean()) / 255,
        "contrast": float(luma.std()) / 255,
        "colourfulness": float(spread + 0.3 * offset),
    }
    if min(luma.shape) > 2:
        properties["sharpness"] = float(cv2.Laplacian(luma, cv2.CV_32F).var())
        # Without the border, where the filter looks beyond the image.
        response = cv2.filter2D(luma, cv2.CV_32F, _NOISE_KERNEL)[1:-1, 1:-1]
        properties["noise"] = float(np.sqrt(np.pi / 2) / 6 * np.abs(response).mean())
    return properties


def _of_file(data: bytes) -> PropertyValues:
    """Properties in the headers of a JPEG or TIFF; none for other formats or broken headers."""
    properties: PropertyValues = {}
    if not data.startswith((b"\xff\xd8\xff", b"II", b"MM")):
        return properties
    with contextlib.suppress(Exception):  # broken metadata must not cost the image
        with Image.open(io.BytesIO(data), formats=("JPEG", "TIFF")) as image:
            # ``decode`` halves the sides of a very large JPEG
            properties["original_size"] = image.width * image.height / 1e6
            tables = getattr(image, "quantization", None)
            if tables:
                properties["jpeg_quality"] = _jpeg_quality(tables)
            exif = image.getexif()
        properties["orientation"] = str(int(exif.get(_ORIENTATION, 1)))
        camera = _camera(exif.get(_MAKE, ""), exif.get(_MODEL, ""))
        if camera:
            properties["camera"] = camera
        details = exif.get_ifd(_DETAILS)
        for name, tag in (("exposure", _EXPOSURE), ("iso", _ISO)):
            value: Any = details.get(tag)
            if isinstance(value, tuple) and value:
                value = value[0]
            if value is not None and 0 < float(value) < float("inf"):
                properties[name] = float(value)
    return properties


def _jpeg_quality(tables: Mapping[int, Sequence[int]]) -> float:
    """The quality (1 to 100) at which libjpeg would scale its standard table to the first one."""
    scale = 100 * sum(tables[min(tables)]) / _STANDARD_SUM
    if scale > 100:
        quality = 5000 / scale
    else:
        quality = (200 - scale) / 2
    return float(np.clip(round(quality), 1, 100))


def _camera(make: object, model: object) -> str:
    """Maker and model as one printable text, with the maker once: models often repeat it."""
    maker = _printable(str(make))
    name = _printable(str(model))
    if not name.lower().startswith(maker.lower()):
        name = f"{maker} {name}"
    return name.strip()[:_LONGEST]


def _printable(text: str) -> str:
    """``text`` on one line, without control characters."""
    cleaned = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(cleaned.split())
