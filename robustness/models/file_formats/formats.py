"""The formats of model files, and the facts that each format contains."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from robustness.models.file_formats.format_and_runtime_record import (
    GraphSize,
    ModelFormat,
    Runtime,
    UnusableError,
)
from robustness.models.file_formats.onnx_weights_and_metadata import ONNX
from robustness.models.file_formats.tflite_quantisation_and_labels import TFLITE

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
