"""Progress of long work: rate, time left and a short text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 5.0
WINDOW_STEPS = 10
"""The rate covers the last few seconds, or the last steps if these take longer, so that it follows
changes without flicker."""

Note = Callable[[str, int, int], object]
"""Receives what is computed, how much is done and how much there is; may raise to cancel."""

_FEWEST_STEPS = 3
"""Fewer steps do not predict the rest."""


@dataclass(frozen=True)
class Unit:
    """A unit: ``name`` is shown; ``size`` is the count that makes one unit."""

    name: str
    size: float = 1.0

    def number(self, amount: float) -> str:
        """``amount`` in this unit: whole from 100 on, else one decimal."""
        value = amount / self.size
        return f"{value:.0f}" if value >= 99.95 or self.size == 1 else f"{value:.1f}"

    def rate(self, amount: float) -> str:
        """``amount`` per second in this unit: whole from 100 on, else one decimal."""
        value = amount / self.size
        return f"{value:.{0 if value >= 99.95 else 1}f} {self.name}/s"


MEGABYTES = Unit("MB", 1e6)


class Pace:
    """Computes rate and time left from the progress given to ``note``.

    ``total`` uses the same count as ``note``; 0 means unknown. ``clock`` gives seconds. With
    ``overall`` the rate covers everything noted, for work whose parts differ too much for the last
    few to predict the rest.
    """

    def __init__(
        self,
        unit: Unit,
        total: float = 0,
        clock: Callable[[], float] = time.monotonic,
        *,
        overall: bool = False,
    ) -> None:
        self._unit = unit
        self._total = total
        self._clock = clock
        self._overall = overall
        self._noted: deque[tuple[float, float]] = deque()

    def note(self, done: float, total: float | None = None) -> None:
        """Record that work is at ``done`` of ``total`` (None: as before).

        A smaller ``done`` means a restart; the rate then starts over.
        """
        now = self._clock()
        if total is not None:
            self._total = total
        if self._noted and done < self._noted[-1][1]:
            self._noted.clear()
        self._noted.append((now, done))
        while (
            not self._overall
            and len(self._noted) > WINDOW_STEPS + 1
            and now - self._noted[1][0] >= WINDOW_SECONDS
        ):
            self._noted.popleft()

    @property
    def rate(self) -> float | None:
        """Count per second; None before two notes."""
        if len(self._noted) < 2:
            return None
        (start, before), (end, done) = self._noted[0], self._noted[-1]
        return (done - before) / (end - start) if end > start else None

    @property
    def seconds_left(self) -> float | None:
        """Time to the total at this rate; None while unknown."""
        if len(self._noted) <= _FEWEST_STEPS or not self._total or not self.rate:
            return None
        return max(0.0, self._total - self._noted[-1][1]) / self.rate

    @property
    def text(self) -> str:
        """A text such as "34.1 of 103 MB, 5.2 MB/s, 13 s left", as far as known."""
        done = self._noted[-1][1] if self._noted else 0.0
        of = f" of {self._unit.number(self._total)}" if self._total else ""
        parts = [f"{self._unit.number(done)}{of} {self._unit.name}"]
        if self.rate is not None:
            parts.append(self._unit.rate(self.rate))
        if self.seconds_left is not None and done < self._total:
            parts.append(f"{duration(self.seconds_left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """``seconds`` as "13 s", "2 min 5 s" or "1 h 3 min"; at least 1 s."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
