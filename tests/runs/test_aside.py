"""Jobs stand still while somebody waits, and never for good."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from robustness.runs.jobs import aside
from robustness.runs.jobs.aside import Aside


def within(condition: Callable[[], object], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Told(list[tuple[str, int]]):
    """What processes were told, in order."""

    def aside(self) -> Aside:
        return Aside(lambda pid: self.append(("stop", pid)), lambda pid: self.append(("go", pid)))


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aside, "ABLE", True)
    monkeypatch.setattr(aside, "MOST_SECONDS_STILL", 3600.0)  # longer than any test waits


def test_a_job_stands_still_while_somebody_waits_and_goes_on_after() -> None:
    told = Told()
    line = told.aside()
    line.concerns([7])
    with line.answering():
        assert within(lambda: told == [("stop", 7)])
        with line.answering():
            pass
        assert told == [("stop", 7)], "the first still waits"
    assert within(lambda: told == [("stop", 7), ("go", 7)])


def test_a_job_goes_on_for_a_while_where_somebody_always_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(aside, "MOST_SECONDS_STILL", 0.02)
    monkeypatch.setattr(aside, "LEAST_SECONDS_GOING", 0.01)
    told = Told()
    line = told.aside()
    line.concerns([7])
    with line.answering():
        assert within(lambda: told.count(("go", 7)) >= 2)
    kinds = [kind for kind, _ in told]
    assert kinds[:4] == ["stop", "go", "stop", "go"]


def test_what_is_no_job_any_more_is_let_go() -> None:
    told = Told()
    line = told.aside()
    line.concerns([7, 8])
    with line.answering():
        assert within(lambda: len(told) == 2)
        line.concerns([8])
        assert within(lambda: ("go", 7) in told and ("go", 8) in told)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is stopped")
def test_a_stopped_job_goes_on_when_its_server_is_killed() -> None:
    job = (
        "import time; from robustness.base.own_process import step_back; step_back(); "
        "print('here', flush=True); time.sleep(60)"
    )
    server = (
        "import subprocess, sys, time\n"
        f"job = subprocess.Popen([sys.executable, '-c', {job!r}], stdout=subprocess.PIPE)\n"
        "job.stdout.readline(); print(job.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", server], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        try:
            os.kill(pid, signal.SIGSTOP)
            assert within(lambda: _state(pid) == "T")
            process.kill()
            assert within(lambda: _state(pid) != "T")
        finally:
            os.kill(pid, signal.SIGKILL)
            process.kill()


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
