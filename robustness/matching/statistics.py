"""Statistics of a study image that perturbations change: light, colour, noise, sharpness, blocks.

Each image becomes a vector. Logarithms keep ratios comparable; statistics in pixels hold at any
side of at least 64, since frequencies are relative to it. Noise and blocks are those of luma: the
chroma of a file tells its encoder, which all images of a collection share.

One global test of whether two sets of images differ in their statistics.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Values = NDArray[np.float64]

NAMES = (
    "luma 1 %",
    "luma 5 %",
    "luma 25 %",
    "luma 50 %",
    "luma 75 %",
    "luma 95 %",
    "luma 99 %",
    "luma mean",
    "luma deviation",
    "clipped brightest channel",
    "clipped darkest channel",
    "white pixels",
    "black pixels",
    "dark channel mean",
    "dark channel 5 %",
    "darkest channel 1 %",
    "saturation mean",
    "saturation 90 %",
    "blue mean",
    "red mean",
    "relative blue",
    "relative red",
    "blue deviation",
    "red deviation",
    "chroma to luma",
    "red 99 %",
    "green 99 %",
    "blue 99 %",
    "red to green",
    "blue to green",
    "noise",
    "noise in smooth parts",
    "noise in light to dark parts",
    "residual correlation, x",
    "residual correlation, y",
    "residual correlation, 2 px",
    "residual correlation, diagonal",
    "residual kurtosis",
    *(f"spectrum band {band}" for band in range(1, 12)),
    "spectrum direction",
    "gradient",
    "gradient kurtosis",
    "edge 99 %",
    "edge 99.9 %",
    "block edges",
    "zero high DCT",
    "small DCT",
    "zero DCT",
    "flat pixels",
    "corners to centre",
    "light falloff",
)
"""Names of the statistics, in the order of the vector."""

_BANDS = (0.008, 0.02, 0.04, 0.065, 0.095, 0.13, 0.17, 0.22, 0.28, 0.35, 0.44, 0.5)
"""Edges of the spectrum's radial bands in cycles a pixel."""
_LEVELS = 1020
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""The noise filter of Immerkaer, "Fast Noise Variance Estimation" (1996)."""
_LEVEL = 1 / 255
_DCT = np.array(
    [
        [
            np.cos((2 * j + 1) * i * np.pi / 16) * (np.sqrt(1 / 8) if i == 0 else 0.5)
            for j in range(8)
        ]
        for i in range(8)
    ],
    np.float32,
)
"""Coefficients of the discrete cosine transform of 8 values."""


class _Grid(NamedTuple):
    """Arrays that depend only on the side."""

    bands: NDArray[np.int64]
    sizes: NDArray[np.float64]
    window: Floats
    high: NDArray[np.int64]
    weight: Floats
    cosine: Floats
    sine: Floats
    corners: NDArray[np.bool_]
    centre: NDArray[np.bool_]
    falloff: Floats


@lru_cache(maxsize=4)
def _grid(side: int) -> _Grid:
    y = np.fft.fftfreq(side)[:, None]
    x = np.fft.rfftfreq(side)[None]
    radius = np.hypot(y, x)
    bands = np.digitize(radius, _BANDS).ravel()
    high = (radius > 0.1) & (radius < 0.45)
    angle = 2 * np.arctan2(np.broadcast_to(y, radius.shape), np.broadcast_to(x, radius.shape))[high]
    rows, columns = np.mgrid[:side, :side] - side / 2 + 0.5
    distance = (rows**2 + columns**2) / (side / 2) ** 2
    falloff = (distance - distance.mean()).ravel()
    return _Grid(
        bands,
        np.maximum(np.bincount(bands, minlength=len(_BANDS) + 1), 1).astype(np.float64),
        np.outer(np.hanning(side), np.hanning(side)).astype(np.float32),
        np.flatnonzero(high),
        (radius[high] ** 2).astype(np.float32),
        np.cos(angle).astype(np.float32),
        np.sin(angle).astype(np.float32),
        distance > 1.3,
        distance < 0.2,
        (falloff / (falloff @ falloff)).astype(np.float32),
    )


def image_statistics(image: Floats) -> Floats:
    """The vector of ``NAMES`` of one study image (S, S, 3)."""
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    channels = (red, green, blue, luma, blue - luma, red - luma)
    steps = (cv2.absdiff(luma[:, 1:], luma[:, :-1]), cv2.absdiff(luma[1:], luma[:-1]))
    values = (
        *_light(*channels),
        *_colour(*channels),
        *_noise(luma),
        *_sharpness(luma, *steps),
        *_blocks(luma, *steps),
    )
    return np.nan_to_num(np.array(values, np.float32))


def batch_statistics(
    images: Callable[[int], Floats], count: int, note: Callable[[int], object] = lambda _: None
) -> Floats:
    """The vectors (``count``, statistics) of ``images(index)``, on all cores.

    ``note`` is called with the number of finished images; an exception from it ends the work.
    """
    vectors = np.empty((count, len(NAMES)), np.float32)

    def fill(index: int) -> None:
        vectors[index] = image_statistics(images(index))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        step = 64
        for start in range(0, count, step):
            list(pool.map(fill, range(start, min(start + step, count))))
            note(min(start + step, count))
    return vectors


def _quantiles(channel: NDArray[Any], shares: tuple[float, ...]) -> Floats:
    """Quantiles of values in [0, 1] by a histogram, to a quarter of a level."""
    levels = (channel * _LEVELS + 0.5).astype(np.uint16)
    total = np.cumsum(cv2.calcHist([levels], [0], None, [_LEVELS + 1], [0, _LEVELS + 1]))
    return (np.searchsorted(total, np.array(shares) * total[-1]) / _LEVELS).astype(np.float32)


def _log(value: float, floor: float) -> float:
    return float(np.log(value + floor))


def _share(flags: NDArray[np.bool_]) -> float:
    return np.count_nonzero(flags) / flags.size  # a mean would convert each flag


def _median(values: NDArray[Any]) -> float:
    half = values.size // 2  # one place: to partition at two, as NumPy's median does, is slow
    parted = np.partition(values, half, axis=None)
    return float(parted[half] if values.size % 2 else (parted[:half].max() + parted[half]) / 2)


def _light(*channels: Floats) -> list[float]:
    red, green, blue, luma, _, _ = channels
    lightest = np.maximum(np.maximum(red, green), blue)
    darkest = np.minimum(np.minimum(red, green), blue)
    dark = cv2.erode(darkest, np.ones((9, 9), np.uint8))
    saturation = (lightest - darkest) / (lightest + 0.05)
    return [
        *_quantiles(luma, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)),
        luma.mean(),
        luma.std(),
        _log(_share(lightest >= 253.5 * _LEVEL), 1e-3),
        _log(_share(darkest <= 1.5 * _LEVEL), 1e-3),
        _log(_share(luma >= 251.5 * _LEVEL), 1e-3),
        _log(_share(luma <= 3.5 * _LEVEL), 1e-3),
        dark.mean(),
        *_quantiles(dark, (0.05,)),
        *_quantiles(darkest, (0.01,)),
        saturation.mean(),
        *_quantiles(saturation, (0.9,)),
    ]


def _colour(*channels: Floats) -> list[float]:
    red, green, blue, luma, to_blue, to_red = channels
    thin = (slice(None, None, 2), slice(None, None, 2))
    relative = luma[thin] + 0.05
    return [
        to_blue.mean(),
        to_red.mean(),
        _median(to_blue[thin] / relative),
        _median(to_red[thin] / relative),
        to_blue.std(),
        to_red.std(),
        _log(to_blue.std() / (luma.std() + _LEVEL), 0.01),
        *(float(_quantiles(channel, (0.99,))[0]) for channel in (red, green, blue)),
        _log((red.mean() + 0.02) / (green.mean() + 0.02), 0),
        _log((blue.mean() + 0.02) / (green.mean() + 0.02), 0),
    ]


def _noise(luma: Floats) -> list[float]:
    inner = (slice(2, -2), slice(2, -2))
    noise = np.abs(cv2.filter2D(luma, -1, _NOISE))[inner]
    smooth = cv2.GaussianBlur(luma, (0, 0), 2)
    slope = cv2.magnitude(cv2.Sobel(smooth, -1, 1, 0), cv2.Sobel(smooth, -1, 0, 1))[inner]
    sample = slope[::2, ::2].ravel()
    flat = np.flatnonzero(
        slope <= np.partition(sample, sample.size * 3 // 10)[sample.size * 3 // 10]
    )
    light = smooth[inner].take(flat)
    grain = noise.take(flat)
    bright = light > _median(light)
    ratio = _mean(grain[bright]) / _mean(grain[~bright])
    residual = luma - cv2.GaussianBlur(luma, (0, 0), 1.5)
    energy = float((residual * residual).mean()) + 1e-7
    pairs = (
        (residual[:, 1:], residual[:, :-1]),
        (residual[1:], residual[:-1]),
        (residual[:, 2:], residual[:, :-2]),
        (residual[1:, 1:], residual[:-1, :-1]),
    )
    return [
        _log(noise.mean(), _LEVEL / 4),
        _log(grain.mean(), _LEVEL / 4),
        _log(ratio, 0),
        *(cv2.mean(cv2.multiply(a, b))[0] / energy for a, b in pairs),
        _log(float(((residual * residual) ** 2).mean()) / energy**2, 1e-9),
    ]


def _mean(values: Floats) -> float:
    return (float(values.mean()) if values.size else 0.0) + float(_LEVEL) / 4


def _sharpness(luma: Floats, across: Floats, down: Floats) -> list[float]:
    from scipy import fft  # slow to import

    grid = _grid(luma.shape[0])
    spectrum = fft.rfft2((luma - luma.mean()) * grid.window)
    power = spectrum.real**2 + spectrum.imag**2
    bands = np.bincount(grid.bands, power.ravel(), len(_BANDS) + 1) / grid.sizes
    high = power.take(grid.high) * grid.weight
    total = float(high.sum()) + 1e-9
    direction = np.hypot(float(high @ grid.cosine), float(high @ grid.sine)) / total
    slope = across[:-1] ** 2 + down[:, :-1] ** 2
    first = int(across.size * 0.99)
    second = int(across.size * 0.999)
    edges = np.partition(across, first, axis=None)[first:]
    sharpest = np.partition(edges, second - first)[second - first]
    return [
        *np.log(bands[1 : len(_BANDS)] + 1e-6),
        direction,
        _log(float(np.sqrt(slope).mean()), _LEVEL / 4),
        _log(float((slope**2).mean()) / (float(slope.mean()) ** 2 + 1e-12), 1),
        edges[0],
        _log(sharpest, _LEVEL),
    ]


def _blocks(luma: Floats, across: Floats, down: Floats) -> list[float]:
    edge, inside = (
        (across[:, at::8].mean() + _LEVEL / 8) * (down[at::8].mean() + _LEVEL / 8) for at in (7, 3)
    )
    grid = _grid(luma.shape[0])
    count = luma.shape[0] // 8
    # Both transforms are one product each, which leaves the block's vertical frequency last.
    rows = (luma[: count * 8, : count * 8].reshape(-1, 8) @ _DCT.T).reshape(count, 8, count, 8)
    size = np.abs(rows.transpose(0, 2, 3, 1).reshape(-1, 8) @ (255 * _DCT.T)).reshape(-1, 8, 8)
    return [
        _log(edge / inside, 0),
        _share(size[:, 4:, 4:] < 1),
        _share(size[:, 2:, 2:] < 2.5),
        _share(size.reshape(-1, 64)[:, 1:] < 0.7),
        _log(_share((across[:-1] == 0) & (down[:, :-1] == 0)), 0.003),
        _log((luma[grid.corners].mean() + 0.02) / (luma[grid.centre].mean() + 0.02), 0),
        float(np.log(luma + 0.02).ravel() @ grid.falloff) * 1e3,
    ]


_PARTS = 100
"""Random parts of the second set that give the distribution of the distance."""
_QUANTILE = 0.99
ORDINARY = 1.4
"""Ratio by which two collections may differ, to the distance between parts of one. Measured: 30
folders of 50 photographs lay within 1.2 of 300 photographs of another collection."""
COLLECTIONS = 0.04
"""Variance of a mean between collections of the same kind, as a share of the variance of images.
Measured: 200 photographs differ from 300 of another collection by eight times what sampling alone
explains, alike in all directions."""
FLOOR = 1e-4
"""Variance of each statistic that no covariance may fall below."""
LEAST = 0.2
"""Share of the reference's spread that simulations have at least, in every direction."""
_NAMED = 5


@dataclass(frozen=True)
class SetDifference:
    """A distance with the largest that is ordinary, and the statistics that differ most."""

    distance: float
    ordinary: float
    sizes: Values
    """Differences of the means in standard errors, by statistic."""

    @property
    def significant(self) -> bool:
        return self.distance > self.ordinary

    @property
    def largest(self) -> list[int]:
        """Positions of the statistics that differ most, largest first."""
        return np.argsort(-np.abs(self.sizes))[:_NAMED].tolist()


def difference(first: Floats, second: Floats, reference: Floats, seed: int) -> SetDifference:
    """How ``first`` (n, D) differs from ``second`` (m, D), scaled statistics of images.

    The distance of the means is compared with that of random parts of ``second`` from the rest.
    Spreads are those of ``second``, at least a share of the spread of the ``reference`` (r, D).
    """
    count = min(len(first), len(second) // 3)
    draws = np.random.default_rng(seed)
    least = shrunk_covariance(reference)
    distances = []
    for _ in range(_PARTS):
        order = draws.permutation(len(second))
        part = second[order[:count]]
        rest = second[order[count:]]
        error = mean_covariance(spread(rest, least), count, len(rest))
        distances.append(distance(part.mean(0) - rest.mean(0), error))
    ordinary = float(np.quantile(distances, _QUANTILE)) * ORDINARY
    # The spread of a mixture of both would hide the difference.
    error = mean_covariance(spread(second, least), len(first), len(second))
    gap = first.mean(0) - second.mean(0)
    sizes = (gap / np.sqrt(np.diag(error))).astype(np.float64)
    return SetDifference(distance(gap, error), ordinary, sizes)


def distance(gap: NDArray[Any], error: Values) -> float:
    """The squared length of the ``gap`` (D,) of two means in standard errors, whitened."""
    from scipy import linalg  # slow to import

    gap = gap.astype(np.float64)
    return float(gap @ linalg.solve(error, gap, assume_a="pos"))


def mean_covariance(covariance: Values, first: int, second: int) -> Values:
    """The covariance (D, D) of the gap between means of ``first`` and ``second`` images."""
    share = 1 / first + 1 / second + COLLECTIONS
    return np.asarray(share * covariance + FLOOR * np.eye(len(covariance)))


def spread(values: Floats, least: Values) -> Values:
    """The covariance (D, D) of images (m, D), in no direction below ``LEAST`` times ``least``.

    Where simulations hardly vary, such as the blocks of strong compression, any gap would look
    large.
    """
    from scipy import linalg  # slow to import

    shares, sides = linalg.eigh(shrunk_covariance(values), least)
    sides = least @ sides
    return np.asarray((sides * np.maximum(shares, LEAST)) @ sides.T)


def shrunk_covariance(values: Floats) -> Values:
    """The covariance (D, D) of rows (n, D), with correlations shrunk towards none.

    By the share that has the least expected error (Schaefer & Strimmer 2005): few rows leave
    directions without any spread, in which every difference would look large.
    """
    count = len(values)
    deviations = values.std(0, ddof=1, dtype=np.float64) + 1e-4
    scaled = (values - values.mean(0)) / deviations
    products = scaled.T @ scaled / count
    errors = (scaled**2).T @ scaled**2 / count - products**2  # variances of the products
    others = ~np.eye(len(products), dtype=bool)
    share = errors[others].sum() / max(count * (products[others] ** 2).sum(), 1e-9)
    share = min(share, 1.0)
    correlations = (1 - share) * products * count / (count - 1)
    np.fill_diagonal(correlations, 1.0)
    return np.asarray(correlations * np.outer(deviations, deviations))
