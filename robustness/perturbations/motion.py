"""Blur by movement and by structured glass: motion, zoom and glass blur."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped, in_pixels, random_words
from robustness.perturbations.blur import GAUSSIAN_TRUNCATE
from robustness.perturbations.record import (
    BLUR,
    REGISTRY,
    SEVERITY_STRENGTHS,
    Images,
    Perturbation,
    Stage,
    Streams,
    severity_curve,
)

motion_radius = severity_curve(0.0, (10.0, 15.0, 15.0, 15.0, 20.0))
motion_sigma = severity_curve(0.0, (3.0, 5.0, 8.0, 12.0, 15.0))

LEAST_SIGMA = 0.05
"""Pixels; so narrow a Gaussian gives the next pixel e^-200 of the weight: nothing."""


def motion_blur(images: Images, strength: float, rng: Streams) -> Images:
    """Smears each picture along one line, whose angle is uniform in [-45, 45] degrees.

    The weights fall off from the pixel itself to one side as half a Gaussian of
    ``motion_sigma(strength)`` pixels, cut at twice ``motion_radius(strength)`` (at side 224).
    """
    radius = in_pixels(motion_radius(strength), images)
    sigma = in_pixels(motion_sigma(strength), images)
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        smear(image, radius, sigma, stream.uniform(-45.0, 45.0), out)
    return clipped(result)


def smear(image: Plane, radius: float, sigma: float, angle: float, out: Plane) -> None:
    """Writes ``image`` blurred along ``angle`` degrees to ``out``; lengths in its own pixels.

    Tap i lies i pixels along the line, rounded half down to whole pixels as in the original. The
    last of the 2 ``radius`` + 1 taps enters gradually. Pixels beyond the border repeat the
    nearest one. Taps are summed one by one: the kernel holds too few for a Fourier transform.
    """
    taps = np.arange(math.ceil(2 * radius) + 1)
    weights = np.exp(-0.5 * (taps / max(sigma, LEAST_SIGMA)) ** 2)
    weights *= np.clip(2 * radius + 1 - taps, 0.0, 1.0)
    weights /= weights.sum()
    turn = math.radians(angle)
    right = np.ceil(taps * math.cos(turn) - 0.5).astype(int)
    down = np.ceil(taps * math.sin(turn) - 0.5).astype(int)
    left, top = max(0, -int(right.min())), max(0, -int(down.min()))
    padded = cv2.copyMakeBorder(
        np.ascontiguousarray(image),
        top,
        max(0, int(down.max())),
        left,
        max(0, int(right.max())),
        cv2.BORDER_REPLICATE,
    )
    height, width = image.shape[:2]
    out.fill(0.0)
    for weight, x, y in zip(weights.tolist(), right + left, down + top, strict=True):
        cv2.scaleAdd(padded[y : y + height, x : x + width], weight, out, dst=out)


REGISTRY.add(
    Perturbation(
        name="motion_blur",
        label="Motion blur",
        family=BLUR,
        stage=Stage.OPTICS,
        function=motion_blur,
        parameter="standard deviation along the line",
        unit="px",
        parameter_at=motion_sigma,
        study_strength=None,
        random=True,
        imagenet_c="motion_blur",
        severity_strengths=SEVERITY_STRENGTHS,
        source="Hendrycks & Dietterich, ICLR 2019, corruption 'motion_blur'",
    )
)

zoom_step = severity_curve(0.01, (0.01, 0.01, 0.02, 0.02, 0.03))
zoom_count = severity_curve(1.0, (12.0, 16.0, 11.0, 13.0, 11.0))
"""Number of factors, 1 included: that of the original's ``arange``, rounding errors included."""

ZOOM_GRID = 100
"""Factors per unit at which ``clipped_zoom`` equals the original; all of its own are among them."""


def largest_zoom(strength: float) -> float:
    """The greatest zoom factor that takes part."""
    return 1.0 + zoom_step(strength) * (zoom_count(strength) - 1.0)


def zoom_blur(images: Images, strength: float, rng: Streams = ()) -> Images:
    """The mean of the picture and of its zooms by 1, 1 + step, 1 + 2 step, ... about the centre.

    The step is ``zoom_step(strength)``; there are ``zoom_count(strength)`` zooms, the last of
    which enters gradually where that is not a whole number.
    """
    step, count = zoom_step(strength), zoom_count(strength)
    side = images.shape[1]
    weights = np.clip(count - np.arange(1, math.ceil(count)), 0.0, 1.0)
    total = 2.0 + float(weights.sum())
    result = blank(images)
    zoomed = np.empty(images.shape[1:], dtype=np.float32)
    for image, out in zip(images, result, strict=True):
        source = np.ascontiguousarray(image)
        np.multiply(source, np.float32(2.0 / total), out=out)  # itself, and its zoom by 1
        for place, weight in enumerate(weights.tolist(), start=1):
            scale, offset = clipped_zoom(1.0 + place * step, side)
            matrix = np.array([[scale, 0.0, offset], [0.0, scale, offset]])
            cv2.warpAffine(
                source,
                matrix,
                (side, side),
                dst=zoomed,
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            cv2.scaleAdd(zoomed, weight / total, out, dst=out)
    return clipped(result)


def clipped_zoom(factor: float, side: int) -> tuple[float, float]:
    """Scale and offset, in pixels, of the map from a pixel of the zoom to its source.

    The original cuts out a whole number of pixels and stretches their centres over a whole number
    of pixels. This equals it at multiples of 1 / ``ZOOM_GRID`` and is linear between them, so
    that a growing factor does not make the picture tremble.
    """
    place = factor * ZOOM_GRID
    if abs(place - round(place)) < 1e-6:
        return whole_zoom(round(place) / ZOOM_GRID, side)
    below = math.floor(place)
    first, second = (whole_zoom(knot / ZOOM_GRID, side) for knot in (below, below + 1))
    share = place - below
    scale, offset = ((1 - share) * a + share * b for a, b in zip(first, second, strict=True))
    return scale, offset


def whole_zoom(factor: float, side: int) -> tuple[float, float]:
    """Scale and offset, in pixels, of the original's ``clipped_zoom`` by ``factor``."""
    cut = math.ceil(side / factor)
    return (cut - 1) / max(round(cut * factor) - 1, 1), float((side - cut) // 2)


REGISTRY.add(
    Perturbation(
        name="zoom_blur",
        label="Zoom blur",
        family=BLUR,
        stage=Stage.OPTICS,
        function=zoom_blur,
        parameter="largest zoom",
        unit="times",
        parameter_at=largest_zoom,
        study_strength=None,
        imagenet_c="zoom_blur",
        severity_strengths=SEVERITY_STRENGTHS,
        source="Hendrycks & Dietterich, ICLR 2019, corruption 'zoom_blur'",
    )
)

glass_sigma = severity_curve(0.0, (0.7, 0.9, 1.0, 1.1, 1.5))
glass_reach = severity_curve(0.0, (1.0, 2.0, 2.0, 3.0, 4.0))
glass_passes = severity_curve(2.0, (2.0, 1.0, 3.0, 2.0, 2.0))

MOST_PASSES = 3


def glass_blur(images: Images, strength: float, rng: Streams) -> Images:
    """Gaussian blur, then pixels copied from random places close by, then Gaussian blur again.

    Both blurs have ``glass_sigma(strength)`` pixels; a pixel moves by up to
    ``glass_reach(strength)`` pixels (at side 224) in each of ``glass_passes(strength)`` passes.
    The original cuts its first blur down to whole 255ths, which darkens it by half of one.
    """
    sigma = in_pixels(glass_sigma(strength), images)
    reach = in_pixels(glass_reach(strength), images)
    passes = glass_passes(strength)
    side = images.shape[1]
    width = 2 * int(GAUSSIAN_TRUNCATE * sigma + 0.5) + 1
    result = blank(images)
    for image, stream, out in zip(images, rng, result, strict=True):
        lots = random_words(stream, (MOST_PASSES, 3, side, side), np.uint16)
        cv2.GaussianBlur(image, (width, width), sigma, dst=out, borderType=cv2.BORDER_REPLICATE)
        sources: NDArray[np.intp] | None = None
        for place in range(math.ceil(passes)):
            taking_part = min(passes - place, 1.0)
            moves = displacements(lots[place], reach, taking_part)
            step = copied_from(*moves)
            sources = step if sources is None else sources.take(step)
        shuffled = out.reshape(-1, 3).take(sources, axis=0).reshape(out.shape)
        cv2.GaussianBlur(shuffled, (width, width), sigma, dst=out, borderType=cv2.BORDER_REPLICATE)
    return clipped(result)


def displacements(
    lots: NDArray[np.uint16], reach: float, taking_part: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Steps down and to the right, in whole pixels, (S, S) each, from ``lots`` (3, S, S).

    At a whole ``reach`` each is uniform over -reach, ..., reach - 1, as in the original; between,
    the pixels go over to the next whole reach one by one. Those nearer to the border than their
    reach stay, and so does all but a share ``taking_part``.
    """
    whole = math.floor(reach)
    in_65536ths = round((reach - whole) * 65536), round(taking_part * 65536)
    own: NDArray[np.int32] | int = whole
    if in_65536ths[0]:
        own = (lots[2] < in_65536ths[0]) + np.int32(whole)
    down, right = ((lot.astype(np.int32) * (2 * own) >> 16) - own for lot in lots[:2])
    stays = _reach_to_border(lots.shape[1]) < own
    if in_65536ths[1] < 65536:
        stays |= (lots[2] * np.uint16(SCRAMBLER)) >= in_65536ths[1]
    down[stays] = 0
    right[stays] = 0
    return down, right


SCRAMBLER = 40503
"""Odd, near 65536 over the golden ratio: times it, the 16-bit numbers come in another order."""


@lru_cache(maxsize=8)
def _reach_to_border(side: int) -> NDArray[np.int32]:
    """The greatest reach (S, S) at which the original's loop visits a pixel."""
    place = np.arange(side, dtype=np.int32)
    inset = np.minimum(place - 1, side - place)
    table = np.minimum(inset[:, None], inset[None, :])
    table.flags.writeable = False
    return table


def copied_from(down: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.intp]:
    """Flat index (S * S) of the pixel that each one receives in one pass of the original's loop.

    The loop goes from the last pixel to the first and replaces each by what is then found at its
    displacement (it means to swap the two, but copies through a view). A place that the loop has
    passed holds a copy already, so that copies come of copies: links that lead towards the end
    of the picture are followed, all at once and twice as far each time, until none is left.
    """
    side = len(down)
    count = side * side
    # The places after the first ``count`` stand for what the picture held before the pass.
    link = np.arange(2 * count, dtype=np.intp)
    target = (down * np.int32(side) + right).ravel() + link[:count]
    moving = np.flatnonzero(target > link[:count])
    np.add(target, count, out=link[:count])
    link[moving] = target[moving]
    while moving.size:
        further = link.take(link.take(moving))
        link[moving] = further
        moving = moving[further < count]
    return link[:count] - count


REGISTRY.add(
    Perturbation(
        name="glass_blur",
        label="Glass blur",
        family=BLUR,
        stage=Stage.OPTICS,
        function=glass_blur,
        parameter="largest displacement",
        unit="px",
        parameter_at=glass_reach,
        study_strength=None,
        random=True,
        # Passes come and go from level to level, as in ImageNet-C.
        monotone=False,
        imagenet_c="glass_blur",
        severity_strengths=SEVERITY_STRENGTHS,
        source="Hendrycks & Dietterich, ICLR 2019, corruption 'glass_blur'",
    )
)
