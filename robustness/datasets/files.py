"""Which files of a folder or an archive are meant as pictures."""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from robustness.pictures.fitting import ACCEPTED_EXTENSIONS

_NOT_ACCEPTED = ("heic", "heif", "jxl", "jp2", "psd", "svg", "tga", "ppm", "pgm")
_SUFFIXES = {f".{extension}" for extension in (*ACCEPTED_EXTENSIONS, *_NOT_ACCEPTED)}


def is_picture(path: str) -> bool:
    """Whether a file of this name counts as a picture, readable or not.

    Pictures of formats that are not accepted count, so that they are listed with their reason
    rather than passed over. Hidden files and what macOS adds to archives do not.
    """
    parts = PurePosixPath(path).parts
    if any(part.startswith(".") or part == "__MACOSX" for part in parts):
        return False
    return PurePosixPath(path).suffix.lower() in _SUFFIXES


def folders_of(path: str) -> tuple[str, ...]:
    """The folders above a file, outermost first: ``("a", "b")`` of ``a/b/c.png``."""
    return PurePosixPath(path).parts[:-1]


def as_text(path: str) -> str:
    """``path`` as text that can be saved: bytes that are no UTF-8 stand as ``\\xff``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
