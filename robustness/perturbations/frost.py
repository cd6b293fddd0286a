"""Frost on a window pane.

ImageNet-C lays six photographs of ice over the image. This project carries no photographs: it
grows sheets of ice feathers by a fixed recipe, with the mean and the spread of those photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, at_side, blank, clipped, random_words
from robustness.perturbations.perturbation import (
    REFERENCE_SIDE,
    WEATHER,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
)
from robustness.perturbations.weather import plasma

image_weight = severity_curve(1.0, (1.0, 0.8, 0.7, 0.65, 0.6))
frost_weight = severity_curve(0.0, (0.4, 0.6, 0.7, 0.7, 0.75))


@dataclass(frozen=True)
class Ice:
    """One sheet of ice: colour, spread of each channel within a crop, and its needles.

    ``needles`` grow away from ``seeds`` points, ``length`` pixels long or so.
    """

    colour: tuple[float, float, float]
    spread: tuple[float, float, float]
    seeds: int
    needles: int
    length: float


SHEETS = (
    Ice((0.305, 0.583, 0.648), (0.091, 0.054, 0.051), 60, 2500, 10.0),
    Ice((0.775, 0.791, 0.828), (0.074, 0.076, 0.078), 60, 2500, 25.0),
    Ice((0.775, 0.791, 0.828), (0.074, 0.076, 0.078), 25, 2000, 35.0),
    Ice((0.564, 0.622, 0.672), (0.100, 0.100, 0.105), 250, 4000, 10.0),
    Ice((0.396, 0.441, 0.487), (0.142, 0.140, 0.137), 120, 1500, 22.0),
    Ice((0.266, 0.344, 0.373), (0.118, 0.144, 0.168), 12, 1200, 50.0),
)
"""Colours and spreads are those of crops of the original's six photographs."""
SHEET_SIDE = 512
Points = NDArray[np.float64]
"""Points of a sheet in pixels, x then y along the last axis."""
BARB_ANGLE = np.pi / 3
"""Between the arms of an ice crystal."""
CLOUD_DECAY = 1.35
"""Roughness of the cloudiness between the needles; see ``plasma``."""
SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV's drawing."""


@perturbation(
    label="Frost (drawn, not photographed)",
    family=WEATHER,
    stage=Stage.OPTICS,
    parameter="weight of the ice",
    unit="times",
    parameter_at=frost_weight,
    random=True,
    # A dark image gets lighter under ice and a light one darker: a middle one may do neither.
    monotone=False,
    imagenet_c="frost",
    source="the weights of Hendrycks & Dietterich, ICLR 2019, corruption 'frost', on ice that "
    "is drawn procedurally in place of the original's photographs",
)
def frost(images: Images, strength: float, rng: Streams) -> Images:
    """``image_weight`` times the image plus ``frost_weight`` times a crop of a sheet of ice.

    Sheet and place are random. The crop is taken at side 224 and grows with the image.
    """
    side = images.shape[1]
    ours, ice = image_weight(strength), frost_weight(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        crop = at_side(_crop(stream), side)
        cv2.addWeighted(image, ours, crop, ice, 0.0, dst=out)
    return clipped(result)


def _crop(stream: np.random.Generator) -> Plane:
    which, top, left = stream.integers((len(SHEETS), *[SHEET_SIDE - REFERENCE_SIDE + 1] * 2))
    return sheet(int(which))[top : top + REFERENCE_SIDE, left : left + REFERENCE_SIDE]


@lru_cache(maxsize=len(SHEETS))
def sheet(number: int) -> Plane:
    """Sheet ``number`` of ``SHEETS``: RGB, (``SHEET_SIDE``, ``SHEET_SIDE``, 3), read-only."""
    ice = SHEETS[number]
    stream = np.random.Generator(np.random.SFC64(number))
    relief = _standardised(_needles(ice, stream))
    cloud = plasma(random_words(stream, (SHEET_SIDE**2 - 1,), np.int16), CLOUD_DECAY)
    relief = _standardised(relief + _standardised(cloud))[..., None]
    colours = relief * np.array(ice.spread) + np.array(ice.colour)
    picture = np.clip(colours, 0.0, 1.0).astype(np.float32)
    picture.flags.writeable = False
    return picture


def _standardised(plane: Plane) -> Plane:
    return (plane - plane.mean()) / plane.std()


def _needles(ice: Ice, stream: np.random.Generator) -> Plane:
    """Needles with barbs, laid one over the other; each points away from the nearest seed."""
    count = ice.needles
    seeds = stream.uniform(0.0, SHEET_SIDE, (ice.seeds, 2))
    roots = stream.uniform(-0.05, 1.05, (count, 2)) * SHEET_SIDE
    away = roots[:, None] - seeds
    nearest = np.argmin((away**2).sum(axis=2), axis=1)
    away = away[np.arange(count), nearest]
    angles = np.arctan2(away[:, 1], away[:, 0]) + stream.normal(0.0, 0.2, count)
    lengths = ice.length * stream.lognormal(0.0, 0.6, count)
    shades = np.clip(stream.normal(140.0, 55.0, count), 0, 255)
    canvas = np.full((SHEET_SIDE, SHEET_SIDE), 110, dtype=np.uint8)
    for root, angle, length, shade in zip(roots, angles, lengths, shades, strict=True):
        lines = np.rint(_needle(root, angle, length, stream) * 2**SHIFT).astype(np.int32)
        cv2.polylines(canvas, lines, False, float(shade), 1, cv2.LINE_AA, SHIFT)
    return canvas.astype(np.float32)


def _needle(root: Points, angle: float, length: float, stream: np.random.Generator) -> Points:
    """Line segments (n, 2, 2): the needle, and barbs to both sides that shorten to its tip."""
    along = stream.uniform(0.0, 1.0, 2 + int(length / 3))
    turns = BARB_ANGLE * stream.choice((-1, 1), along.size) + stream.normal(0.0, 0.1, along.size)
    reach = length * 0.3 * (1.0 - along) * stream.uniform(0.3, 1.0, along.size)
    starts = root + length * along[:, None] * [np.cos(angle), np.sin(angle)]
    sides = np.stack([np.cos(angle + turns), np.sin(angle + turns)], axis=1)
    tip = root + length * np.array([np.cos(angle), np.sin(angle)])
    barbs = np.stack([starts, starts + reach[:, None] * sides], axis=1)
    return np.concatenate([np.array([[root, tip]]), barbs])
