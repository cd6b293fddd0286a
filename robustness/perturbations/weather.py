"""Weather, and what hides the view: fog, snow, rain, spatter, a grey square and a timestamp.

Frost on a window pane.

ImageNet-C lays one of five photographs of ice over the image. Instead, this module draws sheets of
ice feathers with the colours and contrast of those photographs. Models are as consistent under
both at every severity (``benchmarks/originals.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, partial
from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.blur import smoothed, taps, trail
from robustness.perturbations.record import (
    BAD_WEATHER,
    LIGHTING,
    OBSTRUCTED_VIEW,
    REFERENCE_SIDE,
    SUBPIXEL_BITS,
    WEATHER,
    Images,
    Plane,
    Stage,
    Streams,
    at_side,
    between_severities,
    blank,
    clipped,
    light_gain,
    linear,
    perturbation,
    random_words,
    severity_curve,
    standard_normals,
    words,
)

Cells = NDArray[np.uint8]

fog_amount = severity_curve(0.0, (1.5, 2.0, 2.5, 2.5, 3.0))
fog_decay = severity_curve(2.0, (2.0, 2.0, 1.7, 1.5, 1.4))


@perturbation(
    label="Fog effect",
    family=LIGHTING,
    stage=Stage.SCENE,
    parameter="fog amount",
    unit="times full scale",
    parameter_at=fog_amount,
    study_strength=0.6,
    random=True,
    # The cloud gets rougher as well as thicker, so parts of it can get thinner.
    monotone=False,
    imagenet_c="fog",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'fog' (diamond-square plasma)",
    risk=BAD_WEATHER,
    search=words("mist haze smoke cloud smog steam dust milky"),
    wording="fog {value} x",
    matchable=True,
)
def fog(images: Images, strength: float, rng: Streams) -> Images:
    """Add ``fog_amount(strength)`` times a cloud in [0, 1], then scale back to the old maximum.

    ``fog_decay`` is the ratio of roughness between one scale and the next finer one. All strengths
    use the same random numbers.
    """
    side = images.shape[1]
    map_side = 1 << (side - 1).bit_length()
    amount = fog_amount(strength)
    decay = fog_decay(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        displacements = random_words(stream, (map_side**2 - 1,), np.int16)
        cloud = plasma(displacements, decay)[:side, :side]
        brightest = float(image.max())
        shrink = brightest / (brightest + amount)
        layer = cv2.cvtColor(cloud, cv2.COLOR_GRAY2RGB)
        cv2.addWeighted(image, shrink, layer, amount * shrink, 0.0, dst=out)
    return clipped(result)


def plasma(displacements: NDArray[np.int16], decay: float) -> Plane:
    """Plasma fractal on a torus by the diamond-square algorithm, scaled to fill [0, 1].

    ``displacements`` are side^2 - 1 numbers, coarsest level first, and side a power of two. Each
    level halves the step and divides its displacements by ``decay`` squared, as in the original.
    The final scaling removes their unit.
    """
    grid = np.zeros((1, 1), dtype=np.float32)
    start = 0
    unit = 1.0 / 32768
    while start < displacements.size:
        side = len(grid)
        stop = start + 3 * side * side
        level = displacements[start:stop].reshape(3, side, side) * np.float32(unit)
        grid = _finer(grid, level)
        start = stop
        unit = unit / decay**2
    grid -= grid.min()
    grid /= grid.max()
    return grid


def _finer(grid: Plane, displacements: Plane) -> Plane:
    """``grid`` (n, n) with its step halved, (2 n, 2 n).

    A new point is the mean of its four neighbours plus one of ``displacements`` (3, n, n): first
    the middles of the squares, then, between those, the points on the old rows and columns.
    """
    side = len(grid)
    quarter = np.float32(0.25)
    wrapped = cv2.copyMakeBorder(grid, 0, 1, 0, 1, cv2.BORDER_WRAP)
    across = wrapped[:, :-1] + wrapped[:, 1:]
    down = wrapped[:-1, :-1] + wrapped[1:, :-1]
    middle = (across[:-1] + across[1:]) * quarter + displacements[0]
    wrapped = cv2.copyMakeBorder(middle, 1, 0, 1, 0, cv2.BORDER_WRAP)
    on_rows = (middle + wrapped[:-1, 1:] + across[:-1]) * quarter + displacements[1]
    on_columns = (middle + wrapped[1:, :-1] + down) * quarter + displacements[2]
    finer = np.empty((side, 2, side, 2), dtype=np.float32)
    finer[:, 0, :, 0] = grid
    finer[:, 0, :, 1] = on_rows
    finer[:, 1, :, 0] = on_columns
    finer[:, 1, :, 1] = middle
    return finer.reshape(2 * side, 2 * side)


snow_mean = severity_curve(-0.85, (0.1, 0.2, 0.55, 0.55, 0.55))
"""Mean of the noise; its peaks become flakes. At strength 0 no peak reaches the threshold."""
SNOW_SPREAD = 0.3
snow_threshold = severity_curve(0.5, (0.5, 0.5, 0.9, 0.85, 0.85))
snow_zoom_start = severity_curve(74.0, (74.0, 56.0, 84.0, 87.0, 67.0))
snow_zoom_scale = severity_curve(74 / 224, (74 / 224, 111 / 223, 55 / 223, 49 / 224, 89 / 224))
"""Place of the first flake pixel in the noise, and steps in it: zooms of 3, 2, 4, 4.5 and 2.5."""
snow_radius = severity_curve(10.0, (10.0, 12.0, 12.0, 12.0, 12.0))
snow_sigma = severity_curve(4.0, (4.0, 4.0, 8.0, 8.0, 12.0))
SNOW_ANGLES = (-135.0, -45.0)
snow_clean_share = severity_curve(1.0, (0.8, 0.7, 0.7, 0.65, 0.55))


def snow_cover(strength: float) -> float:
    """Share of the noise that becomes flakes; 0 at strength 0."""
    if strength == 0.0:
        return 0.0
    return 1.0 - NormalDist(snow_mean(strength), SNOW_SPREAD).cdf(snow_threshold(strength))


@perturbation(
    label="Snow",
    family=WEATHER,
    stage=Stage.SCENE,
    parameter="flake cover",
    unit="of the layer",
    parameter_at=snow_cover,
    random=True,
    # Severities 2 and 3 differ in kind: many small flakes, then fewer and larger ones.
    monotone=False,
    imagenet_c="snow",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'snow'; trails as in the package "
    "imagecorruptions (Michaelis et al., 2019), which does without ImageMagick",
    risk=BAD_WEATHER,
    search=words("winter flakes snowflakes blizzard storm"),
    wording="flakes cover {percent}",
)
def snow(images: Images, strength: float, rng: Streams) -> Images:
    """Whiten the scene and add flakes with trails, once upright and once upside down.

    Flakes are the peaks of one enlarged noise above a threshold that falls with the strength. The
    noise is drawn at side 224, so flakes scale with the image.
    """
    side = images.shape[1]
    keep = snow_clean_share(strength)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        noise = standard_normals(stream, (REFERENCE_SIDE, REFERENCE_SIDE))
        layer = at_side(flakes(noise, strength, stream.uniform(*SNOW_ANGLES)), side)
        whitened = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        white = cv2.cvtColor(whitened * np.float32(1.5) + np.float32(0.5), cv2.COLOR_GRAY2RGB)
        cv2.max(image, white, dst=white)
        cv2.addWeighted(image, keep, white, 1.0 - keep, 0.0, dst=out)
        layer += cv2.rotate(layer, cv2.ROTATE_180)
        cv2.add(out, cv2.cvtColor(layer, cv2.COLOR_GRAY2RGB), dst=out)
    return clipped(result)


def flakes(noise: Plane, strength: float, angle: float) -> Plane:
    """The layer of flakes, in [0, 1], made of standard normal ``noise`` (224, 224)."""
    start = snow_zoom_start(strength)
    scale = snow_zoom_scale(strength)
    matrix = np.array([[scale, 0.0, start], [0.0, scale, start]])
    size = (REFERENCE_SIDE, REFERENCE_SIDE)
    peaks = noise * np.float32(SNOW_SPREAD) + np.float32(snow_mean(strength))
    layer = np.empty(size, dtype=np.float32)
    cv2.warpAffine(peaks, matrix, size, dst=layer, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    threshold = snow_threshold(strength)
    cv2.threshold(layer, threshold, 0.0, cv2.THRESH_TOZERO, dst=layer)
    np.minimum(layer, 1.0, out=layer)
    fallen = np.empty_like(layer)
    trail(layer, taps(snow_radius(strength), snow_sigma(strength), angle), fallen)
    return fallen


CLOUDBURST = 200.0


def rain_rate(strength: float) -> float:
    """Millimetres of rain an hour: 8 (moderate) at 0.2, 50 (violent) at 0.5."""
    return CLOUDBURST * strength**2


RAIN_FOCAL_LENGTH = 240.0
"""In pixels at side 224: a field of view of 50 degrees."""
RAIN_NEAREST = 0.5
RAIN_FARTHEST = 1.6
"""Distances in metres between which drops are drawn; those beyond are a veil."""
RAIN_THICK = 0.8
"""Distance in metres up to which streaks are out of focus: two pixels wide, half as opaque."""
SUBJECT_DISTANCE = 75.0
"""Metres of rain between the camera and the subject."""
SMALLEST_DROP = 1.0
"""Diameter in millimetres; smaller drops leave no visible streak."""
SHUTTER = 1.0 / 60
"""Seconds for which a drop draws its streak."""
STREAK_OPACITY = 0.9
STREAK_SHADES = 16
RAIN_WIND = 20.0
RAIN_SCATTER = 3.0
"""Largest angles from the vertical of all streaks, and from their common angle, in degrees."""
RAIN_LIGHT = 3.0
"""Light of the sky that drops scatter, relative to the scene's mean."""
RAIN_MARGIN = 50
"""Pixels around the image in which streaks begin."""


def drop_slope(rate: float) -> float:
    """How fast larger drops get rarer at ``rate`` mm/h, per mm (Marshall & Palmer, 1948)."""
    return 4.1 * rate**-0.21


def drops_in_view(rate: float) -> float:
    """Drops above ``SMALLEST_DROP`` in the image and its margin at ``rate`` mm/h."""
    if rate == 0.0:
        return 0.0
    slope = drop_slope(rate)
    drops_a_cubic_metre = 8000.0 / slope * math.exp(-slope * SMALLEST_DROP)
    width = (REFERENCE_SIDE + 2 * RAIN_MARGIN) / RAIN_FOCAL_LENGTH
    volume = width**2 * (RAIN_FARTHEST**3 - RAIN_NEAREST**3) / 3
    return drops_a_cubic_metre * volume


MOST_DROPS = math.ceil(drops_in_view(CLOUDBURST))


@perturbation(
    label="Rain",
    family=WEATHER,
    stage=Stage.SCENE,
    parameter="rainfall",
    unit="mm/h",
    parameter_at=rain_rate,
    random=True,
    source="streaks as in Garg & Nayar, IJCV 2007, of drops by Marshall & Palmer, 1948, at the "
    "fall speeds of Atlas et al., 1973; the veil of Tremblay et al., IJCV 2021. Opacity and "
    "distances are this project's choice",
    risk=BAD_WEATHER,
    search=words("raining rainy drizzle shower downpour storm streaks wet weather"),
)
def rain(images: Images, strength: float, rng: Streams) -> Images:
    """Draw streaks of ``rain_rate(strength)`` mm/h and a veil of the drops that are farther away.

    Both cover the image with the grey of the sky, so the difference grows with what they cover.
    Streaks are drawn at side 224 and scale with the image. They keep their places while more come.
    """
    side = images.shape[1]
    rate = rain_rate(strength)
    seen_through_veil = math.exp(-0.312 * rate**0.67 * SUBJECT_DISTANCE / 1000)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
        sky = np.float32(min(mean * light_gain(RAIN_LIGHT), 1.0))
        streaks = at_side(rain_streaks(stream, rate), side)
        covered = 1.0 - (1.0 - streaks) * np.float32(seen_through_veil)
        np.subtract(sky, image, out=out)
        out *= cv2.cvtColor(covered, cv2.COLOR_GRAY2RGB)
        out += image
    return clipped(result)


def rain_streaks(stream: np.random.Generator, rate: float) -> Plane:
    """The opacity of the streaks at ``rate`` mm/h, (224, 224) in [0, 1]."""
    canvas = np.zeros((REFERENCE_SIDE, REFERENCE_SIDE), dtype=np.uint8)
    wind = stream.uniform(-RAIN_WIND, RAIN_WIND)
    count = drops_in_view(rate)
    drawn = stream.random((5, MOST_DROPS), dtype=np.float32)[:, : math.ceil(count)]
    if drawn.size == 0:
        return canvas.astype(np.float32)

    size = SMALLEST_DROP - np.log1p(-drawn[0]) / drop_slope(rate)
    depth = np.cbrt(RAIN_NEAREST**3 + drawn[1] * (RAIN_FARTHEST**3 - RAIN_NEAREST**3))
    pixels_a_metre = RAIN_FOCAL_LENGTH / depth
    fall_speed = 9.65 - 10.3 * np.exp(-0.6 * size)
    length = fall_speed * SHUTTER * pixels_a_metre
    width = size / 1000 * pixels_a_metre
    # The last tenth fades in, and so does the first streak, whose count is below 1: none appears
    # at once.
    faded_in = np.minimum(10.0 * (count - np.arange(len(size))) / max(count, 1.0), 1.0)
    thickness = np.where(depth < RAIN_THICK, 2, 1)
    opacity = STREAK_OPACITY * np.minimum(width, 1.0) * faded_in / thickness

    angle = np.radians(wind + RAIN_SCATTER * (2.0 * drawn[4] - 1.0))
    starts = drawn[2:4].T * (REFERENCE_SIDE + 2 * RAIN_MARGIN) - RAIN_MARGIN
    ends = starts + length[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    lines = np.rint(np.stack([starts, ends], axis=1) * 2**SUBPIXEL_BITS).astype(np.int32)
    shade = np.rint(opacity * STREAK_SHADES)
    # More opaque streaks come last, thick or thin: they cover fainter ones.
    for level in range(1, STREAK_SHADES + 1):
        value = 255.0 * level / STREAK_SHADES
        for wide in (1, 2):
            chosen = lines[(shade == level) & (thickness == wide)]
            cv2.polylines(canvas, chosen, False, value, wide, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas * np.float32(1 / 255)


SPATTER_LEVELS = (
    (0.65, 0.3, 4.0, 0.69, 0.6),
    (0.65, 0.3, 3.0, 0.68, 0.6),
    (0.65, 0.3, 2.0, 0.68, 0.5),
    (0.65, 0.3, 1.0, 0.65, 1.5),
    (0.67, 0.4, 1.0, 0.65, 1.5),
)
"""Mean and spread of the noise, its blur in pixels, the threshold above which it is liquid, and
the opacity of the water (severities 1 to 3) or the blur of the mud in pixels (4 and 5)."""
FIRST_MUDDY = 4
WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32)
MUD_EDGE = 0.8
"""Thinner mud is left out."""
spatter_cover = severity_curve(0.0, (0.03, 0.14, 0.24, 0.50, 0.57))
"""Share of the blurred noise above the threshold."""


@perturbation(
    label="Spatter",
    family=WEATHER,
    stage=Stage.OPTICS,
    parameter="share of the lens that is wet",
    unit="of the lens",
    parameter_at=spatter_cover,
    random=True,
    # Water brightens and mud darkens: between them there is less of both.
    monotone=False,
    imagenet_c="spatter",
    source="Hendrycks & Dietterich, ICLR 2019, extra corruption 'spatter'",
    risk=OBSTRUCTED_VIEW,
    search=words(
        "rain raindrops mud drops water wet dirt dust stain smudge splash splatter lens "
        "windshield windscreen"
    ),
    wording="{percent} of the lens wet",
)
def spatter(images: Images, strength: float, rng: Streams) -> Images:
    """Put drops of pale water on the lens (up to severity 3), or splashes of brown mud (from 4).

    Between two severities their images are mixed. Both come from the same noise, drawn at side 224,
    so drops scale with the image.
    """
    level, past = between_severities(strength)
    shares = [(level, 1.0 - past), (level + 1, past)]
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        noise = standard_normals(stream, (REFERENCE_SIDE, REFERENCE_SIDE))
        out[:] = 0.0
        for severity, share in shares:
            if share > 0.0:
                cv2.scaleAdd(spattered(image, noise, severity), share, out, dst=out)
    return clipped(result)


def spattered(image: Images, noise: Plane, severity: int) -> Images:
    """``image`` with the liquid of ``severity`` (0: none) that standard normal ``noise`` gives."""
    if severity == 0:
        return image
    side = len(image)
    mean, spread, blur, threshold, last = SPATTER_LEVELS[severity - 1]
    liquid = smoothed(noise * np.float32(spread) + np.float32(mean), blur)
    cv2.threshold(liquid, threshold, 0.0, cv2.THRESH_TOZERO, dst=liquid)
    if severity < FIRST_MUDDY:
        drops = _coloured(at_side(water(liquid) * np.float32(last), side), WATER)
        return clipped(np.add(image, drops, out=drops))
    mud = smoothed((liquid > threshold).astype(np.float32), last)
    cv2.threshold(mud, MUD_EDGE, 0.0, cv2.THRESH_TOZERO, dst=mud)
    mud = at_side(mud, side)
    splashed = _coloured(mud, MUD)
    splashed += cv2.multiply(image, cv2.cvtColor(1.0 - mud, cv2.COLOR_GRAY2RGB))
    return splashed


def water(liquid: Plane) -> Plane:
    """The light that the drops add, at most 1; more on one side, as if lit from there.

    ``liquid`` (224, 224) in [0, 1] is 0 where there is none. The steps are the original's.
    """
    depth = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(depth, 50, 150), cv2.DIST_L2, 5)
    np.minimum(distance, 20.0, out=distance)
    relief = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(relief, cv2.CV_8U, EMBOSS)
    light = cv2.blur(relief, (3, 3)).astype(np.float32)
    light *= depth
    return light / np.float32(max(light.max(), 1e-20))


def _coloured(plane: Plane, colour: tuple[float, float, float]) -> Images:
    """``plane`` (S, S) times ``colour``: (S, S, 3)."""
    result = np.empty((*plane.shape, 3), dtype=np.float32)
    cv2.merge([plane * np.float32(part) for part in colour], dst=result)
    return result


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
    edges = np.arange(side + 1.0)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        starts = stream.uniform(size=2) * (side - length)
        covered = (np.clip(edges, start, start + length) for start in starts)  # of each pixel
        rows, columns = (np.diff(each).astype(np.float32) for each in covered)
        cover = cv2.cvtColor(np.outer(rows, columns), cv2.COLOR_GRAY2RGB)
        np.subtract(OCCLUDER_GREY, image, out=out)
        out *= cover
        out += image
    return clipped(result)


letter_height = linear(0.0, 0.11)
DOTS = {
    "0": "0e11131519110e",
    "1": "040c040404040e",
    "2": "0e11010204081f",
    "3": "1f02040201110e",
    "4": "02060a121f0202",
    "5": "1f101e0101110e",
    "6": "0608101e11110e",
    "7": "1f010204080808",
    "8": "0e11110e11110e",
    "9": "0e11110f01020c",
    "-": "0000001f000000",
    ":": "000c0c000c0c00",
    "C": "0e11101010110e",
    "A": "0e11111f111111",
    "M": "111b1515111111",
    " ": "00000000000000",
}
"""The letters of a timestamp: seven rows of five dots, one byte a row."""
LETTER_DOTS = 7
DOT = 2
"""Cells of the stamp a dot; the outline is one cell wide."""
STAMP_LETTERS = 10


@perturbation(
    label="Overlaid timestamp",
    family=WEATHER,
    # The camera writes it after the sensor and before the file.
    stage=Stage.SENSOR,
    parameter="height of the letters",
    unit="of the image's side",
    parameter_at=letter_height,
    random=True,
    # The letters move as they grow, and can come to lie on what looks like them.
    monotone=False,
    source="text over the image as 'overlay_text' of AugLy (Papakipos & Bitton, 2022), here what "
    "surveillance cameras write: their number, date and time in dots; up to 11% of the side, this "
    "project's choice",
    risk=OBSTRUCTED_VIEW,
    search=words("text date time caption subtitle watermark logo osd cctv surveillance letters"),
    wording="letters {percent} of the side",
)
def timestamp(images: Images, strength: float, rng: Streams) -> Images:
    """Write number, date and time of a camera in a corner, white with a black outline.

    Letters are ``letter_height(strength)`` of the side high. Corner and digits are random; edges
    are antialiased.
    """
    side = images.shape[1]
    cell = letter_height(strength) * side / (LETTER_DOTS * DOT)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        letters = stamp(stream)
        outlined = np.asarray(cv2.dilate(letters, np.ones((3, 3), np.uint8)), dtype=np.uint8)
        rows, columns = letters.shape
        bottom, right = stream.integers(2, size=2)
        top = bottom * (side - rows * cell)
        left = right * (side - columns * cell)
        covered = scaled_cells(outlined, top, left, cell, side)
        white = scaled_cells(letters, top, left, cell, side)
        np.multiply(image, cv2.cvtColor(1.0 - covered, cv2.COLOR_GRAY2RGB), out=out)
        out += cv2.cvtColor(white, cv2.COLOR_GRAY2RGB)
    return clipped(result)


def stamp(stream: np.random.Generator) -> Cells:
    """Three lines of white letters as cells of 0 and 1, ``DOT`` cells a dot."""
    camera, year, month, day = stream.integers((1, 2010, 1, 1), (17, 2030, 13, 29)).tolist()
    hour, minute, second = stream.integers((24, 60, 60)).tolist()
    lines = (
        f"CAM {camera:02}",
        f"{year}-{month:02}-{day:02}",
        f"{hour:02}:{minute:02}:{second:02}",
    )
    dots = np.concatenate([_dots(line.ljust(STAMP_LETTERS)) for line in lines])
    return np.pad(dots, 1).repeat(DOT, axis=0).repeat(DOT, axis=1)


def _dots(line: str) -> Cells:
    """The dots of a ``line``, with free ones above and below and right of each letter."""
    letters = []
    for letter in line:
        rows = np.frombuffer(bytes.fromhex(DOTS[letter]), dtype=np.uint8)
        letters.append(np.unpackbits(rows[:, None], axis=1)[:, 3:])
    return np.concatenate([np.pad(each, ((1, 1), (0, 1))) for each in letters], axis=1)


def scaled_cells(cells: Cells, top: float, left: float, cell: float, side: int) -> Plane:
    """The share of each pixel (side, side) that ``cells`` of 1 cover, each ``cell`` pixels wide."""
    total = cv2.integral(cells, sdepth=cv2.CV_64F)  # bilinear between its points
    for axis, start in enumerate((top, left)):
        count = cells.shape[axis]
        edges = np.clip((np.arange(side + 1) - start) / cell, 0, count)
        below = np.minimum(edges.astype(np.intp), count - 1)
        past = np.expand_dims(edges - below, 1 - axis)
        lower = total.take(below, axis=axis)
        upper = total.take(below + 1, axis=axis)
        total = lower + (upper - lower) * past
    shares = np.diff(np.diff(total, axis=0), axis=1) * cell**2
    return np.clip(shares, 0.0, 1.0).astype(np.float32)


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
    ours = image_weight(strength)
    ice = frost_weight(strength)
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
    rows = np.fft.fftfreq(SHEET_SIDE)
    columns = np.fft.rfftfreq(SHEET_SIDE)
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
        fixed = np.rint(lines * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(canvas, fixed, False, shade, 1, cv2.LINE_AA, SUBPIXEL_BITS)
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
