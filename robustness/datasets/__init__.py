"""Datasets: a folder, table, archive, shared storage or the samples, as ordered images."""

from __future__ import annotations

import os
from pathlib import Path

from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import require_regular
from robustness.datasets import prediction_table
from robustness.datasets.class_indices import (
    FOLDERS,
    KNOWN,
    LABELLINGS,
    NO_LABELS,
    class_index,
    classes_of,
    entry_class_indices,
)
from robustness.datasets.dataset_and_image_entry import Dataset, Entry, distinct
from robustness.datasets.imagenet_c_tree import PAIRED, ImageNetCTree, refuse_imagenet_c_tree
from robustness.datasets.local_and_remote_folder import Folder, Remote
from robustness.datasets.table_and_other_columns import SUFFIXES, TableDataset
from robustness.datasets.zip_dataset import ZipDataset
from robustness.pictures.sample_files import REGISTRY, sample_bytes

__all__ = [
    "FOLDERS",
    "KNOWN",
    "LABELLINGS",
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
        return sample_bytes(entry.place)


def open_dataset(source: str) -> Dataset:
    """List the images of ``source`` without reading any.

    ``source`` is the path of a folder, zip archive or table (CSV or Parquet), the URL of a folder
    that fsspec knows, ``samples``, or TREE::ORIGINALS for an ``ImageNetCTree``. Raises
    ``ParameterError`` if it does not exist, cannot be used, or holds no image.
    """
    if not source:  # an empty path would mean the working folder
        raise ParameterError(
            "SOURCE is empty: expected a folder of images, a zip archive, a CSV or Parquet table "
            f"of paths, or '{SAMPLES}'."
        )
    if "://" in source:
        return _with_images(Remote(source), source)
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
    if suffix in prediction_table.SUFFIXES and prediction_table.holds_predictions(path):
        return prediction_table.read_predictions(path)
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
