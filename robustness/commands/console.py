"""What the command line says: JSON and files out, progress on stderr."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from robustness.base.errors import ParameterError


def make_folder(path: Path) -> None:
    """Makes the folder ``path``; raises ``ParameterError`` with the reason if it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def write_file(path: Path, data: bytes) -> None:
    """Writes ``data``, folders included; raises ``ParameterError`` with the reason if it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise _cannot_be_written(path, error) from error


def _cannot_be_written(path: Path, error: OSError) -> ParameterError:
    reason = error.strerror or type(error).__name__
    return ParameterError(f"{path} cannot be written: {reason}; choose another place.")


def as_json(document: Any) -> str:
    """``document`` as indented JSON; raises ``ValueError`` for NaN or infinity."""
    # ASCII alone: any name of a file then survives any encoding of stdout.
    return json.dumps(document, indent=2, allow_nan=False)


def print_json(document: Any) -> None:
    """Prints ``document`` on stdout as the only thing there."""
    end_progress()
    print(as_json(document))


_progress_shown = False


def progress(text: str) -> None:
    """Says on stderr what is being done: on a terminal in one line that overwrites itself."""
    global _progress_shown
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        _progress_shown = True
    else:
        print(text, file=sys.stderr, flush=True)


def end_progress() -> None:
    """Clears the line of ``progress`` on a terminal."""
    global _progress_shown
    if _progress_shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
        _progress_shown = False
