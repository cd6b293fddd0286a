"""TensorFlow Lite: the numbers of a file's input and output, and its labels, without TensorFlow.

The file is a FlatBuffer: each table has a table of offsets to its fields (flatbuffers.dev,
"FlatBuffers internals"). Fields and codes follow TensorFlow's schema.fbs, version 3.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from robustness.base.bounded_zip import BoundedZip
from robustness.base.files_and_locks import Version, require_regular, version
from robustness.models.file_formats.format_and_runtime_record import (
    MAX_BYTES,
    ModelFormat,
    Numbers,
    Quantisation,
    Runtime,
    UnusableError,
)

_IDENTIFIER = b"TFL3"
_MODEL_SUBGRAPHS = 2
_GRAPH_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS = 0, 1, 2
_TENSOR_TYPE, _TENSOR_QUANTISATION = 1, 4
_SCALES, _ZERO_POINTS = 2, 3
_QUANTISED_TYPES = {3: (0, 255), 9: (-128, 127), 7: (-32768, 32767), 17: (-8, 7)}
"""Codes of uint8, int8, int16 and int4, with their ranges."""

_MOST_TABLES = 20_000
"""Tables of a list that are read: a network has at most a few thousand tensors."""

_MOST_TEXTS, _MOST_BYTES = 100, 4 * 2**20
"""Files in the archive, and bytes of a list of classes."""

_IMPORT_BYTES = 4 * 10**9
"""Bytes that importing TensorFlow reserves; onnxruntime takes 0.07 GB."""


def _numbers(path: Path) -> Numbers:
    """Raises ``UnusableError`` where ``path`` is no such file."""
    return _read(path, version(path))


@lru_cache(maxsize=32)
def _read(path: Path, _version: Version) -> Numbers:
    require_regular(path, MAX_BYTES)
    with path.open("rb") as file:
        model = _Table.root(file)
        graph = next(model.tables(_MODEL_SUBGRAPHS), None)
        if graph is None:
            raise _damaged("no graph in it")
        tensors = [_quantisation(tensor) for tensor in graph.tables(_GRAPH_TENSORS)]
        ends = (graph.first(_GRAPH_INPUTS, "i"), graph.first(_GRAPH_OUTPUTS, "i"))
        if any(not 0 <= place < len(tensors) for place in ends if place is not None):
            raise _damaged("an input or output that it does not hold")
        first, last = (None if place is None else tensors[int(place)] for place in ends)
    return Numbers(first, last, any(tensor is not None for tensor in tensors))


def _damaged(reason: str) -> UnusableError:
    return UnusableError(f"it is not a TensorFlow Lite model ({reason})")


def _quantisation(tensor: _Table) -> Quantisation | None:
    limits = _QUANTISED_TYPES.get(tensor.byte(_TENSOR_TYPE))
    table = tensor.table(_TENSOR_QUANTISATION)
    if limits is None or table is None:
        return None
    scale, zero_point = table.first(_SCALES, "f"), table.first(_ZERO_POINTS, "q")
    if scale is None or not math.isfinite(scale) or scale <= 0:
        return None
    return Quantisation(float(scale), int(zero_point or 0), *limits)


def _metadata(path: Path) -> Iterator[tuple[str, str]]:
    """The texts in the archive at the end of the file, which are lists of classes."""
    with BoundedZip(path, _MOST_TEXTS) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".txt") and entry.file_size <= _MOST_BYTES:
                yield "labels", archive.read(entry).decode("utf-8-sig")


class _Table:
    """A table of a FlatBuffer at ``place`` of an open file; every read is checked."""

    def __init__(self, file: BinaryIO, place: int) -> None:
        self._file, self._place = file, place
        self._fields = place - self._number("i", place)
        self._size = self._number("H", self._fields)

    @classmethod
    def root(cls, file: BinaryIO) -> _Table:
        """The model of ``file``."""
        head = file.read(8)
        if head[4:] != _IDENTIFIER:
            raise _damaged(f"no {_IDENTIFIER.decode()} at its beginning")
        return cls(file, struct.unpack("<I", head[:4])[0])

    def byte(self, field: int) -> int:
        """The field as an integer of one byte; 0 where it is left out."""
        place = self._field(field)
        return 0 if place is None else int(self._number("b", place))

    def table(self, field: int) -> _Table | None:
        """The table that the field points to."""
        place = self._field(field)
        return None if place is None else _Table(self._file, place + self._number("I", place))

    def tables(self, field: int) -> Iterator[_Table]:
        """The tables of the list that the field points to."""
        start, count = self._list(field)
        if count > _MOST_TABLES:
            raise _damaged("a list that is too long")
        for place in range(start, start + 4 * count, 4):
            yield _Table(self._file, place + self._number("I", place))

    def first(self, field: int, kind: str) -> float | None:
        """The first number, of the struct format ``kind``, of the list that the field points to."""
        start, count = self._list(field)
        return self._value(kind, start) if count else None

    def _list(self, field: int) -> tuple[int, int]:
        place = self._field(field)
        if place is None:
            return 0, 0
        start = place + self._number("I", place)
        return start + 4, self._number("I", start)

    def _field(self, field: int) -> int | None:
        entry = 4 + 2 * field
        offset = self._number("H", self._fields + entry) if entry + 2 <= self._size else 0
        return self._place + offset if offset else None

    def _number(self, kind: str, place: int) -> int:
        return int(self._value(kind, place))

    def _value(self, kind: str, place: int) -> float:
        size = struct.calcsize(f"<{kind}")
        if place < 0:
            raise _damaged("a place before its beginning")
        self._file.seek(place)
        data = self._file.read(size)
        if len(data) < size:
            raise _damaged("a place after its end")
        (number,) = struct.unpack(f"<{kind}", data)
        return float(number) if kind == "f" else number


TFLITE = ModelFormat(
    "TensorFlow Lite",
    ".tflite",
    numbers=_numbers,
    metadata=_metadata,
    runtime=Runtime("tensorflow", "TensorFlow Lite", _IMPORT_BYTES),
)
