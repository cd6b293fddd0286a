"""Starts a process for each job in order, and restarts it if it dies."""

from __future__ import annotations

import contextlib
import logging
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from robustness.base import processes, settings
from robustness.base.errors import RobustnessError
from robustness.base.pydantic_validation import read_json
from robustness.base.round_robin_and_job_pauses import PAUSES, in_turn
from robustness.base.text import counted
from robustness.runs.jobs.queue import (
    HARDENING,
    QUEUE,
    Job,
    cancel,
    has_process,
    is_queued,
    last_served,
    note_served,
    process_lock,
    read_queue,
)
from robustness.runs.manifest import read

LOG_FILE = "job.log"
"""The stderr of a run's process, for the operator."""

MOST_DEATHS = 3
"""Deaths in a row without progress after which a run is given up."""

MOST_REFUSALS = 60
"""Failed attempts in a row to start a process, about two a second, before a run is given up."""

_SECONDS_BETWEEN = 0.5
_SECONDS_TO_STOP = 20.0

Start = Callable[[Path], "subprocess.Popen[bytes]"]


@dataclass
class _Child:
    """A process started for ``job`` when ``done`` images were done."""

    job: Job
    process: subprocess.Popen[bytes]
    done: int
    terminated: bool = False
    """Whether it was told to terminate."""

    def end(self) -> None:
        """Terminates it, resuming it if paused; only once, as a second signal could cost rows."""
        if not self.terminated:
            self.terminated = True
            self.process.terminate()
        self.process.send_signal(signal.SIGCONT)


class Supervisor:
    """Does the jobs of one folder of runs, at most ``limit`` at once.

    Of several supervisors of a folder, in any process, one is active at a time; when it ends,
    another takes over. ``start`` starts a process for the run in a folder.
    """

    def __init__(self, runs: Path, limit: int, start: Start | None = None) -> None:
        self._runs = runs
        self._limit = limit
        self._start = start or _started
        self._children: dict[str, _Child] = {}
        self._deaths: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._lock: FileLock | None = None
        self._woken = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._trouble = ""

    def begin(self) -> None:
        """Starts the supervisor's thread, or wakes it if it runs already."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._go_on, name="jobs", daemon=True)
            self._thread.start()
        self._woken.set()

    def end(self) -> None:
        """Stops the processes; their finished work and their jobs stay for the next supervisor."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)  # it may be starting one more
        PAUSES.concerns([])
        for child in list(self._children.values()):
            child.end()
        for child in list(self._children.values()):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(_SECONDS_TO_STOP)
        if self._lock is not None:
            self._lock.release()

    def _go_on(self) -> None:
        while not self._stopping:
            self._woken.wait(_SECONDS_BETWEEN)
            self._woken.clear()
            try:
                self.look()
                self._trouble = ""
            except (OSError, RobustnessError) as error:  # such as a full disk or an invalid setting
                if str(error) != self._trouble:  # logged once until it changes
                    self._trouble = str(error)
                    logging.getLogger(__name__).warning(
                        "The queue of the runs in %s is blocked until this is fixed: %s",
                        self._runs,
                        error,
                    )

    def look(self) -> None:
        """Starts due jobs and checks the started processes."""
        due = {job.run: job for job in read_queue(self._runs)}
        for run, child in list(self._children.items()):
            if run not in due and child.process.poll() is None:
                child.end()  # cancelled: it need not finish its chunk
            if child.process.poll() is not None:
                del self._children[run]
                done = not is_queued(self._runs / run)  # perhaps since the queue was read
                if done or self._died_for_good(child):
                    due.pop(run, None)
        self._refusals = {run: times for run, times in self._refusals.items() if run in due}
        self._pause_beside_answers(due.values())
        if not due or self._stopping or not self._is_mine():
            return
        waiting = [job for job in due.values() if not self._has_begun(job)]
        free = self._limit - (len(due) - len(waiting))
        for job in in_turn(waiting, last_served(self._runs)):
            if free <= 0:
                break
            free -= self._begins(job)

    def _has_begun(self, job: Job) -> bool:
        """Whether a process for ``job`` lives; an earlier server, killed or not, may have left it.

        Such a process writes no progress before it has imported everything, but it holds the lock.
        """
        if job.run in self._children or job.progress is not None:
            return True
        return has_process(self._runs / job.run)

    def _begins(self, job: Job) -> bool:
        """Starts a process for ``job``; returns whether it did. Gives up after many refusals."""
        folder = self._runs / job.run
        try:
            process = self._start(folder)
        except OSError as error:
            refusals = self._refusals.pop(job.run, 0) + 1
            if refusals < MOST_REFUSALS:
                self._refusals[job.run] = refusals
            else:
                cancel(
                    folder,
                    f"Its process cannot be started: {error.strerror or error}. Continue it once "
                    "that is fixed, or ask the operator whether the run's job.log can be written.",
                )
            return False
        self._refusals.pop(job.run, None)
        self._children[job.run] = _Child(job, process, _done(folder))
        note_served(self._runs, job.by)
        return True

    def _pause_beside_answers(self, due: Iterable[Job]) -> None:
        """Pause the processes of this supervisor, or an earlier one, during live requests."""
        pids = {child.process.pid for child in self._children.values()}
        workers = (job.progress.worker for job in due if job.progress)
        pids |= {worker.pid for worker in workers if worker and worker.here}
        PAUSES.concerns([] if self._stopping or not _is_idle() else pids)

    def _is_mine(self) -> bool:
        if self._lock is None:
            lock = FileLock(self._runs / QUEUE / ".lock", thread_local=False)  # ``end`` releases it
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            self._lock = lock
        return True

    def _died_for_good(self, child: _Child) -> bool:
        """Whether to give up the run of ``child``, which ended before the run did."""
        folder, done = self._runs / child.job.run, _done(self._runs / child.job.run)
        deaths = 1 if done > child.done else self._deaths.get(child.job.run, 0) + 1
        self._deaths[child.job.run] = deaths
        if deaths < MOST_DEATHS:
            return False
        del self._deaths[child.job.run]
        status = child.process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        memory = ", as when memory runs out" if status == -9 else ""
        after = f" after {counted(done, 'image')}" if done else ""
        cancel(
            folder,
            f"Its process {how}{memory}, {counted(deaths, 'time')} in a row{after}. Continue it "
            "when there is room, or ask the operator to read the run's job.log.",
        )
        return True


def _done(folder: Path) -> int:
    try:
        manifest = read(folder)
    except RobustnessError:
        return 0
    return manifest.images + manifest.unreadable


def _started(folder: Path) -> subprocess.Popen[bytes]:
    command = ["runs", "resume", folder.name, "--out", str(folder.parent), "--background"]
    if arguments := read_json(list[str], folder / HARDENING):
        command = ["harden", *arguments, "--background", str(folder)]
    if _is_idle():
        command.append("--idle")
    with process_lock(folder) as lock, (folder / LOG_FILE).open("wb") as log:
        return processes.start(command, errors=log, inherits=[lock])


_SUPERVISORS: dict[Path, Supervisor] = {}
_MAKING = threading.Lock()


def supervise(runs: Path) -> Supervisor:
    """Starts this process's supervisor of the folder ``runs`` and returns it.

    The setting ``jobs`` says how many run at once.
    """
    with _MAKING:
        if runs not in _SUPERVISORS:
            settings.value(settings.JOB_PRIORITY)  # a wrong one is refused here
            _SUPERVISORS[runs] = Supervisor(runs, settings.value(settings.JOBS) or 1)
        supervisor = _SUPERVISORS[runs]
        supervisor.begin()
    return supervisor


def end_all() -> None:
    """Ends every supervisor of this process."""
    with _MAKING:
        for supervisor in _SUPERVISORS.values():
            supervisor.end()
        _SUPERVISORS.clear()


def _is_idle() -> bool:
    return settings.value(settings.JOB_PRIORITY) != "normal"
