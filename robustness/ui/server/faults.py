"""Errors that nobody expected: how many of each kind, and where the last of them arose.

Their messages are left out, as they may hold names of somebody's files.
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
    """When it was, in seconds since the epoch, what kind of exception, and in which line."""

    when: float
    kind: str
    place: str


class Faults:
    """The last of them, and counts of all; safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: deque[Fault] = deque(maxlen=MOST)
        self._counts: Counter[str] = Counter()

    def note(self, error: BaseException) -> None:
        """``error`` reached the server; leaves what is said of it as it is."""
        kind = type(error).__name__
        with self._lock:
            self._last.appendleft(Fault(time.time(), kind, _place(error)))
            self._counts[kind] += 1

    def last(self) -> list[Fault]:
        """The last ones, the newest first."""
        with self._lock:
            return list(self._last)

    def counts(self) -> dict[str, int]:
        """How many there were by kind."""
        with self._lock:
            return dict(sorted(self._counts.items()))


def _place(error: BaseException) -> str:
    """The innermost line of this product, else of all, as ``file.py:12``."""
    lines = traceback.extract_tb(error.__traceback__)
    own = [line for line in lines if Path(line.filename).is_relative_to(_PACKAGE)]
    if not lines:
        return ""
    line = (own or lines)[-1]
    path = Path(line.filename)
    name = path.relative_to(_PACKAGE).as_posix() if own else path.name
    return f"{name}:{line.lineno}"


FAULTS = Faults()
"""Those of this server."""
