"""What strangers' bytes do to a process of their own: its limits hold, and others go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.support.repository import ROOT
from robustness.base import workers as worker_pool
from robustness.base.workers import (
    Worker,
    WorkerDiedError,
    WorkerLateError,
    Workers,
    WorkerTimeError,
)

ODD = "tests.support.odd_worker"
MEGABYTE = 2**20


def ask(asked: Worker | Workers, head: bytes, data: bytes = b"", patience: float = 240) -> bytes:
    deadline = time.monotonic() + patience
    return asked.ask(head, data, memory=64 * MEGABYTE, seconds=5, deadline=deadline)


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker(ODD)
    yield worker
    worker.end()


@pytest.fixture
def workers() -> Iterator[Workers]:
    """One process at a time."""
    workers = Workers(ODD, 1)
    yield workers
    workers.end()


def test_it_answers_again_and_again_whatever_the_size(worker: Worker) -> None:
    large = os.urandom(3 * MEGABYTE)
    for data in (b"", b"x", large, b""):
        assert ask(worker, b"head ", data) == b"head " + data


def test_memory_is_what_this_question_allows(worker: Worker) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system limits no memory")
    fits, exceeds = 40 * MEGABYTE, 80 * MEGABYTE
    for _ in range(3):  # each question anew, not all of them together
        assert ask(worker, b"allocate %d" % fits) == b"%d" % fits
        assert ask(worker, b"allocate %d" % exceeds) == b"no memory"


def test_a_process_that_works_for_too_long_is_ended_by_the_system() -> None:
    worker = Worker(ODD)
    with pytest.raises(WorkerTimeError):
        worker.ask(b"spin", b"", memory=64 * MEGABYTE, seconds=0, deadline=None)
    assert worker._process.returncode == -signal.SIGXCPU


def test_nobody_waits_past_the_deadline(workers: Workers) -> None:
    with pytest.raises(WorkerLateError):
        ask(workers, b"sleep", patience=0.3)
    assert workers.pids() == [], "nobody is given one that is still at it"
    assert ask(workers, b"hello") == b"hello"
    with ThreadPoolExecutor(1) as threads:
        sleeps = threads.submit(ask, workers, b"sleep", patience=1.0)
        _wait_until(lambda: not workers.pids())
        with pytest.raises(WorkerLateError):
            ask(workers, b"hello", patience=0.01)
        with pytest.raises(WorkerLateError):
            sleeps.result()


def test_one_that_is_killed_is_asked_for_once_more(workers: Workers, tmp_path: Path) -> None:
    mark = os.fsencode(tmp_path / "died")
    assert ask(workers, b"killed once " + mark, b"!") == b"killed once " + mark + b"!"
    (before,) = workers.pids()
    os.kill(before, signal.SIGKILL)
    assert ask(workers, b"hello") == b"hello", "killed while nobody asked it"
    with pytest.raises(WorkerDiedError):
        ask(workers, b"die")
    assert ask(workers, b"hello") == b"hello"


def test_nobody_waits_for_a_pool_that_stops() -> None:
    workers = Workers(ODD, 1, least=0)
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(ask, workers, b"sleep") for _ in range(2)]
        _wait_until(lambda: bool(workers._busy))
        workers.stop()
        for one in waiting:
            with pytest.raises(WorkerDiedError):
                one.result(60)
    with pytest.raises(WorkerDiedError):
        ask(workers, b"hello")


def test_a_spare_worker_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "REST_SECONDS", 0.05)
    workers = Workers(ODD, 1, least=0)
    assert ask(workers, b"hello") == b"hello"
    _wait_until(lambda: not workers.pids())
    assert ask(workers, b"hello") == b"hello"


PARENT = f"""
import os, sys, threading, time
from robustness.base.workers import Worker

def ask(worker, head):
    worker.ask(head, b"", memory=2**26, seconds=600, deadline=None)

workers = [Worker({ODD!r}) for _ in range(3)]
for worker in workers:
    ask(worker, b"hello")
for worker, head in zip(workers, (b"spin", b"sleep")):
    threading.Thread(target=ask, args=(worker, head)).start()
fork = os.fork()
if fork == 0:
    time.sleep(60)
    os._exit(0)
print(fork, *(worker.pid for worker in workers), flush=True)
time.sleep(600)
"""


def test_it_ends_with_its_parent_whatever_it_does() -> None:
    """Two compute and one waits; a fork of the parent may hold the connection open."""
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        fork, *pids = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            assert len(pids) == 3
            assert all(map(_runs, pids))
            parent.kill()
            _wait_until(lambda: not any(map(_runs, pids)), seconds=3)
        finally:
            for pid in filter(_runs, (fork, *pids)):
                os.kill(pid, signal.SIGKILL)


def test_it_outlives_the_thread_that_started_it() -> None:
    with ThreadPoolExecutor(1) as threads:
        worker = threads.submit(Worker, ODD).result()
        assert threads.submit(ask, worker, b"hello").result() == b"hello"
    time.sleep(1.2)  # more than one look at its parent
    assert ask(worker, b"again") == b"again"
    worker.end()


def test_it_sees_no_settings_and_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ROBUSTNESS_METRICS_TOKEN", "ROBUSTNESS_CACHE", "AWS_SECRET_ACCESS_KEY", "ODD"):
        monkeypatch.setenv(name, "secret")
    fresh = Worker(ODD)
    environment = json.loads(ask(fresh, b"environment"))
    fresh.end()
    assert "secret" not in environment.values()
    assert environment["PATH"] == os.environ["PATH"]


def test_an_answer_has_a_largest_length() -> None:
    for size in (2**63, worker_pool.MAX_ANSWER + 1):
        worker = Worker(ODD)
        with pytest.raises(WorkerDiedError):
            ask(worker, b"claim %d" % size)
        assert not _runs(worker.pid)


def test_a_file_that_ended_a_worker_is_not_tried_again(workers: Workers, tmp_path: Path) -> None:
    mark = tmp_path / "times"

    def ask_about(file: str, head: bytes, seconds: int = 5) -> bytes:
        return workers.ask(head, b"", memory=2**26, seconds=seconds, deadline=None, file=file)

    for _ in range(2):
        with pytest.raises(WorkerDiedError):
            ask_about("a", b"note and die " + os.fsencode(mark))
        with pytest.raises(WorkerTimeError):
            ask_about("b", b"spin", seconds=0)
    assert mark.read_text() == "died ", "once, not even once more by another worker"
    assert ask_about("c", b"hello") == b"hello"


def _wait_until(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether there is such a process, and not only its status for a parent that never asks."""
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return shown.returncode == 0 and not shown.stdout.startswith("Z")
