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
