"""Zip archives from outside, opened only where their list of contents is of a bounded size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

MAX_LIST_BYTES = 32 * 1024**2
"""Most bytes of the list of contents: 160 for each of 200,000 files."""

_ENTRY = b"PK\1\2"  # which every entry of the list begins with


class TooManyFilesError(Exception):
    """The list of contents is longer than asked for."""


class _Watched:
    """A binary file whose reads are looked at while the list of contents is read.

    Python's ``zipfile`` reads the list at once, of whatever size the end of the archive claims,
    and makes an object of each entry, of which there are no more than the marks in those bytes.
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
    """A zip archive of at most ``most`` files, for reading; a context manager.

    Raises ``TooManyFilesError`` for one that lists more, before it takes memory for them, and
    otherwise nearly anything on hostile bytes. A file given open stays open.
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
