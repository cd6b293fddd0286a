"""Light and colour: brightness, contrast, exposure, gamma, saturation, hue, white balance."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.record import (
    ARTIFICIAL_LIGHT,
    BAD_WEATHER,
    COLOUR,
    COLOUR_PROCESSING,
    DISPLAY_GAMMA,
    HARSH_LIGHT,
    LIGHTING,
    LOW_LIGHT,
    Images,
    Stage,
    Streams,
    blank,
    clipped,
    light_gain,
    linear,
    perturbation,
    severity_curve,
    words,
)

brightness_amount = severity_curve(0.0, (0.1, 0.2, 0.3, 0.4, 0.5))


@perturbation(
    label="Increased brightness",
    family=LIGHTING,
    stage=Stage.EXPOSURE,
    parameter="added HSV value",
    unit="of full scale",
    parameter_at=brightness_amount,
    study_strength=0.6,
    imagenet_c="brightness",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'brightness'",
    risk=HARSH_LIGHT,
    search=words("sun glare flash washed out headlights backlit white"),
    wording="brightness +{percent}",
    matchable=True,
)
def brightness(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Add ``brightness_amount(strength)`` to the value channel of HSV and clip it at 1.

    This scales R, G and B by new value / old value; black becomes grey.
    """
    amount = brightness_amount(strength)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        # The floor avoids division by 0 and leaves visible colours unchanged.
        channels = cv2.split(np.maximum(image, np.float32(1e-20), out=out))
        value = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
        scale = np.minimum(value + amount, 1.0)
        scale /= value
        cv2.merge([cv2.multiply(channel, scale, dst=channel) for channel in channels], dst=out)
    return clipped(result)


def contrast_factor(strength: float) -> float:
    """1 at strength 0, 2 at 0.5, 4 at 1: equal steps of strength are equal ratios of contrast."""
    return float(4.0**strength)


@perturbation(
    label="Increased contrast",
    family=LIGHTING,
    stage=Stage.EXPOSURE,
    parameter="factor about the channel mean",
    unit="times",
    parameter_at=contrast_factor,
    study_strength=0.5,
    source="the formula of ImageNet-C's 'contrast', which only reduces contrast, with factors "
    "above 1. The study published no factor: 2 is this project's choice",
    risk=HARSH_LIGHT,
    search=words("sun shadow punchy hdr"),
    wording="contrast {value} x",
)
def increased_contrast(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Multiply the distance from each channel's mean by ``contrast_factor(strength)``."""
    return scale_about_mean(images, contrast_factor(strength))


def scale_about_mean(images: Images, factor: float) -> Images:
    """Multiply the distance from each channel's mean by ``factor``; clipped."""
    side = images.shape[1]
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        means = np.array(cv2.mean(image)[:3], dtype=np.float32)
        # Rows of 3 S numbers: NumPy is slow where the innermost axis is as short as a pixel.
        row = out.reshape(side, 3 * side)
        np.multiply(image.reshape(row.shape), factor, out=row)
        row += np.tile(means * (1.0 - factor), side)
    return clipped(result)


reduced_contrast_factor = severity_curve(1.0, (0.4, 0.3, 0.2, 0.1, 0.05))


@perturbation(
    label="Reduced contrast",
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="factor about the channel mean",
    unit="times",
    parameter_at=reduced_contrast_factor,
    imagenet_c="contrast",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'contrast'",
    risk=BAD_WEATHER,
    search=words("haze flat dull faded washed out low pale milky"),
    wording="contrast {value} x",
    matchable=True,
)
def contrast(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Multiply the distance from each channel's mean by ``reduced_contrast_factor(strength)``."""
    return scale_about_mean(images, reduced_contrast_factor(strength))


saturation_factor = severity_curve(1.0, (0.3, 0.1, 2.0, 5.0, 20.0))
saturation_added = severity_curve(0.0, (0.0, 0.0, 0.0, 0.1, 0.2))


@perturbation(
    label="Saturation (less, then more)",
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="factor of HSV saturation",
    unit="times",
    parameter_at=saturation_factor,
    # Severities 1 and 2 remove saturation and 3 to 5 add it.
    monotone=False,
    imagenet_c="saturate",
    source="Hendrycks & Dietterich, ICLR 2019, extra corruption 'saturate'",
    risk=COLOUR_PROCESSING,
    search=words("vivid color colorful colourful filter instagram pale faded"),
    wording="saturation {value} x",
    matchable=True,
)
def saturate(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Multiply HSV's saturation by ``saturation_factor``, add ``saturation_added``, cut at 1.

    Severities 1 and 2 remove colour and 3 to 5 add it, so the image is nearly unchanged near
    strength 0.49. Added saturation turns grey red (hue 0), as in the original.
    """
    factor = saturation_factor(strength)
    added = saturation_added(strength)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        # One ratio scales every channel's distance from HSV's value; hue and value stay.
        channels = cv2.split(image)
        value = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
        range_ = value - cv2.min(cv2.min(channels[0], channels[1]), channels[2])
        most = value / np.maximum(range_, np.float32(1e-20))
        ratio = np.minimum(most * np.float32(added) + np.float32(factor), most)
        new = [value - cv2.multiply(value - channel, ratio) for channel in channels]
        if added > 0.0:
            reddened = value * (range_ == 0.0) * np.float32(min(added, 1.0))
            for channel in new[1:]:
                channel -= reddened
        cv2.merge(new, dst=out)
    return clipped(result)


LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Weights of R, G and B (ITU-R BT.709)."""
colour_taken = linear(0.0, 1.0)


@perturbation(
    label="Loss of colour",
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="colour taken away",
    unit="of all colour",
    parameter_at=colour_taken,
    source="the grayscale() matrix of the W3C Filter Effects Module Level 1",
    risk=COLOUR_PROCESSING,
    search=words("grayscale monochrome black white infrared night vision desaturate old newspaper"),
    wording="{percent} less colour",
)
def greyscale(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Blend every pixel with its luminance; ``strength`` is the luminance's share."""
    matrix = (1.0 - strength) * np.eye(3) + strength * LUMINANCE
    return _mixed(images, matrix)


hue_angle = linear(0.0, 180.0)


@perturbation(
    label="Hue shift",
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="angle",
    unit="degrees",
    parameter_at=hue_angle,
    # Vivid colours leave the range and are clipped.
    monotone=False,
    source="the hueRotate matrix of the W3C Filter Effects Module Level 1",
    risk=COLOUR_PROCESSING,
    search=words("color tint filter neon green pink purple"),
)
def hue_shift(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Turn the hue by ``hue_angle(strength)`` degrees and keep the luminance."""
    return _mixed(images, hue_matrix(hue_angle(strength)))


def hue_matrix(degrees: float) -> NDArray[np.float64]:
    """Turn colours about the grey axis; the constants are those of the W3C module."""
    weights = np.array([0.213, 0.715, 0.072])
    grey = np.tile(weights, (3, 1))
    across = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
    angle = math.radians(degrees)
    return grey + math.cos(angle) * (np.eye(3) - grey) + math.sin(angle) * across


def _mixed(images: Images, matrix: NDArray[np.float64]) -> Images:
    """Every pixel times ``matrix`` (3, 3)."""
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.transform(image, matrix, dst=out)
    return clipped(result)


DAYLIGHT = (0.31271, 0.32902, 6504.0)
TUNGSTEN = (0.44757, 0.40745, 2856.0)
SKY = (0.25392, 0.26032, 20000.0)
"""CIE 1931 x and y, and colour temperature in kelvin: illuminants D65 and A, and daylight of
20000 K by the CIE formula."""
XYZ_TO_RGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)
"""To linear sRGB (IEC 61966-2-1)."""

Illuminant = tuple[float, float, float]


def white(light: Illuminant) -> NDArray[np.float64]:
    """Linear sRGB of a white sheet of luminance 1 under ``light``, seen by a camera set to D65."""
    x, y, _ = light
    return XYZ_TO_RGB @ np.array([x / y, 1.0, (1.0 - x - y) / y])


def temperature(light: Illuminant) -> Callable[[float], float]:
    """Kelvin at a strength, from daylight to ``light`` in equal steps of the reciprocal."""
    return lambda strength: 1.0 / ((1.0 - strength) / DAYLIGHT[2] + strength / light[2])


_cast = partial(
    perturbation,
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="colour temperature of the light",
    unit="K",
    source="camera white balance errors as in Afifi & Brown, ICCV 2019; diagonal (von "
    "Kries) gains from D65 to CIE illuminant A or to daylight of 20000 K",
)


@_cast(
    label="White balance too warm",
    parameter_at=temperature(TUNGSTEN),
    risk=ARTIFICIAL_LIGHT,
    search=words("orange tungsten bulb candle indoor sunset yellow red golden sepia sunglasses"),
    matchable=True,
)
def warm_cast(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Change the light from daylight towards a bulb's, without white balance: orange."""
    return _lit(images, TUNGSTEN, strength)


@_cast(
    label="White balance too cool",
    parameter_at=temperature(SKY),
    risk=ARTIFICIAL_LIGHT,
    search=words("blue shade led cold underwater moonlight"),
    matchable=True,
)
def cool_cast(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Change the light from daylight towards the blue sky's, without white balance."""
    return _lit(images, SKY, strength)


def _lit(images: Images, light: Illuminant, strength: float) -> Images:
    """Multiply the channels by ``light``'s gains to the power ``strength``."""
    gains = (white(light) / white(DAYLIGHT)) ** (strength / DISPLAY_GAMMA)
    return _mixed(images, np.diag(gains))


overexposure_stops = linear(0.0, 3.0)
underexposure_stops = linear(0.0, -4.0)

_metering = partial(
    perturbation,
    family=COLOUR,
    stage=Stage.EXPOSURE,
    unit="stops",
    source="a stop doubles or halves the light (ISO 2720); the range is that of a camera "
    "metering badly against the light or at night, this project's choice",
)


@_metering(
    label="Overexposure",
    parameter="exposure above normal",
    parameter_at=overexposure_stops,
    risk=HARSH_LIGHT,
    search=words("bright sun glare backlight backlit flash headlights blown washed out"),
    wording="+{value} stops",
)
def exposure(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Add ``overexposure_stops(strength)`` stops of light, clipped at white."""
    return _exposed(images, overexposure_stops(strength))


@_metering(
    label="Underexposure",
    parameter="exposure below normal",
    parameter_at=underexposure_stops,
    risk=LOW_LIGHT,
    search=words("night dusk evening twilight dim shadow gloomy tunnel sunglasses driving"),
    matchable=True,
)
def darkness(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Remove light: ``underexposure_stops(strength)`` is negative."""
    return _exposed(images, underexposure_stops(strength))


def _exposed(images: Images, stops: float) -> Images:
    result = blank(images)
    np.multiply(images, light_gain(2.0**stops), out=result)
    return clipped(result)


gamma_exponent = linear(1.0, 2.2)


@perturbation(
    label="Wrong gamma",
    family=COLOUR,
    stage=Stage.EXPOSURE,
    parameter="exponent",
    unit="power",
    parameter_at=gamma_exponent,
    source="the power law of display encoding (ITU-R BT.709 and BT.1886); at 2.2 it is "
    "decoded once too often, the common mistake",
    risk=COLOUR_PROCESSING,
    search=words("display monitor projector srgb midtones"),
    wording="gamma {value}",
)
def gamma(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Raise every value to the power ``gamma_exponent(strength)``, which darkens middle tones."""
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.pow(image, gamma_exponent(strength), dst=out)
    return clipped(result)
