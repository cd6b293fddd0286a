"""The images that ``evaluate`` takes: by name, in memory, or in a dataset of another library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robustness.api.arrays import as_array, is_image, levels, png
from robustness.base.errors import ImageError, ParameterError
from robustness.base.text import counted
from robustness.datasets import Dataset, Entry, distinct, open_dataset
from robustness.datasets.dataset import Columns
from robustness.datasets.table import LABEL_COLUMNS, PATH_COLUMNS, other_columns
from robustness.pictures.samples import picture_file

_IMAGE_KEYS = ("image", "img", "pixel_values", *PATH_COLUMNS)
_LABEL_KEYS = (*LABEL_COLUMNS, "labels", "fine_label")

EXPECTED = (
    "a folder, zip, table or URL; images (N, height, width, 3) or a list of images, alone or with "
    "labels as (images, labels); a frame with the columns path and label; or a dataset of "
    "torchvision, Hugging Face, maite or TensorFlow"
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

        Each is asked for once to list it. ``classes`` are the names of integer labels.
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


def opened(source: Any) -> Dataset:
    """The images of ``source``, listed; raises ``ParameterError`` for what holds none."""
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str | os.PathLike):
        return open_dataset(os.fspath(source))
    dataset = _of_session(source)
    if not dataset.entries:
        raise ParameterError(f"Expected at least one image, got none: give {EXPECTED}.")
    return dataset


def _of_session(source: Any) -> Dataset:
    if _is_frame(source):
        return _of_frame(source)
    if isinstance(source, Mapping):
        if parts := [name for name, part in source.items() if hasattr(part, "features")]:
            raise ParameterError(
                f"Expected one split of a dataset, got {len(source)} splits: give "
                f"dataset[{parts[0]!r}]."
            )
        return _session_images(
            [(image, None) for image in source.values()], [str(key) for key in source]
        )
    if isinstance(source, tuple) and len(source) == 2 and _are_labels(*source):
        images, labels = _images(source[0]), _listed(source[1])
        if len(images) != len(labels):
            raise ParameterError(
                f"Expected a label for each image, got {counted(len(images), 'image')} and "
                f"{counted(len(labels), 'label')}."
            )
        return _session_images(list(zip(images, labels, strict=True)))
    if hasattr(source, "as_numpy_iterator"):  # tf.data
        return _session_images(list(_unbatched(source.as_numpy_iterator())))
    if hasattr(source, "ndim") or isinstance(source, list | tuple):
        return _session_images([_item(image) for image in _images(source)])
    if hasattr(source, "__getitem__") and hasattr(source, "__len__"):
        return SessionImages(
            lambda place: _item(source[place]), len(source), classes=_class_names(source)
        )
    if isinstance(source, Iterable):
        return _session_images(list(_unbatched(source)), classes=_class_names(source))
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


def _are_labels(images: Any, labels: Any) -> bool:
    """Whether a pair is (images, labels) rather than two images."""
    return getattr(images, "ndim", 0) == 4 or not is_image(labels)


def _is_frame(source: Any) -> bool:
    return hasattr(source, "columns") and hasattr(source, "iloc")


def _of_frame(frame: Any) -> Dataset:
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
    dataset = _session_images(list(zip(images, labels, strict=True)))
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


def _listed(labels: Any) -> list[Any]:
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        raise ParameterError(f"Expected a list of labels, got {type(labels).__name__}.")
    return list(labels)


def _label(value: Any, names: Sequence[str] = ()) -> str | None:
    """``value`` as the text of a class: an index, a name or one value a class (the largest)."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if getattr(value, "ndim", 0) == 1 and len(value) > 1:
        value = np.asarray(value).argmax()
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ParameterError(
            f"Expected a label to be the index or name of a class, got {type(value).__name__}."
        )
    if isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    return str(value)


def _unbatched(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        image, label = _item(item)
        if getattr(image, "ndim", 0) == 4:
            labels = [None] * len(image) if label is None else label
            yield from zip(image, labels, strict=True)
        else:
            yield image, label


def _item(item: Any) -> tuple[Any, Any]:
    """(image, label or None) of one item of a dataset."""
    if isinstance(item, Mapping):
        image = next((item[key] for key in _IMAGE_KEYS if key in item), None)
        if image is None:
            raise ParameterError(f"Expected an item with 'image', got {', '.join(map(str, item))}.")
        return image, next((item[key] for key in _LABEL_KEYS if key in item), None)
    if isinstance(item, list | tuple):
        if len(item) < 2:
            raise ParameterError(f"Expected an image and its label, got {len(item)} values.")
        return item[0], item[1]
    return item, None


def _class_names(source: Any) -> Sequence[str]:
    """The names of the classes, as torchvision, Hugging Face and maite tell them."""
    for key in _LABEL_KEYS:
        feature = (getattr(source, "features", None) or {}).get(key)
        if names := getattr(feature, "names", None):
            return list(names)
    if isinstance(names := getattr(source, "classes", None), list | tuple):
        return [str(name[0] if isinstance(name, tuple) else name) for name in names]
    metadata = getattr(source, "metadata", None)
    by_index = metadata.get("index2label") if isinstance(metadata, Mapping) else None
    if by_index:
        return [str(by_index[place]) for place in sorted(by_index)]
    # Subsets, loaders and concatenations of torch hold the datasets that tell.
    within = [source.dataset] if hasattr(source, "dataset") else getattr(source, "datasets", ())
    class_names = {tuple(_class_names(prediction)) for prediction in within}
    return class_names.pop() if len(class_names) == 1 else ()
