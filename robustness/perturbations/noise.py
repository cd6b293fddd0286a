"""Noise of the sensor: Gaussian, salt and pepper, impulse, shot and speckle noise."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.record import (
    CHEAP_CAMERA,
    LOW_LIGHT,
    NOISE,
    TRANSMISSION,
    Images,
    Stage,
    Streams,
    blank,
    clipped,
    grain_words,
    normal_quantiles,
    perturbation,
    severity_curve,
    words,
)

_noise = partial(perturbation, family=NOISE, stage=Stage.SENSOR, random=True)

gaussian_noise_sigma = severity_curve(0.0, (0.08, 0.12, 0.18, 0.26, 0.38))


@_noise(
    label="Random noise",
    parameter="noise standard deviation",
    unit="of full scale",
    parameter_at=gaussian_noise_sigma,
    study_strength=0.6,
    imagenet_c="gaussian_noise",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'gaussian_noise'",
    risk=LOW_LIGHT,
    search=words("grain high iso night sensor film webcam old phone"),
    wording="noise {percent}",
    matchable=True,
)
def gaussian_noise(images: Images, strength: float, rng: Streams) -> Images:
    """Add independent normal noise to every channel and clip to [0, 1].

    Its standard deviation before clipping is ``gaussian_noise_sigma(strength)``.
    """
    sigma = gaussian_noise_sigma(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        lots = grain_words(stream, image.shape, np.uint16)
        cv2.scaleAdd(normal_quantiles(lots, out=out), sigma, image, dst=out)
    return clipped(result)


salt_and_pepper_amount = severity_curve(0.0, (0.03, 0.06, 0.09, 0.17, 0.27))


@_noise(
    label="Salt & pepper noise",
    parameter="replaced pixels",
    unit="of all pixels",
    parameter_at=salt_and_pepper_amount,
    study_strength=0.6,
    imagenet_c="impulse_noise",
    source="the amounts of 'impulse_noise' in Hendrycks & Dietterich, ICLR 2019, applied to "
    "whole pixels: each channel is distributed as there",
    risk=CHEAP_CAMERA,
    search=words("dead hot stuck pixels speck dots spots dust"),
    wording="{percent} of the pixels",
)
def salt_and_pepper(images: Images, strength: float, rng: Streams) -> Images:
    """Turn a share ``salt_and_pepper_amount(strength)`` of the pixels black or white, evenly.

    All three channels of a pixel are replaced, as by a dead sensor site. In ImageNet-C's
    'impulse_noise' each channel is drawn on its own, which gives coloured specks.
    """
    low = round(salt_and_pepper_amount(strength) / 2 * 2**32)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        # The lowest lots turn black and the highest white: a larger amount replaces more.
        lots = grain_words(stream, image.shape[:2], np.uint32)
        black_or_white = (lots >= 2**31).astype(np.float32)
        unchanged = (lots >= low) & (lots < 2**32 - low)
        cv2.cvtColor(black_or_white, cv2.COLOR_GRAY2RGB, dst=out)
        cv2.copyTo(image, unchanged.view(np.uint8), out)
    return clipped(result)


impulse_amount = severity_curve(0.0, (0.03, 0.06, 0.09, 0.17, 0.27))


@_noise(
    label="Impulse noise",
    parameter="replaced values",
    unit="of all values",
    parameter_at=impulse_amount,
    imagenet_c="impulse_noise",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'impulse_noise'",
    risk=TRANSMISSION,
    search=words("error analog radio tv speck static signal interference glitch"),
    wording="{percent} of the values",
)
def impulse_noise(images: Images, strength: float, rng: Streams) -> Images:
    """Turn a share ``impulse_amount(strength)`` of the values to 0 or 1, evenly.

    Each channel is drawn on its own, which gives specks of eight colours.
    """
    low = round(impulse_amount(strength) / 2 * 65536)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        values, noisy = (array.reshape(len(array), -1) for array in (image, out))
        lots = grain_words(stream, image.shape, np.uint16).reshape(values.shape)
        unchanged = cv2.inRange(lots, float(low), float(65535 - low))
        np.greater_equal(lots, 32768, out=noisy, casting="unsafe")
        cv2.copyTo(np.ascontiguousarray(values), unchanged, noisy)
    return clipped(result)


shot_deviation = severity_curve(0.0, tuple(photons**-0.5 for photons in (60, 25, 12, 5, 3)))
"""Standard deviation where the image is white: 1 / sqrt(photons)."""

MANY_PHOTONS = 255
"""From this mean on, counts are drawn as normal: the difference is below one 8-bit level."""
CELLS = 2048
"""Number of equal shares of probability in the table of counts."""


@_noise(
    label="Shot noise",
    parameter="noise standard deviation at white",
    unit="of full scale",
    parameter_at=shot_deviation,
    imagenet_c="shot_noise",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'shot_noise'",
    risk=LOW_LIGHT,
    search=words("photon poisson grain high iso night film"),
    wording="noise {percent} at white",
)
def shot_noise(images: Images, strength: float, rng: Streams) -> Images:
    """Replace each value by a Poisson number of mean ``photons`` x value, over ``photons``.

    ``photons`` = 1 / ``shot_deviation(strength)``^2. A pixel keeps its quantile at every strength.
    The mean is first rounded to one of 256 levels.
    """
    deviation = shot_deviation(strength)
    many = deviation < MANY_PHOTONS**-0.5
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        lots = grain_words(stream, image.shape, np.uint16)
        if many:
            normals = normal_quantiles(lots, out=out)
            np.multiply(normals, cv2.sqrt(image), out=out)
            cv2.scaleAdd(out, deviation, image, dst=out)
        else:
            levels = cv2.convertScaleAbs(image, alpha=255.0)
            cells = np.multiply(levels, CELLS, dtype=np.intp)
            cells += lots >> 5
            counts = poisson_counts(deviation**-2).take(cells)
            np.multiply(counts, deviation**2, out=out, casting="unsafe")
    return clipped(result)


@lru_cache(maxsize=16)
def poisson_counts(photons: float) -> NDArray[np.uint8]:
    """Poisson counts of mean ``photons`` x level / 255 by quantile: 256 levels x ``CELLS``, flat.

    Counts above ``photons`` are all white, so the table ends at the first of them.
    """
    means = photons / 255 * np.arange(256.0)[:, None]
    factors = np.ones((256, math.ceil(photons)))
    factors[:, 1:] = means / np.arange(1, factors.shape[1])
    at_most = np.cumsum(np.exp(-means) * np.cumprod(factors, axis=1), axis=1)
    first_cell = np.rint(at_most * CELLS).astype(np.intp)  # in which the count is one more
    first_cell += np.arange(256)[:, None] * (CELLS + 1)
    steps = np.bincount(first_cell.ravel(), minlength=256 * (CELLS + 1))
    counts = np.cumsum(steps.reshape(256, -1), axis=1, dtype=np.uint8)[:, :CELLS].ravel()
    counts.flags.writeable = False
    return counts


speckle_sigma = severity_curve(0.0, (0.15, 0.2, 0.35, 0.45, 0.6))


@_noise(
    label="Speckle noise",
    parameter="noise standard deviation at white",
    unit="of full scale",
    parameter_at=speckle_sigma,
    imagenet_c="speckle_noise",
    source="Hendrycks & Dietterich, ICLR 2019, extra corruption 'speckle_noise'",
    risk=CHEAP_CAMERA,
    search=words("grain multiplicative radar sonar ultrasound"),
    wording="noise {percent} at white",
)
def speckle_noise(images: Images, strength: float, rng: Streams) -> Images:
    """Multiply every value by 1 plus normal noise of deviation ``speckle_sigma(strength)``."""
    sigma = speckle_sigma(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        lots = grain_words(stream, image.shape, np.uint16)
        cv2.multiply(normal_quantiles(lots, out=out), image, dst=out)
        cv2.scaleAdd(out, sigma, image, dst=out)
    return clipped(result)
