"""Durations of updates: histograms for Prometheus and quantiles for people."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil

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
