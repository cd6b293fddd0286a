"""Files that appear whole or not at all, by one at a time; what has changed; what they take."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock

TEMPORARY = ".*.tmp"
"""Pattern of what an interruption may leave behind."""

_POLL_SECONDS = 0.1

Version = tuple[int, int, int]
"""Of a file: its bytes, and when its content and it itself were changed last, in nanoseconds."""


def version(path: Path | str) -> Version:
    """What stays the same as long as ``path`` does; raises ``OSError`` where there is none."""
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def require_regular(path: Path, most: int | None = None) -> None:
    """Raises ``OSError`` unless ``path`` is a file, of at most ``most`` bytes where that is given.

    To open a pipe or a device may wait for ever, or it never ends.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is a pipe or device", str(path))
    if most is not None and found.st_size > most:
        raise _too_large(path, f"its {found.st_size:,} bytes", most)


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of the file ``path``; raises ``OSError`` as ``require_regular`` does."""
    require_regular(path, most)
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:  # it has grown meanwhile
        raise _too_large(path, "its bytes", most)
    return data


def _too_large(path: Path, found: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"{found} are more than the {most:,} expected", str(path))


def files_below(path: Path) -> list[Path]:
    """The files of a folder and its folders in order; of a file, itself."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if os.path.isdir(path) else [path]


def occupied(path: Path) -> int:
    """Bytes of the file ``path``, or of all below the folder; of one that is not there, 0.

    Others may write there, move it or delete it meanwhile: all else is counted.
    """
    if not os.path.isdir(path):
        return _bytes(path)
    walk = os.walk(path)  # it passes over folders that have gone
    return sum(_bytes(os.path.join(folder, name)) for folder, _, names in walk for name in names)


def _bytes(path: Path | str) -> int:
    """Those of the file ``path``; 0 where there is none."""
    with contextlib.suppress(OSError):
        found = os.stat(path)
        return found.st_size if stat.S_ISREG(found.st_mode) else 0
    return 0


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


@contextlib.contextmanager
def alone(target: Path, waiting: Callable[[], object] = lambda: None) -> Iterator[None]:
    """One at a time, among all threads and processes that want ``target``.

    ``waiting`` is called again and again until the lock, a file beside it that is gone afterwards,
    is free; what it raises ends the wait. The lock of a process that was killed is free. Raises
    ``OSError`` where no file can be written beside ``target``.
    """
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    lock.acquire(poll_interval=_POLL_SECONDS, cancel_check=lambda: bool(waiting()))
    try:
        yield
    finally:
        # Before the release: who opened this file and waits for it sees that it has no name any
        # more, and makes a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
