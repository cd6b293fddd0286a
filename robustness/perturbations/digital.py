"""Effects of files and small displays: coarse pixels, low resolution, lossy codecs.

Effects of a camera: vignetting, chromatic aberration, lens flare, flicker bands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.record import (
    ARTIFICIAL_LIGHT,
    CHEAP_CAMERA,
    COLOUR,
    DIGITAL,
    DISPLAY_GAMMA,
    HARSH_LIGHT,
    REFERENCE_SIDE,
    SUBPIXEL_BITS,
    TRANSMISSION,
    Images,
    Plane,
    Stage,
    Streams,
    at_side,
    blank,
    clipped,
    in_pixels,
    linear,
    perturbation,
    severity_curve,
    words,
)

# How a pixel grid falls on a fine texture can matter more than its size, and a coarser rounding can
# happen to be closer.
_digital = partial(perturbation, family=DIGITAL, stage=Stage.FILE, monotone=False, continuous=False)


def whole(curve: Callable[[float], float]) -> Callable[[float], float]:
    """``curve`` rounded to whole numbers."""
    return lambda strength: float(round(curve(strength)))


pixels_a_side = whole(severity_curve(224.0, (134.0, 112.0, 89.0, 67.0, 56.0)))
"""At side 224: the original's scales 0.6 to 0.25, in whole pixels."""


@_digital(
    label="Pixelation",
    parameter="pixels a side",
    unit="px",
    parameter_at=pixels_a_side,
    imagenet_c="pixelate",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'pixelate'",
    risk=TRANSMISSION,
    search=words("mosaic blocks censor downscale coarse retro"),
    wording="{value} x {value} pixels",
)
def pixelate(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Average into ``pixels_a_side(strength)`` pixels (at side 224), shown as squares.

    Each pixel belongs to the square that holds its centre, so square sizes differ by a pixel.
    """
    side = images.shape[1]
    few = _pixels(pixels_a_side(strength), side)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        rows = _means(np.ascontiguousarray(image).reshape(side, -1), few)
        columns = _means(_transposed(rows.reshape(few, side, 3)).reshape(side, -1), few)
        squares = clipped(_transposed(columns.reshape(few, few, 3)))
        cv2.resize(squares, (side, side), dst=out, interpolation=cv2.INTER_NEAREST_EXACT)
    return result


def _transposed(image: Images) -> Images:
    """``image`` with rows and columns exchanged, C-contiguous."""
    return np.asarray(cv2.transpose(image), dtype=np.float32)


def _means(rows: Plane, few: int) -> Plane:
    """The means of ``few`` groups of neighbouring ``rows``, as equal in size as can be."""
    starts = np.floor(np.arange(few + 1) * len(rows) / few - 0.5).astype(np.intp) + 1
    sizes = np.diff(starts)[:, None]
    total = rows.take(starts[:-1], axis=0)
    for place in range(1, sizes.max()):
        following = rows.take(starts[:-1] + place, axis=0, mode="clip")
        if place >= sizes.min():
            following *= place < sizes
        total += following
    total *= (1.0 / sizes).astype(np.float32)
    return total


def _pixels(pixels: float, side: int) -> int:
    """``pixels`` a side, stated at side 224, in whole pixels at ``side``."""
    return max(1, round(pixels * side / REFERENCE_SIDE))


LOWEST_RESOLUTION = 28.0


def resolution(strength: float) -> float:
    """Pixels a side (at side 224), falling to ``LOWEST_RESOLUTION`` in equal ratios."""
    return float(round(REFERENCE_SIDE * (LOWEST_RESOLUTION / REFERENCE_SIDE) ** strength))


@_digital(
    label="Low resolution",
    parameter="pixels a side",
    unit="px",
    parameter_at=resolution,
    source="a thumbnail enlarged again, as in Dodge & Karam, QoMEX 2016, on low quality; down "
    "to an eighth of the side, this project's choice",
    risk=TRANSMISSION,
    search=words("thumbnail downscale upscale small distant old phone webcam cctv quality"),
    wording="{value} x {value} pixels",
    matchable=True,
)
def low_resolution(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Average into ``resolution(strength)`` pixels a side, then enlarge smoothly (bicubic)."""
    side = images.shape[1]
    few = _pixels(resolution(strength), side)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
        cv2.resize(small, (side, side), dst=out, interpolation=cv2.INTER_CUBIC)
    return clipped(result)


jpeg_quality = whole(severity_curve(100.0, (25.0, 18.0, 15.0, 10.0, 7.0)))
webp_quality = whole(linear(100.0, 1.0))


@_digital(
    label="JPEG compression",
    parameter="quality",
    unit="of 100",
    parameter_at=jpeg_quality,
    imagenet_c="jpeg_compression",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'jpeg_compression'",
    risk=TRANSMISSION,
    search=words("jpg whatsapp artifacts artefacts blocks quality messenger screenshot old phone"),
    wording="quality {value}",
    matchable=True,
)
def jpeg_compression(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Save and read back as JPEG of ``jpeg_quality(strength)``, colour at half resolution."""
    return _through_file(images, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, int(jpeg_quality(strength))])


@_digital(
    label="WebP compression",
    parameter="quality",
    unit="of 100",
    parameter_at=webp_quality,
    source="lossy WebP (RFC 9649), which many sites serve in place of JPEG; the whole range of "
    "its quality",
    risk=TRANSMISSION,
    search=words("browser artifacts artefacts website quality screenshot"),
    wording="quality {value}",
)
def webp_compression(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Save and read back as lossy WebP of ``webp_quality(strength)``."""
    return _through_file(images, ".webp", [cv2.IMWRITE_WEBP_QUALITY, int(webp_quality(strength))])


FILE_QUALITY = 85
"""Quality of ImageNet-C's published JPEG files: ``save(path, quality=85, optimize=True)`` in
``make_imagenet_c.py``."""


def file_quality(strength: float) -> float:
    """``FILE_QUALITY`` when the switch is on."""
    return float(FILE_QUALITY) if strength > 0.0 else 100.0


# Last: the file holds every other change.
@perturbation(
    label=f"Saved as JPEG (quality {FILE_QUALITY})",
    family=DIGITAL,
    stage=Stage.FILE,
    parameter="quality",
    unit="of 100",
    parameter_at=file_quality,
    graded=False,
    source="Hendrycks & Dietterich, ICLR 2019: the published files of every ImageNet-C corruption",
    risk=TRANSMISSION,
    search=words("jpg file imagenet recompress"),
)
def saved_as_jpeg(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Save and read back as JPEG of quality 85, colour at half resolution, at any strength."""
    return _through_file(images, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, FILE_QUALITY])


def _through_file(images: Images, extension: str, options: list[int]) -> Images:
    """``images`` rounded to 8 bits, encoded by OpenCV's codec for ``extension`` and decoded."""
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        pixels = cv2.convertScaleAbs(image, alpha=255.0)
        _, file = cv2.imencode(extension, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
        np.divide(np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)), np.float32(255), out=out)
    return result


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


stray_light = linear(0.0, 0.6)
FLARE_GLOW = 14.0
"""Distance from the light at which its glow has halved, in pixels at side 224."""
FLARE_RAY = 1.2
"""The same across a ray of its star."""
FLARE_RAYS = 3
BLADES = 6
"""Lines of the star and corners of the ghosts: an aperture of six blades."""
FLARE_GHOSTS = 6
Point = NDArray[np.float64]


@perturbation(
    label="Lens flare",
    family=COLOUR,
    stage=Stage.OPTICS,
    parameter="stray light, mean of the image",
    unit="of white",
    parameter_at=stray_light,
    random=True,
    source="glare that falls with the square of the distance, with a star (Spencer et al., "
    "SIGGRAPH 1995), and ghosts of the aperture (Hullin et al., SIGGRAPH 2011); shapes and up to "
    "60% of white are this project's choice",
    risk=HARSH_LIGHT,
    search=words("sun glare headlights lamp ghost backlight halo bloom reflection driving into"),
    wording="stray light {percent}",
)
def lens_flare(images: Images, strength: float, rng: Streams) -> Images:
    """Add the light of a lamp or a low sun in view that the lens scatters.

    The light is ``stray_light(strength)`` of white on average, before it is clipped. It is drawn at
    side 224 and scales with the image.
    """
    side = images.shape[1]
    amount = stray_light(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        flare = at_side(flare_light(stream), side)
        cv2.pow(image, DISPLAY_GAMMA, dst=out)
        cv2.scaleAdd(flare, amount, out, dst=out)
        cv2.pow(out, 1.0 / DISPLAY_GAMMA, dst=out)
    return clipped(result)


def flare_light(stream: np.random.Generator) -> Images:
    """The light of a flare, of mean 1: RGB, (224, 224, 3)."""
    source = stream.uniform((0.1, 0.05), (0.9, 0.4)) * REFERENCE_SIDE
    right, down = (np.arange(REFERENCE_SIDE) - source[:, None]).astype(np.float32)
    down = down[:, None]
    turn = stream.uniform(0.0, math.pi)
    glow = 1.0 / (1.0 + (right**2 + down**2) / FLARE_GLOW**2)
    star = np.zeros_like(glow)
    for ray in range(FLARE_RAYS):
        angle = turn + ray * math.pi / FLARE_RAYS
        across = right * math.sin(angle) - down * math.cos(angle)
        star += 1.0 / (1.0 + across**2 / FLARE_RAY**2)
    veil = 0.06
    light = 6.0 * glow**3 + glow + 0.5 * glow * star + veil
    flare = cv2.cvtColor(light.astype(np.float32), cv2.COLOR_GRAY2RGB)
    flare += flare_ghosts(stream, source, turn)
    flare /= flare.mean()
    return flare


def flare_ghosts(stream: np.random.Generator, source: Point, turn: float) -> Images:
    """Coloured images of the aperture on the line from ``source`` through the centre."""
    ghosts = np.zeros((REFERENCE_SIDE, REFERENCE_SIDE, 3), dtype=np.uint8)
    centre = np.full(2, (REFERENCE_SIDE - 1) / 2)
    angles = turn + np.arange(BLADES) * 2 * math.pi / BLADES
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for _ in range(FLARE_GHOSTS):
        place = source + stream.uniform(0.4, 2.2) * (centre - source)
        outline = place + stream.uniform(4.0, 26.0) * corners
        colour = stream.uniform(20.0, 60.0) * stream.uniform(0.4, 1.0, 3)
        fixed = np.rint(outline * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillPoly(ghosts, [fixed], colour.tolist(), cv2.LINE_AA, SUBPIXEL_BITS)
    return cv2.GaussianBlur(ghosts, (5, 5), 1.0) * np.float32(1 / 255)


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
