"""The record of a format of model files, and what its reader gives.

The formats of model files, and the facts that each format contains.

TensorFlow Lite: the numbers of a file's input and output, and its labels, without TensorFlow.

The file is a FlatBuffer: each table has a table of offsets to its fields (flatbuffers.dev,
"FlatBuffers internals"). Fields and codes follow TensorFlow's schema.fbs, version 3.

ONNX: where a file's weights lie, its metadata and its operations, read without its package.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from robustness.base.files import BoundedZip, Version, require_regular, version

MAX_BYTES = 8 * 2**30
"""Most bytes of a model and of its weights: two billion numbers of 32 bits."""


class UnusableError(ValueError):
    """The file cannot be used as it is described; the message says why, without its name."""


@dataclass(frozen=True)
class Quantisation:
    """How integers represent numbers: ``(integer - zero_point) * scale``, within the two limits."""

    scale: float
    zero_point: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class Numbers:
    """The numbers that a file computes with.

    ``input`` and ``output`` are None where those are not integers, as is usual. ``quantised`` is
    whether any tensor is: then its own runtime computes in integers.
    """

    input: Quantisation | None = None
    output: Quantisation | None = None
    quantised: bool = False


@dataclass(frozen=True)
class GraphSize:
    """How many operations a graph has, and which ``loops`` among them have no limit of work."""

    count: int
    loops: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """A package that runs quantised files of a format as they are deployed.

    ``import_bytes`` is the memory that importing it reserves. With ``graph_size``, which reads the
    graph of a file, it also runs files that OpenVINO cannot read.
    """

    package: str
    label: str
    import_bytes: int = 0
    graph_size: Callable[[Path], GraphSize] | None = None


@dataclass(frozen=True)
class ModelFormat:
    """A format of model files. Functions of a path raise ``OSError`` for one they cannot read.

    ``ending`` is that of its files, and ``weights_ending`` of the files of weights that people
    upload beside them. ``is_graph`` is whether OpenVINO reads it; Keras reads the others.
    ``weights`` gives the names of a file's files of weights, relative to it.
    ``damage`` says what is wrong with the bytes of a file.
    ``metadata`` gives (key, text) of what its maker wrote into it. ``runtime`` runs it as deployed.
    """

    name: str
    ending: str
    is_graph: bool = True
    weights_ending: str = ""
    weights: Callable[[Path], Iterable[str]] = lambda _: ()
    numbers: Callable[[Path], Numbers] = lambda _: Numbers()
    damage: Callable[[Path], str] = lambda _: ""
    metadata: Callable[[Path], Iterable[tuple[str, str]]] = lambda _: ()
    runtime: Runtime | None = None


_IDENTIFIER = b"TFL3"
_MODEL_SUBGRAPHS = 2
_GRAPH_TENSORS = 0
_GRAPH_INPUTS = 1
_GRAPH_OUTPUTS = 2
_TENSOR_TYPE = 1
_TENSOR_QUANTISATION = 4
_SCALES = 2
_ZERO_POINTS = 3
_QUANTISED_TYPES = {3: (0, 255), 9: (-128, 127), 7: (-32768, 32767), 17: (-8, 7)}
"""Codes of uint8, int8, int16 and int4, with their ranges."""

_MOST_TABLES = 20_000
"""Tables of a list that are read: a network has at most a few thousand tensors."""

_MOST_TEXTS = 100
_MOST_BYTES = 4 * 2**20
"""Files in the archive, and bytes of a list of classes."""

_IMPORT_BYTES = 4 * 10**9
"""Bytes that importing TensorFlow reserves; onnxruntime takes 0.07 GB."""


def _tflite_numbers(path: Path) -> Numbers:
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
    scale = table.first(_SCALES, "f")
    zero_point = table.first(_ZERO_POINTS, "q")
    if scale is None or not math.isfinite(scale) or scale <= 0:
        return None
    return Quantisation(float(scale), int(zero_point or 0), *limits)


def _tflite_metadata(path: Path) -> Iterator[tuple[str, str]]:
    """The texts in the archive at the end of the file, which are lists of classes."""
    with BoundedZip(path, _MOST_TEXTS) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".txt") and entry.file_size <= _MOST_BYTES:
                yield "labels", archive.read(entry).decode("utf-8-sig")


class _Table:
    """A table of a FlatBuffer at ``place`` of an open file; every read is checked."""

    def __init__(self, file: BinaryIO, place: int) -> None:
        self._file = file
        self._place = place
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
    numbers=_tflite_numbers,
    metadata=_tflite_metadata,
    runtime=Runtime("tensorflow", "TensorFlow Lite", _IMPORT_BYTES),
)


_METADATA = 14
_EXTERNAL = "external"
_KIND = "kind"
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

_ENTRY_KEY = 1
_ENTRY_VALUE = 2

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

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_MOST_VARINT_BYTES = 10


def _onnx_weights(path: Path) -> list[str]:
    return [name for name in _walk(path).weights if "\0" not in name]


def _onnx_numbers(path: Path) -> Numbers:
    return Numbers(quantised=bool(_walk(path).kinds & _QUANTISED))


def _graph_size(path: Path) -> GraphSize:
    walk = _walk(path)
    return GraphSize(walk.nodes, tuple(sorted(walk.kinds & _LOOPS)))


def _onnx_metadata(path: Path) -> list[tuple[str, str]]:
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
        self._file = file
        self._start = start
        self.end = end
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
            kind = key & 7
            number = key >> 3
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
    weights=_onnx_weights,
    numbers=_onnx_numbers,
    metadata=_onnx_metadata,
    runtime=Runtime("onnxruntime", "onnxruntime", graph_size=_graph_size),
)


OPENVINO = ModelFormat(
    "OpenVINO",
    ".xml",
    weights_ending=".bin",
    weights=lambda path: (path.with_suffix(".bin").name,),
)


_IN_KERAS = Runtime("tensorflow", "TensorFlow", 4 * 10**9, lambda _: GraphSize(0, ()))
"""Importing TensorFlow reserves addresses. Keras has no limit of a graph's size."""


def _damage_of_keras(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            part = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return "it is not a complete archive in Keras 3's own format"
    return f"its part {part} does not match its checksum" if part else ""


KERAS = ModelFormat("Keras", ".keras", is_graph=False, damage=_damage_of_keras, runtime=_IN_KERAS)


def _damage_of_saved_model(path: Path) -> str:
    whole = any(path.glob("saved_model.pb*"))
    return "" if whole else "it has no saved_model.pb, so it is not a SavedModel"


SAVED_MODEL = ModelFormat(
    "Keras", "", is_graph=False, damage=_damage_of_saved_model, runtime=_IN_KERAS
)
"""A folder, which Keras loads, and a program: reading it may run anything."""

FORMATS = (ONNX, TFLITE, OPENVINO, KERAS)
"""The formats of single files."""

ENDINGS = tuple(record.ending for record in FORMATS)

BY_OPENVINO = "openvino"
"""The ``runtime`` of a description that leaves a quantised file to OpenVINO."""


def format_of(path: Path) -> ModelFormat:
    """The format of the file or folder ``path``, by its name; Keras decides about others."""
    if os.path.isdir(path):
        return SAVED_MODEL
    return next((record for record in FORMATS if record.ending == path.suffix.lower()), KERAS)


def is_saved_model(path: Path) -> bool:
    """Whether ``path`` is a SavedModel, which is a program: reading it may run anything."""
    return os.path.exists(path / "saved_model.pb")  # False for a path that may not be entered


def is_quantised(path: Path) -> bool:
    """Whether the file ``path`` computes in integers, as far as it can be read."""
    with suppress(OSError, UnusableError):
        return format_of(path).numbers(path).quantised
    return False


def all_files(path: Path) -> tuple[Path, ...]:
    """The file ``path`` and the files of weights that belong to it, as far as they are there.

    They are looked for in its own folder alone.
    """
    with suppress(OSError, UnusableError):  # reading it says what is wrong with it
        return (path, *(file for _, file in _weights(path) if file is not None and file.is_file()))
    return (path,)


def check_weights(path: Path) -> None:
    """Raise ``UnusableError`` unless all files of weights of ``path`` lie in its folder."""
    for name, file in _weights(path):
        if file is None:
            raise UnusableError(
                f"its weights are outside its folder, at {name}; put them next to it"
            )
        if not file.is_file():
            raise UnusableError(f"its file of weights {name} is missing; put it next to the model")


def _weights(path: Path) -> Iterator[tuple[str, Path | None]]:
    """The files of weights as the file names them, and where they are; None outside its folder."""
    folder = path.parent.resolve()
    for name in format_of(path).weights(path):
        file = (folder / name).resolve()
        yield name, file if file.is_relative_to(folder) else None
