"""Effects of a camera: vignetting, chromatic aberration, flicker bands."""

from __future__ import annotations

import math

import cv2
import numpy as np

from robustness.perturbations.arrays_and_random_numbers import (
    DISPLAY_GAMMA,
    blank,
    clipped,
    in_pixels,
)
from robustness.perturbations.perturbation import (
    ARTIFICIAL_LIGHT,
    CHEAP_CAMERA,
    COLOUR,
    Images,
    Stage,
    Streams,
    linear,
    perturbation,
    words,
)

vignette_stops = linear(0.0, 4.0)


@perturbation(
    label="Vignetting",
    family=COLOUR,
    stage=Stage.OPTICS,
    parameter="light lost in the corners",
    unit="stops",
    parameter_at=vignette_stops,
    source="the cosine-fourth law of natural vignetting; 4 stops, an extreme wide angle, is "
    "this project's choice",
    risk=CHEAP_CAMERA,
    search=words("lens corners edges border dark fisheye"),
    wording="corners {value} stops darker",
    matchable=True,
)
def vignetting(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Darken towards the corners, which get ``vignette_stops(strength)`` stops less light.

    Light falls off with the fourth power of the cosine of its angle to the sensor.
    """
    side = images.shape[1]
    offset = (np.arange(side) - (side - 1) / 2) / ((side - 1) / 2)
    squared = (offset[:, None] ** 2 + offset**2) / 2  # 1 at the corner
    corner = 2.0 ** (vignette_stops(strength) / 2) - 1.0  # squared tangent of the angle there
    gain = (1.0 + squared * corner) ** (-2.0 / DISPLAY_GAMMA)
    layer = cv2.cvtColor(gain.astype(np.float32), cv2.COLOR_GRAY2RGB)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.multiply(image, layer, dst=out)
    return clipped(result)


fringe_width = linear(0.0, 8.0)


@perturbation(
    label="Chromatic aberration",
    family=COLOUR,
    stage=Stage.OPTICS,
    parameter="red from blue in the corners",
    unit="px",
    parameter_at=fringe_width,
    # On a periodic texture a channel can move by one whole period.
    monotone=False,
    source="lateral chromatic aberration as a radial scaling of red and blue (Boult & Wolberg, "
    "CVPR 1992); up to 5% of the half diagonal, this project's choice",
    risk=CHEAP_CAMERA,
    search=words("lens fringe rainbow purple fisheye color edges"),
    wording="fringes {value} px",
)
def chromatic_aberration(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Enlarge red and shrink blue until they are ``fringe_width`` pixels apart in the corners.

    Borders mirror; bicubic interpolation, as ``rotation`` does.
    """
    side = images.shape[1]
    centre = (side - 1) / 2
    growth = in_pixels(fringe_width(strength), images) / 2 / (centre * math.sqrt(2))
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        red, green, blue = cv2.split(image)
        for channel, scale in ((red, 1.0 + growth), (blue, 1.0 - growth)):
            cv2.warpAffine(
                channel.copy(),
                cv2.getRotationMatrix2D((centre, centre), 0.0, scale),
                (side, side),
                dst=channel,
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT_101,
            )
        cv2.merge([red, green, blue], dst=out)
    return clipped(result)


band_depth = linear(0.0, 0.95)
BANDS = 3.0
"""Periods in a frame: lamps on 50 Hz flicker at 100 Hz, and a phone reads a frame in 1/33 s."""


@perturbation(
    label="Flicker bands of a rolling shutter",
    family=COLOUR,
    stage=Stage.SENSOR,
    parameter="light lost in the bands",
    unit="of all light",
    parameter_at=band_depth,
    random=True,
    source="IEEE 1789-2015 on lamps that flicker at twice the mains frequency, seen through a "
    "rolling shutter; short exposure, three bands",
    risk=ARTIFICIAL_LIGHT,
    search=words("led lamp fluorescent neon tube stripes lines strobe screen"),
    wording="bands {percent} darker",
)
def rolling_bands(images: Images, strength: float, rng: Streams) -> Images:
    """Darken ``BANDS`` horizontal bands by up to ``band_depth(strength)`` of the light.

    The lamp's light follows the squared sine of time; each row is exposed a little later than the
    row above. The phase is random.
    """
    side = images.shape[1]
    turns = BANDS * (np.arange(side) + 0.5) / side
    depth = band_depth(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        lost = depth * np.sin(math.pi * (turns + stream.uniform())) ** 2
        gain = ((1.0 - lost) ** (1.0 / DISPLAY_GAMMA)).astype(np.float32)
        np.multiply(image, gain[:, None, None], out=out)
    return clipped(result)
