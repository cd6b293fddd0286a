"""Times in turns: a machine that is busy for a while slows every task alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from robustness.base import timing_in_turns
from robustness.base.timing_in_turns import Timing, in_turns, share_waiting

CORES = os.cpu_count() or 1


def test_a_machine_that_slows_down_puts_no_task_behind_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, calls = 0.0, {"a": 0, "b": 0}

    def task(name: str, seconds: float) -> None:
        nonlocal now
        calls[name] += 1
        cold = 100 * (calls[name] == 1)
        busy = 5 if sum(calls.values()) > 10 else 1
        now += cold + seconds * busy

    monkeypatch.setattr(timing_in_turns.time, "perf_counter", lambda: now)
    monkeypatch.setattr(timing_in_turns, "SECONDS_A_TASK", 1000)
    monkeypatch.setattr(timing_in_turns, "share_waiting", lambda: 0.25)
    found = in_turns({"a": lambda: task("a", 0.010), "b": lambda: task("b", 0.011)})
    assert calls == {"a": 10, "b": 10}
    for name, fast in (("a", 10), ("b", 11)):
        assert found[name].median == pytest.approx(5 * fast)
        assert found[name].low == pytest.approx(fast)
        assert found[name].high == pytest.approx(5 * fast)
        assert found[name].waiting == 0.25


def test_the_spread_leaves_out_one_pass_in_ten_on_either_side() -> None:
    found = Timing.of([second / 1000 for second in range(101)])
    assert (found.low, found.median, found.high) == pytest.approx((10, 50, 90))


@pytest.mark.skipif(sys.platform == "win32", reason="its clock of threads is too coarse")
def test_other_programs_on_all_cores_are_seen() -> None:
    spin = "import time; end = time.monotonic() + 5\nwhile time.monotonic() < end: pass"
    others = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(2 * CORES)]
    try:
        time.sleep(0.5)
        assert max(share_waiting() for _ in range(20)) > 0.1
    finally:
        for other in others:
            other.kill()
            other.wait()
