"""The images of a dataset in memory, as study images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ImageError
from robustness.base.time_left import Note
from robustness.datasets.dataset import Dataset
from robustness.pictures.eight_bits import to_uint8
from robustness.pictures.fitting import Framing
from robustness.pictures.picture import image_digest
from robustness.pictures.untrusted import study_image


def study_pixels(
    dataset: Dataset, framing: Framing, most: int, seed: int, note: Note
) -> tuple[NDArray[np.uint8], int, NDArray[np.int64]]:
    """Study images in 8 bits, how many could not be read, and their positions in ``dataset``.

    Copies of an image count once.
    """
    order = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    images: dict[str, NDArray[np.uint8]] = {}
    rows, unreadable = [], 0
    for done, row in enumerate(order.tolist(), 1):
        entry = dataset.entries[row]
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            data = dataset.read(entry)
            image = study_image(
                data, name=entry.name, fit=framing.fit, side=framing.side, patience=None
            )
        except ImageError:
            unreadable += 1
            continue
        digest = image_digest(image)
        if digest not in images:
            images[digest] = to_uint8(image)
            rows.append(row)
        note(f"Reading {dataset.title}", done, len(order))
    shape = (0, framing.side, framing.side, 3)
    stacked = np.stack(list(images.values())) if images else np.zeros(shape, np.uint8)
    return stacked, unreadable, np.array(rows, np.int64)
