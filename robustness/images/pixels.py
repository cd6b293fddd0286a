"""The 8-bit grid of study images, so that what is shown, saved and predicted is one image.

Values are whole 255ths, ``np.float32(level) / np.float32(255)``, as read back from a PNG.

``copies`` finds images that are copies of others, and ``show_one_scene`` images of one scene.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

BITS = 8
LEVELS = 255
"""The largest 8-bit value; an attack's epsilon is usually stated in 255ths."""


def to_uint8(images: Floats) -> NDArray[np.uint8]:
    """Study images of any shape as whole numbers from 0 to 255; what exceeds [0, 1] is clipped."""
    return np.rint(np.clip(images, 0, 1) * LEVELS).astype(np.uint8)


def from_uint8(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Study images from values of 0 to 255."""
    return np.asarray(levels, dtype=np.float32) / np.float32(LEVELS)


def round_to_grid(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """``images`` in [0, 1], rounded to whole 255ths in place: the array of the caller changes."""
    np.multiply(images, np.float32(LEVELS), out=images)
    np.rint(images, out=images)
    return np.divide(images, np.float32(LEVELS), out=images)


def to_png(image: Floats) -> bytes:
    """One study image (S, S, 3) as a lossless 8-bit PNG: the same bytes every time.

    Uses OpenCV, which releases the GIL and is faster than Pillow: 3.5 against 5.5 ms.
    """
    import cv2

    pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    options = [
        cv2.IMWRITE_PNG_COMPRESSION,
        1,
        cv2.IMWRITE_PNG_STRATEGY,
        cv2.IMWRITE_PNG_STRATEGY_RLE,
    ]
    _, data = cv2.imencode(".png", pixels, options)
    return data.tobytes()


def to_jpeg(image: Floats, quality: int) -> bytes:
    """One study image (S, S, 3) as the bytes of a JPEG of a ``quality`` from 0 to 100.

    It is lossy, so only for people to look at.
    """
    import cv2

    pixels = cv2.cvtColor(to_uint8(image), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

_CELLS = 16
_ALIKE = 0.9
"""Cosine of the angle between two outlines from which the images count as copies. Measured on 500
photographs: that of two scenes is at most 0.55; that of a copy in JPEG of quality 30, of half the
size or brighter by 20 % at least 0.92; without a border of 4 pixels it is 0.91 in 9 of 10 cases.
"""
_SCENE_SIDE = 32
_ONE_SCENE = 0.57
"""Median over pairs of the correlation at the best shift, from which images show one scene.
Measured: folders of 50 different photographs, under 46 compositions and cameras, had at most 0.48;
30 frames of one scene, whose crops had from 60 to 100 % of its size, at least 0.66."""
_MOST_COMPARED = 100


def copies(pixels: Iterable[Bytes]) -> Places:
    """A number for each of the images (H, W, 3): copies have the position of the first of them.

    Smaller, compressed and mirrored images count as copies, too, and so do copies of copies.
    """
    outlines = []
    mirrored_outlines = []
    for image in pixels:
        grey = _grey(image)
        outlines.append(_outline(grey))
        mirrored_outlines.append(_outline(grey[:, ::-1]))
    count = len(outlines)
    if count == 0:
        return np.zeros(0, np.int64)
    rows = np.stack(outlines)
    cosines = np.maximum(rows @ rows.T, rows @ np.stack(mirrored_outlines).T)
    alike = cosines >= _ALIKE
    np.fill_diagonal(alike, True)
    alike |= alike.T
    # Each image takes the smallest number among its copies, until nothing moves: so a copy of a
    # copy has the number of the first.
    numbers = np.arange(count)
    while True:
        smallest = np.where(alike, numbers[None], count).min(axis=1)
        if np.array_equal(smallest, numbers):
            return numbers
        numbers = smallest


def _grey(image: Bytes) -> NDArray[np.float32]:
    """The mean of the channels (H, W)."""
    # NumPy's own mean takes six times as long along so short an axis.
    return (image[..., 0].astype(np.float32) + image[..., 1] + image[..., 2]) / np.float32(3)


def _outline(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences between neighbouring cells of the image, as a vector of length 1."""
    height, width = grey.shape
    tops = _cell_edges(height)
    lefts = _cell_edges(width)
    sums = np.add.reduceat(np.add.reduceat(grey, tops, axis=0), lefts, axis=1)
    cell_heights = np.diff([*tops, height])
    cell_widths = np.diff([*lefts, width])
    means = sums / np.multiply.outer(cell_heights, cell_widths)
    steps = np.concatenate([np.diff(means, axis=0).ravel(), np.diff(means, axis=1).ravel()])
    length = max(float(np.linalg.norm(steps)), 1e-6)  # an image of one colour has no outline
    return np.asarray(steps / length, np.float32)


def _cell_edges(size: int) -> Places:
    """Where each of the cells along an axis of ``size`` pixels begins."""
    return np.linspace(0, size, min(_CELLS, size), endpoint=False).astype(int)


def show_one_scene(pixels: Bytes) -> bool:
    """Whether most of the images (N, S, S, 3) show one scene, perhaps moved or brighter."""
    import cv2

    # A window, so that a shift does not compare one border of an image with the other.
    window = np.outer(np.hanning(_SCENE_SIDE), np.hanning(_SCENE_SIDE))
    step = max(1, math.ceil(len(pixels) / _MOST_COMPARED))
    shapes = []
    for image in pixels[::step]:
        small = cv2.resize(_grey(image), (_SCENE_SIDE, _SCENE_SIDE), interpolation=cv2.INTER_AREA)
        # Neither noise nor the brightness of large parts.
        shape = cv2.GaussianBlur(small, (0, 0), 1) - cv2.GaussianBlur(small, (0, 0), 5)
        shape = (shape - shape.mean()) * window
        shapes.append(shape / max(float(np.linalg.norm(shape)), 1e-6))
    if len(shapes) < 2:
        return False
    spectra = np.fft.rfft2(np.stack(shapes))
    best_correlations = []
    for index in range(len(spectra) - 1):
        products = spectra[index + 1 :] * spectra[index].conj()
        correlations = np.fft.irfft2(products, s=window.shape)  # at every shift
        best_correlations.append(correlations.max(axis=(1, 2)))
    return bool(np.median(np.concatenate(best_correlations)) > _ONE_SCENE)
