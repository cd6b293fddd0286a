"""The study image, on which perturbations act and which models see, from untrusted bytes.

A **study image** is float32 RGB in [0, 1], shape (S, S, 3), S = 224 unless a ``side`` is given,
every value on the grid of ``pictures.eight_bits``.
``decode`` turns bytes into an upright 8-bit image, ``fit`` that into the study image. Every
function is thread-safe.

How the libraries of models resize images, without importing them.

Each agrees with its library to one grey level, after rounding to 8 bits: ``pil`` and ``torch``
with torchvision's transforms of Pillow images and of tensors, ``tensorflow`` with
``tf.image.resize``, ``opencv`` with ``cv2.resize``. ``study`` is Pillow's resizing, with the
rounding of ``framing``.

An image on which perturbations act, with the digests that name it.
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
from robustness.images.decoding import decode, read_file
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
    if library not in tuple(INTERPOLATIONS):
        known = ", ".join(INTERPOLATIONS)
        raise UnknownNameError(f"There is no resize called {library!r}. Known: {known}.")
    if interpolation not in INTERPOLATIONS[library]:
        known = ", ".join(INTERPOLATIONS[library])
        raise UnknownNameError(
            f"There is no interpolation called {interpolation!r} with resize {library!r}. "
            f"Known: {known}."
        )
    if not (antialias is True or (antialias is False and (library, interpolation) in _ALIASED)):
        raise ParameterError(
            f"Expected antialias = true with resize {library!r} and {interpolation!r}, got "
            f"{antialias!r}: only torch and tensorflow can leave it out, for smooth interpolations."
        )


def resize(
    image: Image.Image, size: tuple[int, int], library: str, interpolation: str, antialias: bool
) -> Image.Image:
    """``image`` (mode "RGB") in ``size``, (width, height), as ``library`` makes it, in 8 bits."""
    if library in (STUDY, PIL):
        return image.resize(size, PILLOW[interpolation])
    pixels = np.asarray(image)
    smooth = (library, interpolation) in _ALIASED
    along: Along | None = None
    if library != OPENCV and interpolation == "nearest":
        along = partial(_nearest, library)
    elif smooth and (antialias or library == TENSORFLOW or interpolation == "bilinear"):
        along = partial(_sampled, *_KERNELS[interpolation], antialias)
    elif library == TENSORFLOW and interpolation == "area" and np.less(image.size, size).any():
        along = _cover
    if along is None:
        return Image.fromarray(_by_opencv(pixels, size, interpolation))
    height, width = np.divide(size[::-1], pixels.shape[:2])
    for axis in (0, 1) if height < 2 * width else (1, 0):  # to shrink first saves memory
        pixels = along(pixels.swapaxes(0, axis), size[1 - axis]).swapaxes(0, axis)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.clip(0, 255, out=pixels), out=pixels).astype(np.uint8)
    return Image.fromarray(pixels)


Along = Callable[[Values, int], Values]
"""From an array and a number of rows to the array with so many."""


def _by_opencv(pixels: Values, size: tuple[int, int], interpolation: str) -> Values:
    import cv2  # slow to import

    return cv2.resize(pixels, size, interpolation=getattr(cv2, _OPENCV[interpolation]))


def _nearest(library: str, values: Values, new: int) -> Values:
    """Whole pixels, chosen in the precision of ``library``."""
    centre = np.float32(0.5 if library == TENSORFLOW else 0)
    places = (np.arange(new, dtype=np.float32) + centre) * np.float32(len(values) / new)
    return values[np.minimum(places.astype(int), len(values) - 1)]


def _sampled(
    kernel: Callable[[Floats], Floats], reach: float, antialias: bool, values: Values, new: int
) -> Values:
    """The mean around each of ``new`` rows, weighted by ``kernel`` up to ``reach`` rows away.

    Antialiased, the kernel is as wide as the rows that become one.
    """
    result = np.empty((new, *values.shape[1:]), np.float32)
    scale = len(values) / new
    width = max(1.0, scale) if antialias else 1.0
    for row, centre in enumerate((np.arange(new) + 0.5) * scale):
        low = max(0, int(centre - reach * width))
        places = np.arange(low, min(len(values), int(centre + reach * width) + 1)) + 0.5
        distances = np.abs(places - centre) / width
        weights = np.where(distances < reach, kernel(distances), 0)
        weights = (weights / weights.sum()).astype(np.float32)
        # not by a product of matrices: its library ends a process that is short of memory
        part = values[low : low + len(places)].astype(np.float32)
        np.einsum("t,t...->...", weights, part, out=result[row])
    return result


def _keys(x: Floats) -> Floats:
    """The cubic kernel of Keys 1981, with a = -0.5."""
    return np.where(x < 1, (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2)


def _lanczos(x: Floats) -> Floats:
    """The windowed sinc of three lobes."""
    return np.sinc(x) * np.sinc(x / 3)


_KERNELS = {"bilinear": (lambda x: 1 - x, 1), "bicubic": (_keys, 2), "lanczos": (_lanczos, 3)}


def _cover(values: Values, new: int) -> Values:
    """The mean over what each of ``new`` rows covers."""
    if new <= len(values):
        flat = np.ascontiguousarray(values).reshape(len(values), -1)
        return _by_opencv(flat, (flat.shape[1], new), "area").reshape(new, *values.shape[1:])
    width = len(values) / new
    return _sampled(lambda x: ((1 + width) / 2 - x).clip(0, width), 1, False, values, new)


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
    rounding it is, one of ``resizing.INTERPOLATIONS``. As Keras and ``tf.image.central_crop`` do,
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
        """The framing that ``as_dict`` made ``mapping`` of; raises as ``check_framing``."""
        if extra := set(mapping) - set(cls._fields):
            raise ParameterError(
                f"Expected a framing with {', '.join(cls._fields)}, got {min(extra)!r}."
            )
        values = dict(mapping)
        if isinstance(values.get("padding"), list):
            values["padding"] = tuple(values["padding"])
        return check_framing(cls(**values))

    def as_dict(self) -> dict[str, Any]:
        """Fit, side, and what differs from the default, as JSON has it."""
        values = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in self._asdict().items()
            if value != self._field_defaults[key]
        }
        return {"fit": self.fit, "side": self.side, **values}

    @property
    def share(self) -> float:
        """The share of the resized image that is kept, in (0, 1]."""
        return self.crop_pct or _share_of(self.fit)

    @property
    def text(self) -> str:
        """All of it that differs from the study image, for people."""
        details = [
            *([f"{self.crop_pct:.4g} kept"] if self.crop_pct else []),
            *([self.interpolation] if self.interpolation != "bicubic" else []),
            *([f"resized as {self.resize}"] if self.resize != STUDY else []),
            *([] if self.antialias else ["not antialiased"]),
            *([f"on RGB {self.padding}"] if self.padding != PADDING else []),
        ]
        return f"{self.fit} at {self.side} px" + (f" ({', '.join(details)})" if details else "")


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
        most = _LONGEST * min(image.size)
        left, top = (max(0, length - most) // 2 for length in image.size)
        image = image.crop((left, top, image.width - left, image.height - top))
        lengths = _resized_lengths(image.size, framing)
    size = max(1, int(lengths[0])), max(1, int(lengths[1]))
    resized = resize(image, size, framing.resize, framing.interpolation, framing.antialias)
    square = Image.new("RGB", (side, side), framing.padding)
    left, top = (_corner(length, framing) for length in lengths)
    square.paste(resized, (-left, -top))
    return square


def check_framing(framing: Framing) -> Framing:
    """``framing`` in its only form: without what its fit does not use.

    Raises ``UnknownNameError`` or ``ParameterError`` for anything that no framing has.
    """
    fit, side, crop_pct, interpolation, library, antialias, padding = framing
    if fit not in FITS:
        raise UnknownNameError(f"There is no fit called {fit!r}. Known: {', '.join(FITS)}.")
    check_side(side)
    is_number = isinstance(crop_pct, int | float) and not isinstance(crop_pct, bool)
    if crop_pct is not None and not (is_number and MIN_SHARE <= crop_pct <= 1):
        raise ParameterError(f"Expected crop_pct from {MIN_SHARE} to 1, got {crop_pct!r}.")
    check_resizing(library, interpolation, antialias)
    if not isinstance(padding, tuple) or not all(
        type(value) is int and 0 <= value <= 255 for value in (*padding, -(len(padding) != 3))
    ):
        raise ParameterError(f"Expected padding of three whole numbers to 255, got {padding!r}.")
    return framing._replace(
        crop_pct=None if crop_pct == _share_of(fit) else crop_pct,
        padding=padding if fit == "letterbox" else PADDING,
    )


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


def _resized_lengths(size: tuple[int, int], framing: Framing) -> tuple[float, float]:
    """Width and height of the whole image before it is cropped or padded.

    They are whole numbers, but for ``tensorflow``, which rounds them down and pads by the fraction.
    """
    fit = framing.fit
    side = framing.side
    by_torch = framing.resize in (PIL, TORCH)
    if framing.resize == TENSORFLOW:  # it has cropped before
        ratio = [np.float32(length) / np.float32(side) for length in size]
        width, height = (
            float(np.float32(length) / max(ratio)) if fit == "letterbox" else side
            for length in size
        )
        return width, height
    target = side / framing.share
    if by_torch:
        target = floor(target + 1e-9)  # 224 / (224 / 232) is less than 232
    if fit == "squash":
        return round(target), round(target)
    reference = min(size) if fit == "crop" else max(size)
    # the other side is scaled before both are rounded
    width, height = (length * target / reference for length in size)
    if fit == "crop" and by_torch:
        return int(width), int(height)
    return max(1, round(width)), max(1, round(height))


def _corner(length: float, framing: Framing) -> int:
    """Where the square begins in a resized image of ``length``; negative if that is shorter."""
    half = (length - framing.side) / 2
    return round(half) if half > 0 and framing.resize in (PIL, TORCH) else int(half)


def _central_part(image: Image.Image, framing: Framing) -> Image.Image:
    """What ``tf.image.central_crop`` keeps, of the central square for a crop."""
    bounds = []
    for length in image.size:
        kept = min(image.size) if framing.fit == "crop" else length
        start = (length - kept) // 2
        edge = int((kept - kept * framing.share) / 2)
        bounds.append((start + edge, start + kept - edge))
    (left, right), (top, bottom) = bounds
    return image.crop((left, top, right, bottom))


def _resize_part(image: Image.Image, size: tuple[float, float], framing: Framing) -> Image.Image:
    """The square at the centre of ``image`` resized to ``size``, computed without the rest."""
    side = framing.side
    support = 3 if framing.interpolation == "lanczos" else 2
    corner = [_corner(length, framing) for length in size]
    scale = np.divide(image.size, size)
    low = np.array(corner) * scale
    high = (np.array(corner) + side) * scale
    reach = support * np.maximum(scale, 1) + 1  # how far the filter looks to either side
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
        """The version in ``framing``, with this name and label; itself if there is none."""
        version = next((version for version in self.others if version.framing == framing), self)
        return replace(
            version, name=self.name, label=self.label, others=(), overrides=self.overrides
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
            name,
            image,
            digest,
            label,
            framing or Framing(side=len(image)),
            source or hashlib.sha256(to_uint8(image).tobytes()).hexdigest(),
            stream or digest,
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
    pixels = {each: np.asarray(fitted(image, each)) for each in dict.fromkeys((*framings, study))}
    stream = image_digest(from_uint8(pixels[study]))
    own = tuple(pixels[framing] for framing in framings)
    return FramedPixels(source_digest(image), stream, own), pixels[study]


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
    pixels, _ = frame(decode(read_file(path), name=os.fspath(path)), framings)
    return pixels.picture(name, framings, overrides=overrides)
