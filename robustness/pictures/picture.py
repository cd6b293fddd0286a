"""A study image with its name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.pictures.fitting import DEFAULT_FIT


def image_digest(image: NDArray[np.float32]) -> str:
    """SHA-256 of a study image's bytes, as hex; names the image in seeds and cache keys."""
    return hashlib.sha256(np.ascontiguousarray(image, dtype=np.float32).data).hexdigest()


@dataclass(frozen=True)
class Picture:
    """A study image with its name and the SHA-256 of its pixels.

    ``fit`` is the method that made it square.
    """

    name: str
    image: NDArray[np.float32]
    digest: str
    label: int | None = None
    fit: str = DEFAULT_FIT

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
