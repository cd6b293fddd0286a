"""Runs in processes of their own: the queue, and the supervisor that starts and watches them.

The queue of jobs: a file for each run to work on, beside the runs, deleted when it is done.

A run that stopped early, by an error or a cancellation, stores the reason.

Starts a process for each job in order, and restarts it if it dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field, FiniteFloat

from robustness.base import settings, workers
from robustness.base.errors import RobustnessError, RunError, RunLockedError
from robustness.base.files import file_lock, write_whole
from robustness.base.text import counted
from robustness.base.turns import PAUSES, in_turn
from robustness.base.validation import StrictRecord, read_json
from robustness.models.record import require_described
from robustness.runs import match, notes
from robustness.runs.folder import load, locked
from robustness.runs.manifest import FILE as MANIFEST
from robustness.runs.manifest import FINISHED, Manifest, read
from robustness.runs.match import MatchRequest, read_answer, read_match
from robustness.runs.planning import Plan, replan
from robustness.runs.writer import (
    Progress,
    ProgressFile,
    earlier,
    new_id,
    read_progress,
    reopen,
    start,
    unanswered,
)

__all__ = [
    "HARDENED",
    "HARDENING",
    "Job",
    "Supervisor",
    "asker",
    "cancel",
    "end_all",
    "end_hardening",
    "is_hardening",
    "is_queued",
    "last_served",
    "outside_job",
    "read_queue",
    "resume",
    "stop_reason",
    "submit",
    "submit_hardening",
    "submit_match",
    "submitting",
    "supervise",
    "work_off",
]

QUEUE = ".queue"
"""The folder of jobs, beside the runs."""

HARDENING = "hardening.json"
"""The arguments of `harden` for a model of the run, until it is done."""

HARDENED = "hardened.json"
"""The answer of the last one."""

CANCELLED = "It was cancelled."

_SERVED_FILE = "served"
_REMEMBERED = 24 * 3600.0

PATIENCE = 30.0
"""Seconds to wait for a process that should stop."""


class Job(StrictRecord):
    """A run to work on, as in its file beside the runs; ``progress`` and ``before`` are of now.

    ``by`` identifies who asks; ``requested_at`` is in seconds since 1970. ``progress`` is None
    while the job waits or its process starts; ``before`` counts the jobs ahead of it. Without
    ``by`` it is what ``outside_job`` returns.
    """

    by: str
    requested_at: float = Field(alias="asked")
    run: str = ""
    progress: Progress | None = None
    before: int = 0

    @property
    def share(self) -> float:
        """The share that is done, 0 to 1; 0 if unknown."""
        return self.progress.done / max(1, self.progress.total) if self.progress else 0.0

    @property
    def text(self) -> str:
        """Its progress with rate and time left, or what it waits for."""
        if self.progress is not None:
            return self.progress.text
        if self.before:
            return f"Waiting for {counted(self.before, 'other run')} …"
        return "Starting …"


def submit(plan: Plan, runs: Path, by: str) -> Path:
    """Queues ``plan`` for ``by`` and returns the folder of its run.

    Reuses the newest run of the same request, preferably an unfinished one; otherwise starts a new
    one. Raises what ``start`` raises.
    """
    require_described(plan.spec.model_names, "a job")
    folder = earlier(plan, runs)
    if folder is None:
        with start(plan, runs, creator=by) as writer:
            folder = writer.folder
    if not is_queued(folder) and outside_job(folder) is None and _left_to_do(folder, read(folder)):
        _add(folder, by)
    return folder


def resume(folder: Path, by: str) -> None:
    """Queues the unfinished run or match in ``folder`` for ``by``.

    Raises ``RunError`` if it is finished, if another process works on it, or if the job cannot be
    written.
    """
    if outside_job(folder):
        raise RunLockedError(
            f"The run {folder.name} is running in another process: wait for it to end."
        )
    if read_match(folder) is None:
        manifest = read(folder)
        unfinished = is_hardening(folder) or _left_to_do(folder, manifest)
    else:
        unfinished = read_answer(folder) is None
    if not unfinished:
        raise RunError(f"{folder.name} is finished: there is nothing to continue.")
    if not is_queued(folder):
        _add(folder, by)


def submit_match(saved: MatchRequest, runs: Path, by: str) -> Path:
    """Queues the match ``saved``, which is ``by``'s, and returns its folder.

    Raises ``ParameterError`` for a model that lives in this process only, ``RunError`` if it cannot
    be written.
    """
    require_described(saved.settings.models, "a job")
    folder = runs / new_id(saved.title)
    text = saved.model_copy(update={"creator": by}).model_dump_json().encode()
    try:
        folder.mkdir(parents=True)
        write_whole(folder / MANIFEST, text)
        _add(folder, by)
    except (OSError, RunError) as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, RunError):
            raise
        raise RunError(f"The match cannot be queued: {error.strerror}.") from error
    return folder


def submit_hardening(folder: Path, arguments: Sequence[str], by: str) -> None:
    """Queues the training of a model of the run in ``folder``, by ``arguments`` of `harden`.

    Raises ``RunError`` if the run has a job already, or if it cannot be written.
    """
    if is_queued(folder):
        raise RunError(f"The run {folder.name} already has a job: wait for it, or cancel it.")
    try:
        write_whole(folder / HARDENING, json.dumps(list(arguments)).encode())
    except OSError as error:
        raise RunError(f"The run {folder.name} cannot be queued: {error.strerror}.") from error
    _add(folder, by)


def is_hardening(folder: Path) -> bool:
    """Whether a training of a model of the run in ``folder`` is queued, running or stopped."""
    return (folder / HARDENING).exists()


def end_hardening(folder: Path, answer: Mapping[str, Any]) -> None:
    """Stores the ``answer`` of the training, and deletes its request and its job.

    Raises ``RunError`` if the answer cannot be written.
    """
    try:
        write_whole(folder / HARDENED, json.dumps(answer).encode())
        (folder / HARDENING).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"The model is added, but its judgement cannot be written: {error.strerror}. Make "
            "room on the disk, remove the model and train again."
        ) from error
    drop(folder)


def _left_to_do(folder: Path, manifest: Manifest) -> bool:
    return manifest.status != FINISHED or (
        manifest.unreadable > 0 and bool(unanswered(load(folder).image_table))
    )


def cancel(folder: Path, why: str = CANCELLED) -> None:
    """Cancels the run in ``folder`` and stores ``why`` in it.

    Its process stops between two chunks; finished chunks stay.
    """
    with contextlib.suppress(RunError):
        notes.update(folder, stopped=why)
    drop(folder)


def drop(folder: Path) -> None:
    """Deletes the job of the run in ``folder``, if there is one."""
    with contextlib.suppress(OSError):
        _file(folder).unlink(missing_ok=True)


def stop_reason(folder: Path) -> str:
    """Why the unfinished run in ``folder`` stopped, in a sentence; "" if unknown."""
    return notes.read(folder).stopped


@contextlib.contextmanager
def submitting(runs: Path) -> Iterator[None]:
    """Let nobody else, in any process, add jobs to the queue of ``runs`` within.

    Raises ``RunError`` if the folder cannot be written to.
    """
    with contextlib.ExitStack() as stack:
        try:
            (runs / QUEUE).mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(runs / QUEUE / "submitting"))
        except OSError as error:
            raise RunError(f"The queue of runs cannot be written: {error.strerror}.") from error
        yield


def is_queued(folder: Path) -> bool:
    """Whether the run in ``folder`` is queued or running."""
    return _file(folder).exists()


def asker(folder: Path) -> str:
    """Who asks for the job of the run in ``folder``; "" if it has none."""
    job = read_json(Job, _file(folder))
    return job.by if job else ""


def outside_job(folder: Path) -> Job | None:
    """The work on the run in ``folder`` by a process that is no job, such as a command; or None.

    The process of a cancelled job, which may have yet to stop, is none.
    """
    progress = read_progress(folder)
    if progress is None or is_queued(folder):
        return None
    if stop_reason(folder):
        return None
    return Job(by="", asked=0.0, run=folder.name, progress=progress)


def read_queue(runs: Path) -> list[Job]:
    """The jobs in the folder ``runs``: running ones, then the others in order.

    Deletes files that are not the job of a run.
    """
    working: list[Job] = []
    waiting: list[Job] = []
    for file in sorted((runs / QUEUE).glob("*.json")):
        job = read_json(Job, file)
        folder = runs / file.stem
        if job is not None and folder.is_dir():
            job = job.model_copy(update={"run": file.stem, "progress": read_progress(folder)})
            (waiting if job.progress is None else working).append(job)
        elif job is not None or file.exists():  # else it is done just now
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    turns = enumerate(in_turn(waiting, last_served(runs)), len(working))
    return [*working, *(job.model_copy(update={"before": before}) for before, job in turns)]


def last_served(runs: Path) -> dict[str, float]:
    """When a process was last started for each asker, in seconds since 1970."""
    return read_json(dict[str, FiniteFloat], runs / QUEUE / _SERVED_FILE) or {}


def note_served(runs: Path, by: str) -> None:
    """Records that a process is starting for ``by`` now."""
    now = time.time()
    recent = {who: when for who, when in last_served(runs).items() if now - when < _REMEMBERED}
    with contextlib.suppress(OSError):
        write_whole(runs / QUEUE / _SERVED_FILE, json.dumps({**recent, by: now}).encode())


@contextlib.contextmanager
def process_lock(folder: Path) -> Iterator[int]:
    """Lock the job of the run in ``folder``; yields the descriptor for its process to inherit.

    The system holds the lock until that process has ended, whatever becomes of the one that started
    it. Raises ``BlockingIOError`` while a process of the job lives, another ``OSError`` where there
    is no job.
    """
    descriptor = os.open(_file(folder), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def has_process(folder: Path) -> bool:
    """Whether a process of the job of the run in ``folder`` lives, at work or still starting.

    Only for the active supervisor: to ask is to lock for a moment.
    """
    try:
        with process_lock(folder):
            return False
    except BlockingIOError:
        return True
    except OSError:  # the job is done
        return False


def work_off(
    folder: Path, *, engine: str = "local", address: str | None = None
) -> Generator[Progress, None, None]:
    """Works on the run or match in ``folder`` to its end, or until its job, if any, is deleted.

    Yields as ``RunWriter.perform`` does, for a match once. Deletes the job at the end and at an
    error, whose sentence the run then stores. Raises ``RunLockedError`` and deletes nothing if
    another process works on it, ``RunError`` if it cannot continue, and what its engine or
    ``matching.match`` raises.
    """
    queued = is_queued(folder)
    try:
        if (saved := read_match(folder)) is not None:
            yield Progress(0, match.PARTS, 0, loading=True, text="matching ...")
            if not _matched(folder, saved, queued):
                return
        else:
            manifest: Manifest = read(folder)
            try:
                reopened = reopen(replan(manifest), folder, patience=PATIENCE)
            except RunError:
                raise
            except RobustnessError as error:
                raise RunError(f"The run {manifest.id} cannot continue: {error}") from error
            with reopened as writer:
                _begin(folder, queued)
                for state in writer.perform(engine, address):
                    if queued and not is_queued(folder):
                        return
                    yield state
    except RunLockedError:
        raise
    except RobustnessError as error:
        cancel(folder, str(error))
        raise
    if stop_reason(folder):
        notes.update(folder, stopped="")
    drop(folder)


def _begin(folder: Path, queued: bool) -> None:
    """Forget why the work in ``folder``, which is locked, stopped, where no job did so."""
    if not queued and stop_reason(folder):
        notes.update(folder, stopped="")


class _CancelledError(Exception):
    """The job of a match was deleted."""


def _matched(folder: Path, saved: MatchRequest, queued: bool) -> bool:
    """Performs the match ``saved`` in ``folder``; returns whether it came to its end."""
    lock = locked(folder, PATIENCE)
    file = ProgressFile(folder, match.PARTS)

    def show(text: str, done: int) -> None:
        if queued and not is_queued(folder):
            raise _CancelledError
        file.put(Progress(done, match.PARTS, 0, text=text))

    try:
        if read_answer(folder) is None:
            _begin(folder, queued)
            show("Starting …", 0)
            match.perform(folder, saved, show)
    except _CancelledError:
        return False
    finally:
        file.remove()
        lock.release()
    return True


def _add(folder: Path, by: str) -> None:
    try:
        (folder.parent / QUEUE).mkdir(exist_ok=True)
        if stop_reason(folder):
            notes.update(folder, stopped="")
        values = {"by": by, "asked": time.time()}
        write_whole(_file(folder), json.dumps(values).encode())
    except OSError as error:
        raise RunError(f"The run {folder.name} cannot be queued: {error.strerror}.") from error


def _file(folder: Path) -> Path:
    return folder.parent / QUEUE / f"{folder.name}.json"


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
        folder = self._runs / child.job.run
        done = _done(self._runs / child.job.run)
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
        return workers.start(command, errors=log, inherits=[lock])


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
