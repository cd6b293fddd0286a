"""Which files hold a model with its graph, and which other files belong to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from robustness.models.file_formats.onnx_file import onnx_facts
from robustness.models.file_formats.protobuf import ProtobufError
from robustness.models.file_formats.tflite_file import TfliteError, tflite_facts

ONNX, TFLITE, OPENVINO = ".onnx", ".tflite", ".xml"

FORMATS: Mapping[str, str] = {ONNX: "ONNX", TFLITE: "TensorFlow Lite", OPENVINO: "OpenVINO"}
"""Names of the formats by the ending of the file."""


NATIVE, BY_OPENVINO = "native", "openvino"
RUNTIMES = (NATIVE, BY_OPENVINO)
"""What may ask a file: the runtime that quantised files are made for, or OpenVINO."""

TENSORFLOW, ONNXRUNTIME = "tensorflow", "onnxruntime"
"""Packages of native runtimes."""


def is_quantised(path: Path) -> bool:
    """Whether the file ``path`` computes in integers, as far as it can be read."""
    with suppress(OSError, ProtobufError, TfliteError):
        if path.suffix.lower() == TFLITE:
            return tflite_facts(path).quantised
        if path.suffix.lower() == ONNX:
            return onnx_facts(path).quantised
    return False


def runtime(path: Path, asked: str = "") -> str:
    """The package that asks the file ``path`` in place of OpenVINO; empty where OpenVINO does.

    ``asked`` is one of ``RUNTIMES``, or empty: then quantised files alone are not left to OpenVINO.
    """
    if asked == BY_OPENVINO or not (asked or is_quantised(path)):
        return ""
    if path.suffix.lower() == TFLITE:
        return TENSORFLOW
    return ONNXRUNTIME if path.suffix.lower() == ONNX and find_spec(ONNXRUNTIME) else ""


def stands_in(path: Path, asked: str = "") -> bool:
    """Whether OpenVINO stands in for the runtime that the quantised file ``path`` was made for."""
    return is_quantised(path) and not runtime(path, asked)


def is_graph_file(path: Path) -> bool:
    """Whether the file ``path`` is of one of these formats, going by its name."""
    return path.suffix.lower() in FORMATS


def all_files(path: Path) -> tuple[Path, ...]:
    """The file ``path`` and the files of weights that belong to it, as far as they are there.

    They are looked for in its own folder alone.
    """
    return (path, *(file for _, file in _weights(path) if file is not None and file.is_file()))


def misplaced(path: Path) -> str:
    """What is wrong with the place of the weights of ``path``, for a sentence; empty if nothing."""
    for name, file in _weights(path):
        if file is None:
            return f"its weights are outside of its folder, at {name}; put them beside it"
        if not file.is_file():
            return f"its file of weights {name} is missing; put it beside the model"
    return ""


def _weights(path: Path) -> Iterator[tuple[str, Path | None]]:
    """The files of weights as the file names them, and where they are; None outside its folder."""
    folder = path.parent.resolve()
    for name in _named_weights(path):
        file = (folder / name).resolve()
        yield name, file if file.is_relative_to(folder) else None


def _named_weights(path: Path) -> tuple[str, ...]:
    suffix = path.suffix.lower()
    if suffix == OPENVINO:
        return (path.with_suffix(".bin").name,)
    if suffix != ONNX:
        return ()
    try:
        return tuple(name for name in onnx_facts(path).external if "\0" not in name)
    except (OSError, ProtobufError):  # reading it says what is wrong with it
        return ()
