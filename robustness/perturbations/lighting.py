"""Changes of light: brightness and contrast."""

from __future__ import annotations

import cv2
import numpy as np

from robustness.perturbations.record import (
    LIGHTING,
    REGISTRY,
    SEVERITY_STRENGTHS,
    Images,
    Perturbation,
    Stage,
    Streams,
    severity_curve,
)

brightness_amount = severity_curve(0.0, (0.1, 0.2, 0.3, 0.4, 0.5))


def brightness(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Adds ``brightness_amount(strength)`` to the value channel of HSV and clips it at 1."""
    result = np.empty_like(images)
    for image, out in zip(images, result, strict=True):
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 2] = np.clip(hsv[..., 2] + brightness_amount(strength), 0.0, 1.0)
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=out)
    return result


REGISTRY.add(
    Perturbation(
        name="brightness",
        label="Increased brightness",
        family=LIGHTING,
        stage=Stage.EXPOSURE,
        function=brightness,
        parameter="added HSV value",
        unit="of full scale",
        parameter_at=brightness_amount,
        study_strength=0.6,
        imagenet_c="brightness",
        severity_strengths=SEVERITY_STRENGTHS,
        source="Hendrycks & Dietterich, ICLR 2019, corruption 'brightness'",
    )
)
