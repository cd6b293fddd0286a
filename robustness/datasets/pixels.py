"""The images of a dataset in memory, as study images."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ImageError
from robustness.base.progress import Note
from robustness.datasets.dataset import Dataset
from robustness.pictures.eight_bits import to_uint8
from robustness.pictures.fitting import Framing
from robustness.pictures.picture import image_digest
from robustness.pictures.properties import PropertyValues
from robustness.pictures.untrusted import measured_image


class StudyPixels(NamedTuple):
    """Distinct study images (N, S, S, 3) in 8 bits, and their positions in the dataset.

    ``properties`` are those of each image; ``unreadable`` counts images that could not be read.
    """

    pixels: NDArray[np.uint8]
    unreadable: int
    rows: NDArray[np.int64]
    properties: list[PropertyValues]


def study_pixels(
    dataset: Dataset, framing: Framing, most: int, seed: int, note: Note
) -> StudyPixels:
    """The images of ``dataset``, drawn at random from more than ``most``; copies count once.

    Squares of the framing's side, such as those that ``export`` and ``perturb`` write, are study
    images already: they are not cropped again.
    """
    order = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    images: dict[str, tuple[int, NDArray[np.uint8], PropertyValues]] = {}
    unreadable = 0
    for done, row in enumerate(order.tolist(), 1):
        entry = dataset.entries[row]
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            data = dataset.read(entry)
            read = partial(measured_image, data, name=entry.name, side=framing.side, patience=None)
            image, values = read(fit=framing.fit)
            if (values["aspect"], values["original_size"]) == (1, framing.side**2 / 1e6):
                image, values = read(fit="squash")
        except ImageError:
            unreadable += 1
            continue
        images.setdefault(image_digest(image), (row, to_uint8(image), values))
        note(f"Reading {dataset.title}", done, len(order))
    rows, pixels, properties = zip(*images.values(), strict=True) if images else ((), (), ())
    shape = (0, framing.side, framing.side, 3)
    stacked = np.stack(pixels) if pixels else np.zeros(shape, np.uint8)
    return StudyPixels(stacked, unreadable, np.array(rows, np.int64), list(properties))
