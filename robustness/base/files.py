"""Files: atomic writes, locks, changes, sizes, the digest of this package's sources; and written
where the user asks, or a sentence.

Untrusted zip archives, opened only if their central directory has a bounded size.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
import threading
import uuid
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import BinaryIO

import robustness
from robustness.base.errors import ParameterError, RobustnessError

TEMPORARY = ".*.tmp"
"""Pattern of the temporary files that an interruption may leave behind."""

_POLL_SECONDS = 0.1

_DIGESTING = threading.Lock()

Version = tuple[int, int, int]
"""Size in bytes, then the times of the last change to content and to metadata, in nanoseconds."""


def version(path: Path | str) -> Version:
    """A value that changes whenever ``path`` does; raises ``OSError`` if it does not exist."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def code_digest() -> str:
    """The SHA-256 of all sources of this package, for the keys of what is stored.

    A stored result outlives the code that made it: another release computes it again. Thread-safe.
    """
    with _DIGESTING:  # models that load at the same time wait for the one that reads the sources
        return _read_code_digest()


@cache
def _read_code_digest() -> str:
    import hashlib  # late: the help of the command line needs no digest

    package = os.path.dirname(robustness.__file__)
    sources = []
    for folder, _, names in os.walk(package):  # Path.rglob takes 1.5 times as long
        sources += [os.path.join(folder, name) for name in names if name.endswith(".py")]
    digest = hashlib.sha256()
    for source in sorted(sources):
        with open(source, "rb") as file:
            code = file.read()
        digest.update(f"{source.removeprefix(package)} {len(code)}\n".encode())
        digest.update(code)
    return digest.hexdigest()


def require_regular(path: Path, most: int | None = None, *, follow: bool = True) -> None:
    """Raise ``OSError`` unless ``path`` is a regular file of at most ``most`` bytes (None: any).

    Opening a pipe or a device could block forever. Only with ``follow`` it may be a link to one.
    """
    status = path.stat(follow_symlinks=follow)
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.ELOOP, "it is a link", str(path))
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or device", str(path))
    if most is not None and status.st_size > most:
        raise _too_large(path, f"its {status.st_size:,} bytes", most)


def read_regular(path: Path, most: int, *, follow: bool = True) -> bytes:
    """The bytes of the file ``path``; raises ``OSError`` as ``require_regular`` does."""
    require_regular(path, most, follow=follow)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:  # it has grown meanwhile
        raise _too_large(path, "its bytes", most)
    return data


def require_size(path: Path, most: int) -> None:
    """Raise ``OSError`` if the file ``path``, or the whole folder, has more than ``most`` bytes."""
    size = stored_bytes(path)
    if size > most:
        raise _too_large(path, f"its {size:,} bytes", most)


def _too_large(path: Path, subject: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"{subject} are more than the {most:,} expected", str(path))


def files_below(path: Path) -> list[Path]:
    """The files below a folder, sorted; for a file, the file itself."""
    if not os.path.isdir(path):
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file())


def stored_bytes(path: Path) -> int:
    """Bytes of the file ``path`` or of everything below the folder; 0 if it does not exist.

    Files that others move or delete meanwhile are skipped.
    """
    if not os.path.isdir(path):
        return _file_bytes(path)
    total = 0
    for folder, _, names in os.walk(path):  # which skips folders that are gone
        for name in names:
            total += _file_bytes(os.path.join(folder, name))
    return total


def _file_bytes(path: Path | str) -> int:
    """Bytes of the regular file ``path``; 0 for another kind or none."""
    try:
        status = os.stat(path)
    except OSError:
        return 0
    if not stat.S_ISREG(status.st_mode):
        return 0
    return status.st_size


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` atomically."""
    put_whole(path, lambda temporary: temporary.write_bytes(data))


def put_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file, then rename it to ``path`` once it is on the disk.

    Raises what ``write`` raises and leaves nothing behind.
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


@contextlib.contextmanager
def file_lock(target: Path) -> Iterator[None]:
    """Hold the lock on ``target`` against all other threads and processes.

    The lock is a file beside ``target``, removed afterwards; a killed process releases it. Raises
    ``OSError`` if no file can be written there.
    """
    from filelock import FileLock  # late: the help of the command line locks nothing

    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    lock.acquire(poll_interval=_POLL_SECONDS)
    try:
        yield
    finally:
        # Unlink before releasing: a waiter that opened this file notices that it has no name
        # any more, and creates a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


@contextlib.contextmanager
def file_errors(
    failure: str,
    advice: str = "",
    *,
    kind: type[RobustnessError] = ParameterError,
    hint: str = "",
) -> Iterator[None]:
    """Turn an ``OSError`` into an error of ``kind`` that users can read.

    Its message is ``failure``, such as "The labels cannot be written", with the reason that the
    system gives, then ``advice``, a sentence. ``hint`` is for the command line only.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        sentences = [f"{failure}: {reason.rstrip('.')}."]
        if advice:
            sentences.append(advice)
        raise kind(" ".join(sentences), hint=hint) from error


def reading(subject: str) -> contextlib.AbstractContextManager[None]:
    """Turn an ``OSError`` into a ``ParameterError`` that says that ``subject`` cannot be read."""
    return file_errors(f"{subject} cannot be read")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Create the folder of ``path``; raises ``ParameterError`` where it cannot be written."""
    with file_errors(f"{path} cannot be written", "Choose another place."):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield


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
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if self.most is None:
            return self.file.read(size)
        most_bytes = MAX_LIST_BYTES + 1  # one more than allowed shows that there are more
        if 0 <= size < most_bytes:
            most_bytes = size
        data = self.file.read(most_bytes)
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
        self._opened: BinaryIO | None = None
        if isinstance(source, Path):
            self._opened = source.open("rb")
            source = self._opened
        watched = _Watched(source, most)
        try:
            super().__init__(watched)
        except BaseException:
            self.close()
            raise
        watched.most = None  # what is read from now on are the files

    def close(self) -> None:
        super().close()
        if self._opened is not None:
            self._opened.close()
