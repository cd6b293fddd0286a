"""How an image becomes the square on which perturbations act and which models see.

A **study image** is float32 RGB in [0, 1], shape (S, S, 3), S = 224 unless a ``side`` is given,
every value on the grid of ``robustness.images.pixels``. ``decode`` turns untrusted bytes into an
upright 8-bit image, ``fit`` turns that into the study image of a ``Framing``, and a ``Picture`` is
one with its name and digests. Every function is thread-safe.

A framing resizes as a library of models does, without importing it. Each way agrees with its
library to one grey level, after rounding to 8 bits: ``pil`` and ``torch`` with torchvision's
transforms of Pillow images and of tensors, ``tensorflow`` with ``tf.image.resize``, ``opencv``
with ``cv2.resize``. ``study`` is Pillow's resizing, with a rounding of the sides of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.base.errors import ParameterError, UnknownNameError
from robustness.images.decoding import decode, read_file, sample_bytes
from robustness.images.pixels import Floats, from_uint8, to_uint8

STUDY = "study"
PIL = "pil"
TORCH = "torch"
TENSORFLOW = "tensorflow"
OPENCV = "opencv"

Values = NDArray[Any]

PILLOW = {
    name: Image.Resampling[name.upper()]
    for name in ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")
}
_OPENCV = {
    "nearest": "INTER_NEAREST",
    "bilinear": "INTER_LINEAR",
    "bicubic": "INTER_CUBIC",
    "lanczos": "INTER_LANCZOS4",
    "area": "INTER_AREA",
}

INTERPOLATIONS = {
    STUDY: tuple(PILLOW),
    PIL: tuple(PILLOW),
    TORCH: ("nearest", "bilinear", "bicubic"),
    TENSORFLOW: ("nearest", "bilinear", "bicubic", "lanczos", "area"),
    OPENCV: tuple(_OPENCV),
}
"""The interpolations of each library."""

_ALIASED = {(TENSORFLOW, "lanczos")} | {
    (library, name) for library in (TORCH, TENSORFLOW) for name in ("bilinear", "bicubic")
}
"""Library and interpolation where antialiasing can be left out."""


def check_resizing(library: str, interpolation: str, antialias: bool) -> None:
    """Raise ``UnknownNameError`` or ``ParameterError`` for a resizing that no library has."""
    if library not in tuple(INTERPOLATIONS):  # a dictionary would refuse a list from a file
        known = ", ".join(INTERPOLATIONS)
        raise UnknownNameError(f"There is no resize called {library!r}. Known: {known}.")
    if interpolation not in INTERPOLATIONS[library]:
        known = ", ".join(INTERPOLATIONS[library])
        raise UnknownNameError(
            f"There is no interpolation called {interpolation!r} with resize {library!r}. "
            f"Known: {known}."
        )
    can_alias = (library, interpolation) in _ALIASED
    is_possible = antialias is True or (antialias is False and can_alias)
    if not is_possible:
        raise ParameterError(
            f"Expected antialias = true with resize {library!r} and {interpolation!r}, got "
            f"{antialias!r}: only torch and tensorflow can leave it out, for smooth interpolations."
        )


def resize(
    image: Image.Image, size: tuple[int, int], library: str, interpolation: str, antialias: bool
) -> Image.Image:
    """``image`` (mode "RGB") in ``size``, (width, height), as ``library`` makes it, in 8 bits.

    The arguments have passed ``check_resizing``.
    """
    if library in (STUDY, PIL):
        return image.resize(size, PILLOW[interpolation])
    pixels = np.asarray(image)
    enlarges = size[0] > image.width or size[1] > image.height
    resize_rows = _row_resizer(library, interpolation, antialias=antialias, enlarges=enlarges)
    if resize_rows is None:
        return Image.fromarray(_by_opencv(pixels, size, interpolation))
    width, height = size
    height_scale = height / pixels.shape[0]
    width_scale = width / pixels.shape[1]
    rows_first = height_scale < 2 * width_scale  # to shrink first saves memory
    if rows_first:
        pixels = resize_rows(pixels, height)
    pixels = resize_rows(pixels.swapaxes(0, 1), width).swapaxes(0, 1)
    if not rows_first:
        pixels = resize_rows(pixels, height)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.clip(0, 255, out=pixels), out=pixels).astype(np.uint8)
    return Image.fromarray(pixels)


RowResizer = Callable[[Values, int], Values]
"""Takes an array and a number of rows, and returns the array with that many rows."""


def _row_resizer(
    library: str, interpolation: str, *, antialias: bool, enlarges: bool
) -> RowResizer | None:
    """What resizes along one axis as ``library`` does; None where OpenCV does the same."""
    if library != OPENCV and interpolation == "nearest":
        return partial(_nearest, library)
    # OpenCV's bicubic kernel is that of torch without antialiasing, but not TensorFlow's.
    is_of_opencv = library == TORCH and interpolation == "bicubic" and not antialias
    if (library, interpolation) in _ALIASED and not is_of_opencv:
        kernel, reach = _KERNELS[interpolation]
        return partial(_sampled, kernel, reach, antialias)
    if library == TENSORFLOW and interpolation == "area" and enlarges:
        return _cover
    return None


def _by_opencv(pixels: Values, size: tuple[int, int], interpolation: str) -> Values:
    import cv2  # slow to import

    return cv2.resize(pixels, size, interpolation=getattr(cv2, _OPENCV[interpolation]))


def _nearest(library: str, values: Values, new: int) -> Values:
    """``new`` of the rows, chosen in the single precision that the libraries compute in."""
    offset = np.float32(0.5) if library == TENSORFLOW else np.float32(0)
    positions = (np.arange(new, dtype=np.float32) + offset) * np.float32(len(values) / new)
    rows = np.minimum(positions.astype(int), len(values) - 1)
    return values[rows]


def _sampled(
    kernel: Callable[[Floats], Floats], reach: float, antialias: bool, values: Values, new: int
) -> Values:
    """The mean around each of ``new`` rows, weighted by ``kernel`` up to ``reach`` rows away.

    Antialiased, the kernel is as wide as the rows that become one.
    """
    result = np.empty((new, *values.shape[1:]), np.float32)
    scale = len(values) / new
    width = 1.0
    if antialias:
        width = max(1.0, scale)
    centres = (np.arange(new) + 0.5) * scale
    for row, centre in enumerate(centres):
        first = max(0, int(centre - reach * width))
        last = min(len(values), int(centre + reach * width) + 1)
        distances = np.abs(np.arange(first, last) + 0.5 - centre) / width
        weights = np.where(distances < reach, kernel(distances), 0)
        weights = (weights / weights.sum()).astype(np.float32)
        # Not by a product of matrices: its library ends a process that is short of memory.
        neighbours = values[first:last].astype(np.float32)
        np.einsum("t,t...->...", weights, neighbours, out=result[row])
    return result


def _keys(x: Floats) -> Floats:
    """The cubic kernel of Keys 1981, with a = -0.5."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)


def _lanczos(x: Floats) -> Floats:
    """The windowed sinc of three lobes."""
    return np.sinc(x) * np.sinc(x / 3)


def _triangle(x: Floats) -> Floats:
    return 1 - x


_KERNELS = {"bilinear": (_triangle, 1), "bicubic": (_keys, 2), "lanczos": (_lanczos, 3)}
"""Each kernel of a distance in rows, at least 0, and the distance from which it is 0."""


def _cover(values: Values, new: int) -> Values:
    """The mean over what each of ``new`` rows covers."""
    if new <= len(values):
        flat = np.ascontiguousarray(values).reshape(len(values), -1)
        return _by_opencv(flat, (flat.shape[1], new), "area").reshape(new, *values.shape[1:])
    width = len(values) / new

    def overlap(distances: Floats) -> Floats:
        """How much of a row's length lies in a window of ``width`` so far away."""
        return ((1 + width) / 2 - distances).clip(0, width)

    return _sampled(overlap, 1, False, values, new)


STUDY_SIDE = 224
MIN_SIDE = 2
MAX_SIDE = 1024
FITS = ("crop", "squash", "letterbox")
DEFAULT_FIT = "crop"


CROP_SHARE = 0.875
"""Share of the short side that the centre crop keeps: 224 of 256, as in tests of ImageNet
models."""

MIN_SHARE = 0.5
"""Least share of the resized image that a model sees."""

_LONGEST = 16
"""Largest aspect ratio of an image that is resized whole."""

PADDING = (128, 128, 128)
"""Colour around a letterboxed image: mid-grey in 8 bits."""


class Framing(NamedTuple):
    """How an image becomes the square that a model sees.

    - ``crop``: the short side to ``side / crop_pct`` (256 for 224), then the central square;
    - ``squash``: both sides to ``side / crop_pct``, then the central square;
    - ``letterbox``: the long side to ``side / crop_pct``, centred on ``padding``.

    ``crop_pct`` is the share of the resized image that is kept: None is 0.875 for a crop, as in
    tests of ImageNet models, and 1 for the others. ``resize`` names the library whose resizing and
    rounding it is, one of ``INTERPOLATIONS``. As Keras and ``tf.image.central_crop`` do,
    ``tensorflow`` crops first: a crop is the share of the central square. ``padding`` is RGB in 8
    bits.
    """

    fit: str = DEFAULT_FIT
    side: int = STUDY_SIDE
    crop_pct: float | None = None
    interpolation: str = "bicubic"
    resize: str = STUDY
    antialias: bool = True
    padding: tuple[int, int, int] = PADDING

    @classmethod
    def of(cls, mapping: Mapping[str, Any]) -> Framing:
        """The framing whose ``as_dict`` is ``mapping``.

        Raises ``ParameterError`` for an unknown key, and what ``check_framing`` raises.
        """
        unknown = set(mapping) - set(cls._fields)
        if unknown:
            raise ParameterError(
                f"Expected a framing with {', '.join(cls._fields)}, got {min(unknown)!r}."
            )
        values = dict(mapping)
        if isinstance(values.get("padding"), list):
            values["padding"] = tuple(values["padding"])
        return check_framing(cls(**values))

    def as_dict(self) -> dict[str, Any]:
        """Fit, side, and what differs from the default, as JSON has it."""
        values: dict[str, Any] = {"fit": self.fit, "side": self.side}
        for name, value in self._asdict().items():
            if value != self._field_defaults[name]:
                values[name] = value
        if "padding" in values:
            values["padding"] = list(self.padding)
        return values

    @property
    def share(self) -> float:
        """The share of the resized image that is kept, in (0, 1]."""
        return self.crop_pct or _share_of(self.fit)

    @property
    def text(self) -> str:
        """A description for people: fit, side, and what else differs from the study image."""
        details = []
        if self.crop_pct:
            details.append(f"{self.crop_pct:.4g} kept")
        if self.interpolation != "bicubic":
            details.append(self.interpolation)
        if self.resize != STUDY:
            details.append(f"resized as {self.resize}")
        if not self.antialias:
            details.append("not antialiased")
        if self.padding != PADDING:
            details.append(f"on RGB {self.padding}")
        text = f"{self.fit} at {self.side} px"
        if details:
            text += f" ({', '.join(details)})"
        return text


STUDY_FRAMING = Framing()
"""The framing of the study image, which models see unless they are described otherwise."""


def fit(image: Image.Image, framing: Framing = STUDY_FRAMING) -> NDArray[np.float32]:
    """The study image of ``image`` (mode "RGB", from ``decode``): (side, side, 3) in [0, 1].

    By default the resizing is Pillow's: bicubic and antialiased, on 8 bits. Raises what
    ``check_framing`` raises, and ``ParameterError`` for an image not in RGB.
    """
    return from_uint8(np.asarray(fitted(image, framing)))


def fitted(image: Image.Image, framing: Framing) -> Image.Image:
    """The study image that ``fit`` makes, still in 8 bits; raises as that does."""
    framing = check_framing(framing)
    if image.mode != "RGB":
        raise ParameterError(f"Expected an RGB image as decode returns it, got mode {image.mode}.")
    side = framing.side
    if framing.resize == TENSORFLOW:
        image = _central_part(image, framing)
    lengths = _resized_lengths(image.size, framing)
    if max(lengths) > _LONGEST * side / framing.share:
        # A 20,000 x 1 image would become 5 million x 256: make only the part that is kept.
        if framing.resize == STUDY:
            return _resize_part(image, lengths, framing)
        longest = _LONGEST * min(image.size)
        left = max(0, image.width - longest) // 2
        top = max(0, image.height - longest) // 2
        image = image.crop((left, top, image.width - left, image.height - top))
        lengths = _resized_lengths(image.size, framing)
    width, height = lengths
    size = (max(1, int(width)), max(1, int(height)))
    resized = resize(image, size, framing.resize, framing.interpolation, framing.antialias)
    square = Image.new("RGB", (side, side), framing.padding)
    square.paste(resized, (-_corner(width, framing), -_corner(height, framing)))
    return square


def check_framing(framing: Framing) -> Framing:
    """``framing`` without what its fit does not use, so that equal framings compare as equal.

    Raises ``UnknownNameError`` or ``ParameterError`` for a value that no framing may have.
    """
    fit, side, crop_pct, interpolation, library, antialias, padding = framing
    if fit not in FITS:
        raise UnknownNameError(f"There is no fit called {fit!r}. Known: {', '.join(FITS)}.")
    check_side(side)
    is_number = isinstance(crop_pct, int | float) and not isinstance(crop_pct, bool)
    if crop_pct is not None and not (is_number and MIN_SHARE <= crop_pct <= 1):
        raise ParameterError(f"Expected crop_pct from {MIN_SHARE} to 1, got {crop_pct!r}.")
    check_resizing(library, interpolation, antialias)
    if not _is_colour(padding):
        raise ParameterError(f"Expected padding of three whole numbers to 255, got {padding!r}.")
    if crop_pct == _share_of(fit):
        crop_pct = None
    if fit != "letterbox":
        padding = PADDING
    return framing._replace(crop_pct=crop_pct, padding=padding)


def _is_colour(value: object) -> bool:
    """Whether ``value`` is a tuple of three whole numbers from 0 to 255."""
    if not isinstance(value, tuple) or len(value) != 3:
        return False
    return all(type(channel) is int and 0 <= channel <= 255 for channel in value)


def _share_of(fit: str) -> float:
    return CROP_SHARE if fit == "crop" else 1.0


def check_side(side: int) -> int:
    """``side`` itself; raises ``ParameterError`` outside of ``MIN_SIDE`` to ``MAX_SIDE``."""
    if type(side) is not int or not MIN_SIDE <= side <= MAX_SIDE:
        raise ParameterError(f"Expected a side from {MIN_SIDE} to {MAX_SIDE} pixels, got {side}.")
    return side


def study_image(
    data: bytes, framing: Framing = STUDY_FRAMING, *, name: str = "the image"
) -> NDArray[np.float32]:
    """The study image of the image in ``data``; raises what ``decode`` and ``fit`` raise."""
    return fit(decode(data, name=name), framing)


def timed_photograph(side: int) -> NDArray[np.float32]:
    """The batch (1, ``side``, ``side``, 3) of a sample, for which passes are timed."""
    return study_image(sample_bytes("chelsea"), Framing(side=side))[None]


def _resized_lengths(size: tuple[int, int], framing: Framing) -> tuple[float, float]:
    """Width and height of the whole image before it is cropped or padded.

    They are whole numbers, but for ``tensorflow``, which rounds them down and pads by the fraction.
    """
    fit = framing.fit
    side = framing.side
    by_torch = framing.resize in (PIL, TORCH)
    if framing.resize == TENSORFLOW:  # it has cropped before
        if fit != "letterbox":
            return side, side
        longest = np.float32(max(size)) / np.float32(side)
        width, height = (float(np.float32(length) / longest) for length in size)
        return width, height
    target = side / framing.share
    if by_torch:
        target = floor(target + 1e-9)  # 224 / (224 / 232) is less than 232
    if fit == "squash":
        return round(target), round(target)
    if fit == "crop":
        reference = min(size)
    else:
        reference = max(size)
    # The other side is scaled before both are rounded.
    width, height = (length * target / reference for length in size)
    if fit == "crop" and by_torch:
        return int(width), int(height)
    return max(1, round(width)), max(1, round(height))


def _corner(length: float, framing: Framing) -> int:
    """Where the square begins in a resized image of ``length``; negative if that is shorter."""
    half = (length - framing.side) / 2
    if half > 0 and framing.resize in (PIL, TORCH):
        return round(half)
    return int(half)


def _central_part(image: Image.Image, framing: Framing) -> Image.Image:
    """What ``tf.image.central_crop`` keeps, of the central square for a crop."""
    width, height = image.size
    if framing.fit == "crop":
        width = height = min(image.size)
    left = (image.width - width) // 2
    top = (image.height - height) // 2
    # The crop rounds what it takes off each edge, rather than what it keeps.
    horizontal_edge = int((width - width * framing.share) / 2)
    vertical_edge = int((height - height * framing.share) / 2)
    return image.crop(
        (
            left + horizontal_edge,
            top + vertical_edge,
            left + width - horizontal_edge,
            top + height - vertical_edge,
        )
    )


def _resize_part(image: Image.Image, size: tuple[float, float], framing: Framing) -> Image.Image:
    """The square at the centre of ``image`` resized to ``size``, computed without the rest."""
    side = framing.side
    corner = np.array([_corner(length, framing) for length in size])
    scale = np.divide(image.size, size)
    low = corner * scale
    high = (corner + side) * scale
    # How far the filter looks to either side: at most 3 rows for lanczos, 2 for the others.
    support = 3 if framing.interpolation == "lanczos" else 2
    reach = support * np.maximum(scale, 1) + 1
    start = np.maximum(np.floor(low - reach), 0)
    stop = np.minimum(np.ceil(high + reach), image.size)
    # Crop first: Pillow holds the numbers of the box in single precision.
    part = image.crop(_box(start, stop))
    box = _box(low - start, high - start)
    return part.resize((side, side), PILLOW[framing.interpolation], box=box)


def _box(low: Floats, high: Floats) -> tuple[float, float, float, float]:
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


_ROWS_AT_ONCE = 256
"""Rows of an image that are copied at a time to compute its digest."""

Overrides = tuple[str | None, int | None]
"""The fit and the side in place of those of every model's framing; None keeps each model's own."""


def image_digest(image: NDArray[np.float32]) -> str:
    """SHA-256 of a study image's bytes, as hex; a key of its random streams and of caches."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).data).hexdigest()


def source_digest(image: Image.Image) -> str:
    """SHA-256 of the 8-bit RGB pixels of an upright ``image``, as hex: its identity.

    ``image`` is as ``decode`` returns it, before any framing.
    """
    digest = hashlib.sha256()
    for top in range(0, image.height, _ROWS_AT_ONCE):
        strip = image.crop((0, top, image.width, min(top + _ROWS_AT_ONCE, image.height)))
        digest.update(strip.tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Picture:
    """An image in one framing, with its name.

    ``digest`` is the ``image_digest`` of these pixels. ``source`` identifies the image whatever
    the framing, as ``source_digest`` does. ``stream`` seeds random perturbations alike in every
    framing: the ``image_digest`` of the study image. ``others`` are the same image in other
    framings, for other models, and ``overrides`` what was chosen for all of them.
    """

    name: str
    image: NDArray[np.float32]
    digest: str
    label: int | None = None
    framing: Framing = STUDY_FRAMING
    source: str = ""
    stream: str = ""
    others: tuple[Picture, ...] = ()
    overrides: Overrides = (None, None)

    @property
    def versions(self) -> tuple[Picture, ...]:
        """The image in each framing, the one shown first."""
        return (self, *self.others)

    def at(self, framing: Framing) -> Picture:
        """The version in ``framing`` alone, with this name and label; this one if there is none."""
        chosen = next((version for version in self.others if version.framing == framing), self)
        return replace(
            chosen, name=self.name, label=self.label, others=(), overrides=self.overrides
        )

    @property
    def side(self) -> int:
        """Width and height in pixels."""
        return len(self.image)

    @classmethod
    def of(
        cls,
        name: str,
        image: NDArray[np.float32],
        *,
        label: int | None = None,
        framing: Framing | None = None,
        source: str = "",
        stream: str = "",
    ) -> Picture:
        """The picture of ``image``, (S, S, 3) in [0, 1].

        Without ``source`` and ``stream`` it is an image of its own, as an attacked one is.
        """
        digest = image_digest(image)
        return cls(
            name=name,
            image=image,
            digest=digest,
            label=label,
            framing=framing or Framing(side=len(image)),
            source=source or hashlib.sha256(to_uint8(image).tobytes()).hexdigest(),
            stream=stream or digest,
        )


@dataclass(frozen=True)
class FramedPixels:
    """One image in several framings: 8-bit ``pixels`` (S, S, 3) in each.

    ``source`` and ``stream`` are as in ``Picture``.
    """

    source: str
    stream: str
    pixels: tuple[NDArray[np.uint8], ...]

    def picture(
        self,
        name: str,
        framings: Sequence[Framing],
        *,
        overrides: Overrides = (None, None),
        label: int | None = None,
    ) -> Picture:
        """The image in the first of ``framings``, with the others beside it."""
        versions = [
            Picture.of(
                name,
                from_uint8(pixels),
                label=label,
                framing=framing,
                source=self.source,
                stream=self.stream,
            )
            for framing, pixels in zip(framings, self.pixels, strict=True)
        ]
        return replace(versions[0], others=tuple(versions[1:]), overrides=overrides)


def frame(
    image: Image.Image, framings: Sequence[Framing], *, study: Framing = STUDY_FRAMING
) -> tuple[FramedPixels, NDArray[np.uint8]]:
    """``image``, as ``decode`` returns it, in each of ``framings``, and as a study image.

    The latter, in the framing ``study``, seeds random streams. Raises as ``fitted`` does.
    """
    pixels: dict[Framing, NDArray[np.uint8]] = {}
    for framing in (*framings, study):
        if framing not in pixels:
            pixels[framing] = np.asarray(fitted(image, framing))
    framed = FramedPixels(
        source=source_digest(image),
        stream=image_digest(from_uint8(pixels[study])),
        pixels=tuple(pixels[framing] for framing in framings),
    )
    return framed, pixels[study]


def load_picture(
    path: str | os.PathLike[str],
    framings: Sequence[Framing],
    *,
    name: str,
    overrides: Overrides = (None, None),
) -> Picture:
    """The image file ``path`` in each of ``framings``, decoded in this process.

    Raises what ``read_file``, ``decode`` and ``fitted`` raise.
    """
    image = decode(read_file(path), name=os.fspath(path))
    framed, _ = frame(image, framings)
    return framed.picture(name, framings, overrides=overrides)
