"""Blur by movement and by structured glass: motion, zoom and glass blur."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped, in_pixels, random_words
from robustness.perturbations.blur import NO_BLUR, smoothed
from robustness.perturbations.perturbation import (
    BLUR,
    OBSTRUCTED_VIEW,
    REFERENCE_SIDE,
    VIBRATION,
    Images,
    Stage,
    Streams,
    between_severities,
    perturbation,
    severity_curve,
    words,
)

motion_radius = severity_curve(0.0, (10.0, 15.0, 15.0, 15.0, 20.0))
motion_sigma = severity_curve(0.0, (3.0, 5.0, 8.0, 12.0, 15.0))
MOTION_ANGLES = (-45.0, 45.0)

Tap = tuple[int, int, float]
"""Rows down, columns to the right, weight of one shifted copy of the image."""


@perturbation(
    label="Motion blur",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="standard deviation of the trail",
    unit="px",
    parameter_at=motion_sigma,
    random=True,
    # A trail as long as the period of stripes can bring them half-way back.
    monotone=False,
    imagenet_c="motion_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'motion_blur'; kernel as in the "
    "package imagecorruptions (Michaelis et al., 2019), which does without ImageMagick",
    risk=VIBRATION,
    search=words(
        "shake handheld speed moving camera unsharp sharpness fuzzy smeared panning jitter trail"
    ),
    wording="trail {value} px",
)
def motion_blur(images: Images, strength: float, rng: Streams) -> Images:
    """Leaves a trail behind every point, straight and fading as half a Gaussian.

    Its standard deviation is ``motion_sigma(strength)`` pixels (at side 224), and it is cut off
    after twice ``motion_radius``. The direction, within 45 degrees of the horizontal, is random.
    """
    radius = in_pixels(motion_radius(strength), images)
    sigma = in_pixels(motion_sigma(strength), images)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        trail(image, taps(radius, sigma, stream.uniform(*MOTION_ANGLES)), out)
    return clipped(result)


def taps(radius: float, sigma: float, angle: float) -> list[Tap]:
    """The copies that make up a trail at ``angle`` degrees, their weights summing to 1.

    One copy a pixel of the way, placed to whole pixels as the original does; a fractional
    ``radius`` fades the last one in.
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
    """Writes the sum of the shifted ``copies`` of ``image`` to ``out``; borders repeat."""
    rows, columns = image.shape[:2]
    margin = max(max(abs(down), abs(right)) for down, right, _ in copies)
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    out[:] = 0.0
    for down, right, weight in copies:
        top, left = margin - down, margin - right
        cv2.scaleAdd(padded[top : top + rows, left : left + columns], weight, out, dst=out)


ZOOM_STEPS = (0.01, 0.01, 0.01, 0.02, 0.02, 0.03)
"""Between the zoom factors averaged over, at severities 0 to 5."""
last_zoom = severity_curve(1.0, (1.11, 1.15, 1.20, 1.24, 1.30))
"""The last of the factors; the original writes arange(1, 1.16, 0.01), which ends one before."""


@perturbation(
    label="Zoom blur",
    family=BLUR,
    stage=Stage.OPTICS,
    parameter="largest zoom",
    unit="times",
    parameter_at=last_zoom,
    # Stripes enlarged by their own period fall on themselves.
    monotone=False,
    imagenet_c="zoom_blur",
    source="Hendrycks & Dietterich, ICLR 2019, corruption 'zoom_blur'",
    risk=VIBRATION,
    search=words("speed forward driving approach radial"),
    wording="zoom {value} x",
)
def zoom_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """Averages the image and its enlargements about the centre by ``zoom_weights(strength)``."""
    side = images.shape[1]
    weights = zoom_weights(strength)
    result = blank(images)
    larger = np.empty(images.shape[1:], dtype=np.float32)
    for image, out in zip(images, result, strict=True):
        np.multiply(image, weights[1.0], out=out)
        for factor, weight in weights.items():
            if factor > 1.0:
                cv2.warpAffine(
                    image,
                    _zoom_matrix(factor, side),
                    (side, side),
                    dst=larger,
                    flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                    borderMode=cv2.BORDER_REPLICATE,
                )
                cv2.scaleAdd(larger, weight, out, dst=out)
    return clipped(result)


def zoom_weights(strength: float) -> dict[float, float]:
    """The share of each zoom factor in the average; the image itself counts twice.

    At a severity they are the original's. Between two, the factors of either step share the weight
    as the strength lies, and fade in one after the other up to ``last_zoom(strength)``.
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


def _zoom_matrix(factor: float, side: int) -> Plane:
    """From a pixel of the enlarged image to its place in the original, cut as ImageNet-C cuts.

    There a centred square of whole pixels is enlarged corner to corner, which may give a pixel
    more than ``side``; the first ``side`` of them are kept.
    """
    cut = math.ceil(side / factor)
    start = (side - cut) // 2
    scale = (cut - 1) / (round(cut * factor) - 1)
    return np.array([[scale, 0.0, start], [0.0, scale, start]], dtype=np.float32)


glass_sigma = severity_curve(0.0, (0.7, 0.9, 1.0, 1.1, 1.5))
GLASS_REACH = (0, 1, 2, 2, 3, 4)
"""How far a pixel looks, in pixels at side 224, at severities 0 to 5."""
GLASS_SWEEPS = (0, 2, 1, 3, 2, 2)
"""How often every pixel looks, at severities 0 to 5."""
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
    # Its sweeps go 2, 1, 3, 2, 2, so that a fine texture can be mixed less at more reach.
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
    """Blurs by ``glass_sigma(strength)``, lets every pixel copy one nearby, and blurs again.

    Between two severities a pixel looks as far as at either, the share of the upper one growing
    with the strength; which pixels those are, and in which direction each of them looks, is the
    same at every strength. The original cuts to 8 bits before it copies; this does not.
    """
    sigma = in_pixels(glass_sigma(strength), images)
    side = images.shape[1]
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        looks = random_words(stream, (max(GLASS_SWEEPS), 2, side, side), np.int16)
        lots = random_words(stream, (side * side,), np.uint16)
        sources = glass_sources(looks, lots, strength)
        pixels = smoothed(image, sigma, out).reshape(-1, 3)
        smoothed(pixels.take(sources, axis=0).reshape(image.shape), sigma, out)
    return clipped(result)


def glass_sources(looks: NDArray[np.int16], lots: NDArray[np.uint16], strength: float) -> Places:
    """Where each pixel is copied from in the end.

    ``looks`` (sweeps, 2, S, S) are uniform numbers that say where a pixel looks, right and down;
    ``lots`` (S * S,) say in which order the pixels go over from one severity to the next.
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
    """Where the pixels look at ``severity``: up to its reach before themselves, one less after.

    Those so near to a border that they would look across it look at themselves.
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
    """Where each pixel is copied from in one sweep, pixel by pixel from the last to the first.

    A pixel that looks at a later one finds there what that one has just copied, so the chain of
    looks is followed until it leads to one not yet reached. The result is that of the sweep.
    """
    sources = targets.copy()
    chained = np.flatnonzero(targets > np.arange(targets.size, dtype=np.int32))
    while chained.size:
        seen = sources[chained]
        sources[chained] = targets[seen]
        chained = chained[sources[chained] > seen]
    return sources
