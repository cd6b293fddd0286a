"""What a normalisation makes of study images, in NumPy, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.model_record import Normalisation

Floats = NDArray[np.float32]


def prepared(normalisation: Normalisation, images: Floats) -> Floats:
    pixels: NDArray[Any] = images * normalisation.scale
    if normalisation.order == "BGR":
        pixels = pixels[..., ::-1]
    found = (pixels - np.array(normalisation.mean)) / np.array(normalisation.std)
    return np.asarray(found, np.float32)


def undone(normalisation: Normalisation, pixels: Floats) -> Floats:
    """The images, of whatever range, of which ``normalisation`` makes ``pixels``.

    They show a model pixels that another preparation has made.
    """
    found = pixels * np.array(normalisation.std) + np.array(normalisation.mean)
    if normalisation.order == "BGR":
        found = found[..., ::-1]
    return np.asarray(found / normalisation.scale, np.float32)
