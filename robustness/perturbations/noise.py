"""Noise of the sensor: Gaussian, salt and pepper."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import blank, clipped, random_words, standard_normals
from robustness.perturbations.perturbation import (
    NOISE,
    REGISTRY,
    Images,
    Perturbation,
    Stage,
    Streams,
    severity_curve,
)

gaussian_noise_sigma = severity_curve(0.0, (0.08, 0.12, 0.18, 0.26, 0.38))


def gaussian_noise(images: Images, strength: float, rng: Streams) -> Images:
    """Adds to every channel of every pixel independent normal noise and clips to [0, 1].

    Its standard deviation is ``gaussian_noise_sigma(strength)`` before clipping.
    """
    sigma = gaussian_noise_sigma(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        cv2.scaleAdd(standard_normals(stream, image.shape, out=out), sigma, image, dst=out)
    return clipped(result)


REGISTRY.add(
    Perturbation(
        name="gaussian_noise",
        label="Random noise",
        family=NOISE,
        stage=Stage.SENSOR,
        function=gaussian_noise,
        parameter="noise standard deviation",
        unit="of full scale",
        parameter_at=gaussian_noise_sigma,
        study_strength=0.6,
        random=True,
        imagenet_c="gaussian_noise",
        source="Hendrycks & Dietterich, ICLR 2019, corruption 'gaussian_noise'",
    )
)

salt_and_pepper_amount = severity_curve(0.0, (0.03, 0.06, 0.09, 0.17, 0.27))


def salt_and_pepper(images: Images, strength: float, rng: Streams) -> Images:
    """Turns a share ``salt_and_pepper_amount(strength)`` of the pixels black or white, evenly.

    A pixel is replaced whole, as dead sensor sites are. ImageNet-C's 'impulse_noise' draws each
    channel on its own, which gives coloured specks: any one channel here is distributed as there,
    only the three channels together are not.
    """
    amount = salt_and_pepper_amount(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        replace_extremes(image, random_words(stream, image.shape[:2], np.uint32), amount, out)
    return clipped(result)


def replace_extremes(image: Images, lots: NDArray[np.uint32], amount: float, out: Images) -> None:
    """Writes ``image`` to ``out``, black where ``lots`` are low and white where they are high.

    ``lots`` (S, S), uniform, give each pixel its place in the queue: a share ``amount`` / 2 at
    either end is replaced, and a pixel replaced at one amount stays so at every greater one.
    """
    low = round(amount / 2 * 2**32)
    black_or_white = (lots >= 2**31).astype(np.float32)
    kept = (lots >= low) & (lots < 2**32 - low)
    cv2.cvtColor(black_or_white, cv2.COLOR_GRAY2RGB, dst=out)
    cv2.copyTo(image, kept.view(np.uint8), out)


REGISTRY.add(
    Perturbation(
        name="salt_and_pepper",
        label="Salt & pepper noise",
        family=NOISE,
        stage=Stage.SENSOR,
        function=salt_and_pepper,
        parameter="replaced pixels",
        unit="of all pixels",
        parameter_at=salt_and_pepper_amount,
        study_strength=0.6,
        random=True,
        imagenet_c="impulse_noise",
        source="the amounts of 'impulse_noise' in Hendrycks & Dietterich, ICLR 2019, applied to "
        "whole pixels: each channel is distributed as there",
    )
)
