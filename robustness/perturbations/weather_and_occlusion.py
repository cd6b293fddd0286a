"""Weather, and what hides the view: fog, snow, spatter and a grey square. Frost is in ``frost``."""

from __future__ import annotations

from statistics import NormalDist

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays_and_random_numbers import (
    Plane,
    at_side,
    blank,
    clipped,
    random_words,
    standard_normals,
)
from robustness.perturbations.blur import smoothed, taps, trail
from robustness.perturbations.perturbation import (
    BAD_WEATHER,
    LIGHTING,
    OBSTRUCTED_VIEW,
    REFERENCE_SIDE,
    WEATHER,
    Images,
    Stage,
    Streams,
    between_severities,
    linear,
    perturbation,
    severity_curve,
    words,
)

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
    amount, decay = fog_amount(strength), fog_decay(strength)
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
    start, unit = 0, 1.0 / 32768
    while start < displacements.size:
        side = len(grid)
        stop = start + 3 * side * side
        level = displacements[start:stop].reshape(3, side, side) * np.float32(unit)
        grid = _finer(grid, level)
        start, unit = stop, unit / decay**2
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
    start, scale = snow_zoom_start(strength), snow_zoom_scale(strength)
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
    length, edges = occluder_side(strength) * side, np.arange(side + 1.0)
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
