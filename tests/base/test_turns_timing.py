"""Times in turns: a machine that is busy for a while slows every task alike."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from robustness.base import turns as base_turns
from robustness.base.turns import in_turns, share_waiting

CORES = os.cpu_count() or 1


def test_a_machine_that_slows_down_puts_no_task_behind_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, calls = 0.0, {"a": 0, "b": 0}

    def task(name: str, seconds: float) -> None:
        nonlocal now
        calls[name] += 1
        cold = 100 * (calls[name] == 1)
        busy = 5 if sum(calls.values()) > 12 else 1
        now += cold + seconds * busy

    monkeypatch.setattr(base_turns.time, "perf_counter", lambda: now)
    monkeypatch.setattr(base_turns, "SECONDS_A_TASK", 1000)
    monkeypatch.setattr(base_turns, "share_waiting", lambda: 0.25)
    turns, waiting = in_turns({"a": lambda: task("a", 0.010), "b": lambda: task("b", 0.011)})
    assert calls == {"a": 26, "b": 26}
    assert turns["a"] == pytest.approx([10, 50, 50, 50, 50])
    assert turns["b"] == pytest.approx([11, 55, 55, 55, 55])
    assert waiting == 0.25


def test_slow_tasks_have_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def task() -> None:
        nonlocal now
        now += 4

    monkeypatch.setattr(base_turns.time, "perf_counter", lambda: now)
    monkeypatch.setattr(base_turns, "SECONDS_A_TASK", 1)
    monkeypatch.setattr(base_turns, "share_waiting", lambda: 0.0)
    assert in_turns({"a": task}).turns == {"a": [4000] * base_turns.FEWEST_TURNS}
    assert now == 4 * (1 + base_turns.FEWEST_TURNS)


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
