"""Small data sets with the interfaces of torchvision, MAITE and Hugging Face."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import PIL.Image


class VisionData:
    """Rows (image, label) with ``classes`` and ``targets``, as in torchvision.

    ``asked`` counts the rows that were asked for.
    """

    def __init__(
        self,
        rows: Sequence[Any],
        classes: Sequence[Any],
        *,
        with_targets: bool = True,
        change: Callable[[int], int] | None = None,
    ) -> None:
        self._rows = rows
        self._change = change
        self.classes = list(classes)
        self.asked = 0
        if with_targets:
            self.targets = [label for _, label in rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        self.asked += 1
        row = self._rows[index]
        if isinstance(row, Exception):
            raise row
        if self._change is not None:
            return row[0], self._change(row[1])
        return row


class TriplesData:
    """Rows (image, one-hot target, metadata), as in MAITE."""

    def __init__(self, images: Any, targets: Any, classes: Sequence[str]) -> None:
        self._images = images
        self._targets = targets
        self.metadata = {"id": "triples", "index2label": dict(enumerate(classes))}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Any:
        return self._images[index], self._targets[index], {"id": index}


class ClassLabel:
    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)


class Image:
    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class HubData:
    """A table of encoded images and labels, as in Hugging Face's datasets.

    ``decoded`` counts the images that it decoded, ``asked`` the rows with an image that were read.
    """

    def __init__(self, files: Sequence[bytes], labels: Sequence[int], names: Sequence[str]) -> None:
        self._columns: dict[str, list[Any]] = {"image": list(files), "label": list(labels)}
        self.features: dict[str, Any] = {"image": Image(), "label": ClassLabel(names)}
        self.format = {"type": None}
        self._counts = {"decoded": 0, "asked": 0}

    @property
    def decoded(self) -> int:
        return self._counts["decoded"]

    @property
    def asked(self) -> int:
        return self._counts["asked"]

    def _with(self, features: dict[str, Any]) -> HubData:
        other = type(self)((), (), ())
        other.__dict__.update(self.__dict__)
        other.features = features
        return other

    def select_columns(self, names: Sequence[str]) -> HubData:
        return self._with({name: self.features[name] for name in names})

    def with_format(self, type: str | None = None) -> HubData:
        return self

    def cast_column(self, name: str, feature: Any) -> HubData:
        return self._with({**self.features, name: feature})

    def to_iterable_dataset(self) -> HubStream:
        return HubStream(self)

    def __len__(self) -> int:
        return len(self._columns["label"])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            assert "image" not in self.features, "many images at once"
            return {name: [self._columns[name][i] for i in index] for name in self.features}
        return {name: self._value(name, index) for name in self.features}

    def _value(self, name: str, index: int) -> Any:
        value = self._columns[name][index]
        if name != "image":
            return value
        self._counts["asked"] += 1
        if not self.features[name].decode:
            return {"bytes": value, "path": None}
        self._counts["decoded"] += 1
        return PIL.Image.open(io.BytesIO(value))


class HubStream:
    """The rows of a table, which can be gone through only."""

    def __init__(self, data: HubData) -> None:
        self._data = data
        self.features = data.features

    def select_columns(self, names: Sequence[str]) -> HubStream:
        return HubStream(self._data.select_columns(names))

    def with_format(self, type: str | None = None) -> HubStream:
        return self

    def cast_column(self, name: str, feature: Any) -> HubStream:
        return HubStream(self._data.cast_column(name, feature))

    def __iter__(self) -> Iterator[Any]:
        return (self._data[index] for index in range(len(self._data)))
