"""Changes of geometry: rotation and flips."""

from __future__ import annotations

from functools import partial

import cv2

from robustness.perturbations.arrays import blank, clipped
from robustness.perturbations.perturbation import (
    GEOMETRIC,
    VIEWPOINT,
    Images,
    Stage,
    Streams,
    linear,
    perturbation,
    words,
)

rotation_angle = linear(0.0, 180.0)

QUARTER_TURNS = {90.0: cv2.ROTATE_90_COUNTERCLOCKWISE, 180.0: cv2.ROTATE_180}


@perturbation(
    label="Rotation",
    family=GEOMETRIC,
    stage=Stage.GEOMETRY,
    parameter="angle, counter-clockwise",
    unit="degrees",
    parameter_at=rotation_angle,
    study_strength=0.5,
    # After half a turn many scenes look more like the original again.
    monotone=False,
    source="the study's '90 degree rotation', graded; ImageNet-C has no counterpart",
    risk=VIEWPOINT,
    search=words("turn tilt angle orientation roll upside down crooked sideways askew spin"),
)
def rotation(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Turn the image counter-clockwise by ``rotation_angle(strength)`` degrees about its centre.

    90 and 180 degrees only move pixels. Other angles interpolate with a bicubic kernel, since a
    bilinear one would blur visibly, and fill the corners with the mirrored image.
    """
    angle = rotation_angle(strength)
    side = images.shape[1]
    centre = (side - 1) / 2
    matrix = cv2.getRotationMatrix2D((centre, centre), angle, 1.0)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        if angle in QUARTER_TURNS:
            cv2.rotate(image, QUARTER_TURNS[angle], dst=out)
        else:
            cv2.warpAffine(
                image,
                matrix,
                (side, side),
                dst=out,
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT_101,
            )
    return clipped(result)


def flipped(strength: float) -> float:
    """1 when the switch is on."""
    return float(strength > 0.0)


_flip = partial(
    perturbation,
    family=GEOMETRIC,
    stage=Stage.GEOMETRY,
    parameter="flipped",
    unit="on or off",
    parameter_at=flipped,
    study_strength=1.0,
    graded=False,
)


@_flip(
    label="Horizontal flip",
    source="the study's 'Horizontal flip'; ImageNet-C has no counterpart",
    risk=VIEWPOINT,
    search=words("mirror reflection left selfie reversed backwards"),
)
def horizontal_flip(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Mirror left and right, at any strength above 0."""
    return _mirrored(images, 1)


@_flip(
    label="Vertical flip",
    source="the study's 'Vertical flip'; ImageNet-C has no counterpart",
    risk=VIEWPOINT,
    search=words("mirror reflection upside down reversed"),
)
def vertical_flip(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Mirror top and bottom, at any strength above 0."""
    return _mirrored(images, 0)


def _mirrored(images: Images, code: int) -> Images:
    """``code`` as in ``cv2.flip``: 1 swaps left and right, 0 top and bottom."""
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.flip(image, code, dst=out)
    return clipped(result)
