"""A study image with its name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustness.pictures.fitting import DEFAULT_FIT, Framing


def image_digest(image: NDArray[np.float32]) -> str:
    """SHA-256 of a study image's bytes, as hex; names the image in seeds and cache keys."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).data).hexdigest()


@dataclass(frozen=True)
class Picture:
    """A study image with its name and the SHA-256 of its pixels.

    ``fit`` is the method that made it square. ``others`` are versions of the same image in other
    framings, for other models, and ``own_framings`` are the fit and side as requested.
    """

    name: str
    image: NDArray[np.float32]
    digest: str
    label: int | None = None
    fit: str = DEFAULT_FIT
    others: tuple[Picture, ...] = ()
    own_framings: tuple[str, int | str] | None = None

    @property
    def versions(self) -> tuple[Picture, ...]:
        """The image in each framing, the one shown first."""
        return (self, *self.others)

    @property
    def framing(self) -> Framing:
        return Framing(self.fit, self.side)

    @property
    def framing_request(self) -> tuple[str, int | str]:
        """The fit and side that give each model its version, as ``framings.framing`` takes them."""
        return self.own_framings or (self.fit, self.side)

    def at(self, framing: Framing) -> Picture:
        """The version in ``framing``, with this name and label; itself if there is none."""
        version = next((version for version in self.others if version.framing == framing), self)
        return replace(version, name=self.name, label=self.label, others=(), own_framings=None)

    @classmethod
    def from_versions(cls, versions: Sequence[Picture], request: tuple[str, int | str]) -> Picture:
        """The first of ``versions``, which ``request`` gives, with the others beside it."""
        first, *others = versions
        return replace(first, others=tuple(others), own_framings=request if others else None)

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
