"""The images of a dataset in memory, in one framing."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ImageError
from robustness.base.progress import Note
from robustness.datasets.dataset import Dataset
from robustness.pictures.fitting import Framing
from robustness.pictures.properties import PropertyValues
from robustness.pictures.untrusted import measured_image


class StudyPixels(NamedTuple):
    """Distinct images (N, S, S, 3) in 8 bits, in one framing, and their positions in the dataset.

    ``properties`` are those of each image, ``streams`` the digests that seed its random
    perturbations; ``unreadable`` counts images that could not be read.
    """

    pixels: NDArray[np.uint8]
    unreadable: int
    rows: NDArray[np.int64]
    properties: list[PropertyValues]
    streams: list[str]


def study_pixels(
    dataset: Dataset, framing: Framing, most: int, seed: int, note: Note
) -> StudyPixels:
    """The images of ``dataset``, drawn at random from more than ``most``; copies count once.

    Squares of the framing's side, such as those that ``export`` and ``perturb`` write, are framed
    already: they are not cropped again.
    """
    order = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    whole = Framing("squash", framing.side)
    images: dict[str, tuple[int, NDArray[np.uint8], PropertyValues, str]] = {}
    unreadable = 0
    for done, row in enumerate(order.tolist(), 1):
        entry = dataset.entries[row]
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            read = partial(measured_image, dataset.read(entry), name=entry.name, patience=None)
            image, values = read([framing])
            if (values["aspect"], values["original_size"]) == (1, framing.side**2 / 1e6):
                image, values = read([whole], study=Framing("squash"))
        except ImageError:
            unreadable += 1
            continue
        images.setdefault(image.source, (row, image.pixels[0], values, image.stream))
        note(f"Reading {dataset.title}", done, len(order))
    rows, pixels, properties, streams = zip(*images.values(), strict=True) if images else [()] * 4
    shape = (0, framing.side, framing.side, 3)
    stacked = np.stack(pixels) if pixels else np.zeros(shape, np.uint8)
    return StudyPixels(
        stacked, unreadable, np.array(rows, np.int64), list(properties), list(streams)
    )
