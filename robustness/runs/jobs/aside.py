"""Jobs stand still while somebody waits at a slider.

Idle priority keeps a job from a core that somebody wants, and yet it warms the caches, the memory
and the other core for itself: beside one, updates take half as long again. So its process is
stopped for as long as answers are under way, and goes on between them.
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

MOST_SECONDS_STILL = 5.0
LEAST_SECONDS_GOING = 0.25
"""Where somebody always waits, jobs go on for so long after so long."""


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
        self._last = 0.0
        self._pids: frozenset[int] = frozenset()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While within, somebody waits."""
        with self._changed:
            self._answering += 1
            self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._last = time.monotonic()
                self._changed.notify()

    def concerns(self, pids: Iterable[int]) -> None:
        """These processes, and no others, stand aside from now on."""
        with self._changed:
            self._pids = frozenset(pids if ABLE else ())
            if self._pids and self._thread is None:
                self._thread = threading.Thread(target=self._tend, name="aside", daemon=True)
                self._thread.start()
            self._changed.notify()

    def _tend(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answering and self._pids)
                still = self._pids
            for pid in still:
                self._stop(pid)
            too_long = self._wait(time.monotonic() + MOST_SECONDS_STILL, still)
            for pid in still:
                self._go_on(pid)
            if too_long:
                time.sleep(LEAST_SECONDS_GOING)

    def _wait(self, until: float, still: frozenset[int]) -> bool:
        """Until nobody has waited for a while; whether somebody still does at ``until``."""
        with self._changed:
            while (now := time.monotonic()) < until and self._pids >= still:
                quiet = self._last + GRACE_SECONDS
                if not self._answering and now >= quiet:
                    return False
                self._changed.wait((until if self._answering else min(until, quiet)) - now)
            return self._pids >= still


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


ASIDE = Aside()
"""Of this server."""
