"""Frost on a window pane.

ImageNet-C lays one of five photographs of ice over the image. Instead, this module draws sheets of
ice feathers with the colours and contrast of those photographs. Models are as consistent under
both at every severity (``benchmarks/originals.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays_and_random_numbers import Plane, at_side, blank, clipped
from robustness.perturbations.perturbation import (
    BAD_WEATHER,
    REFERENCE_SIDE,
    WEATHER,
    Images,
    Stage,
    Streams,
    perturbation,
    severity_curve,
    words,
)

image_weight = severity_curve(1.0, (1.0, 0.8, 0.7, 0.65, 0.6))
frost_weight = severity_curve(0.0, (0.4, 0.6, 0.7, 0.7, 0.75))


@dataclass(frozen=True)
class Ice:
    """One sheet of ice: colour, tint, contrast by fineness, and its needles.

    ``colour`` is the mean, ``tint`` how much of the relief each channel shows, ``contrast`` the
    standard deviation of the relief within each octave of ``OCTAVES``, all in full scale.
    ``needles`` grow away from ``seeds`` points, ``length`` pixels long or so.
    """

    colour: tuple[float, float, float]
    tint: tuple[float, float, float]
    contrast: tuple[float, ...]
    seeds: int
    needles: int
    length: float


_WHITE = partial(
    Ice,
    (0.777, 0.794, 0.830),
    (0.95, 0.99, 1.01),
    (0.0251, 0.0254, 0.0183, 0.0224, 0.0309, 0.0316, 0.0339, 0.0263),
)
SHEETS = (
    Ice(
        (0.303, 0.579, 0.643),
        (1.49, 0.92, 0.87),
        (0.0302, 0.0320, 0.0172, 0.0152, 0.0121, 0.0156, 0.0239, 0.0223),
        seeds=60,
        needles=6000,
        length=10.0,
    ),
    _WHITE(seeds=60, needles=10000, length=25.0),
    _WHITE(seeds=25, needles=8000, length=35.0),
    Ice(
        (0.569, 0.627, 0.678),
        (0.96, 0.96, 1.02),
        (0.0278, 0.0152, 0.0156, 0.0229, 0.0332, 0.0428, 0.0538, 0.0451),
        seeds=250,
        needles=16000,
        length=10.0,
    ),
    Ice(
        (0.396, 0.441, 0.487),
        (1.01, 1.00, 0.98),
        (0.0331, 0.0280, 0.0381, 0.0484, 0.0490, 0.0516, 0.0538, 0.0533),
        seeds=120,
        needles=6000,
        length=22.0,
    ),
)
"""Colour, tint and contrast measured on the original's photographs 1 to 5 (2 and 3 show the same
ice), contrast in squares under a Hann window. The fourth has 0.92 of its photograph's contrast,
since that one's columns of crystals hide less. The original never draws its sixth photograph."""
OCTAVES = (0.4, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 113.0)
"""Bounds of the octaves of ``Ice.contrast``, in cycles per 224 pixels."""
SHEET_SIDE = 512
Points = NDArray[np.float64]
"""Points of a sheet in pixels, x then y along the last axis."""
Floats = NDArray[np.float64]
BARB_ANGLE = np.pi / 3
"""Angle between the arms of an ice crystal."""
LAYERS = 64
"""Layers of needles; those of a layer share a shade and are drawn at once."""
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
    # Ice lightens a dark image and darkens a light one.
    monotone=False,
    imagenet_c="frost",
    source="the weights of Hendrycks & Dietterich, ICLR 2019, corruption 'frost', on ice that "
    "is drawn with the colours and the spectrum of the original's photographs",
    risk=BAD_WEATHER,
    search=words("ice winter cold freeze windshield windscreen"),
    wording="ice {percent}",
)
def frost(images: Images, strength: float, rng: Streams) -> Images:
    """``image_weight`` times the image plus ``frost_weight`` times a crop of a sheet of ice.

    Sheet and place are random. The crop is taken at side 224 and grows with the image.
    """
    side = images.shape[1]
    ours, ice = image_weight(strength), frost_weight(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        which, top, left = stream.integers((len(SHEETS), *[SHEET_SIDE - REFERENCE_SIDE + 1] * 2))
        crop = sheet(int(which))[top : top + REFERENCE_SIDE, left : left + REFERENCE_SIDE]
        crop = at_side(crop, side)
        cv2.addWeighted(image, ours, crop, ice, 0.0, dst=out)
    return clipped(result)


@lru_cache(maxsize=len(SHEETS))
def sheet(number: int) -> Plane:
    """Sheet ``number`` of ``SHEETS``: RGB, (``SHEET_SIDE``, ``SHEET_SIDE``, 3), read-only."""
    ice = SHEETS[number]
    relief = _with_contrast(_needles(ice, np.random.Generator(np.random.SFC64(number))), ice)
    colours = relief[..., None] * np.array(ice.tint) + np.array(ice.colour)
    picture = np.clip(colours, 0.0, 1.0).astype(np.float32)
    picture.flags.writeable = False
    return picture


def _with_contrast(relief: Plane, ice: Ice) -> Floats:
    """``relief`` about 0, each of its ``OCTAVES`` with the contrast of ``ice``.

    The gain is smooth in the logarithm of the frequency; a few rounds make it converge.
    """
    spectrum = np.fft.rfft2(relief - relief.mean())
    spectrum[0, 0] = 0.0
    rows, columns = np.fft.fftfreq(SHEET_SIDE), np.fft.rfftfreq(SHEET_SIDE)
    cycles = REFERENCE_SIDE * np.hypot(rows[:, None], columns)
    octave = np.digitize(cycles, OCTAVES).ravel()
    place = np.log(np.maximum(cycles, OCTAVES[0]))
    middles = (np.log(OCTAVES[:-1]) + np.log(OCTAVES[1:])) / 2
    twice = np.where((columns == 0.0) | (columns == 0.5), 1.0, 2.0)  # the half not computed
    for _ in range(5):
        power = np.abs(spectrum) ** 2 * twice / SHEET_SIDE**4
        now = np.bincount(octave, power.ravel(), len(OCTAVES) + 1)[1:-1]
        gain = np.log(ice.contrast) - np.log(now) / 2
        spectrum *= np.exp(np.interp(place, middles, gain))
    return np.fft.irfft2(spectrum)


def _needles(ice: Ice, stream: np.random.Generator) -> Plane:
    """Overlapping needles with barbs; each points away from the nearest seed."""
    count = ice.needles
    seeds = stream.uniform(0.0, SHEET_SIDE, (ice.seeds, 2))
    roots = stream.uniform(-0.05, 1.05, (count, 2)) * SHEET_SIDE
    # |root - seed|^2 without the square of the root, which is the same for all seeds
    nearest = np.argmin((seeds**2).sum(axis=1) - 2.0 * roots @ seeds.T, axis=1)
    right, down = (roots - seeds[nearest]).T
    angles = np.arctan2(down, right) + stream.normal(0.0, 0.2, count)
    lengths = ice.length * stream.lognormal(0.0, 0.6, count)
    shades = np.clip(stream.normal(140.0, 55.0, LAYERS), 0, 255)
    canvas = np.full((SHEET_SIDE, SHEET_SIDE), 110, dtype=np.uint8)
    for layer, shade in enumerate(shades.tolist()):
        of = slice(layer, None, LAYERS)
        lines = _lines(roots[of], angles[of], lengths[of], stream)
        fixed = np.rint(lines * 2**SHIFT).astype(np.int32)
        cv2.polylines(canvas, fixed, False, shade, 1, cv2.LINE_AA, SHIFT)
    return canvas.astype(np.float32)


def _lines(roots: Points, angles: Floats, lengths: Floats, stream: np.random.Generator) -> Points:
    """Line segments (n, 2, 2): needles with barbs on both sides that shorten to the tip."""
    needle = np.repeat(np.arange(len(roots)), 2 + (lengths / 3).astype(int))
    along = stream.uniform(0.0, 1.0, needle.size)
    turns = BARB_ANGLE * stream.choice((-1, 1), needle.size)
    turns += stream.normal(0.0, 0.1, needle.size)
    reach = lengths[needle] * 0.3 * (1.0 - along) * stream.uniform(0.3, 1.0, needle.size)
    starts = _moved(roots[needle], angles[needle], lengths[needle] * along)
    return np.concatenate(
        [
            np.stack([roots, _moved(roots, angles, lengths)], axis=1),
            np.stack([starts, _moved(starts, angles[needle] + turns, reach)], axis=1),
        ]
    )


def _moved(points: Points, angles: Floats, lengths: Floats) -> Points:
    """``points`` moved by ``lengths`` in the direction of ``angles``, each its own."""
    return points + lengths[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
