"""Weather in the scene: fog."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from robustness.perturbations.arrays import Plane, blank, clipped, random_words
from robustness.perturbations.perturbation import (
    BAD_WEATHER,
    LIGHTING,
    Images,
    Stage,
    Streams,
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
        add_fog(image, plasma(displacements, decay)[:side, :side], amount, out)
    return clipped(result)


def add_fog(image: Images, cloud: Plane, amount: float, out: Images) -> None:
    """Write (image + amount cloud) max / (max + amount) to ``out``; max is the image's maximum."""
    brightest = float(image.max())
    shrink = brightest / (brightest + amount)
    layer = cv2.cvtColor(cloud, cv2.COLOR_GRAY2RGB)
    cv2.addWeighted(image, shrink, layer, amount * shrink, 0.0, dst=out)


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
