"""Times of several tasks, measured in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

ROUNDS, FEWEST_ROUNDS, SECONDS_A_TASK = 9, 3, 0.3
"""At most so many rounds, and at least so few once the tasks have had their seconds."""

_SECONDS = 0.004  # of a look at the load
_THREADS = min(4, os.cpu_count() or 1)
_WORK = bytes(2**16)


class Timing(NamedTuple):
    """Milliseconds of a task: the median of its rounds; 8 of 10 are from ``low`` to ``high``.

    ``waiting`` is the share of the time that threads of this process waited for a core.
    """

    median: float
    low: float
    high: float
    waiting: float = 0.0

    @classmethod
    def of(cls, seconds: Sequence[float], waiting: float = 0.0) -> Timing:
        """The timing of a task whose rounds took ``seconds``, at least one."""
        low, high = np.quantile(seconds, (0.1, 0.9)).tolist()
        return cls(1000 * statistics.median(seconds), 1000 * low, 1000 * high, waiting)


def in_turns(tasks: Mapping[str, Callable[[], object]]) -> dict[str, Timing]:
    """The timing of each of ``tasks``, by name, after a first round that does not count."""
    for task in tasks.values():
        task()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    waiting = []
    end = time.perf_counter() + SECONDS_A_TASK * len(tasks)
    for done in range(ROUNDS):
        if done >= FEWEST_ROUNDS and time.perf_counter() > end:
            break
        waiting.append(share_waiting())
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing.of(own, statistics.fmean(waiting)) for name, own in seconds.items()}


def share_waiting() -> float:
    """The share of a few milliseconds in which threads of this process wait for a core."""

    def work(_: int) -> tuple[float, float]:
        start, used = time.perf_counter(), time.thread_time()
        while time.perf_counter() - start < _SECONDS:
            hashlib.sha256(_WORK)  # without Python's lock
        return time.thread_time() - used, time.perf_counter() - start

    with ThreadPoolExecutor(_THREADS) as pool:
        used, passed = map(sum, zip(*pool.map(work, range(_THREADS)), strict=True))
    return min(1.0, max(0.0, 1 - used / passed))
