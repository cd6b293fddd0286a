"""What an ONNX file says beside its graph: where its weights lie, its size, its metadata."""

from __future__ import annotations

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

_QUANTISED = {
    "QuantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
}

_DEEPEST = 40
"""Graphs within graphs; a file of a network has two or three."""


@dataclass(frozen=True)
class OnnxFacts:
    """``external`` are the files of weights as the ONNX file names them, relative to itself.

    ``nodes`` counts those of all graphs within graphs; ``quantised`` is whether any computes in
    integers. ``metadata`` is what its maker wrote in.
    """

    external: tuple[str, ...]
    nodes: int
    quantised: bool
    metadata: tuple[tuple[str, str], ...]


def onnx_facts(path: Path) -> OnnxFacts:
    """Facts about the ONNX file ``path``, read without loading its weights.

    Raises ``OSError`` where it cannot be read and ``ProtobufError`` where it is no ONNX file.
    """
    return _facts(path, version(path))


@lru_cache(maxsize=32)
def _facts(path: Path, found: Version) -> OnnxFacts:
    require_regular(path)
    with path.open("rb") as file:
        model = Message(file, 0, found[0])
        walk = _Walk()
        metadata = []
        for number, value in model.fields():
            if not isinstance(value, Message):
                continue
            if number == _MODEL_GRAPH:
                walk.graph(value, 0)
            elif number == _MODEL_FUNCTIONS:
                walk.nodes_of(value, _FUNCTION_NODE, 0)
            elif number == _MODEL_METADATA:
                metadata.append(_entry(value))
    external = tuple(dict.fromkeys(walk.external))
    return OnnxFacts(external, walk.nodes, bool(walk.kinds & _QUANTISED), tuple(metadata))


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
