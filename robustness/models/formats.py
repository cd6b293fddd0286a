"""The formats of model files, and readers of what can be known about a file before it is loaded.

The readers check every byte that they use, and import neither TensorFlow nor onnx.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from robustness.base.files import BoundedZip, Version, require_regular, version
from robustness.base.validation import read_object

MAX_BYTES = 8 * 2**30
"""The most bytes of a model and of its weights: two billion numbers of 32 bits."""

# --- the record of a format -----------------------------------------------------------------------


class UnusableError(ValueError):
    """The file cannot be used as it is described; the message says why, without its name."""


@dataclass(frozen=True)
class Quantisation:
    """How integers from ``lowest`` to ``highest`` represent numbers.

    The number is ``(integer - zero_point) * scale``.
    """

    scale: float
    zero_point: int
    lowest: int
    highest: int


@dataclass(frozen=True)
class Numbers:
    """The numbers that a file computes with.

    ``input`` and ``output`` are None where the input and output are not integers, as is usual.
    ``quantised`` is whether any tensor holds integers; then the runtime of the format computes in
    integers.
    """

    input: Quantisation | None = None
    output: Quantisation | None = None
    quantised: bool = False


@dataclass(frozen=True)
class GraphSize:
    """The number of operations of a graph, and the types of its ``loops``, whose work is open."""

    count: int
    loops: tuple[str, ...]


@dataclass(frozen=True)
class Runtime:
    """A package that runs quantised files of a format as they are deployed.

    ``import_bytes`` is the memory that importing it reserves. A runtime with ``graph_size``, which
    reads the size of a file's graph, also runs files that OpenVINO cannot read.
    """

    package: str
    label: str
    import_bytes: int = 0
    graph_size: Callable[[Path], GraphSize] | None = None


def _no_weights(path: Path) -> tuple[str, ...]:
    return ()


def _no_integers(path: Path) -> Numbers:
    return Numbers()


def _no_damage(path: Path) -> str:
    return ""


def _no_metadata(path: Path) -> tuple[tuple[str, str], ...]:
    return ()


@dataclass(frozen=True)
class ModelFormat:
    """A format of model files.

    ``ending`` is that of its files, and ``weights_ending`` that of the files of weights that people
    upload with them. ``is_graph`` is whether OpenVINO reads the format; Keras reads the others.
    ``runtime`` runs its files as they are deployed. ``files`` are the names of those that are read
    of a folder, as far as they are there; if empty, all are.

    These functions of a file raise ``OSError`` if they cannot read it: ``weights`` gives the names
    of its files of weights, relative to it, and ``numbers`` what it computes with. ``damage`` says
    what is wrong with its bytes, or is empty. ``metadata`` gives the keys and texts that its maker
    wrote into it.
    """

    name: str
    ending: str
    is_graph: bool = True
    weights_ending: str = ""
    weights: Callable[[Path], Iterable[str]] = _no_weights
    numbers: Callable[[Path], Numbers] = _no_integers
    damage: Callable[[Path], str] = _no_damage
    metadata: Callable[[Path], Iterable[tuple[str, str]]] = _no_metadata
    runtime: Runtime | None = None
    files: tuple[str, ...] = ()


# --- TensorFlow Lite ------------------------------------------------------------------------------
#
# The file is a FlatBuffer: each table has a table of offsets to its fields (flatbuffers.dev,
# "FlatBuffers internals"). Fields and codes follow TensorFlow's schema.fbs, version 3.

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
"""The most tables that are read of one list: a network has at most a few thousand tensors."""

_MOST_TEXTS = 100
_MOST_BYTES = 4 * 2**20
"""The most files in the archive of metadata, and the most bytes of a list of classes."""

_IMPORT_BYTES = 4 * 10**9
"""Bytes of addresses that importing TensorFlow reserves; onnxruntime takes 0.07 GB."""


def _tflite_numbers(path: Path) -> Numbers:
    """Raises ``UnusableError`` where ``path`` is not a TensorFlow Lite model."""
    return _read_numbers(path, version(path))


@lru_cache(maxsize=32)
def _read_numbers(path: Path, _version: Version) -> Numbers:
    require_regular(path, MAX_BYTES)
    with path.open("rb") as file:
        model = _Table.root(file)
        graph = next(model.tables(_MODEL_SUBGRAPHS), None)
        if graph is None:
            raise _damaged("no graph in it")
        quantisations = [_quantisation(tensor) for tensor in graph.tables(_GRAPH_TENSORS)]
        input_index = graph.first_number(_GRAPH_INPUTS, "i")
        output_index = graph.first_number(_GRAPH_OUTPUTS, "i")
    return Numbers(
        input=_of_tensor(quantisations, input_index),
        output=_of_tensor(quantisations, output_index),
        quantised=any(quantisation is not None for quantisation in quantisations),
    )


def _damaged(reason: str) -> UnusableError:
    return UnusableError(f"it is not a TensorFlow Lite model ({reason})")


def _quantisation(tensor: _Table) -> Quantisation | None:
    limits = _QUANTISED_TYPES.get(tensor.byte(_TENSOR_TYPE))
    parameters = tensor.table(_TENSOR_QUANTISATION)
    if limits is None or parameters is None:
        return None
    # A tensor with several scales has one for each channel; inputs and outputs have one.
    scale = parameters.first_number(_SCALES, "f")
    zero_point = parameters.first_number(_ZERO_POINTS, "q")
    if scale is None or not math.isfinite(scale) or scale <= 0:
        return None
    lowest, highest = limits
    return Quantisation(float(scale), int(zero_point or 0), lowest, highest)


def _of_tensor(
    quantisations: Sequence[Quantisation | None], index: float | None
) -> Quantisation | None:
    """The quantisation of the tensor ``index``, the input or output of a graph if it has one."""
    if index is None:
        return None
    if not 0 <= index < len(quantisations):
        raise _damaged("an input or output that it does not hold")
    return quantisations[int(index)]


def _tflite_metadata(path: Path) -> Iterator[tuple[str, str]]:
    """The texts in the archive at the end of the file, which are lists of classes."""
    with BoundedZip(path, _MOST_TEXTS) as archive:
        for entry in archive.infolist():
            if entry.filename.endswith(".txt") and entry.file_size <= _MOST_BYTES:
                yield "labels", archive.read(entry).decode("utf-8-sig")


class _Table:
    """A table of a FlatBuffer at ``position`` of an open file.

    Reading outside of the file raises ``UnusableError``. A ``field`` is a number of the schema.
    """

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file = file
        self._position = position
        # The table of offsets lies so many bytes before the table, and begins with its own size.
        self._offsets = position - self._integer("i", position)
        self._offsets_size = self._integer("H", self._offsets)

    @classmethod
    def root(cls, file: BinaryIO) -> _Table:
        """The table of the model in ``file``, which must be at its beginning."""
        head = file.read(8)
        if head[4:] != _IDENTIFIER:
            raise _damaged(f"no {_IDENTIFIER.decode()} at its beginning")
        (position,) = struct.unpack("<I", head[:4])
        return cls(file, position)

    def byte(self, field: int) -> int:
        """The signed byte in ``field``; 0, the default of the schema, where it is left out."""
        position = self._field_position(field)
        if position is None:
            return 0
        return self._integer("b", position)

    def table(self, field: int) -> _Table | None:
        """The table that ``field`` points to; None where it is left out."""
        position = self._field_position(field)
        if position is None:
            return None
        return self._table_at(position)

    def tables(self, field: int) -> Iterator[_Table]:
        """The tables of the list that ``field`` points to."""
        start, count = self._list(field)
        if count > _MOST_TABLES:
            raise _damaged("a list that is too long")
        for index in range(count):
            yield self._table_at(start + 4 * index)

    def first_number(self, field: int, kind: str) -> float | None:
        """The first number of the list that ``field`` points to; None if the list is empty.

        ``kind`` is its format in the module ``struct``.
        """
        start, count = self._list(field)
        if count == 0:
            return None
        return self._number(kind, start)

    def _list(self, field: int) -> tuple[int, int]:
        """The position of the first entry of the list in ``field``, and the number of entries."""
        position = self._field_position(field)
        if position is None:
            return 0, 0
        list_position = position + self._integer("I", position)
        return list_position + 4, self._integer("I", list_position)

    def _table_at(self, position: int) -> _Table:
        """The table that the offset at ``position`` points to."""
        return _Table(self._file, position + self._integer("I", position))

    def _field_position(self, field: int) -> int | None:
        """The position of the value of ``field``; None where it is left out."""
        entry = 4 + 2 * field  # after two sizes, that of the offsets and that of the table
        if entry + 2 > self._offsets_size:
            return None
        offset = self._integer("H", self._offsets + entry)
        if offset == 0:
            return None
        return self._position + offset

    def _integer(self, kind: str, position: int) -> int:
        return int(self._number(kind, position))

    def _number(self, kind: str, position: int) -> float:
        size = struct.calcsize(f"<{kind}")
        if position < 0:
            raise _damaged("a place before its beginning")
        self._file.seek(position)
        data = self._file.read(size)
        if len(data) < size:
            raise _damaged("a place after its end")
        (number,) = struct.unpack(f"<{kind}", data)
        return number


TFLITE = ModelFormat(
    "TensorFlow Lite",
    ".tflite",
    numbers=_tflite_numbers,
    metadata=_tflite_metadata,
    runtime=Runtime("tensorflow", "TensorFlow Lite", _IMPORT_BYTES),
)


# --- ONNX -----------------------------------------------------------------------------------------
#
# The file is a message of protocol buffers, which holds others. It is walked field by field, so
# that little of it is in memory at a time.

_METADATA = 14
_EXTERNAL = "external"
_OPERATOR = "operator"
_MODEL = {7: "graph", 25: "function"}
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "node": {4: _OPERATOR, 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "tensor": {13: _EXTERNAL},
}
"""The fields of each message of onnx.proto (ONNX 1.18) that are followed, by number."""

_ENTRY_KEY = 1
_ENTRY_VALUE = 2

_LOOPS = {"Loop", "If", "Scan", "SequenceMap"}
"""Operators that hold graphs of their own: how long they take cannot be computed beforehand."""

_DEEPEST = 40
"""The most graphs within graphs; a file of a network has two or three."""

_MOST_TOP_FIELDS = 10_000
"""The most fields of the model around its graph: metadata, and a field for each function."""

_MOST_FILES = 1000
"""The most files of weights; exporters write one, or one for each tensor."""

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
"""The most fields that are read of one file. They take less than a second; a chain of 20,000 nodes
has 100,000."""

_VARINT = 0
_FIXED64 = 1
_BYTES = 2
_FIXED32 = 5
_MOST_VARINT_BYTES = 10


def _onnx_weights(path: Path) -> list[str]:
    # No file has a name with a null character, which the system refuses with ValueError.
    return [name for name in _walk(path).weights if "\0" not in name]


def _onnx_numbers(path: Path) -> Numbers:
    return Numbers(quantised=bool(_walk(path).operators & _QUANTISED))


def _graph_size(path: Path) -> GraphSize:
    walk = _walk(path)
    loops = sorted(walk.operators & _LOOPS)
    return GraphSize(walk.node_count, tuple(loops))


def _onnx_metadata(path: Path) -> list[tuple[str, str]]:
    require_regular(path)
    entries = []
    with path.open("rb") as file:
        model = _Message(file, 0, path.stat().st_size, [_MOST_TOP_FIELDS])
        for number, value in model.fields():
            if number == _METADATA and isinstance(value, _Message):
                entries.append(_entry(value))
    return entries


def _walk(path: Path) -> _Walk:
    """The walk through all graphs of the file ``path``.

    Raises ``UnusableError`` if it is not an ONNX file.
    """
    walk = _cached_walk(path, version(path))
    if walk.problem:
        raise UnusableError(f"it is not a model in the ONNX format, or damaged ({walk.problem})")
    return walk


@lru_cache(maxsize=32)
def _cached_walk(path: Path, _version: Version) -> _Walk:
    require_regular(path, _MAX_BYTES)
    walk = _Walk()
    with path.open("rb") as file:
        model = _Message(file, 0, path.stat().st_size, [_MOST_FIELDS])
        try:
            walk.follow(model, _MODEL, depth=0)
        except UnusableError as error:
            # Noted, as the cache keeps no exceptions: a damaged file would be walked each time.
            walk.problem = str(error)
    return walk


class _Walk:
    """What is found in the graphs of a file, including graphs within graphs.

    ``weights`` are the names of files of weights, in order of appearance.
    """

    def __init__(self) -> None:
        self.weights: dict[str, None] = {}
        self.node_count = 0
        self.operators: set[str] = set()
        self.problem = ""

    def follow(self, message: _Message, fields: Mapping[int, str], depth: int) -> None:
        """Walk through the ``fields`` of ``message``, which lies within ``depth`` graphs."""
        if depth > _DEEPEST + 1:
            raise UnusableError(f"graphs nested more than {_DEEPEST} deep")
        for number, value in message.fields():
            kind = fields.get(number)
            if kind is None or not isinstance(value, _Message):
                continue
            if kind == _OPERATOR:
                self.operators.add(value.text())
            elif kind == _EXTERNAL:
                self._note_external(value)
            elif kind == "graph":
                self.follow(value, _MESSAGES[kind], depth + 1)
            else:
                if kind == "node":
                    self.node_count += 1
                self.follow(value, _MESSAGES[kind], depth)

    def _note_external(self, message: _Message) -> None:
        """Note the file of weights that an entry of a tensor's ``external_data`` may name."""
        key, text = _entry(message)
        if key != "location":
            return
        self.weights[text] = None
        if len(self.weights) > _MOST_FILES:
            raise UnusableError(f"more than {_MOST_FILES:,} files of weights")


def _entry(message: _Message) -> tuple[str, str]:
    """The key and value of a ``StringStringEntryProto``."""
    texts = {}
    for number, value in message.fields():
        if isinstance(value, _Message):
            texts[number] = value.text()
    return texts.get(_ENTRY_KEY, ""), texts.get(_ENTRY_VALUE, "")


class _Message:
    """A message of protocol buffers within an open file, from ``start`` to ``end``.

    ``fields_left`` holds the number of fields that may still be read; the messages within this one
    share it.
    """

    def __init__(self, file: BinaryIO, start: int, end: int, fields_left: list[int]) -> None:
        self._file = file
        self._start = start
        self._end = end
        self._fields_left = fields_left

    def fields(self) -> Iterator[tuple[int, int | _Message]]:
        """Yield the number and the value of each field.

        The value is an integer, or the bytes of a field as a message, whether or not they are one.
        Numbers of fixed size are skipped, with 0 as their value. Raises ``UnusableError`` where
        the bytes are not a message.
        """
        position = self._start
        while position < self._end:
            self._fields_left[0] -= 1
            if self._fields_left[0] < 0:
                raise UnusableError("too many fields")
            # Whoever takes a field may read elsewhere in the file before the next.
            self._file.seek(position)
            key = self._varint()
            number = key >> 3
            wire_type = key & 7
            value: int | _Message = 0
            if wire_type == _VARINT:
                value = self._varint()
                position = self._file.tell()
            elif wire_type == _BYTES:
                length = self._varint()
                start = self._file.tell()
                position = start + length
                value = _Message(self._file, start, position, self._fields_left)
            elif wire_type == _FIXED64:
                position = self._file.tell() + 8
            elif wire_type == _FIXED32:
                position = self._file.tell() + 4
            else:
                raise UnusableError(f"wire type {wire_type}")
            if position > self._end:
                raise UnusableError("a field that ends outside of its message")
            yield number, value

    def text(self, most: int = 1 << 16) -> str:
        """The bytes as text; raises ``UnusableError`` for more than ``most`` bytes."""
        size = self._end - self._start
        if size > most:
            raise UnusableError("a text that is too long")
        self._file.seek(self._start)
        return self._file.read(size).decode("utf-8", "replace")

    def _varint(self) -> int:
        """The integer at the position of the file: groups of 7 bits, the lowest first."""
        value = 0
        for index in range(_MOST_VARINT_BYTES):
            byte = self._file.read(1)
            if not byte:
                raise UnusableError("the end of the file within a field")
            value |= (byte[0] & 0x7F) << (7 * index)
            is_last = byte[0] < 0x80
            if is_last:
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


# --- OpenVINO and Keras ---------------------------------------------------------------------------


def _openvino_weights(path: Path) -> tuple[str, ...]:
    return (path.with_suffix(".bin").name,)


OPENVINO = ModelFormat("OpenVINO", ".xml", weights_ending=".bin", weights=_openvino_weights)


def _no_limit(path: Path) -> GraphSize:
    """Keras has no limit of a graph's size."""
    return GraphSize(0, ())


_IN_KERAS = Runtime("tensorflow", "TensorFlow", _IMPORT_BYTES, _no_limit)


def _damage_of_keras(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged_part = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return "it is not a complete archive in Keras 3's own format"
    if damaged_part:
        return f"its part {damaged_part} does not match its checksum"
    return ""


KERAS = ModelFormat("Keras", ".keras", is_graph=False, damage=_damage_of_keras, runtime=_IN_KERAS)


def _damage_of_saved_model(path: Path) -> str:
    if any(path.glob("saved_model.pb*")):
        return ""
    return "it has no saved_model.pb, so it is not a SavedModel"


SAVED_MODEL = ModelFormat(
    "Keras", "", is_graph=False, damage=_damage_of_saved_model, runtime=_IN_KERAS
)
"""A folder, which Keras loads. It is a program: loading it may run anything."""

# --- CLIP in Hugging Face's format ---------------------------------------------------------------

CONFIG = "config.json"
SAFETENSORS = "model.safetensors"
TOKENIZER = "tokenizer.json"
VOCABULARY = ("vocab.json", "merges.txt")
"""The older notation of a tokenizer."""

_OF_ONE_LIST = "CLIPForImageClassification"
"""A classifier with a head of its own, whose configuration is that of CLIP, too."""

CLIP = ModelFormat(
    "CLIP",
    "",
    is_graph=False,
    files=(
        CONFIG,
        SAFETENSORS,
        TOKENIZER,
        *VOCABULARY,
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
    ),
)
"""A folder of transformers with an image encoder and a text encoder, which torch exports."""


OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = "open_clip_model.safetensors"

OPEN_CLIP = ModelFormat(
    "CLIP of open_clip",
    "",
    is_graph=False,
    files=(OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, *CLIP.files[2:]),
)
"""The same as ``CLIP``, as open_clip writes it."""

ZERO_SHOT = (CLIP, OPEN_CLIP)
"""The formats of models that take any list of classes."""


def is_clip(folder: Path) -> bool:
    """Whether ``folder`` holds a CLIP model, going by its configuration."""
    return model_type(folder) == "clip" or os.path.isfile(folder / OPEN_CLIP_CONFIG)


def templates_problem(path: Path | None) -> str:
    """A clause that says why the model at ``path`` takes no templates; empty if it may.

    None stands for a model that is no file. What is not there is told when the model is used.
    """
    found = "another model"
    if path is not None:
        if not os.path.exists(path) or is_clip(path):
            return ""
        found = model_type(path) or path.name
    return (
        f"expected templates with a CLIP folder only, whose {CONFIG} says model_type clip, got "
        f"{found}"
    )


def model_type(folder: Path) -> str:
    """The type of model that the configuration of ``folder`` states.

    Empty without one, and for a classifier of images, whose head knows one list of classes.
    """
    config = folder / CONFIG
    try:
        return _cached_type(config, version(config))
    except (OSError, ValueError, TypeError, RecursionError):  # it may hold anything
        return ""


@lru_cache(maxsize=32)
def _cached_type(config: Path, _version: Version) -> str:
    values = read_object(config)
    if _OF_ONE_LIST in (values.get("architectures") or ()):
        return ""
    return str(values.get("model_type", ""))


# --- all formats ----------------------------------------------------------------------------------

FORMATS = (ONNX, TFLITE, OPENVINO, KERAS)
"""The formats of single files."""

ENDINGS = tuple(record.ending for record in FORMATS)

BY_OPENVINO = "openvino"
"""The ``runtime`` of a description that leaves a quantised file to OpenVINO."""


def format_of(path: Path) -> ModelFormat:
    """The format of the file or folder ``path``, by its name; Keras for an unknown ending."""
    # Unlike methods of Path, those of os.path are False for a path that may not be entered.
    if os.path.isdir(path):
        if model_type(path) == "clip":
            return CLIP
        if is_clip(path):
            return OPEN_CLIP
        return SAVED_MODEL
    for model_format in FORMATS:
        if model_format.ending == path.suffix.lower():
            return model_format
    return KERAS


def is_saved_model(path: Path) -> bool:
    """Whether ``path`` is a SavedModel, which is a program: loading it may run anything."""
    return os.path.exists(path / "saved_model.pb")  # False for a path that may not be entered


def is_quantised(path: Path) -> bool:
    """Whether the file ``path`` computes in integers; False if it cannot be read."""
    with suppress(OSError, UnusableError):
        return format_of(path).numbers(path).quantised
    return False


def all_files(path: Path) -> tuple[Path, ...]:
    """The file ``path`` and the files of weights in its folder that belong to it.

    Of a folder whose format names its files, these.
    Missing files are left out. If ``path`` cannot be read, it is returned alone: who loads it will
    say what is wrong with it.
    """
    names = format_of(path).files
    if names:
        return tuple(path / name for name in names if os.path.isfile(path / name))
    weight_files = []
    try:
        for _, file in _weights(path):
            if file is not None and file.is_file():
                weight_files.append(file)
    except (OSError, UnusableError):
        return (path,)
    return (path, *weight_files)


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
    """Yield each name of a file of weights, as ``path`` states it, and the file.

    The file is None if it would lie outside the folder of ``path``.
    """
    folder = path.parent.resolve()
    for name in format_of(path).weights(path):
        file = (folder / name).resolve()
        if file.is_relative_to(folder):
            yield name, file
        else:
            yield name, None
