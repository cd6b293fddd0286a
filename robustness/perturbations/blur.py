"""Blurs: Gaussian, out of focus, by motion, by zoom, through frosted glass and turbulent air."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.record import (
    BAD_WEATHER,
    BLUR,
    LIGHTING,
    OBSTRUCTED_VIEW,
    POOR_FOCUS,
    REFERENCE_SIDE,
    VIBRATION,
    Images,
    Plane,
    Stage,
    Streams,
    at_side,
    between_severities,
    blank,
    clipped,
    grain_words,
    in_pixels,
    linear,
    perturbation,
    severity_curve,
    standard_normals,
    words,
)

gaussian_sigma = severity_curve(0.0, (1.0, 2.0, 3.0, 4.0, 6.0))

GAUSSIAN_TRUNCATE = 4.0
"""Where the kernel ends, in standard deviations: the default of scikit-image's ``gaussian``."""


@perturbation(
    label="Gaussian blur",
    family=LIGHTING,
    stage=Stage.OPTICS,
    parameter="standard deviation",
    unit="px",
    parameter_at=gaussian_sigma,
    study_strength=0.6,
    imagenet_c="gaussian_blur",
    source="Hendrycks & Dietterich, ICLR 2019, extra corruption 'gaussian_blur'",
    risk=POOR_FOCUS,
    search=words("soft smooth unsharp sharpness fuzzy smeared out"),
    matchable=True,
)
def gaussian_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Convolve with a Gaussian of ``gaussian_sigma(strength)`` pixels (at side 224).

    Pixels beyond the border repeat the nearest one.
    """
    sigma = in_pixels(gaussian_sigma(strength), images)
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        smoothed(image, sigma, out)
    return clipped(result)


def smoothed(image: Plane, sigma: float, out: Plane | None = None) -> Plane:
    """``image`` under a Gaussian of ``sigma`` of its own pixels, written to ``out`` if given."""
    width = 2 * int(GAUSSIAN_TRUNCATE * sigma + 0.5) + 1
    result = np.empty(image.shape, dtype=np.float32) if out is None else out
    cv2.GaussianBlur(image, (width, width), sigma, dst=result, borderType=cv2.BORDER_REPLICATE)
    return result


defocus_radius = severity_curve(0.0, (3.0, 4.0, 6.0, 8.0, 10.0))
defocus_alias = severity_curve(0.0, (0.1, 0.5, 0.5, 0.5, 0.5))
defocus_gain = severity_curve(1.0, (1.0, 1.0, 1.0, 1.0119, 1.0119))
"""Sum of the kernel: the mean of 1.0130 and 1.0108, to which the original's two largest kernels sum
because it normalises the disk before blurring it. One value keeps the effect monotone."""

NO_BLUR = 0.1
"""Pixels; so narrow a Gaussian changes nothing in float32."""
MARGIN = 2
"""Cells around the disk that keep its blur off the border of the kernel."""


@perturbation(
    label="Defocus blur",
    family=LIGHTING,
    stage=Stage.OPTICS,
    parameter="disk radius",
    unit="px",
    parameter_at=defocus_radius,
    study_strength=0.6,
    # A disk inverts some frequencies, so a fine periodic texture can partly return.
    monotone=False,
    imagenet_c="defocus_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'defocus_blur'",
    risk=POOR_FOCUS,
    search=words("bokeh lens autofocus unsharp sharpness fuzzy out"),
    wording="radius {value} px",
    matchable=True,
)
def defocus_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Convolve with a disk of radius ``defocus_radius(strength)`` pixels (at side 224).

    Borders mirror, without repeating the edge pixel.
    """
    radius = in_pixels(defocus_radius(strength), images)
    kernel = disk(radius, defocus_alias(strength)) * np.float32(defocus_gain(strength))
    result = blank(images)
    for image, out in zip(images, result, strict=True):
        cv2.filter2D(image, -1, kernel, dst=out, borderType=cv2.BORDER_REFLECT_101)
    return clipped(result)


@lru_cache(maxsize=64)
def disk(radius: float, alias_blur: float) -> Plane:
    """Disk kernel of sum 1; ``radius`` and ``alias_blur`` in pixels of the kernel itself.

    At a whole radius it equals the original's: 1 where x^2 + y^2 <= radius^2, else 0, then blurred
    by a Gaussian of ``alias_blur``. Between whole radii, rings of cells with equal x^2 + y^2 fade
    in one by one. ``alias_blur`` softens the pixel grid, so it does not scale with S. What it
    spreads beyond the original's grid (four faint tips) is cut off to save time.
    """
    reach = max(8, math.ceil(radius))
    x = np.arange(-reach - MARGIN, reach + MARGIN + 1, dtype=np.float64)
    squared_distance = x[:, None] ** 2 + x[None, :] ** 2
    rings, ring_of_cell = np.unique(squared_distance, return_inverse=True)
    ring_of_rim = np.interp(radius**2, rings, np.arange(len(rings)))
    inside = np.clip(ring_of_rim - ring_of_cell + 1.0, 0.0, 1.0)
    kernel = inside.astype(np.float32)
    if alias_blur > NO_BLUR:
        cv2.GaussianBlur(kernel, (3, 3), alias_blur, dst=kernel)
    kernel = kernel[MARGIN:-MARGIN, MARGIN:-MARGIN]
    used = np.flatnonzero(kernel.any(axis=0))
    kernel = kernel[used[0] : used[-1] + 1, used[0] : used[-1] + 1]
    kernel = kernel / kernel.sum()
    kernel.flags.writeable = False
    return kernel


motion_radius = severity_curve(0.0, (10.0, 15.0, 15.0, 15.0, 20.0))
motion_sigma = severity_curve(0.0, (3.0, 5.0, 8.0, 12.0, 15.0))
MOTION_ANGLES = (-45.0, 45.0)

Tap = tuple[int, int, float]
"""One shifted copy of the image: rows down, columns right, weight."""


@perturbation(
    label="Motion blur",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="standard deviation of the trail",
    unit="px",
    parameter_at=motion_sigma,
    random=True,
    # A trail as long as the period of stripes partly restores them.
    monotone=False,
    imagenet_c="motion_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'motion_blur'; kernel as in the "
    "package imagecorruptions (Michaelis et al., 2019), which does without ImageMagick",
    risk=VIBRATION,
    search=words(
        "shake handheld speed moving camera unsharp sharpness fuzzy smeared panning jitter trail"
    ),
    wording="trail {value} px",
    matchable=True,
)
def motion_blur(images: Images, strength: float, rng: Streams) -> Images:
    """Smear every point along a straight trail that fades as half a Gaussian.

    Its standard deviation is ``motion_sigma(strength)`` pixels (at side 224), its length twice
    ``motion_radius``. The direction is random, within 45 degrees of the horizontal.
    """
    radius = in_pixels(motion_radius(strength), images)
    sigma = in_pixels(motion_sigma(strength), images)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        trail(image, taps(radius, sigma, stream.uniform(*MOTION_ANGLES)), out)
    return clipped(result)


def taps(radius: float, sigma: float, angle: float) -> list[Tap]:
    """The copies that form a trail at ``angle`` degrees; their weights sum to 1.

    One copy per pixel of length, at whole pixels as in the original; a fractional ``radius`` fades
    the last one in.
    """
    reach = 2.0 * radius
    along = np.arange(math.floor(reach) + 2)
    weights = np.exp(-0.5 * (along / max(sigma, NO_BLUR)) ** 2)
    weights *= np.minimum(reach + 1.0 - along, 1.0)
    weights /= weights.sum()
    down, right = (
        -np.ceil(along * part - 0.5).astype(int)
        for part in (math.sin(math.radians(angle)), math.cos(math.radians(angle)))
    )
    merged: dict[tuple[int, int], float] = {}
    for row, column, weight in zip(down.tolist(), right.tolist(), weights.tolist(), strict=True):
        merged[row, column] = merged.get((row, column), 0.0) + weight
    return [(*place, weight) for place, weight in merged.items() if weight > 1e-7]


def trail(image: Plane, copies: list[Tap], out: Plane) -> None:
    """Write the sum of the shifted ``copies`` of ``image`` to ``out``; borders repeat."""
    rows, columns = image.shape[:2]
    margin = max(max(abs(down), abs(right)) for down, right, _ in copies)
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    out[:] = 0.0
    for down, right, weight in copies:
        top = margin - down
        left = margin - right
        cv2.scaleAdd(padded[top : top + rows, left : left + columns], weight, out, dst=out)


ZOOM_STEPS = (0.01, 0.01, 0.01, 0.02, 0.02, 0.03)
"""Step between the averaged zoom factors, at severities 0 to 5."""
last_zoom = severity_curve(1.0, (1.11, 1.15, 1.20, 1.24, 1.30))
"""The last factor; the original's arange(1, 1.16, 0.01) ends one before."""


@perturbation(
    label="Zoom blur",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="largest zoom",
    unit="times",
    parameter_at=last_zoom,
    # Stripes enlarged by their own period coincide with themselves.
    monotone=False,
    imagenet_c="zoom_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'zoom_blur'",
    risk=VIBRATION,
    search=words("speed forward driving approach radial"),
    wording="zoom {value} x",
)
def zoom_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Average the image and its enlargements about the centre by ``zoom_weights(strength)``."""
    side = images.shape[1]
    weights = zoom_weights(strength)
    result = blank(images)
    larger = np.empty(images.shape[1:], dtype=np.float32)
    for image, out in zip(images, result, strict=True):
        np.multiply(image, weights[1.0], out=out)
        for factor, weight in weights.items():
            if factor > 1.0:
                # As in ImageNet-C: a centred square of whole pixels is enlarged corner to corner,
                # and its first pixels are kept.
                cut = math.ceil(side / factor)
                start = (side - cut) // 2
                scale = (cut - 1) / (round(cut * factor) - 1)
                cv2.warpAffine(
                    image,
                    np.array([[scale, 0.0, start], [0.0, scale, start]], dtype=np.float32),
                    (side, side),
                    dst=larger,
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REPLICATE,
                )
                cv2.scaleAdd(larger, weight, out, dst=out)
    return clipped(result)


def zoom_weights(strength: float) -> dict[float, float]:
    """The share of each zoom factor in the average; the image itself counts twice.

    At a severity they equal the original's. Between two, the weight moves linearly from the factors
    of one to those of the next, which fade in up to ``last_zoom(strength)``.
    """
    last = last_zoom(strength)
    level, past = between_severities(strength)
    shares: dict[float, float] = {}
    for step, share in ((ZOOM_STEPS[level], 1.0 - past), (ZOOM_STEPS[level + 1], past)):
        for factor in np.arange(0.0, last - 1.0 + 0.01, step) + 1.0:
            place = round(float(factor), 6)
            faded_in = min(1.0 + (last - place) / 0.01, 1.0)
            shares[place] = shares.get(place, 0.0) + share * max(faded_in, 0.0)
    shares[1.0] *= 2.0
    total = sum(shares.values())
    return {factor: share / total for factor, share in shares.items() if share > 1e-6}


glass_sigma = severity_curve(0.0, (0.7, 0.9, 1.0, 1.1, 1.5))
GLASS_REACH = (0, 1, 2, 2, 3, 4)
"""Largest distance of the copied pixel, in pixels at side 224, at severities 0 to 5."""
GLASS_SWEEPS = (0, 2, 1, 3, 2, 2)
"""Number of sweeps, at severities 0 to 5."""
glass_reach = severity_curve(GLASS_REACH[0], GLASS_REACH[1:])

Places = NDArray[np.int32]
"""For each pixel of a flattened image, the place of another: shape (S * S,)."""


@perturbation(
    label="Frosted glass blur",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="reach of a pixel",
    unit="px",
    parameter_at=glass_reach,
    random=True,
    # The sweeps go 2, 1, 3, 2, 2, so a fine texture can be mixed less at a larger distance.
    monotone=False,
    imagenet_c="glass_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'glass_blur', which copies pixels "
    "where it means to swap them",
    risk=OBSTRUCTED_VIEW,
    search=words(
        "window shower privacy pane bathroom scratched greasy smudge fingerprint milky lens"
    ),
    wording="reach {value} px",
)
def glass_blur(images: Images, strength: float, rng: Streams) -> Images:
    """Blur by ``glass_sigma(strength)``, let every pixel copy one nearby, and blur again.

    Between two severities a growing share of the pixels uses the distance of the upper one. The
    order of the pixels and their directions are the same at every strength. Unlike the original,
    this does not round to 8 bits before copying.
    """
    sigma = in_pixels(glass_sigma(strength), images)
    side = images.shape[1]
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        looks = grain_words(stream, (max(GLASS_SWEEPS), 2, side, side), np.int16, rows=2)
        lots = grain_words(stream, (side, side), np.uint16).ravel()
        sources = glass_sources(looks, lots, strength)
        pixels = smoothed(image, sigma, out).reshape(-1, 3)
        smoothed(pixels.take(sources, axis=0).reshape(image.shape), sigma, out)
    return clipped(result)


def glass_sources(looks: NDArray[np.int16], lots: NDArray[np.uint16], strength: float) -> Places:
    """Where each pixel is copied from in the end.

    ``looks`` (sweeps, 2, S, S) are uniform numbers for the offset of the copied pixel, right and
    down; ``lots`` (S * S,) order the pixels between one severity and the next.
    """
    level, past = between_severities(strength)
    upper = lots < round(past * 65536)
    sources = np.arange(lots.size, dtype=np.int32)
    for sweep, look in enumerate(looks):
        targets = _targets(look, level if sweep < GLASS_SWEEPS[level] else 0)
        if past > 0.0:
            higher = _targets(look, level + 1 if sweep < GLASS_SWEEPS[level + 1] else 0)
            targets = np.where(upper, higher, targets)
        sources = sources.take(swept(targets))
    return sources


def _targets(look: NDArray[np.int16], severity: int) -> Places:
    """The copied pixel of each pixel at ``severity``: up to its reach before, one less after.

    Pixels that would copy from beyond the border keep their place.
    """
    side = look.shape[1]
    reach = GLASS_REACH[severity] * side / REFERENCE_SIDE
    shift = np.floor(look * np.float32(reach / 32768)).astype(np.int32)
    margin = math.ceil(reach)
    inside = slice(margin + 1, side - margin + 1)
    targets = np.arange(side * side, dtype=np.int32).reshape(side, side)
    targets[inside, inside] += (shift[1] * side + shift[0])[inside, inside]
    return targets.ravel()


def swept(targets: Places) -> Places:
    """The source of each pixel after one sweep from the last pixel to the first.

    A pixel that copies a later one gets what that one has just copied, so the chain is followed to
    a pixel that the sweep has not reached.
    """
    sources = targets.copy()
    chained = np.flatnonzero(targets > np.arange(targets.size, dtype=np.int32))
    while chained.size:
        chain = sources[chained]
        sources[chained] = targets[chain]
        chained = chained[sources[chained] > chain]
    return sources


turbulence_ratio = linear(0.0, 5.0)
"""Aperture of the lens over r0, Fried's parameter of the air."""
TILT_LARGEST = 3.0
TILT_SMALLEST = 16.0
"""Cycles per image of the largest whirls, and those from which the aperture averages them."""
TILT_WAVES = 96
"""Cosines along a side; the others are averaged away."""


def turbulent_tilt(ratio: float) -> float:
    """Standard deviation of the shift of a pixel along either axis, in pixels at side 224.

    The tilt has a variance of 0.448 ``ratio`` ** (5/3) rad² (Noll, 1976), and one radian moves the
    image by 2 / pi times the resolution of the lens, which is one pixel.
    """
    return 2 / math.pi * math.sqrt(0.448 * ratio ** (5 / 3))


def turbulent_blur(ratio: float) -> float:
    """Standard deviation of the blur in pixels at side 224.

    Long exposures have one of 0.98 ``ratio`` pixels at half maximum, tilts included (Fried, 1966).
    """
    long_exposure = 0.98 * ratio / (2 * math.sqrt(2 * math.log(2)))
    return math.sqrt(max(long_exposure**2 - turbulent_tilt(ratio) ** 2, 0.0))


@perturbation(
    label="Atmospheric turbulence",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="aperture over Fried's parameter r0",
    unit="r0",
    parameter_at=turbulence_ratio,
    random=True,
    # A texture shifted by its own period coincides with itself.
    monotone=False,
    source="the tilts of Noll, JOSA 1976, and the short exposure of Fried, JOSA 1966, correlated "
    "over the image as in Chimitt & Chan, Optical Engineering 2020; one pixel is the resolution "
    "of the lens, this project's choice",
    risk=BAD_WEATHER,
    search=words(
        "heat haze shimmer hot air mirage wavy ripple distant telephoto telescope surveillance"
    ),
    wording="aperture {value} r0",
)
def turbulence(images: Images, strength: float, rng: Streams) -> Images:
    """Blur the image and shift its pixels along random waves, as hot or turbulent air does.

    Waves are drawn at side 224 and scale with the image. Borders mirror.
    """
    side = images.shape[1]
    ratio = turbulence_ratio(strength)
    sigma = in_pixels(turbulent_blur(ratio), images)
    shift = np.float32(in_pixels(turbulent_tilt(ratio), images))
    grid = np.arange(side, dtype=np.float32)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        waves = [at_side(field, side) * shift for field in turbulent_fields(stream)]
        right = waves[0] + grid
        down = waves[1] + grid[:, None]
        soft = smoothed(image, sigma) if sigma > NO_BLUR else image
        cv2.remap(soft, right, down, cv2.INTER_LINEAR, dst=out, borderMode=cv2.BORDER_REFLECT_101)
    return clipped(result)


def turbulent_fields(stream: np.random.Generator) -> list[Plane]:
    """Random waves to the right and down of standard deviation 1, (224, 224) each."""
    cosines = np.zeros((2, REFERENCE_SIDE, REFERENCE_SIDE), dtype=np.float32)
    drawn = standard_normals(stream, (2, TILT_WAVES, TILT_WAVES))
    cosines[:, :TILT_WAVES, :TILT_WAVES] = drawn * tilt_spectrum()
    return [np.asarray(cv2.idct(plane), dtype=np.float32) for plane in cosines]


@lru_cache(maxsize=1)
def tilt_spectrum() -> Plane:
    """The deviation of each cosine of the waves: von Karman's spectrum of tilts, averaged."""
    cycles = np.arange(TILT_WAVES) / 2
    squared = cycles[:, None] ** 2 + cycles**2
    amplitudes = np.sqrt(squared) * (squared + TILT_LARGEST**2) ** (-11 / 12)
    amplitudes *= np.exp(-squared / TILT_SMALLEST**2)
    amplitudes *= REFERENCE_SIDE / np.sqrt((amplitudes**2).sum())
    spectrum = amplitudes.astype(np.float32)
    spectrum.flags.writeable = False
    return spectrum
