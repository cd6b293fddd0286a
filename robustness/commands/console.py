"""What the command line says: lines, tables, JSON and files out, remarks and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from robustness.base.errors import ParameterError


class OutputError(Exception):
    """Stdout or stderr takes nothing more, for the reason ``cause``."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def say(text: str) -> None:
    """Prints ``text`` on stdout at once; raises ``OutputError`` if it cannot be written."""
    _print(text, sys.stdout)


def remark(text: str) -> None:
    """Prints ``text`` on stderr in a line that stays."""
    end_progress()
    _print(text, sys.stderr)


def print_table(columns: Mapping[str, str], rows: Iterable[Sequence[str] | str]) -> None:
    """Prints ``rows`` under the headings of ``columns``.

    The values of ``columns`` are alignment and width, such as ``<20`` or ``>9``. A row may have
    fewer cells than there are columns; one that is a text stands across them all.
    """
    for row in (tuple(columns), *rows):
        say(row if isinstance(row, str) else "".join(map(format, row, columns.values())))


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
    say(as_json(document))


_progress_shown = False


def progress(text: str) -> None:
    """Says on stderr what is being done: on a terminal in one line that overwrites itself."""
    global _progress_shown
    if sys.stderr.isatty():
        _print(f"\r\033[K{text}", sys.stderr, end="")
        _progress_shown = True
    else:
        _print(text, sys.stderr)


def end_progress() -> None:
    """Clears the line of ``progress`` on a terminal."""
    global _progress_shown
    if _progress_shown:
        _progress_shown = False
        _print("\r\033[K", sys.stderr, end="")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        raise OutputError(error) from error
