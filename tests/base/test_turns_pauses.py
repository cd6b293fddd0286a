"""Jobs pause while somebody waits for an answer, and keep their share of the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from robustness.base import turns
from robustness.base.turns import Pauses


def within(condition: Callable[[], object], seconds: float = 240.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


class Told(list[tuple[str, int]]):
    """Signals to processes, in order."""

    def pauses(self) -> Pauses:
        return Pauses(lambda pid: self.append(("stop", pid)), lambda pid: self.append(("go", pid)))


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "CAN_PAUSE", True)


@pytest.fixture
def owed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is owed to jobs within a test."""
    monkeypatch.setattr(turns, "OWED", 1e-6)


@pytest.mark.usefixtures("owed_nothing")
def test_a_job_pauses_during_an_answer_and_resumes_after_it() -> None:
    told = Told()
    line = told.pauses()
    line.concerns([7])
    with line.answering():
        assert within(lambda: told == [("stop", 7)])
        with line.answering():
            pass
        assert told == [("stop", 7)], "the first answer is not finished"
    assert within(lambda: told == [("stop", 7), ("go", 7)])


class Job:
    """Counts the seconds that it may work, and those of them without an answer under way."""

    def __init__(self) -> None:
        self.line = Pauses(self._change("still"), self._change("going"))
        self.state = "going"
        self.answering = 0
        self.seconds = {"still": 0.0, "going": 0.0, "alone": 0.0}
        self._since = time.monotonic()
        self._lock = threading.Lock()
        self.line.concerns([7])

    def _change(self, state: str) -> Callable[[int], None]:
        return lambda _pid: self.note(state)

    def note(self, state: str = "", more: int = 0) -> None:
        with self._lock:
            now = time.monotonic()
            passed, self._since = now - self._since, now
            self.seconds[self.state] += passed
            if self.state == "going" and not self.answering:
                self.seconds["alone"] += passed
            self.state = state or self.state
            self.answering += more

    def answer(self, seconds: float) -> None:
        with self.line.answering():
            self.note(more=1)
            time.sleep(seconds)
            self.note(more=-1)


def held(job: Job, answers: Sequence[float], pause: float, seconds: float) -> list[float]:
    """Requests each of ``answers`` repeatedly; returns how long each waited to start."""
    end, took = time.monotonic() + seconds, []

    def ask(answer: float) -> None:
        while time.monotonic() < end:
            started = time.monotonic()
            job.answer(answer)
            took.append(time.monotonic() - started - answer)
            time.sleep(pause)

    with ThreadPoolExecutor(len(answers)) as pool:
        list(pool.map(ask, answers))
    job.note()
    return took


def test_a_job_keeps_a_quarter_of_its_speed_while_a_slider_is_held() -> None:
    job = Job()
    held(job, [0.03, 0.12], 0.0, 3.0)
    assert job.seconds["alone"] >= sum(job.seconds[s] for s in ("still", "going")) / 4
    assert job.seconds["still"] > 1, "and answers have most of the time"


@pytest.mark.usefixtures("owed_nothing")
def test_a_process_that_is_no_longer_a_job_resumes() -> None:
    told = Told()
    line = told.pauses()
    line.concerns([7, 8])
    with line.answering():
        assert within(lambda: len(told) == 2)
        line.concerns([8])
        assert within(lambda: ("go", 7) in told and ("go", 8) in told)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is stopped")
def test_a_paused_job_resumes_when_its_server_is_killed() -> None:
    job = (
        "import time; from robustness.base.processes import set_idle_priority; "
        "set_idle_priority(); print('here', flush=True); time.sleep(60)"
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
