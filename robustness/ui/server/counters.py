"""What this server counts: unexpected errors by type, and the durations of updates.

Messages of errors are left out, as they may contain a user's file names.
"""

from __future__ import annotations

import threading
import time
import traceback
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
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


BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in seconds; the last bucket has none."""


@dataclass
class Spread:
    """A histogram of durations; ``counts`` has one entry more than ``BOUNDS``."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self.counts)

    def quantile(self, share: float) -> float | None:
        """The quantile ``share`` in seconds; None without data.

        The durations of a bucket count as evenly spread in it, those beyond the last bound as that
        bound.
        """
        wanted, below = ceil(share * self.count), 0
        if not self.count:
            return None
        for number, upper in zip(self.counts, BOUNDS, strict=False):
            if below + number >= wanted and number:
                lower = max((bound for bound in BOUNDS if bound < upper), default=0.0)
                return lower + (upper - lower) * (wanted - below - 0.5) / number
            below += number
        return BOUNDS[-1]


class Latency:
    """Histograms by kind of update; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spreads: dict[str, Spread] = {}

    def note(self, kind: str, seconds: float) -> None:
        """Add an update of ``kind`` that took ``seconds``."""
        with self._lock:
            spread = self._spreads.setdefault(kind, Spread())
            spread.counts[bisect_left(BOUNDS, seconds)] += 1
            spread.seconds += seconds

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Times its body and adds the duration, unless it fails."""
        start = time.perf_counter()
        yield
        self.note(kind, time.perf_counter() - start)

    def spreads(self) -> dict[str, Spread]:
        """A copy of every histogram, by kind."""
        with self._lock:
            return {
                kind: Spread(list(spread.counts), spread.seconds)
                for kind, spread in sorted(self._spreads.items())
            }


UPDATES = Latency()
"""Updates of the Live page: its script, and the images, predictions and camera frames requested
while a slider is held or the camera runs."""
