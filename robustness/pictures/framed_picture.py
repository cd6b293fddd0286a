"""An image on which perturbations act, with the digests that name it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from robustness.pictures.decoding import decode, read_file
from robustness.pictures.eight_bits import from_uint8, to_uint8
from robustness.pictures.framing_and_study_image import STUDY_FRAMING, Framing, fitted

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
