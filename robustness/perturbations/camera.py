"""What a camera does: exposure, gamma, vignetting, chromatic aberration, flicker bands."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped, in_pixels
from robustness.perturbations.record import (
    COLOUR,
    REGISTRY,
    Images,
    Perturbation,
    Stage,
    Streams,
    linear,
)

SRGB_KNEE = 0.04045
"""Encoded value up to which the sRGB curve is a straight line (IEC 61966-2-1)."""


def relit(image: Plane, gain: float | NDArray[np.float64], out: Plane) -> None:
    """Writes ``image`` (S, S, 3) under ``gain`` times the light to ``out``, not clipped.

    ``gain`` is one factor of linear light, or one for each pixel, broadcastable to (S, S, 3).
    Above the knee of the sRGB curve v = 1.055 L^(1/2.4) - 0.055, a gain of L is a straight line
    in v, which spares the two powers; only pixels at or below the knee, before or after, need them.
    """
    root = np.asarray(gain) ** (1 / 2.4)
    np.multiply(image, root.astype(np.float32), out=out)
    out += (0.055 * (root - 1.0)).astype(np.float32)
    low = cv2.min(image, out) <= SRGB_KNEE
    encoded = image[low].astype(np.float64)
    light = np.where(encoded <= SRGB_KNEE, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    light *= np.broadcast_to(gain, image.shape)[low]
    out[low] = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _relit(images: Images, gain: float | NDArray[np.float64]) -> Images:
    """All ``images`` under the same ``gain``, clipped."""
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        relit(np.ascontiguousarray(image), gain, out)
    return clipped(result)


overexposure_stops = linear(0.0, 3.0)
underexposure_stops = linear(0.0, -5.0)


def overexposure(images: Images, strength: float, rng: Streams = ()) -> Images:
    """``overexposure_stops(strength)`` stops more light, doubled by each; highlights clip."""
    return _relit(images, 2.0 ** overexposure_stops(strength))


def darkness(images: Images, strength: float, rng: Streams = ()) -> Images:
    """``underexposure_stops(strength)`` stops less light, halved by each; without noise."""
    return _relit(images, 2.0 ** underexposure_stops(strength))


for _name, _label, _function, _parameter_at in (
    ("overexposure", "Overexposure", overexposure, overexposure_stops),
    ("darkness", "Underexposure", darkness, underexposure_stops),
):
    REGISTRY.add(
        Perturbation(
            name=_name,
            label=_label,
            family=COLOUR,
            stage=Stage.EXPOSURE,
            function=_function,
            parameter="exposure",
            unit="stops",
            parameter_at=_parameter_at,
            study_strength=None,
            source="a gain in linear light under the sRGB curve of IEC 61966-2-1; one stop is a "
            "factor of 2. The ranges are this project's choice",
        )
    )

gamma_exponent = linear(1.0, 3.0)


def gamma(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Raises values to ``gamma_exponent(strength)``: mid-tones darken, black and white stay."""
    return clipped(np.power(images, np.float32(gamma_exponent(strength)), out=blank(images)))


REGISTRY.add(
    Perturbation(
        name="gamma",
        label="Gamma",
        family=COLOUR,
        stage=Stage.EXPOSURE,
        function=gamma,
        parameter="gamma",
        unit="as exponent",
        parameter_at=gamma_exponent,
        study_strength=None,
        source="power law of the encoded values; an exponent of 2.2 is a display's curve applied "
        "once too often. The range is this project's choice",
    )
)


def _from_centre(side: int) -> NDArray[np.float64]:
    """Places of pixel centres along one axis, from -1 to 1."""
    return np.linspace(-1.0, 1.0, side)


def _squared_radius(side: int) -> NDArray[np.float64]:
    """Squared distance of each pixel (S, S) from the centre, 1 at the centre of a corner pixel."""
    x = _from_centre(side)
    return (x[:, None] ** 2 + x[None, :] ** 2) / 2


vignetting_loss = linear(0.0, 90.0)


def vignetting(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Dims towards the corners, which lose ``vignetting_loss(strength)`` percent of their light.

    Light falls as cos^4 of the angle to the optical axis, whose tangent grows in proportion to
    the distance from the centre. 90 percent is a corner at 56 degrees: a very wide lens.
    """
    corner = 1.0 - vignetting_loss(strength) / 100
    squared_tangent = _squared_radius(images.shape[1]) * (corner**-0.5 - 1.0)
    return _relit(images, (1.0 + squared_tangent[:, :, None]) ** -2)


REGISTRY.add(
    Perturbation(
        name="vignetting",
        label="Vignetting",
        family=COLOUR,
        stage=Stage.OPTICS,
        function=vignetting,
        parameter="light lost in the corners",
        unit="%",
        parameter_at=vignetting_loss,
        study_strength=None,
        source="natural vignetting, the cos^4 law of illumination, in linear light. The range is "
        "this project's choice",
    )
)

aberration_shift = linear(0.0, 6.0)


def chromatic_aberration(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Magnifies red and shrinks blue by ``aberration_shift(strength)`` px at the corners.

    Lateral chromatic aberration: the shift is radial, in proportion to the distance from the
    centre, and green stays. Pixels are of side 224. What shrinks in from beyond the border is
    mirrored.
    """
    side = images.shape[1]
    centre = (side - 1) / 2
    change = in_pixels(aberration_shift(strength), images) / (centre * 2**0.5)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        red, green, blue = cv2.split(np.ascontiguousarray(image))
        red, blue = (
            cv2.warpAffine(
                channel,
                cv2.getRotationMatrix2D((centre, centre), 0.0, scale),
                (side, side),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            for channel, scale in ((red, 1.0 + change), (blue, 1.0 - change))
        )
        cv2.merge([red, green, blue], dst=out)
    return clipped(result)


REGISTRY.add(
    Perturbation(
        name="chromatic_aberration",
        label="Chromatic aberration",
        family=COLOUR,
        stage=Stage.OPTICS,
        function=chromatic_aberration,
        parameter="shift of red and of blue at the corners",
        unit="px",
        parameter_at=aberration_shift,
        study_strength=None,
        source="lateral chromatic aberration, a magnification that depends on the wavelength, to "
        "first order. The range, beyond that of a good lens, is this project's choice",
    )
)

bands_depth = linear(0.0, 90.0)

BAND_COUNTS = (3, 6)
"""Fewest and most bands of a frame. Mains of 50 or 60 Hz make lamps flash at 100 or 120 Hz, and a
rolling shutter reads a frame in 1/40 to 1/20 s. Whole numbers keep the frame's mean exposure."""


def rolling_bands(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Light of each row rises and falls by ``bands_depth(strength)`` percent, as a sine.

    A rolling shutter exposes row after row while the lamp flickers. How many bands and where they
    lie is drawn for each image.
    """
    patterns = [(int(s.integers(BAND_COUNTS[0], BAND_COUNTS[1] + 1)), s.random()) for s in rng]
    depth = bands_depth(strength) / 100
    result = blank(images)
    for image, (count, phase), out in zip(images, patterns, result, strict=True):
        gain = 1.0 + depth * band_wave(count, phase, images.shape[1])
        relit(np.ascontiguousarray(image), gain[:, None, None], out)
    return clipped(result)


def band_wave(count: int, phase: float, side: int) -> NDArray[np.float64]:
    """A sine of ``count`` periods over ``side`` rows, ``phase`` of a period ahead."""
    rows = (np.arange(side) + 0.5) / side
    return np.sin(2 * np.pi * (count * rows + phase))


REGISTRY.add(
    Perturbation(
        name="rolling_bands",
        label="Flicker bands",
        family=COLOUR,
        stage=Stage.EXPOSURE,
        function=rolling_bands,
        parameter="depth of the modulation",
        unit="%",
        parameter_at=bands_depth,
        study_strength=None,
        random=True,
        source="rolling shutter under a flickering lamp: sinusoidal modulation of linear light "
        "along the rows. The range and the number of bands are this project's choice",
    )
)

distortion_k1 = linear(0.0, 0.5)


def lens_distortion(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Barrel distortion: the middle is magnified against the corners, which stay in place.

    A pixel at radius r (1 at the corners) shows what an ideal lens has at
    r (1 + k1 r^2) / (1 + k1), k1 = ``distortion_k1(strength)``: nothing from beyond the border.
    """
    side = images.shape[1]
    centre, k1 = (side - 1) / 2, distortion_k1(strength)
    factor = (1.0 + k1 * _squared_radius(side)) / (1.0 + k1)
    offset = np.arange(side) - centre
    columns = (centre + offset[None, :] * factor).astype(np.float32)
    rows = (centre + offset[:, None] * factor).astype(np.float32)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.remap(
            image,
            columns,
            rows,
            cv2.INTER_CUBIC,
            dst=out,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    return clipped(result)


REGISTRY.add(
    Perturbation(
        name="lens_distortion",
        label="Barrel distortion",
        family=COLOUR,
        stage=Stage.OPTICS,
        function=lens_distortion,
        parameter="radial coefficient k1",
        unit="at the corners",
        parameter_at=distortion_k1,
        study_strength=None,
        # A fine periodic texture (gravel, bricks) meets itself again.
        monotone=False,
        source="first radial term of the Brown-Conrady model (Brown, Photogrammetric Engineering, "
        "1966) in its inverse form, scaled to fill the frame. The range is this project's choice",
    )
)
