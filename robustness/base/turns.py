"""Turn-taking: sessions share this server's forward passes, and jobs pause beside them.

Sessions in turn take no longer in total than all at once, and each gets its results sooner. Long
work of a page waits for users at a slider, and idle work, which fills a page at rest, for both.

``in_turns`` measures the times of several tasks in turns, so that a busy machine slows all of them
alike. ``Pace`` tells the progress of long work: its rate, the time left and a short text.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple, Protocol, TypeVar

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
    """Return ``waiting`` in round-robin order: one of each asker before the second of any.

    ``served`` maps askers to their last turn. Those without one come first, then those whose turn
    is longest ago; ties go to who asked first.
    """
    requests_by: dict[str, list[AnyRequest]] = {}
    for request in sorted(waiting, key=lambda request: request.requested_at):
        requests_by.setdefault(request.by, []).append(request)

    def last_turn_and_wait(requests: list[AnyRequest]) -> tuple[float, float]:
        first = requests[0]
        return served.get(first.by, 0.0), first.requested_at

    ordered = []
    for one_of_each in zip_longest(*sorted(requests_by.values(), key=last_turn_and_wait)):
        for request in one_of_each:
            if request is not None:  # an asker with fewer requests than another
                ordered.append(request)
    return ordered


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
        self._at_once = at_once
        self._free = at_once
        self._free_for_long = max(1, at_once // 2)
        self._free_for_idle = 1
        self._lock = threading.Lock()
        self._line: list[_TurnRequest] = []
        self._served: dict[str, float] = {}
        self._newest: dict[str, int] = {}
        self._count = 0
        self._wishes = 0

    def wish(self, who: str) -> int:
        """Return the number of a new wish of ``who``; drop requests that wait for older ones."""
        with self._lock:
            self._wishes += 1  # one count for all: a forgotten session's old wish stays older
            self._newest.pop(who, None)
            self._newest[who] = self._wishes
            if len(self._newest) > REMEMBERED:
                del self._newest[next(iter(self._newest))]
            for request in list(self._line):
                if request.by == who and request.wish is not None:
                    self._line.remove(request)
                    request.dropped = True
                    request.decided.set()
            return self._wishes

    @contextlib.contextmanager
    def turn(self, who: str, wish: int | None = None, *, idle: bool = False) -> Iterator[None]:
        """Wait for a turn of ``who`` and hold it; without a ``wish`` it is part of long work.

        An ``idle`` one, without a wish, waits until nobody else does. Raises
        ``SupersededError`` if ``who`` has a newer wish by then.
        """
        request = _TurnRequest(who, wish, idle)
        with self._lock:
            if wish is not None and wish < self._newest.get(who, 0):
                raise SupersededError
            self._line.append(request)
            self._grant()
        while not request.decided.wait(PATIENCE_SECONDS):
            with self._lock:  # long work that has waited this long is as urgent as others
                self._grant()
        if request.dropped:
            raise SupersededError
        try:
            yield
        finally:
            with self._lock:
                self._free += 1
                if request.long:
                    self._free_for_long += 1
                if request.idle:
                    self._free_for_idle += 1
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
        """Give free turns to requests of the line, as long as one may have one."""
        while self._free:
            candidates = self._candidates()
            if not candidates:
                break
            first = in_turn(candidates, self._served)[0]
            self._line.remove(first)
            self._free -= 1
            if first.long:
                self._free_for_long -= 1
            if first.idle:
                self._free_for_idle -= 1
            self._count += 1
            self._served[first.by] = self._count
            first.decided.set()
        if not self._line and len(self._served) > REMEMBERED:
            self._served.clear()

    def _candidates(self) -> list[_TurnRequest]:
        """The requests of the line that may be next, the most urgent kind alone."""
        patience_ended = time.monotonic() - PATIENCE_SECONDS
        urgent = []
        long = []
        idle = []
        for request in self._line:
            if request.idle:
                idle.append(request)
            elif not request.long:
                urgent.append(request)
            elif self._free_for_long:
                long.append(request)
                if request.requested_at <= patience_ended:
                    urgent.append(request)
        if urgent:
            return urgent
        if long:
            return long
        # A turn stays free for who comes, where there is more than one.
        if self._free_for_idle and self._free >= min(2, self._at_once):
            return idle
        return []


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
        self._pause = pause
        self._resume = resume
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
        """Pause and resume the jobs, for ever; the thread's work."""
        owed = 0.0  # seconds of work
        resumed_at = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._answering and self._pids)
                jobs = self._pids
                paused_at = time.monotonic()
            # Since they were resumed, jobs have worked.
            owed = max(0.0, owed - (paused_at - resumed_at))
            for pid in jobs:
                self._pause(pid)
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._answering or not self._pids >= jobs,  # noqa: B023
                    timeout=max(0.0, MOST_OWED - owed) / OWED,
                )
                owed += OWED * (time.monotonic() - paused_at)
                self._closed = owed >= MOST_OWED and self._answering > 0
            resumed_at = time.monotonic()
            for pid in jobs:
                self._resume(pid)
            if not self._closed:
                continue
            # New answers wait. Jobs run alone, once the answers under way have ended.
            with self._changed:
                self._changed.wait_for(lambda: not self._answering, timeout=MOST_SECONDS_CLOSED)
                self._changed.wait_for(lambda: not self._pids, timeout=owed)
                self._closed = False
                self._changed.notify_all()
            owed = 0.0
            resumed_at = time.monotonic()


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


PAUSES = Pauses()
"""The jobs of this server."""


ROUNDS = 5
"""In each turn every task has its passes, one task after the other."""

FEWEST_TURNS = 3
"""Turns of tasks so slow that they exceed their seconds."""

SECONDS_A_TASK = 1.0
"""A task has about so many seconds in all turns together, but at least a pass in each."""

MOST_PASSES = 5
"""Passes of a task in a turn, the median of which counts."""

_LOOK_SECONDS = 0.004
"""Of a look at the load."""
_THREADS = min(4, os.cpu_count() or 1)
_WORK = bytes(2**16)


class Timings(NamedTuple):
    """Milliseconds by task, a number a turn: the median of its passes.

    ``waiting`` is the share of the time that threads of this process waited for a core.
    """

    turns: dict[str, list[float]]
    waiting: float


def in_turns(tasks: Mapping[str, Callable[[], object]]) -> Timings:
    """Return the timings of ``tasks``, by name, after a first pass of each that does not count."""
    for task in tasks.values():
        task()
    turns: dict[str, list[float]] = {name: [] for name in tasks}
    waiting = []
    end = time.perf_counter() + SECONDS_A_TASK * len(tasks)
    for turn in range(ROUNDS):
        if turn >= FEWEST_TURNS and time.perf_counter() > end:
            break
        waiting.append(share_waiting())
        for name, task in tasks.items():
            turns[name].append(_milliseconds(task))
    return Timings(turns, statistics.fmean(waiting))


def _milliseconds(task: Callable[[], object]) -> float:
    """The median of the passes of ``task`` in one turn."""
    passes: list[float] = []
    while len(passes) < MOST_PASSES and sum(passes) < SECONDS_A_TASK / ROUNDS:
        start = time.perf_counter()
        task()
        passes.append(time.perf_counter() - start)
    return 1000 * statistics.median(passes)


def share_waiting() -> float:
    """Return the share of a few milliseconds in which threads of this process wait for a core."""

    def work(_: int) -> tuple[float, float]:
        start = time.perf_counter()
        used = time.thread_time()
        while time.perf_counter() - start < _LOOK_SECONDS:
            hashlib.sha256(_WORK)  # without Python's lock
        return time.thread_time() - used, time.perf_counter() - start

    with ThreadPoolExecutor(_THREADS) as pool:
        times = list(pool.map(work, range(_THREADS)))
    seconds_used = sum(used for used, _ in times)
    seconds_passed = sum(passed for _, passed in times)
    return min(1.0, max(0.0, 1 - seconds_used / seconds_passed))


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
        if value >= 99.95 or self.size == 1:
            return f"{value:.0f}"
        return f"{value:.1f}"

    def rate(self, amount: float) -> str:
        """``amount`` per second in this unit: whole from 100 on, else one decimal."""
        value = amount / self.size
        digits = 0 if value >= 99.95 else 1
        return f"{value:.{digits}f} {self.name}/s"


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
        if self._overall:
            return
        while len(self._noted) > WINDOW_STEPS + 1 and now - self._noted[1][0] >= WINDOW_SECONDS:
            self._noted.popleft()

    @property
    def rate(self) -> float | None:
        """Count per second; None before two notes."""
        if len(self._noted) < 2:
            return None
        start, done_at_start = self._noted[0]
        end, done = self._noted[-1]
        if end <= start:
            return None
        return (done - done_at_start) / (end - start)

    @property
    def seconds_left(self) -> float | None:
        """Time to the total at this rate; None while unknown."""
        if len(self._noted) <= _FEWEST_STEPS or not self._total or not self.rate:
            return None
        return max(0.0, self._total - self._noted[-1][1]) / self.rate

    @property
    def share(self) -> float | None:
        """How much of the total is done, from 0 to 1; None while the total is unknown."""
        if not self._noted or not self._total:
            return None
        return self._noted[-1][1] / self._total

    @property
    def text(self) -> str:
        """A text such as "34.1 of 103 MB, 5.2 MB/s, 13 s left", as far as known."""
        done = self._noted[-1][1] if self._noted else 0.0
        amount = self._unit.number(done)
        if self._total:
            amount += f" of {self._unit.number(self._total)}"
        parts = [f"{amount} {self._unit.name}"]
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
