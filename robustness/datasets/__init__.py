"""Datasets: a folder, table, archive, shared storage or the samples, as ordered images.

``sample_pixels`` reads the images of one into memory, in one framing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.base.errors import ImageError, ParameterError
from robustness.base.files import require_regular
from robustness.base.turns import Note
from robustness.datasets import predictions
from robustness.datasets.dataset import (
    FOLDERS,
    IN_PYTHON,
    KNOWN,
    NAMED,
    NO_LABELS,
    Dataset,
    Entry,
    class_index,
    classes_of,
    distinct,
    entry_class_indices,
)
from robustness.datasets.folders import (
    PAIRED,
    Folder,
    ImageNetCTree,
    Remote,
    ZipDataset,
    refuse_imagenet_c_tree,
)
from robustness.datasets.rows import open_named
from robustness.datasets.tables import SUFFIXES, TableDataset
from robustness.images.decoding import REGISTRY, sample_bytes
from robustness.images.framing import Framing
from robustness.images.properties import PropertyValues
from robustness.images.sandbox import MeasuredPixels, measured_image

__all__ = [
    "FOLDERS",
    "IN_PYTHON",
    "KNOWN",
    "NAMED",
    "NO_LABELS",
    "PAIRED",
    "SAMPLES",
    "Dataset",
    "Entry",
    "ImageNetCTree",
    "class_index",
    "classes_of",
    "distinct",
    "entry_class_indices",
    "open_dataset",
    "open_folder_or_archive",
]

SAMPLES = "samples"


class Samples(Dataset):
    """The five bundled photographs; they have no labels."""

    def __init__(self) -> None:
        entries = [Entry(name, name) for name in REGISTRY.names]
        super().__init__(SAMPLES, "bundled samples", entries)

    def read(self, entry: Entry) -> bytes:
        """The bytes of the sample; raises ``ImageError`` if it is missing."""
        return sample_bytes(entry.location)


def open_dataset(source: str) -> Dataset:
    """List the images of ``source`` without reading any.

    ``source`` is the path of a folder, zip archive or table (CSV or Parquet), the URL of a folder
    that fsspec knows, ``samples``, TREE::ORIGINALS for an ``ImageNetCTree``, or dataset:NAME of a
    plugin. Raises ``ParameterError`` if it does not exist, cannot be used, or holds no image.
    """
    if not source:  # an empty path would mean the working folder
        raise ParameterError(
            "SOURCE is empty: expected a folder of images, a zip archive, a CSV or Parquet table "
            f"of paths, or '{SAMPLES}'."
        )
    if "://" in source:
        return _with_images(Remote(source), source)
    if source.startswith(NAMED):
        return open_named(source)
    if source.startswith(IN_PYTHON):
        raise ParameterError(
            "These images came from a Python session, which alone can open them: evaluate them "
            "there again with the same out; nothing is computed again."
        )
    path = Path(source)
    tree, pair, originals = source.partition(PAIRED)
    if pair and not path.exists() and Path(tree).is_dir() and Path(originals).is_dir():
        return ImageNetCTree(Path(tree), Path(originals))
    if source == SAMPLES and not path.exists():
        return Samples()
    suffix = path.suffix.lower()
    if path.is_dir() or (suffix == ".zip" and path.is_file()):
        return open_folder_or_archive(path)
    if not path.exists():
        raise ParameterError(
            f"There is no folder or file {source}: expected a folder of images, a zip archive, a "
            f"CSV or Parquet table of paths, or '{SAMPLES}'."
        )
    if not os.path.isfile(path):
        raise ParameterError(f"{source} is a pipe or device: expected a folder, zip or table.")
    if suffix in predictions.SUFFIXES and predictions.holds_predictions(path):
        return predictions.read_predictions(path)
    if suffix in SUFFIXES:
        return _with_images(TableDataset(path), source)
    raise ParameterError(
        f"{source} is not a dataset: expected a folder of images, a .zip archive or a "
        f"{' or '.join(SUFFIXES)} table; for single images use 'study'."
    )


def open_folder_or_archive(path: Path) -> Dataset:
    """As ``open_dataset``, of what ``path`` is: a folder, or else a zip archive, whatever its name.

    Neither leads to files outside of it.
    """
    if path.is_dir():
        refuse_imagenet_c_tree(path)
        return _with_images(Folder(path), str(path))
    require_regular(path)
    return _with_images(ZipDataset(path), str(path))


def _with_images(dataset: Dataset, source: str) -> Dataset:
    if not dataset.entries:
        raise ParameterError(
            f"There are no images in {source}: expected files such as .jpg or .png, in it or in "
            "subfolders."
        )
    return dataset


class SamplePixels(NamedTuple):
    """Distinct images (N, S, S, 3) in 8 bits, in one framing.

    ``rows`` are their positions in the dataset, ``properties`` those of each image, ``streams`` the
    digests that seed its random perturbations; ``unreadable`` counts images that could not be read.
    ``views`` are the images in other framings.
    """

    pixels: NDArray[np.uint8]
    unreadable: int
    rows: NDArray[np.int64]
    properties: list[PropertyValues]
    streams: list[str]
    views: Mapping[Framing, NDArray[np.uint8]]

    def chosen(self, indices: NDArray[np.int64]) -> SamplePixels:
        """The images with these ``indices`` alone, in their order."""
        return self._replace(
            pixels=self.pixels[indices],
            rows=self.rows[indices],
            properties=[self.properties[index] for index in indices],
            streams=[self.streams[index] for index in indices],
            views={framing: pixels[indices] for framing, pixels in self.views.items()},
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
    framings = [framing, *others]
    drawn = np.sort(np.random.default_rng(seed).permutation(len(dataset))[:most])
    images: list[MeasuredPixels] = []
    rows: list[int] = []
    digests: set[str] = set()
    unreadable = 0
    for done, row in enumerate(drawn.tolist(), start=1):
        try:
            image = _read_measured(dataset, dataset.entries[row], framings)
        except ImageError:
            unreadable += 1
            continue
        if image.framed.source not in digests:
            digests.add(image.framed.source)
            images.append(image)
            rows.append(row)
        note(f"Reading {dataset.title}", done, len(drawn))

    arrays = []
    for index, each in enumerate(framings):
        if images:
            arrays.append(np.stack([image.framed.pixels[index] for image in images]))
        else:
            arrays.append(np.zeros((0, each.side, each.side, 3), np.uint8))
    return SamplePixels(
        pixels=arrays[0],
        unreadable=unreadable,
        rows=np.array(rows, np.int64),
        properties=[image.properties for image in images],
        streams=[image.framed.stream for image in images],
        views=dict(zip(others, arrays[1:], strict=True)),
    )


def _read_measured(dataset: Dataset, entry: Entry, framings: Sequence[Framing]) -> MeasuredPixels:
    """The image of ``entry``; raises ``ImageError`` if it cannot be read."""
    if entry.refused:
        raise ImageError(entry.refused)
    data = dataset.read(entry)
    image = measured_image(data, framings, name=entry.name, patience=None)
    properties = image.properties
    framed_megapixels = framings[0].side ** 2 / 1e6
    if properties["aspect"] != 1 or properties["original_size"] != framed_megapixels:
        return image
    # It is framed already, and is read again without cropping.
    squashed = [Framing("squash", framing.side) for framing in framings]
    study = Framing("squash")
    return measured_image(data, squashed, name=entry.name, study=study, patience=None)
