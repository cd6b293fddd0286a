"""Changes of the view: shift, scale, perspective, occlusion."""

from __future__ import annotations

import math
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped
from robustness.perturbations.blur import smoothed
from robustness.perturbations.perturbation import (
    GEOMETRIC,
    OBSTRUCTED_VIEW,
    VIEWPOINT,
    WEATHER,
    Images,
    Stage,
    Streams,
    linear,
    perturbation,
    words,
)

translation_share = linear(0.0, 0.3)
zoom_in_factor = linear(1.0, 2.5)
zoom_out_factor = linear(1.0, 0.4)
view_angle = linear(0.0, 60.0)


_view = partial(
    perturbation,
    family=GEOMETRIC,
    stage=Stage.GEOMETRY,
    monotone=False,  # a texture shifted by its own period coincides with itself
)
_IMAGENET_P = "the sequences of ImageNet-P (Hendrycks & Dietterich, ICLR 2019), "


@_view(
    label="Shift to the right",
    parameter="distance moved",
    unit="of the image's side",
    parameter_at=translation_share,
    source=f"{_IMAGENET_P}'translate', in one step of up to 30%",
    risk=VIEWPOINT,
    search=words("move framing crop center centre"),
    wording="{percent} of the width",
)
def translation(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Move the image to the right by ``translation_share(strength)`` of its side.

    The left border mirrors, as in ``rotation``.
    """
    shift = translation_share(strength) * images.shape[1]
    matrix = np.array([[1.0, 0.0, shift], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    return _warped(images, matrix, cv2.BORDER_REFLECT_101)


@_view(
    label="Zoom in",
    parameter="factor",
    unit="times",
    parameter_at=zoom_in_factor,
    source=f"{_IMAGENET_P}'scale', up to a subject at two fifths of the distance",
    risk=VIEWPOINT,
    search=words("close near crop magnify enlarge big"),
    wording="zoom {value} x",
)
def zoom_in(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Enlarge by ``zoom_in_factor(strength)`` about the centre and crop."""
    return _zoomed(images, zoom_in_factor(strength))


@_view(
    label="Zoom out",
    parameter="factor",
    unit="times",
    parameter_at=zoom_out_factor,
    source="as 'zoom_in', down to a subject two and a half times as far away",
    risk=VIEWPOINT,
    search=words("far distance away small shrink tiny wide"),
    wording="zoom {value} x",
)
def zoom_out(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Shrink to ``zoom_out_factor(strength)`` about the centre; the border has the mean colour.

    The image is smoothed first to avoid aliasing.
    """
    factor = zoom_out_factor(strength)
    smooth = blank(images)
    for image, out in zip(images, smooth, strict=True):
        smoothed(image, 0.5 * (1.0 / factor - 1.0), out)
    return _zoomed(smooth, factor)


def _zoomed(images: Images, factor: float) -> Images:
    return _warped(images, _about_centre(images, np.diag([factor, factor, 1.0])))


@_view(
    label="Slanted view",
    parameter="angle",
    unit="degrees",
    parameter_at=view_angle,
    source=f"{_IMAGENET_P}'tilt', a projective map; up to 60 degrees, this project's choice",
    risk=VIEWPOINT,
    search=words("angle tilt skew oblique side keystone stretched distorted crooked"),
)
def perspective(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Turn the image by ``view_angle(strength)`` degrees about its upright axis.

    The camera is one image side away; the left half comes nearer. The border has the mean colour.
    """
    angle = math.radians(view_angle(strength))
    distance = float(images.shape[1])
    turn = np.array(
        [[math.cos(angle), 0.0, 0.0], [0.0, 1.0, 0.0], [math.sin(angle) / distance, 0.0, 1.0]]
    )
    return _warped(images, _about_centre(images, turn))


def _about_centre(images: Images, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """``matrix``, a projective map (3, 3) about the origin, moved to the centre of ``images``."""
    centre = (images.shape[1] - 1) / 2
    there = np.array([[1.0, 0.0, centre], [0.0, 1.0, centre], [0.0, 0.0, 1.0]])
    return there @ matrix @ np.linalg.inv(there)


def _warped(
    images: Images, matrix: NDArray[np.float64], border: int = cv2.BORDER_CONSTANT
) -> Images:
    """``images`` with each point moved by the projective map ``matrix`` (3, 3), bicubic.

    A constant border has the mean colour of the image.
    """
    side = images.shape[1]
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.warpPerspective(
            image,
            matrix,
            (side, side),
            dst=out,
            flags=cv2.INTER_CUBIC,
            borderMode=border,
            borderValue=cv2.mean(image),
        )
    return clipped(result)


occluder_side = linear(0.0, 0.6)
OCCLUDER_GREY = np.float32(0.5)


@perturbation(
    label="Occlusion by a grey square",
    family=WEATHER,
    stage=Stage.SCENE,
    parameter="side of the square",
    unit="of the image's side",
    parameter_at=occluder_side,
    random=True,
    source="the grey square of Zeiler & Fergus, ECCV 2014, section 4.2, at a random place; up "
    "to 36% of the area, this project's choice",
    risk=OBSTRUCTED_VIEW,
    search=words(
        "hidden cover block patch cutout sticker finger hand lens obscured occluded missing "
        "watermark logo"
    ),
    wording="{percent} of the side",
)
def occlusion(images: Images, strength: float, rng: Streams) -> Images:
    """Draw a grey square, ``occluder_side(strength)`` of the image's side wide.

    Its random position keeps it inside the image; edges are antialiased.
    """
    side = images.shape[1]
    length = occluder_side(strength) * side
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        starts = stream.uniform(size=2) * (side - length)
        rows, columns = (_covered(start, start + length, side) for start in starts)
        cover = cv2.cvtColor(np.outer(rows, columns), cv2.COLOR_GRAY2RGB)
        np.subtract(OCCLUDER_GREY, image, out=out)
        out *= cover
        out += image
    return clipped(result)


def _covered(start: float, stop: float, side: int) -> Plane:
    """How much of each of ``side`` pixels in a row lies between ``start`` and ``stop``."""
    edges = np.clip(np.arange(side + 1.0), start, stop)
    return np.diff(edges).astype(np.float32)
