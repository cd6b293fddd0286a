"""Where the camera stands and what is in its way: shift, scale, perspective, occlusion."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped
from robustness.perturbations.record import (
    GEOMETRIC,
    REGISTRY,
    WEATHER,
    Images,
    Perturbation,
    Stage,
    Streams,
    linear,
)

MID_GREY = 0.5
"""Around a picture that no longer fills the frame."""


def _moved(images: Images, matrix: cv2.typing.MatLike) -> Images:
    """``images`` under the affine ``matrix`` (2, 3), which takes old to new pixel places.

    The kernel is bicubic, as for rotation; what comes from beyond the border is mirrored.
    """
    side = images.shape[1]
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.warpAffine(
            image,
            matrix,
            (side, side),
            dst=out,
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return clipped(result)


translation_share = linear(0.0, 50.0)


def translation(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Moves the picture to the right by ``translation_share(strength)`` percent of its side.

    Whole pixels only move; between them the bicubic kernel keeps the slider smooth. The mirrored
    picture fills the strip that opens on the left.
    """
    shift = translation_share(strength) / 100 * images.shape[1]
    return _moved(images, np.array([[1.0, 0.0, shift], [0.0, 1.0, 0.0]]))


REGISTRY.add(
    Perturbation(
        name="translation",
        label="Translation",
        family=GEOMETRIC,
        stage=Stage.GEOMETRY,
        function=translation,
        parameter="shift to the right",
        unit="% of the side",
        parameter_at=translation_share,
        study_strength=None,
        # A periodic texture meets itself again after a period.
        monotone=False,
        source="a shift with mirrored border, to test shift invariance (Zhang, ICML 2019). The "
        "range is this project's choice",
    )
)

zoom_in_scale = linear(1.0, 3.0)


def zoom_in(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Magnifies ``zoom_in_scale(strength)`` times about the centre, as a digital zoom does."""
    centre = (images.shape[1] - 1) / 2
    scale = zoom_in_scale(strength)
    return _moved(images, cv2.getRotationMatrix2D((centre, centre), 0.0, scale))


REGISTRY.add(
    Perturbation(
        name="zoom_in",
        label="Closer",
        family=GEOMETRIC,
        stage=Stage.GEOMETRY,
        function=zoom_in,
        parameter="magnification",
        unit="times",
        parameter_at=zoom_in_scale,
        study_strength=None,
        # Large even areas come to overlap, whatever their size.
        monotone=False,
        source="digital zoom: crop about the centre and bicubic enlargement. The range is this "
        "project's choice",
    )
)

zoom_out_scale = linear(1.0, 0.25)


def zoom_out(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Shrinks the picture to ``zoom_out_scale(strength)`` of its side, amid mid-grey.

    Each new pixel is the mean of the area that it covers, and grey where that lies beyond the
    border. A mirrored surround would show the subject many times over.
    """
    side = images.shape[1]
    weights = area_weights(side, zoom_out_scale(strength))
    inside = weights.sum(axis=1)
    used = np.flatnonzero(inside)
    frame = slice(used[0], used[-1] + 1)
    rows = weights[frame].astype(np.float32)
    columns = np.ascontiguousarray(rows.T)
    surround = MID_GREY * (1.0 - np.outer(inside, inside)[frame, frame]).astype(np.float32)
    nothing = np.zeros_like(rows)
    result = blank(images)
    result[:] = MID_GREY
    for image, out in zip(images, result, strict=True):
        # OpenCV's product of matrices this small is several times as fast as NumPy's.
        halves = [cv2.gemm(rows, channel, 1.0, nothing, 0.0) for channel in cv2.split(image)]
        channels = [cv2.gemm(half, columns, 1.0, surround, 1.0) for half in halves]
        out[frame, frame] = cv2.merge(channels)
    return clipped(result)


def area_weights(side: int, scale: float) -> NDArray[np.float64]:
    """Share (new, old) that each old pixel has of each new one, along one axis.

    The axis shrinks to ``scale`` about its centre; rows sum to less than 1 beyond the border.
    """
    borders = side / 2 + (np.arange(side + 1) - side / 2) / scale
    old = np.arange(side)
    ends = np.minimum(borders[1:, None], old + 1.0)
    starts = np.maximum(borders[:-1, None], old)
    return np.clip(ends - starts, 0.0, 1.0) * scale


REGISTRY.add(
    Perturbation(
        name="zoom_out",
        label="Farther",
        family=GEOMETRIC,
        stage=Stage.GEOMETRY,
        function=zoom_out,
        parameter="scale",
        unit="times",
        parameter_at=zoom_out_scale,
        study_strength=None,
        # Large even areas overlap, and grey may be nearer than what it replaces.
        monotone=False,
        source="the picture as a poster from afar: area-weighted reduction about the centre on "
        "mid-grey. The range and the surround are this project's choice",
    )
)

perspective_angle = linear(0.0, 60.0)

VIEWING_DISTANCE = 50 / 36
"""Of the camera from the picture, in sides of it: a 50 mm lens fills its 36 mm of film."""
NO_BLUR = 0.1
"""Pixels; so narrow a Gaussian gives a neighbour e^-50 of the weight: nothing in float32."""


def perspective(images: Images, strength: float, rng: Streams = ()) -> Images:
    """The picture, turned ``perspective_angle(strength)`` degrees about its vertical axis.

    Seen by a pinhole camera at ``VIEWING_DISTANCE``; the right side goes away. Beyond the border
    is mid-grey: a mirrored surround would show the subject again. Before it is squeezed the
    picture is smoothed along its rows, by the Gaussian with which scikit-image shrinks.
    """
    side = images.shape[1]
    angle = math.radians(perspective_angle(strength))
    matrix = turned_plane(side, angle)
    sigma = (1.0 / math.cos(angle) - 1.0) / 2
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        if sigma > NO_BLUR:
            image = cv2.GaussianBlur(image, (5, 1), sigma, borderType=cv2.BORDER_REFLECT_101)
        cv2.warpPerspective(
            image,
            matrix,
            (side, side),
            dst=out,
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(MID_GREY, MID_GREY, MID_GREY),
        )
    return clipped(result)


def turned_plane(side: int, angle: float) -> NDArray[np.float64]:
    """Homography (3, 3) from old to new pixel places; ``angle`` in radians."""
    centre, distance = (side - 1) / 2, VIEWING_DISTANCE * side
    to_middle = np.array([[1.0, 0.0, -centre], [0.0, 1.0, -centre], [0.0, 0.0, 1.0]])
    turn = np.diag([math.cos(angle), 1.0, 1.0])
    turn[2, 0] = math.sin(angle) / distance
    return np.linalg.inv(to_middle) @ turn @ to_middle


REGISTRY.add(
    Perturbation(
        name="perspective",
        label="Perspective",
        family=GEOMETRIC,
        stage=Stage.GEOMETRY,
        function=perspective,
        parameter="turn about the vertical axis",
        unit="degrees",
        parameter_at=perspective_angle,
        study_strength=None,
        # Parts of the squeezed picture meet others like them, and so may grey.
        monotone=False,
        source="pinhole camera before a plane (Hartley & Zisserman, Multiple View Geometry, 2004). "
        "The range, the distance and the surround are this project's choice",
    )
)

occlusion_share = linear(0.0, 50.0)

OCCLUDER_GREY = 0.25
"""Darker than mid-grey, which would be no object at all before a mid-grey wall."""


def occlusion(images: Images, strength: float, rng: Streams = ()) -> Images:
    """A dark grey square hides ``occlusion_share(strength)`` percent of the area.

    Its place is drawn for each image. It grows about that place and stays inside the picture.
    """
    places = [(stream.random(), stream.random()) for stream in rng]
    side = images.shape[1]
    width = math.sqrt(occlusion_share(strength) / 100) * side
    result = blank(images)
    for image, (row, column), out in zip(images, places, result, strict=True):
        rows, columns = (covered(side, place, width) for place in (row, column))
        hidden = (rows[:, None] * columns[None, :])[:, :, None]
        np.subtract(np.float32(OCCLUDER_GREY), image, out=out)
        out *= hidden
        out += image
    return clipped(result)


def covered(side: int, place: float, width: float) -> Plane:
    """Share of each of ``side`` pixels that an interval of ``width`` px covers.

    It contains the point ``place`` (0 to 1) of the axis at any width, and never leaves the axis.
    """
    start = place * (side - width)
    pixels = np.arange(side)
    ends = np.minimum(start + width, pixels + 1.0)
    return np.clip(ends - np.maximum(start, pixels), 0.0, 1.0).astype(np.float32)


REGISTRY.add(
    Perturbation(
        name="occlusion",
        label="Occlusion",
        family=WEATHER,
        stage=Stage.SCENE,
        function=occlusion,
        parameter="hidden share",
        unit="% of the area",
        parameter_at=occlusion_share,
        study_strength=None,
        random=True,
        source="after the grey square of Zeiler & Fergus, ECCV 2014, and Cutout (DeVries & Taylor, "
        "2017). The range and the grey are this project's choice",
    )
)
