"""Photographs and yardsticks that several tests share."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

import numpy as np
from imagecorruptions import corruptions as peer
from numpy.typing import NDArray
from PIL import Image
from skimage import data

PHOTOS = ("coffee", "chelsea", "astronaut", "rocket", "motorcycle")


@lru_cache
def photo_bytes(name: str, side: int = 224) -> NDArray[np.uint8]:
    """A photograph carried by scikit-image, fitted as the product fits: uint8 (side, side, 3)."""
    original = data.stereo_motorcycle()[0] if name == "motorcycle" else getattr(data, name)()
    image = Image.fromarray(original)
    scale = side / 224 * 256 / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    fitted = image.resize((width, height), Image.Resampling.LANCZOS)
    pixels = np.asarray(fitted.crop((left, top, left + side, top + side)))
    pixels.flags.writeable = False
    return pixels


def photos(*names: str, side: int = 224) -> NDArray[np.float32]:
    """The photographs ``names`` (all by default) as a batch of study images."""
    chosen = [photo_bytes(name, side) for name in names or PHOTOS]
    return np.stack(chosen).astype(np.float32) / np.float32(255)


def psnr(image: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Peak signal-to-noise ratio in dB of two images in [0, 1]; equal ones give 200."""
    error = np.mean((image.astype(np.float64) - truth) ** 2)
    return float(-10 * np.log10(max(error, 1e-20)))


def of_peer(name: str, photo: str, severity: int, seed: int = 0) -> NDArray[np.float64]:
    """The corruption ``name`` of the photograph ``photo`` by the peer, in [0, 1], not rounded."""
    np.random.seed(seed)  # noqa: NPY002 - the peer draws from NumPy's global stream
    function = getattr(peer, name)
    takes_seed = "seed" in inspect.signature(function).parameters
    extra: dict[str, Any] = {"seed": seed} if takes_seed else {}
    result = function(Image.fromarray(photo_bytes(photo)), severity, **extra)
    return np.asarray(result, dtype=np.float64) / 255
