"""Elastic deformation."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np

from robustness.perturbations.arrays import Plane, at_side, blank, clipped, random_words
from robustness.perturbations.perturbation import (
    GEOMETRIC,
    REFERENCE_SIDE,
    VIBRATION,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
    words,
)

ELASTIC_TRUNCATE = 3.0
"""Where the Gaussian that smooths the waves ends, in standard deviations."""
elastic_shear = severity_curve(0.0, (24.4, 48.8, 4.88, 4.88, 4.88))
"""Largest shift of each of ``CORNERS``, in pixels at side 224. The original's lengths are shares of
244, probably a slip for 224; they are kept."""
CORNERS = np.array([[186, 186], [186, 38], [38, 38]], dtype=np.float32)
"""The three points (right, down) that pin the affine map, in pixels at side 224."""
elastic_sigma = severity_curve(170.8, (170.8, 19.52, 2.44, 2.44, 2.44))
"""Standard deviation of the Gaussian that smooths the waves, in pixels at side 224."""


@lru_cache(maxsize=64)
def gains(sigma: float) -> Plane:
    """The response of a Gaussian of ``sigma`` pixels to each cosine of a mirrored line of 224.

    With mirrored borders (the edge pixel repeated) the filter is diagonal in the cosine transform,
    at any width; at severity 1 it is four times as wide as the image.
    """
    reach = int(ELASTIC_TRUNCATE * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    waves = np.cos(np.pi / REFERENCE_SIDE * np.outer(np.arange(REFERENCE_SIDE), offsets))
    return (waves @ (weights / weights.sum())).astype(np.float32)


def smoothed_deviation(sigma: float) -> float:
    """Standard deviation of numbers uniform in [-1, 1] smoothed by a Gaussian of ``sigma``."""
    return float((gains(sigma) ** 2).mean()) / math.sqrt(3.0)


elastic_waves = severity_curve(
    0.0,
    [
        alpha * smoothed_deviation(sigma)
        for alpha, sigma in (
            (488.0, 170.8),
            (488.0, 19.52),
            (12.2, 2.44),
            (17.08, 2.44),
            (29.28, 2.44),
        )
    ],
)
"""Standard deviation of the waves' shift along either axis, in pixels at side 224. Interpolated
instead of the original's alpha, whose effect depends on sigma."""

SHEAR_SHIFT = math.sqrt((0.5 + 4 * (REFERENCE_SIDE / 148) ** 2 / 12) / 3.0)
"""Deviation of a pixel's shift by the affine map as a share of ``elastic_shear``: three corners 148
pixels apart, moved uniformly and independently, each weighted by its barycentric coordinate."""


def elastic_shift(strength: float) -> float:
    """Standard deviation of the shift of a pixel along either axis, in pixels at side 224.

    Of the affine map and the waves together, over pixels and seeds.
    """
    return math.hypot(SHEAR_SHIFT * elastic_shear(strength), elastic_waves(strength))


@perturbation(
    label="Elastic distortion",
    family=GEOMETRIC,
    stage=Stage.GEOMETRY,
    parameter="standard deviation of the shift",
    unit="px",
    parameter_at=elastic_shift,
    random=True,
    # Severities 1 and 2 shear the whole image; 3 to 5 ripple it.
    monotone=False,
    imagenet_c="elastic_transform",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'elastic_transform' of "
    "make_imagenet_c.py: its shear and its waves",
    risk=VIBRATION,
    search=words("warp jello jelly wobble wavy ripple shimmer heat bent stretched"),
    wording="shift {value} px",
)
def elastic_transform(images: Images, strength: float, rng: Streams) -> Images:
    """Apply a random affine map, then shift every pixel along smooth random waves.

    The map moves three points by up to ``elastic_shear(strength)`` pixels along either axis; the
    waves have the deviation ``elastic_waves(strength)``. Both are drawn at side 224 and scale with
    the image. Borders mirror. Two interpolations soften the image, as in the original.
    """
    side = images.shape[1]
    scale = side / REFERENCE_SIDE
    sigma = elastic_sigma(strength)
    alpha = np.float32(elastic_waves(strength) / smoothed_deviation(sigma) * scale)
    grid = np.arange(side, dtype=np.float32)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        moves = stream.uniform(-1.0, 1.0, CORNERS.shape) * elastic_shear(strength)
        moved = (CORNERS + moves.astype(np.float32)) * np.float32(scale)
        matrix = cv2.getAffineTransform(CORNERS * np.float32(scale), moved)
        sheared = cv2.warpAffine(image, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
        right, down = (at_side(field, side) * alpha for field in elastic_fields(stream, sigma))
        right += grid
        down += grid[:, None]
        cv2.remap(sheared, right, down, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REFLECT)
    return clipped(result)


def elastic_fields(stream: np.random.Generator, sigma: float) -> list[Plane]:
    """Waves to the right and down before they are scaled by alpha, (224, 224) each."""
    words = random_words(stream, (2, REFERENCE_SIDE, REFERENCE_SIDE), np.int16)
    passband = np.outer(gains(sigma), gains(sigma))
    return [
        np.asarray(cv2.idct(cv2.dct(plane) * passband), dtype=np.float32)
        for plane in words * np.float32(1 / 32768)
    ]
