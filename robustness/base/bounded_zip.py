"""Untrusted zip archives, opened only if their central directory has a bounded size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

MAX_LIST_BYTES = 32 * 1024**2
"""Most bytes of the central directory: 160 for each of 200,000 files."""

_ENTRY = b"PK\1\2"  # how every entry of the central directory begins


class TooManyFilesError(Exception):
    """The central directory is longer than allowed."""


class _Watched:
    """A binary file that checks reads of the central directory.

    Python's ``zipfile`` reads the whole directory, whatever size the archive claims, and creates an
    object for each entry; the entry marks in those bytes bound their number.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self.file = file
        self.most: int | None = most
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if self.most is None:
            return self.file.read(size)
        data = self.file.read(min(size, MAX_LIST_BYTES + 1) if size >= 0 else MAX_LIST_BYTES + 1)
        if len(data) > MAX_LIST_BYTES or data.count(_ENTRY) > self.most:
            raise TooManyFilesError
        return data

    def seekable(self) -> bool:
        return True


class BoundedZip(zipfile.ZipFile):
    """Open a zip archive of at most ``most`` files for reading; a context manager.

    Raises ``TooManyFilesError`` for more files, before it allocates memory for them, and nearly any
    exception for hostile bytes. A file passed in open stays open.
    """

    def __init__(self, source: Path | BinaryIO, most: int) -> None:
        watched = _Watched(source.open("rb") if isinstance(source, Path) else source, most)
        self._own = watched.file if isinstance(source, Path) else None
        try:
            super().__init__(watched)
        except BaseException:
            self.close()
            raise
        watched.most = None

    def close(self) -> None:
        super().close()
        if self._own is not None:
            self._own.close()
