"""Unexpected errors: counts by type, and where the latest occurred.

Messages are left out, as they may contain a user's file names.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

MOST = 20

_PACKAGE = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fault:
    """One error: its time in seconds since the epoch, exception type, and line."""

    when: float
    kind: str
    place: str


class Faults:
    """The latest errors and the counts of all; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[Fault] = deque(maxlen=MOST)
        self._counts: Counter[str] = Counter()

    def note(self, error: BaseException) -> None:
        """Count ``error``."""
        kind = type(error).__name__
        with self._lock:
            self._last.appendleft(Fault(time.time(), kind, _place(error)))
            self._counts[kind] += 1

    def last(self) -> list[Fault]:
        """The latest errors, newest first."""
        with self._lock:
            return list(self._last)

    def counts(self) -> dict[str, int]:
        """Number of errors by type."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def _place(error: BaseException) -> str:
    """The innermost line of this product, or of any code, as ``file.py:12``."""
    lines = traceback.extract_tb(error.__traceback__)
    own = [line for line in lines if Path(line.filename).is_relative_to(_PACKAGE)]
    if not lines:
        return ""
    line = (own or lines)[-1]
    path = Path(line.filename)
    name = path.relative_to(_PACKAGE).as_posix() if own else path.name
    return f"{name}:{line.lineno}"


FAULTS = Faults()
"""The errors of this server."""
