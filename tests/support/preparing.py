"""What a normalisation makes of study images, in NumPy and in TensorFlow, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.models.frameworks import tensorflow
from robustness.models.graph import factors, resizing
from robustness.models.record import ModelRecord, Normalisation

Floats = NDArray[np.float32]


def prepared(normalisation: Normalisation, images: Floats) -> Floats:
    pixels: NDArray[Any] = images * normalisation.scale
    if normalisation.order == "BGR":
        pixels = pixels[..., ::-1]
    found = (pixels - np.array(normalisation.mean)) / np.array(normalisation.std)
    return np.asarray(found, np.float32)


def in_tensorflow(record: ModelRecord, images: Any) -> Any:
    """In TensorFlow's graph: what study images are before the network of ``record``."""
    tf = tensorflow()
    if (resize := resizing(int(images.shape[1]), record.shape)) is not None:
        rows, columns = resize
        images = tf.einsum("hr,nrsc,ws->nhwc", rows, images, columns)
        images = tf.clip_by_value(images, 0.0, 1.0)
    if record.normalisation.order == "BGR":
        images = images[..., ::-1]
    scale, offset = factors(record.normalisation)
    return images * scale + offset


def undone(normalisation: Normalisation, pixels: Floats) -> Floats:
    """The images, of whatever range, of which ``normalisation`` makes ``pixels``.

    They show a model pixels that another preparation has made.
    """
    found = pixels * np.array(normalisation.std) + np.array(normalisation.mean)
    if normalisation.order == "BGR":
        found = found[..., ::-1]
    return np.asarray(found / normalisation.scale, np.float32)
