"""Changes of geometry: rotation, flips, shift, scale, perspective, lens, elastic distortion."""

from __future__ import annotations

import math
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.blur import smoothed
from robustness.perturbations.record import (
    CHEAP_CAMERA,
    GEOMETRIC,
    REFERENCE_SIDE,
    VIBRATION,
    VIEWPOINT,
    Images,
    Plane,
    Stage,
    Streams,
    at_side,
    blank,
    clipped,
    linear,
    perturbation,
    random_words,
    severity_curve,
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


barrel_share = linear(0.0, 0.6)


@perturbation(
    label="Lens distortion (barrel)",
    family=GEOMETRIC,
    stage=Stage.OPTICS,
    parameter="how much nearer to the centre a corner is",
    unit="of its distance",
    parameter_at=barrel_share,
    # A texture shifted by its own period coincides with itself.
    monotone=False,
    source="the first radial term of Brown, Photogrammetric Engineering 1971; up to 60%, a "
    "fisheye's at 140 degrees, this project's choice",
    risk=CHEAP_CAMERA,
    search=words(
        "fisheye radial wide angle gopro action camera doorbell bent curved bulge spherical"
    ),
    wording="corners {percent} nearer",
)
def lens_distortion(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Bend straight lines outwards, so that corners are nearer to the centre than they would be.

    A pixel at the distance r from the centre shows the scene at r (1 + k r^2) / (1 + k), where 1
    is the corner: corners keep their places and the centre is enlarged. Bicubic interpolation.
    """
    side = images.shape[1]
    share = barrel_share(strength)
    bend = share / (1.0 - share)
    centre = (side - 1) / 2
    offset = (np.arange(side) - centre) / (centre * math.sqrt(2))
    squared = offset[:, None] ** 2 + offset**2
    scale = (1.0 + bend * squared) / (1.0 + bend) * (centre * math.sqrt(2))
    right = (scale * offset + centre).astype(np.float32)
    down = np.ascontiguousarray(right.T)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.remap(image, right, down, cv2.INTER_CUBIC, dst=out, borderMode=cv2.BORDER_REFLECT_101)
    return clipped(result)


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
