"""Tasks worked on by a thread of the tests in place of a process, and the wait for their end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from robustness.base.errors import RobustnessError
from robustness.hardening import Hardening
from robustness.runs import Progress, TrainingRequest, jobs
from robustness.runs.task import ANSWER

PATIENCE = 240.0
"""Seconds that a run may take, on a machine that does much else."""


class StoppedError(Exception):
    """Raised where a process would end by a signal."""


def work_until(folder: Path, is_enough: Callable[[Progress], bool]) -> None:
    """Works on the task in ``folder`` and stops, as at a signal, once that ``is_enough``."""

    def stop(progress: Progress) -> None:
        if is_enough(progress):
            raise StoppedError

    with suppress(StoppedError):
        jobs.work_off(folder, stop)


class Threaded:
    """A thread in place of the process that evaluates the run in ``folder``."""

    pid = 2**22 + 1
    """The id of no process: Linux has fewer."""

    def __init__(self, folder: Path) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, args=[folder], daemon=True)
        self._thread.start()

    def _work(self, folder: Path) -> None:
        with suppress(RobustnessError, StoppedError):
            jobs.work_off(folder, self._stop_if_told)

    def _stop_if_told(self, _progress: Progress) -> None:
        if self._stopped.is_set():
            raise StoppedError

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        return None if self._thread.is_alive() else 0

    def terminate(self) -> None:
        self._stopped.set()

    def send_signal(self, _number: int) -> None:
        pass

    def wait(self, timeout: float) -> None:
        self._thread.join(timeout)


@contextmanager
def in_threads() -> Iterator[None]:
    """Evaluate the dashboard's runs in this process until the end of the test."""
    started: Any = Threaded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "start_process", started)
        try:
            yield
        finally:
            jobs.end_all()


def worked_off(runs: Path) -> None:
    """Waits until nobody wants any run in ``runs`` to be worked on."""
    deadline = time.monotonic() + PATIENCE
    while jobs.read_queue(runs):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def training_of(run: Path, **changes: Any) -> TrainingRequest:
    """The request of a training that the run in the folder ``run`` suggested."""
    asked = {"model": "SqueezeNet", "name": "hard", "source": "samples", "perturbations": ("fog",)}
    return TrainingRequest(title="Training of hard", run=run.name, **{**asked, **changes})


def store_training(run: Path, answer: Hardening) -> None:
    """Stores a finished training that the run in the folder ``run`` suggested."""
    folder = jobs.submit(training_of(run), run.parent, "me")
    (folder / ANSWER).write_text(json.dumps(answer.as_dict()))
    jobs.drop(folder)
