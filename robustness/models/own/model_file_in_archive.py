"""Model files as they are handed over: one file, or a folder or zip archive with its metadata."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robustness.base.bounded_zip import BoundedZip
from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import files_below, require_regular
from robustness.models.file_formats.format_and_runtime_record import MAX_BYTES
from robustness.models.file_formats.formats import ENDINGS, is_saved_model

_ZIP = ".zip"
_MOST_FILES = 100
_MOST_RATIO, _FREE_BYTES = 20, 32 * 2**20
"""Unpacked bytes for each byte of the archive: weights hardly shrink."""


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
    matches = [file for file in files if file.suffix.lower() in ENDINGS]
    if len(matches) != 1:
        names = ", ".join(file.name for file in matches[:5]) or "none"
        advice = "" if matches else _advice(file.suffix.lower() for file in files)
        raise ParameterError(f"Expected one model ({', '.join(ENDINGS)}), got {names}.{advice}")
    _check_file(matches[0])
    return matches[0]


_ADVICE = {
    **dict.fromkeys(
        (".pt", ".pth", ".safetensors"),
        " It holds weights alone: give api.add_model the network itself, or export it to ONNX.",
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
    _check_size(path)


def _check_size(path: Path) -> None:
    try:
        require_regular(path, MAX_BYTES)  # a pipe may never end
    except OSError as error:
        raise ParameterError(f"{path.name} cannot be read: {error.strerror}.") from error


def _unpack(path: Path, folder: Path) -> None:
    _check_size(path)
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
