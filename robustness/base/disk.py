"""Files that appear whole or not at all, and whether one has changed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path

TEMPORARY = ".*.tmp"
"""Pattern of what an interruption may leave behind."""

Version = tuple[int, int, int]
"""Of a file: its bytes, and when its content and it itself were changed last, in nanoseconds."""


def version(path: Path) -> Version:
    """What stays the same as long as ``path`` does; raises ``OSError`` where there is none."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def write_whole(path: Path, data: bytes) -> None:
    """Writes ``data`` to ``path`` such that nobody ever sees a part of it."""
    put_whole(path, lambda temporary: temporary.write_bytes(data))


def put_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Has ``write`` make a file beside ``path``, and gives it that name when it is on the disk.

    Raises what ``write`` raises, and then leaves nothing behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
