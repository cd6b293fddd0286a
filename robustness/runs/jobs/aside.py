"""Jobs stand still while somebody waits at a slider, and keep a share of the time all the same.

Idle priority keeps a job from a core that somebody wants, and yet it warms the caches, the memory
and the other core for itself: beside one, updates take half as long again. So its process is
stopped while answers are under way. What it loses is counted: it goes on as soon as nobody waits,
and where somebody always does, new answers wait for a moment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

ABLE = sys.platform == "linux"
"""Elsewhere a process that is stopped would stay so if this one were killed."""

GRACE_SECONDS = 0.15
"""From the last answer until jobs go on: a hand at a slider wants the next one within."""

OWED = 0.5
"""Seconds that jobs go on for each second that they stood still: a third of the time in all."""

MOST_OWED = 0.2
"""Seconds owed from which on new answers wait; before, jobs take the moments between answers."""

_A_PASS = 0.05
"""Seconds owed from which on a moment between two answers is worth going on for."""

MOST_SECONDS_CLOSED = 1.0
"""How long new answers wait for those under way, before jobs go on beside them."""


class Aside:
    """Stops processes while answers are under way, and has them go on; safe between threads."""

    def __init__(
        self,
        stop: Callable[[int], object] = lambda pid: _send(pid, signal.SIGSTOP),
        go_on: Callable[[int], object] = lambda pid: _send(pid, signal.SIGCONT),
    ) -> None:
        self._stop, self._go_on = stop, go_on
        self._changed = threading.Condition()
        self._answering = 0
        self._closed = False
        self._owed = 0.0
        self._last = 0.0
        self._pids: frozenset[int] = frozenset()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While within, somebody waits; entering may take a moment where jobs are owed it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._answering += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._last = time.monotonic()
                self._changed.notify_all()

    def concerns(self, pids: Iterable[int]) -> None:
        """These processes, and no others, stand aside from now on."""
        with self._changed:
            self._pids = frozenset(pids if ABLE else ())
            if self._pids and self._thread is None:
                self._thread = threading.Thread(target=self._tend, name="aside", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _tend(self) -> None:
        going = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answering and self._pids)
                jobs, now = self._pids, time.monotonic()
                self._owed = max(0.0, self._owed - (now - going))
            for pid in jobs:
                self._stop(pid)
            with self._changed:
                self._wait(jobs, now)
                self._owed += OWED * (time.monotonic() - now)
                self._closed = self._owed >= MOST_OWED and self._answering > 0
            going = time.monotonic()
            for pid in jobs:
                self._go_on(pid)
            if self._closed:
                self._pay()

    def _wait(self, jobs: frozenset[int], since: float) -> None:
        """Until ``jobs``, still ``since`` then, go on: nobody waits, or they are owed too much."""
        latest = since + (MOST_OWED - self._owed) / OWED
        while (now := time.monotonic()) < latest and self._pids >= jobs:
            due = self._last + (
                0.0 if self._owed + OWED * (now - since) > _A_PASS else GRACE_SECONDS
            )
            if not self._answering and now >= due:
                return
            self._changed.wait((latest if self._answering else min(latest, due)) - now)

    def _pay(self) -> None:
        """Has new answers wait until those under way have ended and jobs have had what is owed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._answering, MOST_SECONDS_CLOSED)
            self._changed.wait_for(lambda: not self._pids, self._owed)
            self._owed, self._closed = 0.0, False
            self._changed.notify_all()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


ASIDE = Aside()
"""Of this server."""
