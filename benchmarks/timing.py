"""How long a call takes, measured so that a comparison holds when the machine's speed drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable


def interleaved_ms(*calls: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Median milliseconds of each call, run in turns after two warm-up rounds."""
    for call in calls * 2:
        call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return tuple(1000 * statistics.median(times) for times in seconds)


def in_turns_ms(
    *calls: Callable[[], object], turns: int, calls_a_turn: int = 4
) -> tuple[float, ...]:
    """Median milliseconds of each call, of engines that disturb each other; after one turn each.

    An engine's threads spin for a while after their work and take cores from the next call, where
    that is another engine's. So each makes several calls in its turn, and the first is not counted.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for turn in range(1 + turns):
        for call, times in zip(calls, seconds, strict=True):
            for number in range(calls_a_turn):
                start = time.perf_counter()
                call()
                if turn and number:
                    times.append(time.perf_counter() - start)
    return tuple(1000 * statistics.median(times) for times in seconds)
