"""Files where the user asks for them: their folders too, or one sentence why not."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robustness.base.disk import write_whole
from robustness.base.errors import ParameterError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the folder of ``path``; raises ``ParameterError`` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ParameterError(
            f"{path} cannot be written: {reason}; choose another place."
        ) from error


def make_folder(path: Path) -> None:
    """Create the folder ``path``; raises ``ParameterError`` if that fails."""
    with writing(path):
        path.mkdir(exist_ok=True)


def write_file(path: Path, data: bytes) -> None:
    """Write ``data`` whole or not at all, folders included; over a pipe or device as it comes.

    Raises ``ParameterError`` with the reason where it cannot.
    """
    with writing(path):
        if path.exists() and not path.is_file():  # such as /dev/stdout, which nothing can replace
            path.write_bytes(data)
        else:
            write_whole(path.resolve(), data)  # through a link: the file that it names


def expect_writable(*paths: Path | None) -> None:
    """Raise ``ParameterError`` before long work where ``write_file`` could not write after it."""
    for path in filter(None, paths):
        with writing(path):
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not path.exists() or path.is_file():
                tempfile.TemporaryFile(dir=path.resolve().parent).close()
