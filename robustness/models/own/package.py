"""Model files as they are handed over: one file, or a folder or zip archive with its metadata."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from robustness.base.disk import files_below, read_regular, require_regular
from robustness.base.errors import ParameterError, WeightsError
from robustness.base.zips import BoundedZip
from robustness.models.file_formats.formats import ENDINGS, is_saved_model
from robustness.models.own import user_models

STORE = "added-models"
"""The folder beside the file of descriptions that holds uploaded and unpacked models."""

JATIC = "JATIC_ONNX"
"""The interface of the JATIC Interoperability Requirements, version 1: pixels from 0 to 1 in, class
probabilities out, and a JSON file beside the model that says so."""

_ZIP = ".zip"
_MOST_FILES = 100
_MOST_RATIO, _FREE_BYTES = 20, 32 * 2**20
"""Unpacked bytes for each byte of the archive: weights hardly shrink."""

_MOST_JSON_BYTES = 4 * 2**20


@contextmanager
def opened(path: Path) -> Iterator[tuple[Path, Path | None]]:
    """The model file of ``path``, and the temporary folder that holds it if that is an archive.

    Raises ``ParameterError`` if there is not exactly one model.
    """
    if path.suffix.lower() != _ZIP:
        yield model_file(path), None
        return
    with tempfile.TemporaryDirectory() as folder:
        _unpack(path, Path(folder))
        yield model_file(Path(folder)), Path(folder)


def model_file(path: Path) -> Path:
    """``path`` itself, or the one model file below it if it is a folder and no SavedModel."""
    if not path.exists():
        raise ParameterError(f"There is no model at {path}.")
    if not path.is_dir():
        _check_file(path)
        return path
    if is_saved_model(path):
        return path
    files = files_below(path)
    found = [file for file in files if file.suffix.lower() in ENDINGS]
    if len(found) != 1:
        names = ", ".join(file.name for file in found[:5]) or "none"
        advice = "" if found else _advice(file.suffix.lower() for file in files)
        raise ParameterError(f"Expected one model ({', '.join(ENDINGS)}), got {names}.{advice}")
    _check_file(found[0])
    return found[0]


_ADVICE = {
    **dict.fromkeys(
        (".pt", ".pth", ".safetensors"),
        " Add weights of torch from Python, with api.add_model, or export the model to ONNX.",
    ),
    ".h5": " Load it in Keras and save it with model.save('x.keras').",
}


def _advice(endings: Iterable[str]) -> str:
    return next((_ADVICE[ending] for ending in endings if ending in _ADVICE), "")


def _check_file(path: Path) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise ParameterError(
            f"Expected a model file ({', '.join(ENDINGS)}) or a folder, got {path.name}."
            f"{_advice([path.suffix.lower()])}"
        )
    try:
        require_regular(path)  # a pipe may never end
    except OSError as error:
        raise ParameterError(f"{path.name} cannot be read: {error.strerror}.") from error


def _unpack(path: Path, folder: Path) -> None:
    try:
        with BoundedZip(path, _MOST_FILES) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            if size > _FREE_BYTES + _MOST_RATIO * path.stat().st_size:
                raise ParameterError(
                    f"{path.name} would unpack to {size / 1e6:,.0f} MB, more than {_MOST_RATIO} "
                    "times its size: unpack it yourself and add the folder."
                )
            archive.extractall(folder)
    except (ParameterError, OSError):
        raise
    except Exception as error:  # zipfile raises nearly anything on hostile bytes
        raise ParameterError(
            f"{path.name} cannot be unpacked: expected a zip archive of at most {_MOST_FILES} "
            "files with one model in it."
        ) from error


def store(folder: Path, name: str) -> Path:
    """Copy ``folder`` to where added models are kept, as ``name``; return its model file there."""
    discard(name)  # what an interruption left there
    target = user_models.described_in().parent / STORE / name
    try:
        shutil.copytree(folder, target)
    except OSError as error:
        raise ParameterError(f"The model cannot be kept in {target}: {error.strerror}.") from error
    return model_file(target)


def discard(name: str) -> None:
    """Remove the files that ``store`` keeps as ``name``, a valid name, if any."""
    shutil.rmtree(user_models.described_in().parent / STORE / name, ignore_errors=True)


def label_file(name: str) -> str:
    """The name of the file, beside the descriptions, for the classes of the model ``name``."""
    return f"{name}.labels.txt"


def jatic(path: Path) -> dict[str, Any]:
    """The JATIC_ONNX metadata beside the model file ``path``; empty if there is none.

    Raises ``WeightsError`` for a model that is no image classifier by its metadata.
    """
    for file in sorted(path.parent.glob("*.json"))[:_MOST_FILES]:
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            told = json.loads(read_regular(file, _MOST_JSON_BYTES))
            if told["interface"]["name"] != JATIC:
                continue
            use, channels = told["io"]["interface"], told["io"]["input"].get("channels", "RGB")
            if use == "IMAGE_CLASSIFICATION" and channels == "RGB":
                return dict(told)
            raise WeightsError(
                f"{path.name} cannot be used: expected IMAGE_CLASSIFICATION of RGB images, got "
                f"{use} of {channels} in {file.name}."
            )
    return {}


def jatic_side(metadata: dict[str, Any]) -> int | None:
    """The input side by JATIC_ONNX metadata; None if it is free, not square or not there."""
    size = metadata.get("io", {}).get("input", {})
    height, width = size.get("height"), size.get("width")
    return height if isinstance(height, int) and height == width and height > 0 else None
