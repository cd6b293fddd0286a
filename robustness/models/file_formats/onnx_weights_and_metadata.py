"""ONNX: where a file's weights lie, its metadata and its operations, read without its package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from robustness.base.files_and_locks import Version, require_regular, version
from robustness.models.file_formats.format_and_runtime_record import (
    GraphSize,
    ModelFormat,
    Numbers,
    Runtime,
    UnusableError,
)

_METADATA, _EXTERNAL, _KIND = 14, "external", "kind"
_MODEL = {7: "graph", 25: "function"}
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {4: _KIND, 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {13: _EXTERNAL},
}
"""The fields of the messages of onnx.proto (ONNX 1.18) that are followed, by their numbers."""

_ENTRY_KEY, _ENTRY_VALUE = 1, 2

_LOOPS = {"Loop", "If", "Scan", "SequenceMap"}
"""Operators that hold graphs of their own: how long they take cannot be computed beforehand."""

_DEEPEST = 40
"""Graphs within graphs; a file of a network has two or three."""

_MOST_TOP_FIELDS = 10_000
"""Fields of the model around its graph: metadata, and a function each."""

_MOST_FILES = 1000
"""Files of weights; exporters write one, or one for each tensor."""

_QUANTISED = {
    "ConvInteger",
    "DynamicQuantizeLinear",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "QuantizeLinear",
}
"""Operators that compute in integers."""

_MAX_BYTES = 2**31
"""Bytes of the largest message of protocol buffers; larger models have weights in other files."""

_MOST_FIELDS = 300_000
"""Fields that are read of one file, within a second: 20,000 nodes of a chain have 100,000."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT_BYTES = 10


def _weights(path: Path) -> list[str]:
    return [name for name in _walk(path).weights if "\0" not in name]


def _numbers(path: Path) -> Numbers:
    return Numbers(quantised=bool(_walk(path).kinds & _QUANTISED))


def _graph_size(path: Path) -> GraphSize:
    walk = _walk(path)
    return GraphSize(walk.nodes, tuple(sorted(walk.kinds & _LOOPS)))


def _metadata(path: Path) -> list[tuple[str, str]]:
    require_regular(path)
    with path.open("rb") as file:
        fields = _Message(file, 0, path.stat().st_size, [_MOST_TOP_FIELDS]).fields()
        return [
            _entry(value)
            for number, value in fields
            if number == _METADATA and isinstance(value, _Message)
        ]


def _walk(path: Path) -> _Walk:
    """The whole graph of the file ``path``; raises ``UnusableError`` where it is no ONNX file."""
    walk = _cached_walk(path, version(path))
    if walk.problem:
        raise UnusableError(f"it is not a model in the ONNX format, or damaged ({walk.problem})")
    return walk


@lru_cache(maxsize=32)
def _cached_walk(path: Path, _version: Version) -> _Walk:
    require_regular(path, _MAX_BYTES)
    walk = _Walk()
    with path.open("rb") as file:
        try:
            walk.follow(_Message(file, 0, path.stat().st_size), _MODEL, 0)
        except UnusableError as error:
            walk.problem = str(error)
    return walk


class _Walk:
    """Counts nodes of graphs and of the graphs within them; notes kinds and files of weights."""

    def __init__(self) -> None:
        self.weights: dict[str, None] = {}
        self.nodes = 0
        self.kinds: set[str] = set()
        self.problem = ""

    def follow(self, message: _Message, fields: Mapping[int, str], depth: int) -> None:
        """Walks the ``fields`` of ``message``, which lies within so many graphs."""
        if depth > _DEEPEST + 1:
            raise UnusableError(f"graphs nested more than {_DEEPEST} deep")
        for number, value in message.fields():
            kind = fields.get(number)
            if kind is None or not isinstance(value, _Message):
                continue
            if kind == _KIND:
                self.kinds.add(value.text())
            elif kind != _EXTERNAL:
                self.nodes += kind == "node"
                self.follow(value, _MESSAGES[kind], depth + (kind == "graph"))
            elif (entry := _entry(value))[0] == "location":
                self.weights[entry[1]] = None
                if len(self.weights) > _MOST_FILES:
                    raise UnusableError(f"more than {_MOST_FILES:,} files of weights")


def _entry(message: _Message) -> tuple[str, str]:
    """The key and value of a ``StringStringEntryProto``."""
    texts = {n: value.text() for n, value in message.fields() if isinstance(value, _Message)}
    return texts.get(_ENTRY_KEY, ""), texts.get(_ENTRY_VALUE, "")


class _Message:
    """A message of protocol buffers within an open file, from ``start`` to ``end``.

    Nothing of it is kept in memory.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, budget: list[int] | None = None):
        self._file, self._start, self.end = file, start, end
        self._budget = [_MOST_FIELDS] if budget is None else budget  # shared with all within it

    def fields(self) -> Iterator[tuple[int, int | _Message]]:
        """Each field's number, with its integer, or the message or bytes it holds.

        Raises ``UnusableError`` where the bytes are no message.
        """
        at = self._start
        while at < self.end:
            self._budget[0] -= 1
            if self._budget[0] < 0:
                raise UnusableError("too many fields")
            self._file.seek(at)
            key = self._varint()
            kind, number = key & 7, key >> 3
            if kind == _VARINT:
                value: int | _Message = self._varint()
                at = self._file.tell()
            elif kind == _BYTES:
                length = self._varint()
                start = self._file.tell()
                at = start + length
                value = _Message(self._file, start, at, self._budget)
            elif kind in (_FIXED64, _FIXED32):
                at = self._file.tell() + (8 if kind == _FIXED64 else 4)
                value = 0
            else:
                raise UnusableError(f"wire type {kind}")
            if at > self.end:
                raise UnusableError("a field that ends outside of its message")
            yield number, value

    def text(self, most: int = 1 << 16) -> str:
        """Its bytes as text; raises ``UnusableError`` for more than ``most`` of them."""
        if self.end - self._start > most:
            raise UnusableError("a text that is too long")
        self._file.seek(self._start)
        return self._file.read(self.end - self._start).decode("utf-8", "replace")

    def _varint(self) -> int:
        value = 0
        for place in range(_MOST_VARINT_BYTES):
            byte = self._file.read(1)
            if not byte:
                raise UnusableError("the end of the file within a field")
            value |= (byte[0] & 0x7F) << 7 * place
            if byte[0] < 0x80:
                return value
        raise UnusableError("a number that is too long")


ONNX = ModelFormat(
    "ONNX",
    ".onnx",
    weights_ending=".data",
    weights=_weights,
    numbers=_numbers,
    metadata=_metadata,
    runtime=Runtime("onnxruntime", "onnxruntime", graph_size=_graph_size),
)
