"""What an ONNX file says beside its graph: where its weights lie, its metadata, its operators.

``onnx_scan`` and ``metadata`` take time in proportion to the file, whatever is in it.
``graph_facts`` reads the whole graph: call it in a process with limits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from robustness.base.disk import Version, require_regular, version
from robustness.models.file_formats.protobuf import Message, ProtobufError

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


_LENGTH = rb"(?:[\x00-\x7f]|[\x80-\xff][\x00-\x7f])"
_LOCATION = re.compile(rb"\x6a" + _LENGTH + rb"\x0a\x08location\x12(" + _LENGTH + rb")")
"""The beginning of an entry ``external_data`` of a tensor, as every writer serialises it."""

_QUANTISED = re.compile(
    rb"\x22(?:\x0eQuantizeLinear|\x15DynamicQuantizeLinear|\x0bQLinearConv|\x0dQLinearMatMul"
    rb"|\x0bConvInteger|\x0dMatMulInteger)"
)
"""The kind of a node that computes in integers."""

_CHUNK, _OVERLAP = 2**20, 2**13


@dataclass(frozen=True)
class OnnxScan:
    """``external`` are the files of weights as the ONNX file names them, relative to itself.

    ``quantised`` is whether any node computes in integers.
    """

    external: tuple[str, ...]
    quantised: bool


def onnx_scan(path: Path) -> OnnxScan:
    """Search the bytes of the ONNX file ``path``, whatever they are.

    Raises ``OSError`` where it cannot be read and ``ProtobufError`` for too many files of weights.
    """
    return _scan(path, version(path))


@lru_cache(maxsize=32)
def _scan(path: Path, _version: Version) -> OnnxScan:
    require_regular(path)
    names: dict[str, None] = {}
    quantised, data = False, b""
    with path.open("rb") as file:
        while part := file.read(_CHUNK):
            data = data[-_OVERLAP:] + part
            quantised = quantised or _QUANTISED.search(data) is not None
            names |= dict.fromkeys(_locations(data))
            if len(names) > _MOST_FILES:
                raise ProtobufError(f"more than {_MOST_FILES:,} files of weights")
    return OnnxScan(tuple(names), quantised)


def _locations(data: bytes) -> Iterator[str]:
    """The locations of tensors outside of the file that lie whole in ``data``."""
    for match in _LOCATION.finditer(data):
        low, high = match[1][0], match[1][-1]
        length = low if low < 0x80 else low & 0x7F | high << 7
        name = data[match.end() : match.end() + length]
        if len(name) == length:
            yield name.decode("utf-8", "replace")


def metadata(path: Path) -> dict[str, str]:
    """What the maker of the ONNX file ``path`` wrote in.

    Raises ``OSError`` where it cannot be read and ``ProtobufError`` where it is no ONNX file.
    """
    require_regular(path)
    with path.open("rb") as file:
        model = Message(file, 0, path.stat().st_size, [_MOST_TOP_FIELDS])
        return dict(map(_entry, model.messages(_MODEL_METADATA)))


@dataclass(frozen=True)
class GraphFacts:
    """``external`` is as in ``OnnxScan``; ``nodes`` counts those of all graphs within graphs.

    ``loops`` are the operators among them whose work has no limit.
    """

    external: tuple[str, ...]
    nodes: int
    loops: tuple[str, ...]


def graph_facts(path: Path) -> GraphFacts:
    """Read the graph of the ONNX file ``path``, without its weights.

    Raises ``OSError`` where it cannot be read and ``ProtobufError`` where it is no ONNX file.
    """
    require_regular(path)
    with path.open("rb") as file:
        walk = _Walk()
        for number, value in Message(file, 0, path.stat().st_size).fields():
            if number == _MODEL_GRAPH and isinstance(value, Message):
                walk.graph(value, 0)
            elif number == _MODEL_FUNCTIONS and isinstance(value, Message):
                walk.nodes_of(value, _FUNCTION_NODE, 0)
    return GraphFacts(
        tuple(dict.fromkeys(walk.external)), walk.nodes, tuple(sorted(walk.kinds & _LOOPS))
    )


class _Walk:
    """What is found on the way through graphs and the graphs within their nodes."""

    def __init__(self) -> None:
        self.external: list[str] = []
        self.nodes = 0
        self.kinds: set[str] = set()

    def graph(self, graph: Message, depth: int) -> None:
        if depth > _DEEPEST:
            raise ProtobufError(f"graphs nested more than {_DEEPEST} deep")
        self.nodes_of(graph, _GRAPH_NODE, depth)
        for tensor in graph.messages(_GRAPH_INITIALIZER):
            self._tensor(tensor)
        for sparse in graph.messages(_GRAPH_SPARSE):
            for part in (_SPARSE_VALUES, _SPARSE_INDICES):
                for tensor in sparse.messages(part):
                    self._tensor(tensor)

    def nodes_of(self, parent: Message, number: int, depth: int) -> None:
        for node in parent.messages(number):
            self.nodes += 1
            for field, value in node.fields():
                if field == _NODE_KIND and isinstance(value, Message):
                    self.kinds.add(value.text())
                elif field == _NODE_ATTRIBUTE and isinstance(value, Message):
                    self._attribute(value, depth)

    def _attribute(self, attribute: Message, depth: int) -> None:
        for number, value in attribute.fields():
            if not isinstance(value, Message):
                continue
            if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                self._tensor(value)
            elif number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                self.graph(value, depth + 1)

    def _tensor(self, tensor: Message) -> None:
        entries = map(_entry, tensor.messages(_TENSOR_EXTERNAL))
        self.external += [value for key, value in entries if key == "location"]


def _entry(message: Message) -> tuple[str, str]:
    """The key and value of a ``StringStringEntryProto``."""
    found = dict(_texts(message))
    return found.get(_ENTRY_KEY, ""), found.get(_ENTRY_VALUE, "")


def _texts(message: Message) -> Iterator[tuple[int, str]]:
    for number, value in message.fields():
        if isinstance(value, Message):
            yield number, value.text()
