"""Files that are larger than any disk: they take no room on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TERABYTE = 2**40


def terabyte(path: Path, content: bytes = b"", size: int = TERABYTE) -> Path:
    """A sparse file ``path`` of ``size`` bytes that begins with ``content``."""
    with path.open("wb") as file:
        file.write(content)
        file.truncate(size)
    return path


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise ``AssertionError`` in this thread after that time, if it runs Python then."""

    def late(*_: object) -> None:
        raise AssertionError(f"not within {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
