"""The images of a dataset in memory, in one framing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ImageError
from robustness.base.progress_and_time_left import Note
from robustness.datasets.dataset_and_image_entry import Dataset
from robustness.pictures.framing_and_study_image import Framing
from robustness.pictures.image_properties import PropertyValues
from robustness.pictures.untrusted_decoding_and_framing import measured_image


class SamplePixels(NamedTuple):
    """Distinct images (N, S, S, 3) in 8 bits, in one framing, and their positions in the dataset.

    ``properties`` are those of each image, ``streams`` the digests that seed its random
    perturbations; ``unreadable`` counts images that could not be read. ``views`` are the images in
    other framings.
    """

    pixels: NDArray[np.uint8]
    unreadable: int
    rows: NDArray[np.int64]
    properties: list[PropertyValues]
    streams: list[str]
    views: Mapping[Framing, NDArray[np.uint8]]

    def chosen(self, places: NDArray[np.int64]) -> SamplePixels:
        """The images at ``places``."""
        return self._replace(
            pixels=self.pixels[places],
            rows=self.rows[places],
            properties=[self.properties[place] for place in places],
            streams=[self.streams[place] for place in places],
            views={framing: pixels[places] for framing, pixels in self.views.items()},
        )


def sample_pixels(
    dataset: Dataset,
    framing: Framing,
    most: int,
    seed: int,
    note: Note,
    others: Sequence[Framing] = (),
) -> SamplePixels:
    """The images of ``dataset``, drawn at random from more than ``most``; copies count once.

    They are in ``framing``, and in ``others``. Squares of the framing's side, such as those that
    ``export`` and ``perturb`` write, are framed already: they are not cropped again.
    """
    order = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    framings = [framing, *others]
    whole = [Framing("squash", own.side) for own in framings]
    images: dict[str, tuple[int, tuple[NDArray[np.uint8], ...], PropertyValues, str]] = {}
    unreadable = 0
    for done, row in enumerate(order.tolist(), 1):
        entry = dataset.entries[row]
        try:
            if entry.refused:
                raise ImageError(entry.refused)
            read = partial(measured_image, dataset.read(entry), name=entry.name, patience=None)
            image, values = read(framings)
            if (values["aspect"], values["original_size"]) == (1, framing.side**2 / 1e6):
                image, values = read(whole, study=Framing("squash"))
        except ImageError:
            unreadable += 1
            continue
        images.setdefault(image.source, (row, image.pixels, values, image.stream))
        note(f"Reading {dataset.title}", done, len(order))
    rows, pixels, properties, streams = zip(*images.values(), strict=True) if images else [()] * 4

    def stacked(place: int, side: int) -> NDArray[np.uint8]:
        empty = np.zeros((0, side, side, 3), np.uint8)
        return np.stack([views[place] for views in pixels]) if pixels else empty

    return SamplePixels(
        stacked(0, framing.side),
        unreadable,
        np.array(rows, np.int64),
        list(properties),
        list(streams),
        {own: stacked(place, own.side) for place, own in enumerate(others, 1)},
    )
