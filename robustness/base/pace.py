"""How fast long work goes: an amount done over time as a rate, a time left, and one short text."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 5.0
WINDOW_STEPS = 10
"""The rate is that of the last few seconds, or of the last steps where so many take longer: it
follows a change and does not flicker."""

_FEWEST_STEPS = 3
"""Fewer tell nothing of those to come."""


@dataclass(frozen=True)
class Unit:
    """What is counted: ``name`` is shown, and ``size`` is how much of the count makes one."""

    name: str
    size: float = 1.0

    def number(self, amount: float) -> str:
        """``amount`` of the count in this unit: whole from 100 on, else one decimal."""
        value = amount / self.size
        return f"{value:.0f}" if value >= 99.95 or self.size == 1 else f"{value:.1f}"

    def rate(self, amount: float) -> str:
        """``amount`` a second: whole from 100 on, else one decimal."""
        value = amount / self.size
        return f"{value:.0f} {self.name}/s" if value >= 99.95 else f"{value:.1f} {self.name}/s"


MEGABYTES = Unit("MB", 1e6)


class Pace:
    """Is told how far the work is, and says how fast it goes.

    ``total`` is in the same count as what ``note`` is given; 0 where unknown. ``clock`` gives
    seconds. With ``overall`` the rate is that of all that was noted: for work of unlike parts, of
    which the last few say little of those to come.
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
        """Work is at ``done``, of ``total`` if that is better known by now.

        Less than before means that it began anew: what went before says nothing of the rate.
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
        """Count a second, over what the rate is of; None before there are two moments."""
        if len(self._noted) < 2:
            return None
        (start, before), (end, done) = self._noted[0], self._noted[-1]
        return (done - before) / (end - start) if end > start else None

    @property
    def seconds_left(self) -> float | None:
        """Time until the total is reached at this rate; None where that cannot be told yet."""
        if len(self._noted) <= _FEWEST_STEPS or not self._total or not self.rate:
            return None
        return max(0.0, self._total - self._noted[-1][1]) / self.rate

    @property
    def text(self) -> str:
        """Such as "34.1 of 103 MB, 5.2 MB/s, 13 s left", as far as it is known."""
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
