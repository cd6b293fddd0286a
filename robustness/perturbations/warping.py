"""Elastic deformation."""

from __future__ import annotations

import math

import cv2
import numpy as np

from robustness.perturbations.arrays import Plane, at_side, blank, clipped, random_words
from robustness.perturbations.perturbation import (
    GEOMETRIC,
    REFERENCE_SIDE,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
)

elastic_alpha = severity_curve(0.0, (12.5, 16.25, 21.25, 25.0, 30.0))
ELASTIC_SIGMA = 0.01 * REFERENCE_SIDE
"""Of the Gaussian that smooths the field, in pixels at side 224."""
ELASTIC_REACH = 0.005 * REFERENCE_SIDE
"""Bound of the random numbers that are smoothed, in pixels at side 224."""
ELASTIC_TRUNCATE = 3.0


def elastic_shift(strength: float) -> float:
    """Standard deviation of the shift of a pixel along either axis, in pixels at side 224."""
    smoothed = ELASTIC_REACH / math.sqrt(3.0) / (2.0 * ELASTIC_SIGMA * math.sqrt(math.pi))
    return elastic_alpha(strength) * smoothed


@perturbation(
    label="Elastic distortion",
    family=GEOMETRIC,
    stage=Stage.GEOMETRY,
    parameter="standard deviation of the shift",
    unit="px",
    parameter_at=elastic_shift,
    random=True,
    # A texture shifted by its own period falls on itself.
    monotone=False,
    imagenet_c="elastic_transform",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'elastic_transform', with the "
    "parameters of the package imagecorruptions (Michaelis et al., 2019): ImageNet-C itself "
    "has coarser waves and a shear at severities 1 and 2",
)
def elastic_transform(images: Images, strength: float, rng: Streams) -> Images:
    """Shifts every pixel along a smooth random field, ``elastic_shift(strength)`` pixels or so.

    The field is drawn at side 224 and grows with the image. Borders mirror.
    """
    side = images.shape[1]
    grid = np.arange(side, dtype=np.float32)
    scale = np.float32(elastic_alpha(strength) * side / REFERENCE_SIDE)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        right, down = (at_side(field, side) * scale for field in elastic_field(stream))
        right += grid
        down += grid[:, None]
        cv2.remap(image, right, down, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REFLECT)
    return clipped(result)


def elastic_field(stream: np.random.Generator) -> tuple[Plane, Plane]:
    """Shifts to the right and down before they are scaled by alpha, (224, 224) each."""
    words = random_words(stream, (2, REFERENCE_SIDE, REFERENCE_SIDE), np.int16)
    numbers = words * np.float32(ELASTIC_REACH / 32768)
    width = 2 * int(ELASTIC_TRUNCATE * ELASTIC_SIGMA + 0.5) + 1
    right, down = (
        cv2.GaussianBlur(plane, (width, width), ELASTIC_SIGMA, borderType=cv2.BORDER_REFLECT)
        for plane in numbers
    )
    return right, down
