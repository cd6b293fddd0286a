"""Changes of light: brightness and contrast."""

from __future__ import annotations

import cv2
import numpy as np

from robustness.perturbations.arrays import blank, clipped
from robustness.perturbations.perturbation import (
    HARSH_LIGHT,
    LIGHTING,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
    words,
)

brightness_amount = severity_curve(0.0, (0.1, 0.2, 0.3, 0.4, 0.5))


@perturbation(
    label="Increased brightness",
    family=LIGHTING,
    stage=Stage.EXPOSURE,
    parameter="added HSV value",
    unit="of full scale",
    parameter_at=brightness_amount,
    study_strength=0.6,
    imagenet_c="brightness",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'brightness'",
    risk=HARSH_LIGHT,
    search=words("sun glare flash washed out headlights backlit white"),
    wording="brightness +{percent}",
    matchable=True,
)
def brightness(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Add ``brightness_amount(strength)`` to the value channel of HSV and clip it at 1.

    This scales R, G and B by new value / old value; black becomes grey.
    """
    amount = brightness_amount(strength)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        # The floor avoids division by 0 and leaves visible colours unchanged.
        channels = cv2.split(np.maximum(image, np.float32(1e-20), out=out))
        value = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
        scale = np.minimum(value + amount, 1.0)
        scale /= value
        cv2.merge([cv2.multiply(channel, scale, dst=channel) for channel in channels], dst=out)
    return clipped(result)


def contrast_factor(strength: float) -> float:
    """1 at strength 0, 2 at 0.5, 4 at 1: equal steps of strength are equal ratios of contrast."""
    return float(4.0**strength)


@perturbation(
    label="Increased contrast",
    family=LIGHTING,
    stage=Stage.EXPOSURE,
    parameter="factor about the channel mean",
    unit="times",
    parameter_at=contrast_factor,
    study_strength=0.5,
    source="the formula of ImageNet-C's 'contrast', which only reduces contrast, with factors "
    "above 1. The study published no factor: 2 is this project's choice",
    risk=HARSH_LIGHT,
    search=words("sun shadow punchy hdr"),
    wording="contrast {value} x",
)
def increased_contrast(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Multiply the distance from each channel's mean by ``contrast_factor(strength)``."""
    return scale_about_mean(images, contrast_factor(strength))


def scale_about_mean(images: Images, factor: float) -> Images:
    """Multiply the distance from each channel's mean by ``factor``; clipped."""
    side = images.shape[1]
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        means = np.array(cv2.mean(image)[:3], dtype=np.float32)
        # Rows of 3 S numbers: NumPy is slow where the innermost axis is as short as a pixel.
        row = out.reshape(side, 3 * side)
        np.multiply(image.reshape(row.shape), factor, out=row)
        row += np.tile(means * (1.0 - factor), side)
    return clipped(result)
