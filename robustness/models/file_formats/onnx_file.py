"""ONNX: where a file's weights lie, its metadata and its operations, read without its package."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from robustness.base.files import Version, require_regular, version
from robustness.models.file_formats.model_format import (
    GraphSize,
    ModelFormat,
    Numbers,
    Runtime,
    UnusableError,
)

# Numbers of the fields of onnx.proto (ONNX 1.18), by message.
_MODEL_GRAPH, _MODEL_METADATA, _MODEL_FUNCTIONS = 7, 14, 25
_FUNCTION_NODE = 7
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_SPARSE_VALUES, _SPARSE_INDICES = 1, 2
_NODE_KIND, _NODE_ATTRIBUTE = 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL = 13
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
        model = _Message(file, 0, path.stat().st_size, [_MOST_TOP_FIELDS])
        return list(map(_entry, model.messages(_MODEL_METADATA)))


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
            for number, value in _Message(file, 0, path.stat().st_size).fields():
                if number == _MODEL_GRAPH and isinstance(value, _Message):
                    walk.graph(value, 0)
                elif number == _MODEL_FUNCTIONS and isinstance(value, _Message):
                    walk.nodes_of(value, _FUNCTION_NODE, 0)
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

    def graph(self, graph: _Message, depth: int) -> None:
        if depth > _DEEPEST:
            raise UnusableError(f"graphs nested more than {_DEEPEST} deep")
        self.nodes_of(graph, _GRAPH_NODE, depth)
        for tensor in graph.messages(_GRAPH_INITIALIZER):
            self._tensor(tensor)
        for sparse in graph.messages(_GRAPH_SPARSE):
            for part in (_SPARSE_VALUES, _SPARSE_INDICES):
                for tensor in sparse.messages(part):
                    self._tensor(tensor)

    def nodes_of(self, parent: _Message, number: int, depth: int) -> None:
        for node in parent.messages(number):
            self.nodes += 1
            for field, value in node.fields():
                if field == _NODE_KIND and isinstance(value, _Message):
                    self.kinds.add(value.text())
                elif field == _NODE_ATTRIBUTE and isinstance(value, _Message):
                    self._attribute(value, depth)

    def _attribute(self, attribute: _Message, depth: int) -> None:
        for number, value in attribute.fields():
            if not isinstance(value, _Message):
                continue
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(value)
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self.graph(value, depth + 1)

    def _tensor(self, tensor: _Message) -> None:
        for key, value in map(_entry, tensor.messages(_TENSOR_EXTERNAL)):
            if key == "location":
                self.weights[value] = None
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

    def messages(self, number: int) -> Iterator[_Message]:
        """The fields of this ``number`` that hold messages or bytes."""
        for field, value in self.fields():
            if field == number and isinstance(value, _Message):
                yield value

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
