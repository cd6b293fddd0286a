"""How production files were saved, and the reference saved like them.

Files state a JPEG quality and a size. Reference images take the same step after a perturbation, as
in a camera: they are perturbed at the scale of the files, saved as JPEG, read again and resized to
the study image. Each takes the step of one file, drawn by its digest.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.base.validation import CONFIG
from robustness.images.framing import MAX_SIDE, STUDY_SIDE, Framing, resize
from robustness.images.pixels import from_uint8, to_uint8
from robustness.images.properties import PropertyValues
from robustness.perturbations import Images, apply, ordered
from robustness.perturbations.digital import resolution
from robustness.perturbations.noise import gaussian_noise_sigma
from robustness.perturbations.record import clipped, standard_normals, stream

Pixels = NDArray[np.uint8]

_MOST_SCALE = 1.75
"""Largest side at which images are perturbed and saved, in sides of the study image. Of larger
files the quality is raised so that as much of the error is left on the study image."""
_INVISIBLE = 0.04
"""Coarseness up to which a JPEG errs no more than the rounding to 8 bits does."""
_ALIKE = 0.7
"""Share of production's coarseness from which the reference counts as saved alike: to save it again
would add an error about as large as the difference."""
_BLOCK = 16
"""Side of the blocks of a JPEG with colours at half resolution."""
_NOISE = "gaussian_noise"
_LOW_RESOLUTION = "low_resolution"
_PROJECTIONS = 3
"""Times that what a study image loses at the scale of a file is added back."""
_LOSSLESS = {".png", ".bmp", ".tif", ".tiff"}


class SavedFile(NamedTuple):
    """What a JPEG file states: its quality, and its upright size in pixels.

    ``whole``: it has the size of the study image, which is used without cropping.
    """

    quality: int
    width: int
    height: int
    whole: bool

    def side_in(self, framing: Framing) -> float:
        """Return the side of the square that ``framing`` keeps, in pixels of the file."""
        if self.whole:
            return self.width
        if framing.fit == "crop":
            length: float = min(self.width, self.height)
        elif framing.fit == "squash":
            length = math.sqrt(self.width * self.height)
        else:
            length = max(self.width, self.height)
        return length * framing.share

    def coarseness_in(self, framing: Framing) -> float:
        """Return how coarsely the study image is quantised, in units of quality 50 at its size."""
        return _table_scale(self.quality) / max(1.0, self.side_in(framing) / framing.side)


class SaveStep(NamedTuple):
    """The side at which a square is perturbed, then saved as JPEG of ``quality``; 0 saves nothing.

    ``left`` and ``top`` are where the square begins in a block of the file.
    """

    side: int
    left: int = 0
    top: int = 0
    quality: int = 0


def saved_files(
    properties: Sequence[PropertyValues], framing: Framing
) -> tuple[SavedFile | None, ...]:
    """Return what each file states, by its ``properties``; None for one that is no JPEG."""
    files: list[SavedFile | None] = []
    for values in properties:
        if "jpeg_quality" not in values:
            files.append(None)
            continue
        pixels = float(values["original_size"]) * 1e6
        aspect = float(values["aspect"])
        width = max(1, round(math.sqrt(pixels * aspect)))
        height = max(1, round(math.sqrt(pixels / aspect)))
        is_whole = width == height == framing.side
        files.append(SavedFile(round(float(values["jpeg_quality"])), width, height, is_whole))
    return tuple(files)


def is_visible(files: Sequence[SavedFile | None], framing: Framing) -> bool:
    """Return whether most of the files are JPEG, and so coarse that study images show it."""
    stated = [file for file in files if file is not None]
    if 2 * len(stated) <= len(files):
        return False
    return _coarseness(stated, framing) > _INVISIBLE


def is_alike(
    production: Sequence[SavedFile | None],
    reference: Sequence[SavedFile | None],
    framing: Framing,
) -> bool:
    """Return whether the reference's files are about as coarse as production's, or coarser."""
    stated = [file for file in production if file is not None]
    return _coarseness(reference, framing) > _ALIKE * _coarseness(stated, framing)


def _coarseness(files: Sequence[SavedFile | None], framing: Framing) -> float:
    values = [0.0 if file is None else file.coarseness_in(framing) for file in files]
    return float(np.median(values))


def _table_scale(quality: int) -> float:
    """The factor of JPEG's standard tables at a quality, as in libjpeg; 1 at 50."""
    if quality < 50:
        return 50 / max(quality, 1)
    return 2 - quality / 50


def _quality_of(table_scale: float) -> int:
    """The quality with a factor of the standard tables: the inverse of ``_table_scale``."""
    quality = 50 / table_scale if table_scale > 1 else 100 - 50 * table_scale
    return min(max(round(quality), 1), 100)


def _step_of(file: SavedFile | None, framing: Framing) -> SaveStep:
    """The step that saves a square of ``framing`` as ``file`` was saved."""
    if file is None:
        return SaveStep(framing.side)
    side = file.side_in(framing)
    most = min(_MOST_SCALE * framing.side, MAX_SIDE)
    if side > most:
        # The error of a larger file is averaged over more of its pixels.
        return SaveStep(round(most), quality=_quality_of(_table_scale(file.quality) * most / side))
    left = top = 0
    if framing.fit == "crop":
        left = int(max(file.width - side, 0) / 2) % _BLOCK
        top = int(max(file.height - side, 0) / 2) % _BLOCK
    return SaveStep(max(2, round(side)), left, top, file.quality)


def file_framing(files: Sequence[SavedFile | None], framing: Framing) -> Framing:
    """Return ``framing`` at the largest scale that a step of ``files`` needs."""
    return framing._replace(side=max(_step_of(file, framing).side for file in files))


@dataclass(frozen=True)
class FileScale:
    """Images at the scale of files, with the step of each to ``framing``.

    They are in (N, F, F, 3), each from the top left corner on as large as the side of its step.
    """

    pixels: Pixels
    steps: tuple[SaveStep, ...]
    framing: Framing

    @staticmethod
    def of(
        pixels: Pixels,
        originals: Pixels,
        files: Sequence[SavedFile | None],
        framing: Framing,
        digests: Sequence[str],
        seed: int,
    ) -> FileScale:
        """Draw the file of each image by its digest, alike in every framing.

        ``pixels`` (N, F, F, 3) are the images at the side of ``file_framing``, ``originals``
        (N, S, S, 3) those in ``framing``.
        """
        steps = []
        scaled = np.zeros_like(pixels)
        for row, digest in enumerate(digests):
            drawn = hashlib.sha256(f"{seed} {digest}".encode()).digest()
            step = _step_of(files[int.from_bytes(drawn[:8]) % len(files)], framing)
            image = _resized(pixels[row], step.side, framing)
            scaled[row, : step.side, : step.side] = _projected(image, originals[row], framing)
            steps.append(step)
        return FileScale(scaled, tuple(steps), framing)

    @cached_property
    def originals(self) -> Pixels:
        """The images (N, S, S, 3), saved without a perturbation."""
        rows = range(len(self.pixels))
        return np.stack([self.image(row, {}, seed=0, digest="") for row in rows])

    def unsaved(self, rows: Sequence[int]) -> Pixels:
        """Return the images ``rows`` (n, S, S, 3) at the scale of their files, without a JPEG."""
        images = []
        for row in rows:
            step = self.steps[row]._replace(quality=0)
            pixels = self.pixels[row]
            images.append(perturbed_and_saved(pixels, {}, 0, "", step, self.framing))
        return np.stack(images)

    def image(self, row: int, strengths: Mapping[str, float], seed: int, digest: str) -> Pixels:
        """Return the image ``row`` (S, S, 3) after a composition and its step."""
        step = self.steps[row]
        return perturbed_and_saved(self.pixels[row], strengths, seed, digest, step, self.framing)

    @property
    def key(self) -> tuple[str, ...]:
        """Texts that change with the images and their steps, for keys of caches."""
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return digest, repr(self.steps), repr(self.framing)


def perturbed_and_saved(
    pixels: Pixels,
    strengths: Mapping[str, float],
    seed: int,
    digest: str,
    step: SaveStep,
    framing: Framing,
) -> Pixels:
    """Return an image after a composition and ``step``, as a square of ``framing``.

    ``pixels`` (F, F, 3) has it from the top left corner on, as large as the side of ``step``.
    """
    image = from_uint8(pixels[: step.side, : step.side])[None]
    for record, strength in ordered(strengths):
        if record.name == _NOISE:
            image = _with_sensor_noise(image, strength, stream(seed, digest, _NOISE), framing)
        elif record.name == _LOW_RESOLUTION:
            image = _with_few_pixels(image, strength, framing)
        else:
            image = apply(record, image, strength, seed=seed, digests=[digest])
    levels = to_uint8(image[0])
    if step.quality:
        levels = _through_jpeg(levels, step)
    return _resized(levels, framing.side, framing)


def _with_sensor_noise(
    image: Images, strength: float, draws: np.random.Generator, framing: Framing
) -> Images:
    """``image`` (1, F, F, 3) with noise in each of its own pixels, as of a sensor.

    The grain of the perturbation has the size of pixels of the study image, which a JPEG of a
    larger file keeps more of. The deviation is stated there, too: resizing averages it.
    """
    sigma = gaussian_noise_sigma(strength) * image.shape[1] / framing.side
    noise = standard_normals(draws, image.shape)
    return clipped(image + np.float32(sigma) * noise)


def _with_few_pixels(image: Images, strength: float, framing: Framing) -> Images:
    """``image`` (1, F, F, 3) at as few pixels a side as the perturbation leaves a study image."""
    side = image.shape[1]
    few = min(max(1, round(resolution(strength) * framing.side / STUDY_SIDE)), side)
    small = cv2.resize(image[0], (few, few), interpolation=cv2.INTER_AREA)
    return clipped(cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)[None])


def _resized(pixels: Pixels, side: int, framing: Framing) -> Pixels:
    """``pixels`` at another side, as ``framing`` resizes."""
    if len(pixels) == side:
        return pixels
    image = Image.fromarray(pixels)
    size = (side, side)
    resized = resize(image, size, framing.resize, framing.interpolation, framing.antialias)
    return np.asarray(resized)


def _projected(image: Pixels, original: Pixels, framing: Framing) -> Pixels:
    """``image``, changed so that it becomes ``original`` when ``framing`` makes it smaller.

    A small image that was enlarged to the scale of a file has lost contrast of fine detail, and
    each resizing takes some. It is added back (iterative back-projection, Irani & Peleg 1991), so
    that the step changes nothing but what the file does.
    """
    side = len(image)
    if side <= len(original):
        return image
    result = image.astype(np.float32)
    for _ in range(_PROJECTIONS):
        lost = original.astype(np.float32) - _resized(_levels(result), framing.side, framing)
        result += cv2.resize(lost, (side, side), interpolation=cv2.INTER_CUBIC)
    return _levels(result)


def _levels(values: NDArray[np.float32]) -> Pixels:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _through_jpeg(pixels: Pixels, step: SaveStep) -> Pixels:
    """``pixels`` saved and read as JPEG, with blocks where the file has them."""
    padded = cv2.copyMakeBorder(pixels, step.top, 0, step.left, 0, cv2.BORDER_REPLICATE)
    options = [cv2.IMWRITE_JPEG_QUALITY, step.quality]
    _, file = cv2.imencode(".jpg", cv2.cvtColor(padded, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR_RGB))[step.top :, step.left :]


@dataclass(frozen=True)
class FileFacts:
    """What the files of one side state: the lowest and highest JPEG quality and short side.

    ``quality`` is None where no file states one.
    """

    __pydantic_config__ = CONFIG

    quality: tuple[int, int] | None
    short_side: tuple[int, int]
    lossless: bool
    """Whether all of them are of a format that loses nothing, by their names."""

    @staticmethod
    def of(properties: Sequence[PropertyValues], names: Sequence[str]) -> FileFacts:
        """Return the facts of files by their ``properties`` and ``names``."""
        qualities = []
        sides = []
        for values in properties:
            if "jpeg_quality" in values:
                qualities.append(round(float(values["jpeg_quality"])))
            pixels = float(values["original_size"]) * 1e6
            aspect = float(values["aspect"])
            sides.append(round(math.sqrt(pixels * min(aspect, 1 / aspect))))
        suffixes = {PurePath(name).suffix.lower() for name in names}
        return FileFacts(
            quality=(min(qualities), max(qualities)) if qualities else None,
            short_side=(min(sides), max(sides)),
            lossless=suffixes <= _LOSSLESS,
        )


@dataclass(frozen=True)
class Saving:
    """How the files of both sides were saved, where the reference was saved like production.

    ``jpeg_compression`` is the strength of that perturbation which does to study images most nearly
    what saving them so does.
    """

    __pydantic_config__ = CONFIG

    production: FileFacts
    reference: FileFacts
    jpeg_compression: float = 0.0
