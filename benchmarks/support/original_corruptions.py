"""The corruptions as ``make_imagenet_c.py`` made ImageNet-C, up to the JPEG that it saves.

That is a file of github.com/hendrycks/robustness (Hendrycks & Dietterich, ICLR 2019). The PyPI
package ``imagecorruptions`` has its functions; those that differ there are written out below.
Motion blur, by ImageMagick in the original, is the package's own version of its algorithm.
All draw from NumPy's global stream, and all cut to 8 bits, where the product rounds.
"""

# ruff: noqa: NPY002

from __future__ import annotations

import importlib.resources
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.support.lazy_modules import Later

peer = Later("imagecorruptions.corruptions")
ndimage = Later("scipy.ndimage")
filters = Later("skimage.filters")

Pixels = NDArray[np.uint8]
"""One picture, (224, 224, 3)."""


def original(name: str, pixels: Pixels, severity: int, seed: int = 0) -> Pixels:
    """``pixels`` under the corruption ``name``, before the JPEG step."""
    np.random.seed(seed)
    picture = Image.fromarray(pixels)
    function = _WRITTEN_OUT.get(name) or getattr(peer, name)
    takes_seed = "seed" in inspect.signature(function).parameters
    extra: dict[str, Any] = {"seed": seed} if takes_seed else {}
    return np.asarray(function(picture, severity, **extra)).astype(np.uint8)


def _elastic_transform(picture: Image.Image, severity: int) -> NDArray[np.floating]:
    alpha, sigma, shear = (
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    )[severity - 1]
    image: NDArray[Any] = np.asarray(picture, np.float32) / 255
    corners = np.array([[186, 186], [186, 38], [38, 38]], np.float32)
    moved = corners + np.random.uniform(-shear, shear, size=(3, 2)).astype(np.float32)
    matrix = cv2.getAffineTransform(corners, moved)
    image = cv2.warpAffine(image, matrix, (224, 224), borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        filters.gaussian(
            np.random.uniform(-1, 1, size=(224, 224)), sigma, mode="reflect", truncate=3
        )
        for _ in range(2)
    )
    row, column, channel = np.indices((224, 224, 3))
    places = (row + alpha * down[..., None], column + alpha * right[..., None], channel)
    return np.clip(ndimage.map_coordinates(image, places, order=1, mode="reflect"), 0, 1) * 255


def _frost(picture: Image.Image, severity: int) -> NDArray[np.floating]:
    """Without the enlargement to 1.1 of the package, and never the sixth photograph."""
    ours, ice = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[severity - 1]
    photograph = frost_photograph(np.random.randint(5))
    top, left = (np.random.randint(0, length - 224) for length in photograph.shape[:2])
    crop = photograph[top : top + 224, left : left + 224]
    return np.clip(ours * np.asarray(picture) + ice * crop, 0, 255)


@lru_cache
def frost_photograph(number: int) -> Pixels:
    """ImageNet-C's photograph of ice ``number`` (0 to 5), RGB, which the package carries."""
    kind = "png" if number < 3 else "jpg"
    file = importlib.resources.files("imagecorruptions") / "frost" / f"frost{number + 1}.{kind}"
    with importlib.resources.as_file(file) as path:
        return np.asarray(Image.open(path).convert("RGB"))


def _snow(picture: Image.Image, severity: int) -> NDArray[np.floating]:
    """Cropped and cut to 8 bits before the flakes leave their trails, not after."""
    loc, scale, zoom, threshold, radius, sigma, keep = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[severity - 1]
    image = np.asarray(picture, np.float32) / 255
    noise = np.random.normal(size=(224, 224), loc=loc, scale=scale)
    layer = peer.clipped_zoom(noise[..., None], zoom)[:224, :224, 0]
    layer[layer < threshold] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    angle = np.random.uniform(-135, -45)
    layer = np.rint(peer._motion_blur(layer, radius=radius, sigma=sigma, angle=angle)) / 255
    white = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None] * 1.5 + 0.5
    image = keep * image + (1 - keep) * np.maximum(image, white)
    return np.clip(image + (layer + np.rot90(layer, 2))[..., None], 0, 1) * 255


def _pixelate(picture: Image.Image, severity: int) -> Image.Image:
    few = int(224 * (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1])
    box = Image.Resampling.BOX
    return picture.resize((few, few), box).resize((224, 224), box)


_WRITTEN_OUT: Mapping[str, Callable[[Image.Image, int], Any]] = {
    "elastic_transform": _elastic_transform,
    "frost": _frost,
    "snow": _snow,
    "pixelate": _pixelate,
}


def levels_above(image: NDArray[np.floating], truth: Pixels) -> NDArray[np.int64]:
    """By how many levels of 8 bits ``image``, rounded, lies above ``truth``.

    Where both stand for the same number, that is 0 or 1: ``truth`` is cut, not rounded.
    """
    return np.rint(image.astype(np.float64) * 255).astype(np.int64) - truth
