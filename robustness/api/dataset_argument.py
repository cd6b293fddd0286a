"""The images that ``evaluate`` takes: by name or in memory."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustness.api.image_perturbation_and_conversion import as_array, is_image, levels, png
from robustness.base.errors import ImageError, ParameterError
from robustness.base.text import counted
from robustness.datasets import Dataset, Entry, distinct, open_dataset
from robustness.datasets.dataset_and_image_entry import Columns
from robustness.datasets.table_and_other_columns import LABEL_COLUMNS, PATH_COLUMNS, other_columns
from robustness.models.class_labels import labels_of_names
from robustness.pictures.sample_files import picture_file
from robustness.runs.imported_predictions import class_names

EXPECTED = (
    "a folder, zip, table or URL; images (N, height, width, 3) or a list of images, alone or with "
    "labels as (images, labels); a sequence of (image, label); or a frame with the columns path "
    "and label"
)


class SessionImages(Dataset):
    """Images that a Python session holds; a run of them cannot be opened again by name."""

    def __init__(
        self,
        get: Callable[[int], tuple[Any, Any]],
        count: int,
        names: Sequence[str] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """``get`` returns the image and label at each of ``count`` places.

        It is called once a place to list it. ``classes`` are the names of integer labels.
        """
        self._get = get
        digits = len(str(max(0, count - 1)))
        names = distinct(names or [f"image {place:0{digits}d}" for place in range(count)])
        entries, content = [], hashlib.sha256()
        for place, name in enumerate(names):
            image, label = get(place)
            size, refused = None, ""
            try:
                size = _noted(image, name, content)
            except ImageError as error:
                refused = str(error)
            text = _label(label, classes)
            entries.append(Entry(name, str(place), size, label=text, refused=refused))
        self.columns_of_predictions: Columns = {}
        super().__init__(f"python:{content.hexdigest()[:16]}", "images from Python", entries)

    def columns(self) -> Columns:
        """The other columns of a frame."""
        return self.columns_of_predictions

    def read(self, entry: Entry) -> bytes:
        """A lossless PNG of an array or PIL image, the bytes of a file."""
        return png(self._get(int(entry.place))[0], entry.name)

    @property
    def digest(self) -> str:
        """SHA-256 over names, labels and pixels; of files over paths and sizes."""
        return hashlib.sha256(f"{self.source} {super().digest}".encode()).hexdigest()


def _noted(image: Any, name: str, content: Any) -> int | None:
    """Add ``image`` to the digest ``content``; return its bytes, None for a missing file."""
    if isinstance(image, str | os.PathLike):
        path = Path(picture_file(image)).resolve()
        content.update(os.fsencode(path))
        return path.stat().st_size if path.is_file() else None
    pixels = levels(image, name)
    content.update(str(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    return pixels.nbytes


def open_images(source: Any, classes: Any = None) -> Dataset:
    """The images of ``source``, listed.

    ``classes`` name the integer labels of images in memory, as ``class_names`` takes them. Raises
    ``ParameterError`` for what holds no image, and for integer labels without ``classes``.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | os.PathLike):
        return open_dataset(os.fspath(source))
    chosen = class_names(classes)
    dataset = _of_session(source, () if chosen is None else labels_of_names(chosen).names)
    if not dataset.entries:
        raise ParameterError(f"Expected at least one image, got none: give {EXPECTED}.")
    return dataset


def check_classes(classes: Any, *sources: Any) -> None:
    """Raise ``ParameterError`` for ``classes`` where no source is in memory."""
    if classes is not None and all(isinstance(source, str | os.PathLike) for source in sources):
        raise ParameterError(
            "Expected classes with images in memory only: the labels of a folder or table are read "
            "as they are written. Leave classes out."
        )


def _of_session(source: Any, classes: Sequence[str]) -> Dataset:
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _of_frame(source, classes)
    if isinstance(source, Mapping):
        return _session_images(
            [(image, None) for image in source.values()], [str(key) for key in source]
        )
    pair = isinstance(source, tuple) and len(source) == 2
    if pair and (getattr(source[0], "ndim", 0) == 4 or not is_image(source[1])):  # not two images
        images, labels = _images(source[0]), source[1]
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise ParameterError(f"Expected a list of labels, got {type(labels).__name__}.")
        labels = list(labels)
        if len(images) != len(labels):
            raise ParameterError(
                f"Expected a label for each image, got {counted(len(images), 'image')} and "
                f"{counted(len(labels), 'label')}."
            )
        return _session_images(list(zip(images, labels, strict=True)), classes=classes)
    if hasattr(source, "ndim") or isinstance(source, list | tuple):
        return _session_images([_item(image) for image in _images(source)], classes=classes)
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return SessionImages(lambda place: _item(source[place]), len(source), classes=classes)
    if isinstance(source, Iterable):
        return _session_images([_item(item) for item in source], classes=classes)
    raise _unknown(source)


def _session_images(
    pairs: Sequence[tuple[Any, Any]],
    names: Sequence[str] | None = None,
    classes: Sequence[str] = (),
) -> SessionImages:
    """The images and labels ``pairs``; files are called by their paths."""
    if names is None and all(isinstance(image, str | os.PathLike) for image, _ in pairs):
        names = [Path(image).as_posix() for image, _ in pairs]
    return SessionImages(pairs.__getitem__, len(pairs), names, classes)


def _unknown(source: Any) -> ParameterError:
    return ParameterError(f"Expected {EXPECTED}; got {type(source).__name__}.")


def _of_frame(frame: Any, classes: Sequence[str]) -> Dataset:
    frame = frame.loc[:, ~frame.columns.duplicated()]
    by_lower = {str(column).strip().lower(): column for column in frame.columns}
    path, label = (
        next((by_lower[name] for name in names if name in by_lower), None)
        for names in (PATH_COLUMNS, LABEL_COLUMNS)
    )
    if path is None:
        raise ParameterError(
            f"Expected a frame with the column 'path', got {', '.join(by_lower) or 'no column'}."
        )
    frame = frame[frame[path].notna()]
    images = [value.strip() if isinstance(value, str) else value for value in frame[path]]
    labels = [None] * len(frame)
    if label is not None:
        labels = [
            None if gap else value
            for value, gap in zip(frame[label], frame[label].isna(), strict=True)
        ]
    dataset = _session_images(list(zip(images, labels, strict=True)), classes=classes)
    dataset.columns_of_predictions = other_columns(
        frame.assign(**{path: [entry.name for entry in dataset.entries]})
    )
    return dataset


def _images(source: Any) -> Sequence[Any]:
    """The images of an array or sequence, one by one."""
    if isinstance(source, list | tuple):
        return source
    if is_image(source):
        return [source]
    if not hasattr(source, "ndim"):
        if isinstance(source, Iterable):
            return list(source)
        raise _unknown(source)
    array = as_array(source)
    if array.ndim != 4:
        raise ParameterError(
            f"Expected images of shape (N, height, width, 3), got an array of shape {array.shape}."
        )
    return list(array)


def _label(value: Any, classes: Sequence[str]) -> str | None:
    """``value`` as the text of a class; an integer is the index of one of ``classes``."""
    if hasattr(value, "item") and not getattr(value, "ndim", 0):  # a number of NumPy or torch
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():  # of a column with gaps
        value = int(value)
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(
            "Expected a label to be the name or synset of a class, or an integer, got "
            f"{type(value).__name__}."
        )
    if not classes:
        raise ParameterError(
            f"Expected classes for integer labels, got the label {value}: name the classes in "
            'their order, as in classes=["cat", "dog"], or say classes="imagenet".'
        )
    if not 0 <= value < len(classes):
        raise ParameterError(
            f"Expected labels from 0 to {len(classes) - 1}, the indices of the "
            f"{len(classes)} classes, got {value}."
        )
    return classes[value]


def _item(item: Any) -> tuple[Any, Any]:
    """(image, label) of one item of a sequence; an image alone has no label."""
    if not isinstance(item, list | tuple):
        return item, None
    if len(item) != 2:
        raise ParameterError(f"Expected (image, label), got {counted(len(item), 'value')}.")
    return item[0], item[1]
