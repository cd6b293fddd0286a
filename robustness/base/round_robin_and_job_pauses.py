"""Turn-taking: sessions share this server's forward passes, and jobs pause beside them.

Sessions in turn take no longer in total than all at once, and each gets its results sooner. Long
work of a page waits for users at a slider, and idle work, which fills a page at rest, for both.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Protocol, TypeVar

AT_ONCE = max(2, os.cpu_count() or 1)
"""Small passes leave cores idle, so as many run at once as ``models.parallel`` asks for."""

PATIENCE_SECONDS = 2.0
"""Seconds after which waiting long work counts like any other request."""

REMEMBERED = 1000
"""Maximum number of sessions to keep the last turn and latest request of."""

Item = TypeVar("Item")


class WaitingRequest(Protocol):
    """Something that ``by`` has waited for since ``requested_at``."""

    @property
    def by(self) -> str: ...

    @property
    def requested_at(self) -> float: ...


AnyRequest = TypeVar("AnyRequest", bound=WaitingRequest)


def in_turn(waiting: Iterable[AnyRequest], served: Mapping[str, float]) -> list[AnyRequest]:
    """``waiting`` in round-robin order: one of each asker before the second of any.

    ``served`` maps askers to their last turn. Those without one come first, then those whose turn
    is longest ago; ties go to who asked first.
    """
    by: dict[str, list[AnyRequest]] = {}
    for request in sorted(waiting, key=lambda request: request.requested_at):
        by.setdefault(request.by, []).append(request)
    rounds = sorted(by.values(), key=lambda own: (served.get(own[0].by, 0.0), own[0].requested_at))
    return [request for batch in zip_longest(*rounds) for request in batch if request is not None]


class SupersededError(Exception):
    """A newer request of the same session replaced this one."""


@dataclass(eq=False)
class _TurnRequest:
    by: str
    wish: int | None
    idle: bool = False
    requested_at: float = field(default_factory=time.monotonic)
    decided: threading.Event = field(default_factory=threading.Event)
    dropped: bool = False

    @property
    def long(self) -> bool:
        return self.wish is None and not self.idle


class Turns:
    """Round-robin queue with ``at_once`` turns at a time; thread-safe.

    A session's newer wish replaces its older one. Long work holds at most half of the turns, and
    idle work one, which it takes only when nobody else waits and a turn stays free for who comes.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = self._at_once = at_once
        self._free_for_long = max(1, at_once // 2)
        self._free_for_idle = 1
        self._lock = threading.Lock()
        self._line: list[_TurnRequest] = []
        self._served: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._count = self._wishes = 0

    def wish(self, who: str) -> int:
        """The number of a new wish of ``who``; drops requests that still wait for older ones."""
        with self._lock:
            self._wishes += 1  # one count for all: a forgotten session's old wish stays older
            self._newest.pop(who, None)
            self._newest[who] = self._wishes
            if len(self._newest) > REMEMBERED:
                del self._newest[next(iter(self._newest))]
            for place in [p for p in self._line if p.by == who and p.wish is not None]:
                self._line.remove(place)
                place.dropped = True
                place.decided.set()
            return self._wishes

    @contextlib.contextmanager
    def turn(self, who: str, wish: int | None = None, *, idle: bool = False) -> Iterator[None]:
        """Wait for a turn of ``who`` and hold it; without a ``wish`` it is part of long work.

        An ``idle`` one, without a wish, waits until nobody else does.

        Raises ``SupersededError`` if ``who`` has a newer wish by then.
        """
        place = _TurnRequest(who, wish, idle)
        with self._lock:
            if wish is not None and wish < self._newest.get(who, 0):
                raise SupersededError
            self._line.append(place)
            self._grant()
        while not place.decided.wait(PATIENCE_SECONDS):
            with self._lock:
                self._grant()
        if place.dropped:
            raise SupersededError
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                self._free_for_long += place.long
                self._free_for_idle += place.idle
                self._grant()

    def in_parts(self, items: Iterable[Item], who: str) -> Iterator[Item]:
        """``items``, each made in a turn of ``who`` as part of long work."""
        iterator = iter(items)
        while True:
            with self.turn(who):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def _grant(self) -> None:
        while self._free and (able := self._able()):
            first = in_turn(able, self._served)[0]
            self._line.remove(first)
            self._free -= 1
            self._free_for_long -= first.long
            self._free_for_idle -= first.idle
            self._count += 1
            self._served[first.by] = self._count
            first.decided.set()
        if not self._line and len(self._served) > REMEMBERED:
            self._served.clear()

    def _able(self) -> list[_TurnRequest]:
        """Those of the line who may be next, the most urgent kind alone."""
        patient = time.monotonic() - PATIENCE_SECONDS
        others = [p for p in self._line if not p.idle and (self._free_for_long or not p.long)]
        urgent = [p for p in others if not p.long or p.requested_at <= patient]
        if others or not self._free_for_idle or self._free < min(2, self._at_once):
            return urgent or others
        return [place for place in self._line if place.idle]


TURNS = Turns()
"""The forward passes of this server."""


# --- jobs -----------------------------------------------------------------------------------------

CAN_PAUSE = sys.platform == "linux"
"""On other systems a paused process would stay paused if this one were killed."""

OWED = 0.5
"""Seconds of work owed to jobs for each second paused: they keep a third of the time."""

MOST_OWED = 0.2
"""Seconds owed at which new answers wait until the jobs have had them."""

MOST_SECONDS_CLOSED = 1.0
"""How long new answers wait for those under way before jobs run beside them."""


class Pauses:
    """Pauses job processes while answers are under way; thread-safe.

    Idle priority is not enough: a job still uses caches, memory and the other core, and slows
    updates by half. Paused time is owed to jobs: they get it between predictions, or while new ones
    wait.
    """

    def __init__(
        self,
        pause: Callable[[int], object] = lambda pid: _send(pid, signal.SIGSTOP),
        resume: Callable[[int], object] = lambda pid: _send(pid, signal.SIGCONT),
    ) -> None:
        self._pause, self._resume = pause, resume
        self._changed = threading.Condition()
        self._answering = 0
        self._closed = False
        self._pids: frozenset[int] = frozenset()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Mark an answer that somebody waits for; wait a moment first if jobs are owed it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._closed)
            self._answering += 1
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._answering -= 1
                self._changed.notify_all()

    def concerns(self, pids: Iterable[int]) -> None:
        """From now on the jobs are the processes ``pids`` and no others."""
        with self._changed:
            self._pids = frozenset(pids if CAN_PAUSE else ())
            if self._pids and self._thread is None:
                self._thread = threading.Thread(target=self._tend, name="pauses", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _tend(self) -> None:
        owed, resumed = 0.0, time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answering and self._pids)
                jobs, paused = self._pids, time.monotonic()
            owed = max(0.0, owed - (paused - resumed))
            for pid in jobs:
                self._pause(pid)
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._answering or not self._pids >= jobs,  # noqa: B023
                    max(0.0, MOST_OWED - owed) / OWED,
                )
                owed += OWED * (time.monotonic() - paused)
                self._closed = owed >= MOST_OWED and self._answering > 0
            resumed = time.monotonic()
            for pid in jobs:
                self._resume(pid)
            if not self._closed:
                continue
            with self._changed:  # jobs run alone, once the answers under way have ended
                self._changed.wait_for(lambda: not self._answering, MOST_SECONDS_CLOSED)
                self._changed.wait_for(lambda: not self._pids, owed)
                self._closed = False
                self._changed.notify_all()
            owed, resumed = 0.0, time.monotonic()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


PAUSES = Pauses()
"""The jobs of this server."""
