"""Statistics of a study image that perturbations change: light, colour, noise, sharpness, blocks.

Each image becomes a vector. Logarithms keep ratios comparable; statistics in pixels hold at any
side of at least 64, since frequencies are relative to it. Noise and blocks are those of luma: the
chroma of a file tells its encoder, which all images of a collection share.

``difference`` is one test over all statistics of whether two sets of images differ.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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
_LEVEL = 1 / 255
"""One level of an 8-bit image."""
_HISTOGRAM_STEPS = 1020
"""Steps between 0 and 1 of the histogram that gives quantiles, four a level."""
_NOISE_FILTER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
"""From Immerkaer, "Fast Noise Variance Estimation" (1996)."""


def _dct_coefficients() -> Floats:
    """The discrete cosine transform of 8 values as an orthogonal matrix, a frequency a row."""
    coefficients = np.zeros((8, 8))
    for frequency in range(8):
        scale = np.sqrt(1 / 8) if frequency == 0 else 0.5
        for position in range(8):
            angle = (2 * position + 1) * frequency * np.pi / 16
            coefficients[frequency, position] = np.cos(angle) * scale
    return coefficients.astype(np.float32)


_DCT = _dct_coefficients()


class _Channels(NamedTuple):
    """The channels of an image, each (S, S), with its luma and what of blue and red is beyond."""

    red: Floats
    green: Floats
    blue: Floats
    luma: Floats
    blue_chroma: Floats
    red_chroma: Floats


class _PixelMaps(NamedTuple):
    """What depends only on the side of an image, for pixels and for the frequencies of rfft2."""

    band_numbers: NDArray[np.int64]
    """The band of each frequency; 0 is below the first edge of ``_BANDS``."""
    band_sizes: NDArray[np.float64]
    window: Floats
    fine: NDArray[np.int64]
    """Flat indices of the frequencies that have a direction; weights and angles are theirs."""
    fine_weights: Floats
    fine_cosines: Floats
    fine_sines: Floats
    in_corners: NDArray[np.bool_]
    in_centre: NDArray[np.bool_]
    falloff: Floats
    """Weights whose product with the pixels is the slope over the squared distance."""


@lru_cache(maxsize=4)
def _pixel_maps(side: int) -> _PixelMaps:
    vertical = np.fft.fftfreq(side)[:, None]
    horizontal = np.fft.rfftfreq(side)[None]
    radius = np.hypot(vertical, horizontal)
    band_numbers = np.digitize(radius, _BANDS).ravel()
    band_sizes = np.bincount(band_numbers, minlength=len(_BANDS) + 1)
    is_fine = (radius > 0.1) & (radius < 0.45)
    angles = np.arctan2(
        np.broadcast_to(vertical, radius.shape), np.broadcast_to(horizontal, radius.shape)
    )
    # Doubled, so that opposite directions are one.
    fine_angles = 2 * angles[is_fine]

    rows, columns = np.mgrid[:side, :side] - side / 2 + 0.5
    squared_distance = (rows**2 + columns**2) / (side / 2) ** 2
    falloff = (squared_distance - squared_distance.mean()).ravel()
    return _PixelMaps(
        band_numbers=band_numbers,
        band_sizes=np.maximum(band_sizes, 1).astype(np.float64),
        window=np.outer(np.hanning(side), np.hanning(side)).astype(np.float32),
        fine=np.flatnonzero(is_fine),
        fine_weights=(radius[is_fine] ** 2).astype(np.float32),
        fine_cosines=np.cos(fine_angles).astype(np.float32),
        fine_sines=np.sin(fine_angles).astype(np.float32),
        in_corners=squared_distance > 1.3,
        in_centre=squared_distance < 0.2,
        falloff=(falloff / (falloff @ falloff)).astype(np.float32),
    )


def image_statistics(image: Floats) -> Floats:
    """Return the statistics of one study image (S, S, 3), in the order of ``NAMES``."""
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    channels = _Channels(red, green, blue, luma, blue_chroma=blue - luma, red_chroma=red - luma)
    horizontal_steps = cv2.absdiff(luma[:, 1:], luma[:, :-1])
    vertical_steps = cv2.absdiff(luma[1:], luma[:-1])
    values = [
        *_light_statistics(channels),
        *_colour_statistics(channels),
        *_noise_statistics(luma),
        *_sharpness_statistics(luma, horizontal_steps, vertical_steps),
        *_block_statistics(luma, horizontal_steps, vertical_steps),
    ]
    return np.nan_to_num(np.array(values, np.float32))


def batch_statistics(
    images: Callable[[int], Floats], count: int, note: Callable[[int], object] = lambda _: None
) -> Floats:
    """Return the statistics (``count``, D) of the images ``images(index)``, on all cores.

    ``note`` is called with the number of finished images; an exception from it ends the work.
    """
    vectors = np.empty((count, len(NAMES)), np.float32)

    def fill(index: int) -> None:
        vectors[index] = image_statistics(images(index))

    batch_size = 64
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, count, batch_size):
            end = min(start + batch_size, count)
            list(pool.map(fill, range(start, end)))  # as a list, which raises what a thread raised
            note(end)
    return vectors


def _quantiles(channel: NDArray[Any], shares: Sequence[float]) -> Floats:
    """Quantiles of values in [0, 1], to a quarter of a level, by a histogram."""
    steps = (channel * _HISTOGRAM_STEPS + 0.5).astype(np.uint16)
    bin_count = _HISTOGRAM_STEPS + 1
    totals = np.cumsum(cv2.calcHist([steps], [0], None, [bin_count], [0, bin_count]))
    positions = np.searchsorted(totals, np.array(shares) * totals[-1])
    return (positions / _HISTOGRAM_STEPS).astype(np.float32)


def _quantile(channel: NDArray[Any], share: float) -> float:
    return float(_quantiles(channel, (share,))[0])


def _log(value: float, floor: float) -> float:
    return float(np.log(value + floor))


def _share(flags: NDArray[np.bool_]) -> float:
    # Counting is faster than a mean, which would convert each flag.
    return np.count_nonzero(flags) / flags.size


def _median(values: NDArray[Any]) -> float:
    """The median, faster than NumPy's, which partitions at both middle values."""
    half = values.size // 2
    partitioned = np.partition(values, half, axis=None)
    if values.size % 2 == 1:
        return float(partitioned[half])
    # The lower middle value is the largest of those before the upper one.
    return float((partitioned[:half].max() + partitioned[half]) / 2)


def _light_statistics(channels: _Channels) -> list[float]:
    """Brightness, clipping, haze and saturation: the names up to "saturation 90 %"."""
    luma = channels.luma
    brightest = np.maximum(np.maximum(channels.red, channels.green), channels.blue)
    darkest = np.minimum(np.minimum(channels.red, channels.green), channels.blue)
    dark_channel = cv2.erode(darkest, np.ones((9, 9), np.uint8))
    saturation = (brightest - darkest) / (brightest + 0.05)
    return [
        *_quantiles(luma, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)),
        luma.mean(),
        luma.std(),
        _log(_share(brightest >= 253.5 * _LEVEL), floor=1e-3),
        _log(_share(darkest <= 1.5 * _LEVEL), floor=1e-3),
        _log(_share(luma >= 251.5 * _LEVEL), floor=1e-3),
        _log(_share(luma <= 3.5 * _LEVEL), floor=1e-3),
        dark_channel.mean(),
        _quantile(dark_channel, 0.05),
        _quantile(darkest, 0.01),
        saturation.mean(),
        _quantile(saturation, 0.9),
    ]


def _colour_statistics(channels: _Channels) -> list[float]:
    """White balance and the strength of colours: the names from "blue mean" to "blue to green"."""
    red, green, blue, luma, blue_chroma, red_chroma = channels
    # Every other pixel is enough for a median.
    relative_to = luma[::2, ::2] + 0.05
    relative_blue = blue_chroma[::2, ::2] / relative_to
    relative_red = red_chroma[::2, ::2] / relative_to
    return [
        blue_chroma.mean(),
        red_chroma.mean(),
        _median(relative_blue),
        _median(relative_red),
        blue_chroma.std(),
        red_chroma.std(),
        _log(blue_chroma.std() / (luma.std() + _LEVEL), floor=0.01),
        _quantile(red, 0.99),
        _quantile(green, 0.99),
        _quantile(blue, 0.99),
        _log((red.mean() + 0.02) / (green.mean() + 0.02), floor=0),
        _log((blue.mean() + 0.02) / (green.mean() + 0.02), floor=0),
    ]


def _noise_statistics(luma: Floats) -> list[float]:
    """Noise, where it is and how it is correlated: from "noise" to "residual kurtosis"."""
    inner = (slice(2, -2), slice(2, -2))
    noise = np.abs(cv2.filter2D(luma, -1, _NOISE_FILTER))[inner]

    # The smooth parts are the 30 % of the pixels with the least slope, as every fourth tells it.
    smoothed = cv2.GaussianBlur(luma, (0, 0), 2)
    slope = cv2.magnitude(cv2.Sobel(smoothed, -1, 1, 0), cv2.Sobel(smoothed, -1, 0, 1))[inner]
    sampled_slope = slope[::2, ::2].ravel()
    rank = sampled_slope.size * 3 // 10
    largest_slope = np.partition(sampled_slope, rank)[rank]
    smooth_pixels = np.flatnonzero(slope <= largest_slope)
    smooth_luma = smoothed[inner].take(smooth_pixels)
    smooth_noise = noise.take(smooth_pixels)
    is_light = smooth_luma > _median(smooth_luma)
    light_to_dark = _noise_level(smooth_noise[is_light]) / _noise_level(smooth_noise[~is_light])

    residual = luma - cv2.GaussianBlur(luma, (0, 0), 1.5)
    squares = residual * residual
    energy = float(squares.mean()) + 1e-7
    neighbours = [
        (residual[:, 1:], residual[:, :-1]),
        (residual[1:], residual[:-1]),
        (residual[:, 2:], residual[:, :-2]),
        (residual[1:, 1:], residual[:-1, :-1]),
    ]
    correlations = []
    for first, second in neighbours:
        correlations.append(cv2.mean(cv2.multiply(first, second))[0] / energy)
    kurtosis = float((squares**2).mean()) / energy**2
    return [
        _log(noise.mean(), floor=_LEVEL / 4),
        _log(smooth_noise.mean(), floor=_LEVEL / 4),
        _log(light_to_dark, floor=0),
        *correlations,
        _log(kurtosis, floor=1e-9),
    ]


def _noise_level(noise: Floats) -> float:
    """The mean of ``noise``, which may be empty, with a floor for ratios."""
    level = 0.0
    if noise.size:
        level = float(noise.mean())
    return level + float(_LEVEL) / 4


def _sharpness_statistics(
    luma: Floats, horizontal_steps: Floats, vertical_steps: Floats
) -> list[float]:
    """Spectrum and edges: the names from "spectrum band 1" to "edge 99.9 %"."""
    from scipy import fft  # slow to import

    maps = _pixel_maps(luma.shape[0])
    spectrum = fft.rfft2((luma - luma.mean()) * maps.window)
    power = spectrum.real**2 + spectrum.imag**2
    band_totals = np.bincount(maps.band_numbers, power.ravel(), len(_BANDS) + 1)
    band_power = band_totals / maps.band_sizes
    fine_power = power.take(maps.fine) * maps.fine_weights
    fine_total = float(fine_power.sum()) + 1e-9
    along = float(fine_power @ maps.fine_cosines)
    diagonal = float(fine_power @ maps.fine_sines)
    direction = np.hypot(along, diagonal) / fine_total

    squared_slope = horizontal_steps[:-1] ** 2 + vertical_steps[:, :-1] ** 2
    slope_kurtosis = float((squared_slope**2).mean()) / (float(squared_slope.mean()) ** 2 + 1e-12)

    # Both quantiles by partition: the second among the few values beyond the first.
    rank_99 = int(horizontal_steps.size * 0.99)
    rank_999 = int(horizontal_steps.size * 0.999)
    edges = np.partition(horizontal_steps, rank_99, axis=None)[rank_99:]
    sharpest_edge = np.partition(edges, rank_999 - rank_99)[rank_999 - rank_99]
    return [
        *np.log(band_power[1 : len(_BANDS)] + 1e-6),
        direction,
        _log(float(np.sqrt(squared_slope).mean()), floor=_LEVEL / 4),
        _log(slope_kurtosis, floor=1),
        edges[0],
        _log(sharpest_edge, floor=_LEVEL),
    ]


def _block_statistics(
    luma: Floats, horizontal_steps: Floats, vertical_steps: Floats
) -> list[float]:
    """Traces of JPEG's blocks, flatness and vignetting: from "block edges" to "light falloff"."""
    # Between blocks is every eighth step from 7 on; that from 3 on is in the middle of blocks.
    at_borders = _block_steps(horizontal_steps, vertical_steps, 7)
    inside = _block_steps(horizontal_steps, vertical_steps, 3)
    sizes = np.abs(_block_spectra(luma))
    is_flat = (horizontal_steps[:-1] == 0) & (vertical_steps[:, :-1] == 0)

    maps = _pixel_maps(luma.shape[0])
    corner_luma = luma[maps.in_corners].mean()
    centre_luma = luma[maps.in_centre].mean()
    return [
        _log(at_borders / inside, floor=0),
        _share(sizes[:, 4:, 4:] < 1),
        _share(sizes[:, 2:, 2:] < 2.5),
        _share(sizes.reshape(-1, 64)[:, 1:] < 0.7),
        _log(_share(is_flat), floor=0.003),
        _log((corner_luma + 0.02) / (centre_luma + 0.02), floor=0),
        float(np.log(luma + 0.02).ravel() @ maps.falloff) * 1e3,
    ]


def _block_steps(horizontal_steps: Floats, vertical_steps: Floats, offset: int) -> float:
    """The mean step at every eighth place from ``offset`` on, across times down."""
    horizontal = horizontal_steps[:, offset::8].mean() + _LEVEL / 8
    vertical = vertical_steps[offset::8].mean() + _LEVEL / 8
    return horizontal * vertical


def _block_spectra(luma: Floats) -> Floats:
    """The cosine transforms (n, 8, 8) of the blocks of 8 by 8 pixels, in levels."""
    blocks = luma.shape[0] // 8
    whole = luma[: blocks * 8, : blocks * 8]
    # Both transforms are one product each, which leaves the block's vertical frequency last.
    across = (whole.reshape(-1, 8) @ _DCT.T).reshape(blocks, 8, blocks, 8)
    columns = across.transpose(0, 2, 3, 1).reshape(-1, 8)
    return np.asarray(columns @ (255 * _DCT.T), np.float32).reshape(-1, 8, 8)


_SPLITS = 100
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
"""Statistics that are named as those that differ most."""


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
        """Indices of the statistics that differ most, largest first."""
        return np.argsort(-np.abs(self.sizes))[:_NAMED].tolist()


def difference(first: Floats, second: Floats, reference: Floats, seed: int) -> SetDifference:
    """Test whether ``first`` (n, D) differs from ``second`` (m, D), scaled statistics of images.

    The distance of the means is compared with that of random parts of ``second`` from the rest.
    Spreads are those of ``second``, at least a share of the spread of the ``reference`` (r, D).
    """
    part_size = min(len(first), len(second) // 3)
    rng = np.random.default_rng(seed)
    reference_covariance = shrunk_covariance(reference)
    distances = []
    for _ in range(_SPLITS):
        order = rng.permutation(len(second))
        part = second[order[:part_size]]
        rest = second[order[part_size:]]
        error = mean_covariance(spread(rest, reference_covariance), part_size, len(rest))
        distances.append(distance(part.mean(0) - rest.mean(0), error))
    ordinary = float(np.quantile(distances, _QUANTILE)) * ORDINARY
    # The spread of a mixture of both would hide the difference.
    error = mean_covariance(spread(second, reference_covariance), len(first), len(second))
    gap = first.mean(0) - second.mean(0)
    standard_errors = np.sqrt(np.diag(error))
    sizes = (gap / standard_errors).astype(np.float64)
    return SetDifference(distance(gap, error), ordinary, sizes)


def distance(gap: NDArray[Any], error: Values) -> float:
    """Return the squared Mahalanobis length of the ``gap`` (D,) of two means.

    ``error`` (D, D) is the covariance of the gap.
    """
    from scipy import linalg  # slow to import

    gap = gap.astype(np.float64)
    return float(gap @ linalg.solve(error, gap, assume_a="pos"))


def mean_covariance(covariance: Values, first_count: int, second_count: int) -> Values:
    """Return the covariance (D, D) of the gap between the means of so many images each."""
    share = 1 / first_count + 1 / second_count + COLLECTIONS
    return np.asarray(share * covariance + FLOOR * np.eye(len(covariance)))


def spread(values: Floats, reference_covariance: Values) -> Values:
    """Return the covariance (D, D) of images (m, D), at least ``LEAST`` times the reference's.

    This holds in every direction. Where simulations hardly vary, such as the blocks of strong
    compression, any gap would look large.
    """
    from scipy import linalg  # slow to import

    # The eigenvalues are the ratios of both variances in the directions that diagonalise both.
    ratios, directions = linalg.eigh(shrunk_covariance(values), reference_covariance)
    sides = reference_covariance @ directions
    return np.asarray((sides * np.maximum(ratios, LEAST)) @ sides.T)


def shrunk_covariance(values: Floats) -> Values:
    """Return the covariance (D, D) of rows (n, D), with correlations shrunk towards none.

    By the share that has the least expected error (Schaefer & Strimmer 2005): few rows leave
    directions without any spread, in which every difference would look large.
    """
    count = len(values)
    deviations = values.std(0, ddof=1, dtype=np.float64) + 1e-4
    scaled = (values - values.mean(0)) / deviations
    products = scaled.T @ scaled / count
    product_variances = (scaled**2).T @ scaled**2 / count - products**2
    off_diagonal = ~np.eye(len(products), dtype=bool)
    squared_products = count * (products[off_diagonal] ** 2).sum()
    share = product_variances[off_diagonal].sum() / max(squared_products, 1e-9)
    share = min(share, 1.0)
    correlations = (1 - share) * products * count / (count - 1)
    np.fill_diagonal(correlations, 1.0)
    return np.asarray(correlations * np.outer(deviations, deviations))
