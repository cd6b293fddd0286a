"""Which files hold a model with its graph, and which other files belong to one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from robustness.models.file_formats.onnx_file import onnx_scan
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
            return onnx_scan(path).quantised
    return False


def runtime(path: Path, asked: str = "") -> str:
    """The package that asks the file ``path`` in place of OpenVINO; empty where OpenVINO does.

    ``asked`` is one of ``RUNTIMES``, or empty: then quantised files alone are not left to OpenVINO.
    """
    if asked == BY_OPENVINO or not (asked or is_quantised(path)):
        return ""
    return {TFLITE: TENSORFLOW, ONNX: ONNXRUNTIME}.get(path.suffix.lower(), "")


def is_graph_file(path: Path) -> bool:
    """Whether the file ``path`` is of one of these formats, going by its name."""
    return path.suffix.lower() in FORMATS


def all_files(path: Path) -> tuple[Path, ...]:
    """The file ``path`` and the files of weights that belong to it, as far as they are there.

    They are looked for in its own folder alone.
    """
    with suppress(OSError, ProtobufError):  # reading it says what is wrong with it
        return (path, *(file for _, file in _weights(path) if file is not None and file.is_file()))
    return (path,)


def misplaced(path: Path) -> str:
    """What is wrong with the weights of ``path``, for a sentence; empty if nothing is.

    Raises ``OSError`` where the file cannot be read.
    """
    try:
        for name, file in _weights(path):
            if file is None:
                return f"its weights are outside of its folder, at {name}; put them beside it"
            if not file.is_file():
                return f"its file of weights {name} is missing; put it beside the model"
    except ProtobufError as error:
        return f"it names {error}; save it again with one"
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
    return tuple(name for name in onnx_scan(path).external if "\0" not in name)
