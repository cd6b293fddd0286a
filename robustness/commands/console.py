"""Output of the command line: text, tables, JSON and files; remarks and progress on stderr."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from robustness.base.errors import ParameterError
from robustness.base.text import unhidden


class OutputError(Exception):
    """Stdout or stderr cannot be written, because of ``cause``."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


def say(text: str) -> None:
    """Print ``text`` on stdout and flush; raises ``OutputError`` if that fails."""
    _print(_harmless(text), sys.stdout)


def remark(text: str) -> None:
    """Print ``text`` on stderr, on a line of its own."""
    end_progress()
    _print(_harmless(text), sys.stderr)


def _harmless(text: str) -> str:
    """``text`` without control characters, which names of files may contain."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return unhidden(text).replace("\r", "U+000D")


def expect_png(path: Path, what: str) -> None:
    """Raise ``ParameterError`` unless ``path`` is a PNG file; ``what`` names the image."""
    if path.suffix.lower() != ".png":
        raise ParameterError(
            f"{what} is written losslessly: expected --to to end in .png, got {str(path)!r}."
        )


def as_json(document: Any) -> str:
    """``document`` as indented JSON; raises ``ValueError`` for NaN or infinity."""
    # ASCII alone: any name of a file then survives any encoding of stdout.
    return json.dumps(document, indent=2, allow_nan=False)


def print_json(document: Any) -> None:
    """Print ``document`` on stdout as JSON."""
    end_progress()
    say(as_json(document))


_progress_open = False


def progress(text: str) -> None:
    """Show on stderr what is being done; on a terminal in one line that is overwritten."""
    global _progress_open
    text = _harmless(text)
    if sys.stderr.isatty():
        _print(f"\r\033[K{text}", sys.stderr, end="")
        _progress_open = True
    else:
        _print(text, sys.stderr)


_phase = ("", 0.0)


def phase(what: str, done: int, total: int) -> None:
    """Show how much of ``what`` is done, at most once a second."""
    global _phase
    now = time.monotonic()
    if what != _phase[0] or now - _phase[1] >= 1:
        _phase = (what, now)
        progress(f"{what} ... {done} of {total}")


def end_progress() -> None:
    """Clear the line of ``progress`` on a terminal."""
    global _progress_open
    if _progress_open:
        _progress_open = False
        _print("\r\033[K", sys.stderr, end="")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        raise OutputError(error) from error
