"""Times of several tasks, measured in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import hashlib
import os
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

TURNS = 5
"""In each turn every task has its passes, one task after the other."""

FEWEST_TURNS = 3
"""Turns of tasks so slow that they exceed their seconds."""

SECONDS_A_TASK = 1.0
"""A task has about so many seconds in all turns together, but at least a pass in each."""

MOST_PASSES = 5
"""Passes of a task in a turn, the median of which counts."""

_SECONDS = 0.004  # of a look at the load
_THREADS = min(4, os.cpu_count() or 1)
_WORK = bytes(2**16)


class Timings(NamedTuple):
    """Milliseconds by task, a number a turn: the median of its passes.

    ``waiting`` is the share of the time that threads of this process waited for a core.
    """

    turns: dict[str, list[float]]
    waiting: float


def in_turns(tasks: Mapping[str, Callable[[], object]]) -> Timings:
    """The timings of ``tasks``, by name, after a first pass of each that does not count."""
    for task in tasks.values():
        task()
    turns: dict[str, list[float]] = {name: [] for name in tasks}
    waiting = []
    end = time.perf_counter() + SECONDS_A_TASK * len(tasks)
    for turn in range(TURNS):
        if turn >= FEWEST_TURNS and time.perf_counter() > end:
            break
        waiting.append(share_waiting())
        for name, task in tasks.items():
            turns[name].append(_milliseconds(task))
    return Timings(turns, statistics.fmean(waiting))


def _milliseconds(task: Callable[[], object]) -> float:
    """The median of the passes of ``task`` in one turn."""
    passes: list[float] = []
    while len(passes) < MOST_PASSES and sum(passes) < SECONDS_A_TASK / TURNS:
        start = time.perf_counter()
        task()
        passes.append(time.perf_counter() - start)
    return 1000 * statistics.median(passes)


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
