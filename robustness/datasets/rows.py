"""Images that a Python session holds, or that a data set of Python gives row by row.

A row is ``{"image": image, "label": label}`` as in Hugging Face's datasets, ``(image, label)`` as
in torchvision's, or ``(image, scores, metadata)`` as in MAITE. Rows that can be asked for by their
index are read when they are needed, and encoded images are not decoded here. Rows that come once,
as from a generator, are written to a temporary folder.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.files import file_errors
from robustness.base.registry import Registry
from robustness.base.text import counted, some
from robustness.datasets.dataset import IN_PYTHON, NAMED, Columns, Dataset, Entry, distinct
from robustness.datasets.tables import LABEL_COLUMNS, PATH_COLUMNS, other_columns
from robustness.images.arrays import as_array, is_image, levels, png
from robustness.images.decoding import MAX_LENGTH, MAX_PIXELS, picture_file, read_file
from robustness.models.record import imagenet


@dataclass(frozen=True)
class Classes:
    """The classes that integer labels stand for.

    ``names`` are distinct, by index. ``other_names`` has by name what else a class may be called.
    """

    names: Mapping[int, str] = field(default_factory=dict)
    other_names: Mapping[str, Sequence[str]] = field(default_factory=dict)


EXPECTED = (
    "a folder, zip, table or URL; images (N, height, width, 3) or a list of images, alone or with "
    "labels as (images, labels); rows such as (image, label) or {'image': image, 'label': label}; "
    "or a frame with the columns path and label"
)

MOST_STREAMED = 200_000
"""Most rows of a stream, whose end nobody knows."""

_IMAGE_KEYS = ("image", "img", *(name for name in PATH_COLUMNS if name != "image"))

_TRIED = 16
"""Rows that stand for all in the digest where each would have to be decoded for it."""

_LABELS_AT_ONCE = 10_000

_LONGEST_TITLE = 100

_MOST_WRAPPED = 8
"""How many data sets, each a part of the next, are asked for names of classes."""


class SessionImages(Dataset):
    """A dataset of images that a Python session holds.

    A run of them cannot be opened again by its name.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Any, Any]],
        names: Sequence[str],
        classes: Classes,
    ) -> None:
        """List the images of ``pairs`` of an image and a label; equal ``names`` are numbered."""
        self._pairs = pairs
        entries = []
        content = hashlib.sha256()
        for index, name in enumerate(distinct(names)):
            image, label = pairs[index]
            size = None
            refused = ""
            try:
                size = _add_to_digest(content, image, name)
            except ImageError as error:
                refused = str(error)
            text = _label_text(label, classes, name)
            entries.append(Entry(name, str(index), size, label=text, refused=refused))
        self.columns_of_predictions: Columns = {}
        super().__init__(f"{IN_PYTHON}{content.hexdigest()[:16]}", "images from Python", entries)

    def columns(self) -> Columns:
        """Return the other columns of a frame."""
        return self.columns_of_predictions

    def read(self, entry: Entry) -> bytes:
        """Return an array or a PIL image as lossless PNG, and a file as its bytes."""
        return _encoded(self._pairs[int(entry.location)][0], entry.name)

    @property
    def digest(self) -> str:
        """The SHA-256 of names, labels and pixels; files count by their paths and sizes."""
        return hashlib.sha256(f"{self.source} {super().digest}".encode()).hexdigest()


def _add_to_digest(content: Any, image: Any, name: str) -> int | None:
    """Add ``image`` to the digest ``content``; return its size in bytes, None for a missing file.

    Files are not read, but added by their paths.
    """
    if isinstance(image, str | os.PathLike):
        path = Path(picture_file(image)).resolve()
        content.update(os.fsencode(path))
        return path.stat().st_size if path.is_file() else None
    if _is_encoded(image):
        data = _encoded(image, name)
        content.update(hashlib.sha256(data).digest())
        return len(data)
    _check_size(image, name)
    pixels = levels(image, name)
    content.update(str(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    return pixels.nbytes


def _is_encoded(image: Any) -> bool:
    """Whether ``image`` is the content of a file, alone or as Hugging Face writes it in a table."""
    if isinstance(image, Mapping):
        return bool(image) and set(image) <= {"bytes", "path"}
    return isinstance(image, bytes | bytearray)


def _encoded(image: Any, name: str) -> bytes:
    """The bytes of an image file with the pixels of ``image``, encoded losslessly if they are not.

    Raises ``ImageError`` for a file that cannot be read, ``ParameterError`` for no image.
    """
    if isinstance(image, bytes | bytearray):
        return bytes(image)
    if isinstance(image, Mapping) and _is_encoded(image):
        data = image.get("bytes")
        path = image.get("path")
        if isinstance(data, bytes | bytearray):
            return bytes(data)
        if isinstance(path, str | os.PathLike):
            return read_file(path)
        raise ParameterError(f"{name}: expected the bytes or the path of an image, got neither.")
    _check_size(image, name)
    return png(image, name)


def _check_size(image: Any, name: str) -> None:
    """Raise ``ImageError`` for an array or a PIL image larger than an image in a file may be."""
    shape = image.size if isinstance(image, Image.Image) else getattr(image, "shape", ())
    if len(shape) < 2:
        return
    shorter, longer = sorted(shape)[-2:]
    if longer > MAX_LENGTH or shorter * longer > MAX_PIXELS:
        raise ImageError(
            f"{name}: expected at most {MAX_PIXELS:,} pixels, and {MAX_LENGTH:,} in width and "
            f"height, got {shorter:,} x {longer:,}: make it smaller."
        )


# --- rows -----------------------------------------------------------------------------------------


class RowSource(ABC):
    """Gives rows by their index. ``classes`` are the names of its classes, empty without any."""

    is_encoded = False
    """Whether its images are the bytes of files, which are cheap to read."""

    def __init__(self, count: int, classes: Classes) -> None:
        self.count = count
        self.classes = classes

    @abstractmethod
    def row(self, index: int, name: str) -> tuple[Any, Any]:
        """The image and the label of the row ``index``, which messages call ``name``.

        Raises ``ImageError`` if the row cannot be read, ``ParameterError`` if it is no row.
        """

    def labels(self, _indices: Sequence[int]) -> Sequence[Any] | None:
        """The labels of the rows ``indices``, None if each row must be read for its label."""
        return None


class Rows(Dataset):
    """Images that a data set of Python gives row by row.

    Only the labels of what ``select`` keeps are read before the images are, and a row again when
    its image is. A run of them cannot be opened again by its name.
    """

    def __init__(
        self, source: RowSource, classes: Classes, *, title: str, most: int | None
    ) -> None:
        """``classes`` replace those of ``source``; no more than the first ``most`` are listed."""
        self._rows = source
        self._classes = classes if classes.names else source.classes
        self.other_names = self._classes.other_names
        self._texts: dict[str, str | None] = {}
        self._content: dict[tuple[Entry, ...], str] = {}
        count = source.count if most is None else min(source.count, most)
        names = _numbered(count, "row")
        entries = [Entry(name, str(index)) for index, name in enumerate(names)]
        super().__init__(f"{IN_PYTHON}rows", title, entries)

    def read(self, entry: Entry) -> bytes:
        """The image of the row as the bytes of a file, lossless; raises ``ImageError``."""
        try:
            image, label = self._row(entry)
            data = _encoded(image, entry.name)
            text = _label_text(label, self._classes, entry.name)
        except RobustnessError as error:
            message = str(error)
            if entry.name not in message:  # such as that of a file, which has a name of its own
                message = f"{entry.name}: {message}"
            raise ImageError(message) from error
        except Exception as error:  # an image may be a file that is read now, and damaged
            raise _unreadable(entry.name, error) from error
        known_text = self._texts.get(entry.location, text)
        if text != known_text:
            raise ImageError(
                f"{entry.name}: expected the label {known_text!r} that the data set lists, got "
                f"{text!r} in the row."
            )
        return data

    def _row(self, entry: Entry) -> tuple[Any, Any]:
        return self._rows.row(int(entry.location), entry.name)

    def label_texts(self) -> Sequence[str | None]:
        """The label of each entry; None without one, and for a row that cannot be read.

        Raises ``ParameterError`` for what is no row or no label.
        """
        missing = [entry for entry in self.entries if entry.location not in self._texts]
        for entry, label in zip(missing, self._labels(missing), strict=True):
            self._texts[entry.location] = _label_text(label, self._classes, entry.name)
        return [self._texts[entry.location] for entry in self.entries]

    def _labels(self, entries: Sequence[Entry]) -> Iterator[Any]:
        known = self._rows.labels([int(entry.location) for entry in entries])
        if known is not None:
            yield from known
            return
        for entry in entries:
            try:
                yield self._row(entry)[1]
            except ImageError:  # reading the image gives the reason
                yield None

    @property
    def digest(self) -> str:
        """The SHA-256 of names and labels, and of the images, as far as these are read.

        Of images that would have to be decoded for it, a few count. Raises ``ParameterError`` if
        none of these can be read.
        """
        if self.entries not in self._content:
            self._content = {self.entries: self._content_digest()}
        return self._content[self.entries]

    def _content_digest(self) -> str:
        content = hashlib.sha256(super().digest.encode())
        for text in self.label_texts():
            content.update(f"{text!r}\n".encode())
        tried = list(range(len(self.entries)))
        if not self._rows.is_encoded:
            tried = _spread(len(tried))
        reasons = []
        for position in tried:
            try:
                data = self.read(self.entries[position])
            except ImageError as error:
                reasons.append(str(error))
                data = str(error).encode()
            content.update(hashlib.sha256(data).digest())
        if tried and len(reasons) == len(tried):
            raise ParameterError(f"None of the images tried can be read. {reasons[0]}")
        return content.hexdigest()


def _spread(count: int) -> list[int]:
    """Up to ``_TRIED`` positions among ``count``, from the first to the last."""
    positions: list[int] = np.linspace(0, count - 1, min(count, _TRIED)).astype(int).tolist()
    return positions


def _unreadable(name: str, error: Exception) -> ImageError:
    text = str(error).strip()
    reason = type(error).__name__
    if text:
        reason += f": {text.splitlines()[0]}"
    return ImageError(f"{name} cannot be read ({reason.rstrip('.')}).")


class IndexedRows(RowSource):
    """The rows ``source[index]`` of a data set of torchvision, of MAITE or alike."""

    def __init__(self, source: Any) -> None:
        super().__init__(len(source), named_classes(source))
        self._source = source
        self._reading = threading.Lock()

    def row(self, index: int, name: str) -> tuple[Any, Any]:
        try:
            with self._reading:  # such data sets are seldom made for several threads
                row = self._source[index]
        except Exception as error:  # whatever its author raises
            raise _unreadable(name, error) from error
        return parts_of_row(row, name)

    def labels(self, indices: Sequence[int]) -> Sequence[Any] | None:
        """The ``targets`` of torchvision, if they are the labels of some rows that are read."""
        try:
            targets: Any = self._source.targets
            labels = [targets[index] for index in indices]
            if len(targets) != self.count:
                return None
        except Exception:  # it has none, or they are something else
            return None
        for position in _spread(len(indices)):
            index = indices[position]
            try:
                label = self.row(index, f"row {index}")[1]
            except ImageError:
                continue
            if _plain(label) != _plain(labels[position]):
                return None  # it makes other labels of its targets
        return labels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reading": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _reading=threading.Lock())


class HubRows(RowSource):
    """The rows of a data set of Hugging Face; the bytes of its images, without decoding them."""

    is_encoded = True

    def __init__(self, source: Any) -> None:
        """Raises ``ParameterError`` if it has not exactly one column of images."""
        columns = _HubColumns(source.features)
        super().__init__(len(source), columns.classes)
        self._columns = columns
        self._encoded = columns.encoded(source)
        self._decoded = source
        self._labels = None
        if columns.label:
            self._labels = self._encoded.select_columns([columns.label])

    def row(self, index: int, name: str) -> tuple[Any, Any]:
        try:
            row = self._encoded[index]
            image = row[self._columns.image]
            # The path may be one that only the library opens, such as one within an archive.
            if isinstance(image, Mapping) and not image.get("bytes"):
                path = image.get("path")
                if path is not None and not os.path.isfile(path):
                    image = self._decoded[index][self._columns.image]
        except Exception as error:  # whatever the library raises
            raise _unreadable(name, error) from error
        return image, self._columns.label_of(row)

    def labels(self, indices: Sequence[int]) -> Sequence[Any] | None:
        if self._labels is None:
            return [None] * len(indices)
        values: list[Any] = []
        try:
            for start in range(0, len(indices), _LABELS_AT_ONCE):
                some_indices = list(indices[start : start + _LABELS_AT_ONCE])
                values += self._labels[some_indices][self._columns.label]
        except Exception as error:  # whatever the library raises
            raise ParameterError(str(_unreadable("The column of labels", error))) from error
        return [self._columns.known_label(value) for value in values]


class _HubColumns:
    """The names of the columns of images and labels among the ``features`` of Hugging Face."""

    def __init__(self, features: Mapping[str, Any]) -> None:
        images = [name for name, feature in features.items() if _is_image_feature(feature)]
        if len(images) != 1:
            raise ParameterError(
                f"Expected one column of images, got {some(images, 3) if images else 'none'} of "
                f"the columns {some(list(features), 5)}: keep one, as with data.select_columns."
            )
        (self.image,) = images
        self.label = _label_column(features)
        self.classes = Classes()
        self.has_classes = False
        if self.label:
            names = getattr(features[self.label], "names", None)
            self.has_classes = names is not None
            if names is not None:
                self.classes = _classes_called(names)
        self._feature = features[self.image]

    def encoded(self, source: Any) -> Any:
        """``source`` with the bytes of its images, as Python's own values."""
        names = [self.image]
        if self.label:
            names.append(self.label)
        undecoded = type(self._feature)(decode=False)
        return source.select_columns(names).with_format(None).cast_column(self.image, undecoded)

    def label_of(self, row: Mapping[str, Any]) -> Any:
        return self.known_label(row[self.label]) if self.label else None

    def known_label(self, value: Any) -> Any:
        """``value``, None for -1: it stands for no label in a column with names of classes."""
        if self.has_classes and value == -1:
            return None
        return value


def _is_image_feature(feature: Any) -> bool:
    return type(feature).__name__ == "Image" and hasattr(feature, "decode")


def _label_column(features: Mapping[str, Any]) -> str:
    """The column of labels: one that is called so, else the one with names of classes; or ""."""
    for name in LABEL_COLUMNS:
        if name in features:
            return name
    columns = [name for name, feature in features.items() if hasattr(feature, "names")]
    if len(columns) > 1:
        raise ParameterError(
            f"Expected one column of labels, got {some(columns, 3)}: rename the right one, as in "
            f"data.rename_column({columns[0]!r}, 'label')."
        )
    return columns[0] if columns else ""


def _is_hub(source: Any) -> bool:
    """Whether ``source`` is of Hugging Face, with a column of images that may stay encoded."""
    features = getattr(source, "features", None)
    methods = ("cast_column", "select_columns", "with_format")
    if not isinstance(features, Mapping) or not all(hasattr(source, name) for name in methods):
        return False
    images = [feature for feature in features.values() if _is_image_feature(feature)]
    # A mode converts the pixels, and a transform of the user's makes rows of its own.
    has_mode = any(getattr(feature, "mode", None) for feature in images)
    format_of_rows = getattr(source, "format", None) or {}
    is_transformed = format_of_rows.get("type") == "custom"
    return bool(images) and not has_mode and not is_transformed


class StreamedRows(RowSource):
    """The rows of what can be gone through once, whose images are kept in a temporary folder.

    The folder goes with the last reference to them.
    """

    is_encoded = True

    def __init__(self, source: Iterable[Any], most: int | None) -> None:
        """Go through the first ``most`` rows; raises ``ParameterError`` for one that is no row."""
        folder = Path(tempfile.mkdtemp(prefix="robustness-rows-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._kept: list[tuple[Path | str, Any]] = []
        columns = None
        if _is_hub(source):
            columns = _HubColumns(source.features)  # type: ignore[attr-defined]
            source = columns.encoded(source)
        for index, row in enumerate(_first_rows(source, most)):
            name = f"row {index}"
            if columns is None:
                image, label = parts_of_row(row, name)
            else:
                image = row[columns.image]
                label = columns.label_of(row)
            kept: Path | str
            try:
                kept = _keep(image, name, folder)
            except ParameterError as error:
                if index == 0:
                    raise
                kept = str(error)
            except ImageError as error:
                kept = str(error)
            self._kept.append((kept, label))
        classes = columns.classes if columns else named_classes(source)
        super().__init__(len(self._kept), classes)

    def row(self, index: int, name: str) -> tuple[Any, Any]:
        kept, label = self._kept[index]
        if isinstance(kept, str):
            raise ImageError(kept)
        return read_file(kept, name=name), label

    def labels(self, indices: Sequence[int]) -> Sequence[Any] | None:
        return [self._kept[index][1] for index in indices]


def _first_rows(source: Iterable[Any], most: int | None) -> Iterator[Any]:
    """The first ``most`` rows, or all that may be streamed; raises ``ParameterError``."""
    index = 0
    try:
        for index, row in enumerate(islice(source, most)):
            if index >= MOST_STREAMED:
                raise ParameterError(
                    f"Expected a stream of at most {MOST_STREAMED:,} rows, got more: set limit."
                )
            yield row
            index += 1
    except RobustnessError:
        raise
    except Exception as error:  # whatever its author raises
        raise ParameterError(str(_unreadable(f"row {index}", error))) from error


def _keep(image: Any, name: str, folder: Path) -> Path:
    """Write ``image`` into ``folder``, under the digest of its bytes; return the file."""
    data = _encoded(image, name)
    file = folder / hashlib.sha256(data).hexdigest()
    with file_errors("The rows cannot be kept in the temporary folder"):
        file.write_bytes(data)
    return file


def parts_of_row(row: Any, name: str) -> tuple[Any, Any]:
    """The image and the label of ``row``; an image alone has no label.

    Raises ``ParameterError`` for a row without an image, which messages call ``name``.
    """
    if isinstance(row, Mapping) and not _is_encoded(row):
        image_key = _first_key(_IMAGE_KEYS, row)
        if image_key is None:
            keys = some([repr(key) for key in row], 5) if row else "none"
            raise ParameterError(f"{name}: expected the key 'image', got {keys}.")
        label_key = _first_key(LABEL_COLUMNS, row)
        return row[image_key], None if label_key is None else row[label_key]
    if not isinstance(row, list | tuple):
        return row, None
    if len(row) == 3 and isinstance(row[2], Mapping):
        return _channels_last(row[0], name), _highest(row[1], name)
    if len(row) != 2:
        raise ParameterError(f"{name}: expected (image, label), got {counted(len(row), 'value')}.")
    return row[0], row[1]


def _first_key(keys: Iterable[str], row: Mapping[str, Any]) -> str | None:
    for key in keys:
        if key in row:
            return key
    return None


def _channels_last(image: Any, name: str) -> Any:
    """MAITE's image (channels, height, width) with its channels last."""
    if not hasattr(image, "dtype"):
        return image
    pixels = as_array(image, name)
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ParameterError(
            f"{name}: expected an image (channels, height, width) of 1 or 3 channels, got the "
            f"shape {pixels.shape}."
        )
    return pixels.transpose(1, 2, 0)


def _highest(target: Any, name: str) -> Any:
    """The class of MAITE's one-hot target or scores (classes,); ``target`` itself if it is none."""
    if not hasattr(target, "__len__") or isinstance(target, str):
        return target
    try:
        scores = np.asarray(target, dtype=np.float64)
    except (TypeError, ValueError):
        scores = np.zeros((0, 0))
    highest: list[int] = []
    if scores.ndim != 1 or not scores.size:
        got = f"{type(target).__name__} of the shape {scores.shape}"
    elif not np.isfinite(scores).all():
        got = "values that are not finite"
    else:
        highest = np.flatnonzero(scores == scores.max()).tolist()
        got = f"{len(highest)} that are equally high"
    if len(highest) != 1:
        raise ParameterError(
            f"{name}: expected a one-hot target, or scores of which one is the highest, got {got}."
        )
    return highest[0]


# --- named rows -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedRows:
    """Rows that a plugin gives: ``function()`` returns what ``open_rows`` takes."""

    name: str
    function: Callable[[], Any]
    label: str


REGISTRY: Registry[NamedRows] = Registry("dataset")


def open_named(source: str) -> Dataset:
    """The dataset that ``source``, such as ``dataset:night_drives``, names.

    Raises ``UnknownNameError`` if no plugin gives it, and ``ParameterError`` if it gives no rows.
    """
    dataset = copy(_opened(REGISTRY[source.removeprefix(NAMED)]))
    dataset.source = source
    return dataset


@lru_cache(maxsize=2)
def _opened(record: NamedRows) -> Dataset:
    """The dataset of ``record``, once, as opening it may take long."""
    rows = record.function()
    if isinstance(rows, str | os.PathLike):
        raise ParameterError(
            f"Expected rows from the dataset {record.name!r}, got a path: name the path itself."
        )
    dataset = open_rows(rows)
    dataset.title = record.label
    return dataset


# --- classes --------------------------------------------------------------------------------------


def named_classes(source: Any) -> Classes:
    """The classes that a data set of Python names, none if it tells none.

    They are in ``features``, ``metadata["index2label"]``, ``wnids`` or ``classes``, maybe of the
    data set that it is a part of. Raises ``ParameterError`` if two classes have one name.
    """
    for _ in range(_MOST_WRAPPED):
        names = _told_names(source)
        if names is not None:
            return _classes_called(names)
        source = getattr(source, "dataset", None)
    return Classes()


def _told_names(source: Any) -> Any:
    features = getattr(source, "features", None)
    if isinstance(features, Mapping):
        column = _label_column(features)
        if column and hasattr(features[column], "names"):
            return features[column].names
    metadata = getattr(source, "metadata", None)
    if isinstance(metadata, Mapping) and isinstance(metadata.get("index2label"), Mapping):
        return metadata["index2label"]
    classes = getattr(source, "classes", None)
    if not isinstance(classes, list | tuple):
        return None
    # The synsets of torchvision's ImageNet, as two of its classes have one name.
    synsets = getattr(source, "wnids", None)
    if isinstance(synsets, list | tuple) and len(synsets) == len(classes):
        return synsets
    return classes


def _classes_called(names: Any) -> Classes:
    items = names.items() if isinstance(names, Mapping) else enumerate(names)
    by_index: dict[int, str] = {}
    for index, name in items:
        # torchvision has all names of a class, the usual one first.
        if isinstance(name, list | tuple):
            name = ", ".join(map(str, name))
        try:
            by_index[int(index)] = str(name)
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"Expected names of classes by their index, got {index!r}: give classes."
            ) from error
    if _is_imagenet(by_index):
        return _classes_of_imagenet(by_index)
    index_by_name: dict[str, int] = {}
    for index, name in by_index.items():
        other = index_by_name.setdefault(name, index)
        if other != index:
            raise ParameterError(
                f"Expected different names of the data set's classes, got {name!r} for {other} "
                f"and {index}: give classes."
            )
    first_names = Counter(map(_first_name, by_index.values()))
    other_names = {}
    for name in index_by_name:
        first_name = _first_name(name)
        if first_name != name and first_names[first_name] == 1:
            other_names[name] = (first_name,)
    return Classes(by_index, other_names)


def _first_name(name: str) -> str:
    """The first of the names in ``name``, such as "tench" of "tench, Tinca tinca"."""
    return name.split(",")[0].strip()


def _is_imagenet(names: Mapping[int, str]) -> bool:
    """Whether ``names`` are those of ImageNet's classes in their order, maybe all names of each."""
    labels = imagenet()
    if len(names) != len(labels):
        return False
    agreeing = 0
    for index, name in names.items():
        if labels.meant(_first_name(name)) == (index,):
            agreeing += 1
    # The names of a few classes differ from list to list.
    return agreeing >= 0.9 * len(labels)


def _classes_of_imagenet(names: Mapping[int, str]) -> Classes:
    """ImageNet's classes by their synsets, as two may have one of ``names``."""
    labels = imagenet()
    by_index = dict(enumerate(labels.synsets or ()))
    other_names = {}
    for index, synset in by_index.items():
        other_names[synset] = (names[index], labels.names[index])
    return Classes(by_index, other_names)


# --- sources --------------------------------------------------------------------------------------


def open_rows(source: Any, class_names: Sequence[str] = (), limit: int | None = None) -> Dataset:
    """The dataset of what a Python session holds, by the kind of ``source``.

    ``class_names`` are those that integer labels stand for, by default those that ``source`` tells.
    No more than the first ``limit`` rows are asked for, if the source is asked row by row. Raises
    ``ParameterError`` for a source without images, and for what is no image, row or label.
    """
    most = limit if limit is None or limit > 0 else None  # a wrong one is refused elsewhere
    dataset = _dataset_of_session(source, Classes(dict(enumerate(class_names))), most)
    if not dataset.entries:
        raise ParameterError(f"Expected at least one image, got none: give {EXPECTED}.")
    return dataset


def _dataset_of_session(source: Any, classes: Classes, most: int | None) -> Dataset:
    if hasattr(source, "columns") and hasattr(source, "iloc"):
        return _dataset_of_frame(source, classes)
    if isinstance(source, Mapping):
        _refuse_several(source)
        pairs = [(image, None) for image in source.values()]
        return SessionImages(pairs, [str(key) for key in source], classes)
    if _is_images_and_labels(source):
        images = _images(source[0])
        labels = source[1]
        if isinstance(labels, str) or not isinstance(labels, Iterable):
            raise ParameterError(f"Expected a list of labels, got {type(labels).__name__}.")
        labels = list(labels)
        if len(images) != len(labels):
            raise ParameterError(
                f"Expected a label for each image, got {counted(len(images), 'image')} and "
                f"{counted(len(labels), 'label')}."
            )
        return _dataset_of_pairs(list(zip(images, labels, strict=True)), classes)
    if hasattr(source, "ndim") or isinstance(source, list | tuple):
        return _dataset_of_items(_images(source), classes)
    title = _title(source)
    if hasattr(source, "__getitem__") and _has_length(source):
        indexed = HubRows(source) if _is_hub(source) else IndexedRows(source)
        return Rows(indexed, classes, title=title, most=most)
    if not isinstance(source, Iterable):
        raise _unexpected(source)
    if not _is_hub(source):
        source = iter(source)
        first = list(_first_rows(source, 1))
        source = chain(first, source)
        if first and _is_of_file(first[0]):
            return _dataset_of_items(list(source), classes)
    return Rows(StreamedRows(source, most), classes, title=title, most=most)


def _has_length(source: Any) -> bool:
    try:
        len(source)
    except Exception:  # some say so only when they are asked
        return False
    return True


def _refuse_several(source: Mapping[Any, Any]) -> None:
    """Raise ``ParameterError`` for several data sets by name, as Hugging Face loads them."""
    if source and all(hasattr(value, "features") for value in source.values()):
        names = [repr(name) for name in source]
        raise ParameterError(
            f"Expected one data set, got {some(names, 3)}: choose one, as in data[{names[-1]}]."
        )


def _title(source: Any) -> str:
    """What a data set of MAITE is called, else where the images come from."""
    metadata = getattr(source, "metadata", None)
    if isinstance(metadata, Mapping) and isinstance(metadata.get("id"), str):
        return str(metadata["id"])[:_LONGEST_TITLE]
    return "images from Python"


def _is_of_file(row: Any) -> bool:
    """Whether ``row`` is the path of an image, alone or with a label."""
    image = row[0] if isinstance(row, list | tuple) and row else row
    return isinstance(image, str | os.PathLike)


def _dataset_of_items(items: Sequence[Any], classes: Classes) -> SessionImages:
    """The dataset of ``items``, each an image or a row."""
    # All rows of a list are alike: the first says what people call them.
    first = items[0] if items else None
    is_row = isinstance(first, Mapping) or (isinstance(first, list | tuple) and len(first) == 3)
    names = _numbered(len(items), "row" if is_row else "image")
    pairs = [parts_of_row(item, name) for item, name in zip(items, names, strict=True)]
    return SessionImages(pairs, _names_of(pairs, names), classes)


def _numbered(count: int, noun: str) -> list[str]:
    """Names such as "image 07", in the order of their numbers."""
    digits = len(str(max(0, count - 1)))
    return [f"{noun} {index:0{digits}d}" for index in range(count)]


def _is_images_and_labels(source: Any) -> bool:
    """Return whether ``source`` is a tuple (images, labels), and not one of two images."""
    if not isinstance(source, tuple) or len(source) != 2:
        return False
    return getattr(source[0], "ndim", 0) == 4 or not is_image(source[1])


def _dataset_of_pairs(pairs: Sequence[tuple[Any, Any]], classes: Classes) -> SessionImages:
    return SessionImages(pairs, _names_of(pairs, _numbered(len(pairs), "image")), classes)


def _names_of(pairs: Sequence[tuple[Any, Any]], numbered: Sequence[str]) -> Sequence[str]:
    """The names of the images of ``pairs``: their paths if all are files, else ``numbered``."""
    paths = []
    for image, _label in pairs:
        if not isinstance(image, str | os.PathLike):
            return numbered
        paths.append(Path(image).as_posix())
    return paths


def _unexpected(source: Any) -> ParameterError:
    return ParameterError(f"Expected {EXPECTED}; got {type(source).__name__}.")


def _dataset_of_frame(frame: Any, classes: Classes) -> Dataset:
    """Return the dataset of a frame with the columns path and, if it has labels, label.

    Column names are compared without case and without space at their ends.
    """
    frame = frame.loc[:, ~frame.columns.duplicated()]
    column_by_name = {str(column).strip().lower(): column for column in frame.columns}
    path_key = _first_key(PATH_COLUMNS, column_by_name)
    label_key = _first_key(LABEL_COLUMNS, column_by_name)
    if path_key is None:
        raise ParameterError(
            "Expected a frame with the column 'path', got "
            f"{', '.join(column_by_name) or 'no column'}."
        )
    path_column = column_by_name[path_key]
    frame = frame[frame[path_column].notna()]
    images = []
    for value in frame[path_column]:
        images.append(value.strip() if isinstance(value, str) else value)
    labels: list[Any] = [None] * len(frame)
    if label_key is not None:
        values = frame[column_by_name[label_key]]
        labels = [
            None if is_missing else value
            for value, is_missing in zip(values, values.isna(), strict=True)
        ]
    dataset = _dataset_of_pairs(list(zip(images, labels, strict=True)), classes)
    # The other columns find their images by the names in the dataset, which are distinct.
    names = [entry.name for entry in dataset.entries]
    dataset.columns_of_predictions = other_columns(frame.assign(**{path_column: names}))
    return dataset


def _images(source: Any) -> Sequence[Any]:
    """Return the images of an array, of an iterable, or of one image alone, as a sequence.

    The items of a list or a tuple may be pairs of an image and a label as well.
    """
    if isinstance(source, list | tuple):
        return source
    if is_image(source):
        return [source]
    if not hasattr(source, "ndim"):
        if isinstance(source, Iterable):
            return list(source)
        raise _unexpected(source)
    array = as_array(source)
    if array.ndim != 4:
        raise ParameterError(
            f"Expected images of shape (N, height, width, 3), got an array of shape {array.shape}."
        )
    return list(array)


def _label_text(value: Any, classes: Classes, name: str) -> str | None:
    """The name of the class of a label, None for a missing label.

    An integer is the index of one of ``classes``. Raises ``ParameterError`` for an index out of
    range, and for a label that is neither a text nor an integer; ``name`` is that of its image.
    """
    value = _plain(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise ParameterError(
            "Expected a label to be the name or synset of a class, or an integer, got "
            f"{type(value).__name__} for {name}."
        )
    if not classes.names:
        raise ParameterError(
            f"Expected classes for integer labels, got the label {value} for {name}: name the "
            'classes in their order, as in classes=["cat", "dog"], or say classes="imagenet".'
        )
    if value not in classes.names:
        raise ParameterError(
            f"Expected labels from {min(classes.names)} to {max(classes.names)}, the indices of "
            f"the {len(classes.names)} classes, got {value} for {name}."
        )
    return classes.names[value]


def _plain(value: Any) -> Any:
    """A label as Python's own number, where a library has another for it."""
    # Numbers of NumPy and PyTorch.
    if hasattr(value, "item") and not getattr(value, "ndim", 0):
        value = value.item()
    elif hasattr(value, "numpy") and getattr(value, "ndim", None) == 0:
        value = value.numpy().item()  # of TensorFlow
    # In a column with gaps, pandas makes integers floating point.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
