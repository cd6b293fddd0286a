"""A study image with its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustness.pictures.fitting import DEFAULT_FIT


def image_digest(image: NDArray[np.float32]) -> str:
    """SHA-256 of a study image's bytes, as hex; names the image in seeds and cache keys."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).data).hexdigest()


@dataclass(frozen=True)
class Picture:
    """A study image with its name and the SHA-256 of its pixels.

    ``fit`` is the method that made it square. ``others`` are versions of the same image at other
    sides, for models with another input size.
    """

    name: str
    image: NDArray[np.float32]
    digest: str
    label: int | None = None
    fit: str = DEFAULT_FIT
    others: tuple[Picture, ...] = ()

    @property
    def versions(self) -> tuple[Picture, ...]:
        """The image at each side, the one shown first."""
        return (self, *self.others)

    def at(self, side: int) -> Picture:
        """The version of ``side`` pixels, with this name and label; itself if there is none."""
        found = next((each for each in self.others if each.side == side), self)
        return replace(found, name=self.name, label=self.label, others=())

    @classmethod
    def together(cls, versions: Sequence[Picture]) -> Picture:
        """The first of ``versions``, with the others beside it."""
        return replace(versions[0], others=tuple(versions[1:]))

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
        fit: str = DEFAULT_FIT,
    ) -> Picture:
        return cls(name, image, image_digest(image), label, fit)
