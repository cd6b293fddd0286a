"""Blurs of the optics: Gaussian and out of focus."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from robustness.perturbations.arrays import Plane, blank, clipped, in_pixels
from robustness.perturbations.perturbation import (
    LIGHTING,
    POOR_FOCUS,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
    words,
)

gaussian_sigma = severity_curve(0.0, (1.0, 2.0, 3.0, 4.0, 6.0))

GAUSSIAN_TRUNCATE = 4.0
"""Where the kernel ends, in standard deviations: the default of scikit-image's ``gaussian``."""


@perturbation(
    label="Gaussian blur",
    family=LIGHTING,
    stage=Stage.OPTICS,
    parameter="standard deviation",
    unit="px",
    parameter_at=gaussian_sigma,
    study_strength=0.6,
    imagenet_c="gaussian_blur",
    source="Hendrycks & Dietterich, ICLR 2019, extra corruption 'gaussian_blur'",
    risk=POOR_FOCUS,
    search=words("soft smooth unsharp sharpness fuzzy smeared out"),
    matchable=True,
)
def gaussian_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Convolve with a Gaussian of ``gaussian_sigma(strength)`` pixels (at side 224).

    Pixels beyond the border repeat the nearest one.
    """
    sigma = in_pixels(gaussian_sigma(strength), images)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        smoothed(image, sigma, out)
    return clipped(result)


def smoothed(image: Plane, sigma: float, out: Plane | None = None) -> Plane:
    """``image`` under a Gaussian of ``sigma`` of its own pixels, written to ``out`` if given."""
    width = 2 * int(GAUSSIAN_TRUNCATE * sigma + 0.5) + 1
    result = np.empty(image.shape, dtype=np.float32) if out is None else out
    cv2.GaussianBlur(image, (width, width), sigma, dst=result, borderType=cv2.BORDER_REPLICATE)
    return result


defocus_radius = severity_curve(0.0, (3.0, 4.0, 6.0, 8.0, 10.0))
defocus_alias = severity_curve(0.0, (0.1, 0.5, 0.5, 0.5, 0.5))
defocus_gain = severity_curve(1.0, (1.0, 1.0, 1.0, 1.0119, 1.0119))
"""Sum of the kernel: the mean of 1.0130 and 1.0108, to which the original's two largest kernels sum
because it normalises the disk before blurring it. One value keeps the effect monotone."""

NO_BLUR = 0.1
"""Pixels; so narrow a Gaussian changes nothing in float32."""
MARGIN = 2
"""Cells around the disk that keep its blur off the border of the kernel."""


@perturbation(
    label="Defocus blur",
    family=LIGHTING,
    stage=Stage.OPTICS,
    parameter="disk radius",
    unit="px",
    parameter_at=defocus_radius,
    study_strength=0.6,
    # A disk inverts some frequencies, so a fine periodic texture can partly return.
    monotone=False,
    imagenet_c="defocus_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'defocus_blur'",
    risk=POOR_FOCUS,
    search=words("bokeh lens autofocus unsharp sharpness fuzzy out"),
    wording="radius {value} px",
)
def defocus_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Convolve with a disk of radius ``defocus_radius(strength)`` pixels (at side 224).

    Borders mirror, without repeating the edge pixel.
    """
    radius = in_pixels(defocus_radius(strength), images)
    kernel = disk(radius, defocus_alias(strength)) * np.float32(defocus_gain(strength))
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.filter2D(image, -1, kernel, dst=out, borderType=cv2.BORDER_REFLECT_101)
    return clipped(result)


@lru_cache(maxsize=64)
def disk(radius: float, alias_blur: float) -> Plane:
    """Disk kernel of sum 1; ``radius`` and ``alias_blur`` in pixels of the kernel itself.

    At a whole radius it equals the original's: 1 where x^2 + y^2 <= radius^2, else 0, then blurred
    by a Gaussian of ``alias_blur``. Between whole radii, rings of cells with equal x^2 + y^2 fade
    in one by one. ``alias_blur`` softens the pixel grid, so it does not scale with S. What it
    spreads beyond the original's grid (four faint tips) is cut off to save time.
    """
    reach = max(8, math.ceil(radius))
    x = np.arange(-reach - MARGIN, reach + MARGIN + 1, dtype=np.float64)
    squared_distance = x[:, None] ** 2 + x[None, :] ** 2
    rings, ring_of_cell = np.unique(squared_distance, return_inverse=True)
    ring_of_rim = np.interp(radius**2, rings, np.arange(len(rings)))
    inside = np.clip(ring_of_rim - ring_of_cell + 1.0, 0.0, 1.0)
    kernel = inside.astype(np.float32)
    if alias_blur > NO_BLUR:
        cv2.GaussianBlur(kernel, (3, 3), alias_blur, dst=kernel)
    kernel = kernel[MARGIN:-MARGIN, MARGIN:-MARGIN]
    used = np.flatnonzero(kernel.any(axis=0))
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    kernel = kernel / kernel.sum()
    kernel.flags.writeable = False
    return kernel
