"""Photographs and yardsticks, which several tests share."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import scipy.fft
from numpy.typing import NDArray
from PIL import Image

from benchmarks.support.lazy_modules import Later

data = Later("skimage.data")


SEVERITIES = (1, 2, 3, 4, 5)
at_every_severity = pytest.mark.parametrize("severity", SEVERITIES)

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


def grey(level: float = 0.5, side: int = 224) -> NDArray[np.float32]:
    """A batch of one study image, all of one grey."""
    return np.full((1, side, side, 3), level, dtype=np.float32)


BANDS = ((1, 4), (4, 14), (14, 45), (45, 113))
"""Cycles a side, from the coarsest to the finest."""


def radial_power(difference: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean power of the channels of ``difference`` (S, S, 3) in each of ``BANDS``."""
    spectrum = scipy.fft.rfft2(difference.astype(np.float32), axes=(0, 1))
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=2, dtype=np.float64)
    side = len(power)
    cycles = np.minimum(np.arange(side), side - np.arange(side))
    radius = np.hypot(cycles[:, None], np.arange(power.shape[1]))
    return np.array([power[(radius >= low) & (radius < high)].mean() for low, high in BANDS])
