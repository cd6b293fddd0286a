"""One at a time, among all threads and processes that want the same file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def exclusive(target: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock of ``target``, a file beside it that is gone afterwards.

    ``waiting`` is called again and again until the lock is free; what it raises ends the wait. The
    lock of a process that was killed is free. Raises ``OSError`` where none can be made.
    """
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            waiting()
            time.sleep(_POLL_SECONDS)
        else:
            break
    try:
        yield
    finally:
        # Before the release: who opened this file and waits for it sees that it has no name any
        # more, and makes a new one.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
