"""Tasks in processes of their own: the queue, and the supervisor that starts and watches them.

A task is an evaluation, a match or a training, in a folder among the runs. The queue is a folder
beside them. It has a file for each task to work on, which is deleted when the work is done. A task
that stopped early, by an error or a cancellation, stores the reason. The supervisor starts a
process for each job in turn, and starts it again if it dies.
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
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import Field, FiniteFloat

from robustness.base import processes, settings
from robustness.base.errors import RobustnessError, RunError, RunLockedError
from robustness.base.files import file_errors, file_lock, write_whole
from robustness.base.text import counted
from robustness.base.turns import PAUSES, in_turn
from robustness.base.validation import StrictRecord, read_json
from robustness.models.record import require_described
from robustness.runs import notes
from robustness.runs.folder import load, locked, read_task
from robustness.runs.manifest import FILE as MANIFEST
from robustness.runs.manifest import FINISHED, Manifest, read
from robustness.runs.planning import Plan, replan
from robustness.runs.task import (
    Progress,
    ProgressFile,
    Show,
    TaskRequest,
    new_id,
    read_progress,
)
from robustness.runs.writer import earlier, reopen, start, unanswered

__all__ = [
    "Job",
    "Supervisor",
    "asker",
    "cancel",
    "end_all",
    "is_queued",
    "last_served",
    "outside_job",
    "read_queue",
    "resume",
    "stop_reason",
    "submit",
    "submitting",
    "supervise",
    "work_off",
]

QUEUE = ".queue"
"""The folder of jobs, beside the runs."""

CANCELLED = "It was cancelled."

PATIENCE = 30.0
"""Seconds to wait for a process that should stop."""

LOG_FILE = "job.log"
"""The stderr of a task's process, for the operator."""

MOST_DEATHS = 3
"""Deaths in a row without progress after which a task is given up."""

MOST_REFUSALS = 60
"""Failed attempts in a row to start a process, about two a second, before a task is given up."""

_SERVED_FILE = "served"
_SECONDS_REMEMBERED = 24 * 3600.0
"""How long the queue knows when an asker was last served."""

_SECONDS_BETWEEN = 0.5
"""Between two looks of a supervisor at its queue."""

_SECONDS_TO_STOP = 20.0
"""How long the end of a supervisor waits for its thread and for each of its processes."""


class Job(StrictRecord):
    """A task to work on.

    ``by`` identifies who asks, and ``requested_at`` is in seconds since 1970: these are in the file
    of the job. The others are added when the queue is read. ``run`` is the name of its folder.
    ``progress`` is None while the job waits or its process starts. ``before`` counts the jobs ahead
    of it. A job of which ``by`` is "" is not in the queue: see ``outside_job``.
    """

    by: str
    requested_at: float = Field(alias="asked")
    run: str = ""
    progress: Progress | None = None
    before: int = 0

    @property
    def share(self) -> float:
        """The share that is done, 0 to 1; 0 if unknown."""
        if self.progress is None:
            return 0.0
        return self.progress.done / max(1, self.progress.total)

    @property
    def text(self) -> str:
        """Its progress with rate and time left, or what it waits for."""
        if self.progress is not None:
            return self.progress.text
        if self.before:
            return f"Waiting for {counted(self.before, 'other run')} …"
        return "Starting …"


def submit(work: Plan | TaskRequest, runs: Path, by: str) -> Path:
    """Queues the ``work`` for ``by``, its creator, and returns its folder.

    The plan of an evaluation takes the newest run of the same request, preferably an unfinished
    one; anything else begins in a new folder. Raises ``ParameterError`` for a model that lives in
    this process only, ``RunError`` if the folder or the job cannot be written, and for a plan what
    ``start`` raises.
    """
    if isinstance(work, TaskRequest):
        require_described(work.model_names, "a job")
        return _begin(work, runs, by)
    require_described(work.spec.model_names, "a job")
    folder = earlier(work, runs)
    if folder is None:
        with start(work, runs, creator=by) as writer:
            folder = writer.folder
    is_worked_on = is_queued(folder) or outside_job(folder) is not None
    if not is_worked_on and _has_work_left(folder, read(folder)):
        _add(folder, by)
    return folder


def _begin(request: TaskRequest, runs: Path, by: str) -> Path:
    """Queues ``request`` in a new folder, which is removed if that is impossible."""
    folder = runs / new_id(request.title)
    manifest = request.model_copy(update={"creator": by})
    try:
        with file_errors(f"The {request.noun} cannot be queued", kind=RunError):
            folder.mkdir(parents=True)
            write_whole(folder / MANIFEST, manifest.model_dump_json().encode())
        _add(folder, by)
    except RunError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def resume(folder: Path, by: str) -> None:
    """Queues the unfinished task in ``folder`` for ``by``, unless it is queued already.

    Raises ``RunLockedError`` if a process that is no job works on it, ``RunError`` if it is
    finished or if the job cannot be written.
    """
    if outside_job(folder) is not None:
        raise RunLockedError(
            f"The run {folder.name} is running in another process: wait for it to end."
        )
    task = read_task(folder)
    if task is None:
        is_unfinished = _has_work_left(folder, read(folder))
    else:
        is_unfinished = task.answer(folder) is None
    if not is_unfinished:
        raise RunError(f"{folder.name} is finished: there is nothing to continue.")
    if not is_queued(folder):
        _add(folder, by)


def _has_work_left(folder: Path, manifest: Manifest) -> bool:
    """Whether the run is unfinished, or finished but for images that a model did not answer."""
    if manifest.status != FINISHED:
        return True
    if manifest.unreadable == 0:  # images without an answer count as unreadable: spares a load
        return False
    return len(unanswered(load(folder).image_table)) > 0


def cancel(folder: Path, why: str = CANCELLED) -> None:
    """Cancels the task in ``folder`` and stores ``why`` in it.

    Its process stops at the next progress; what is done stays.
    """
    with contextlib.suppress(RunError):
        notes.update(folder, stopped=why)
    drop(folder)


def drop(folder: Path) -> None:
    """Deletes the job of the task in ``folder``, if there is one."""
    with contextlib.suppress(OSError):
        _job_file(folder).unlink(missing_ok=True)


def stop_reason(folder: Path) -> str:
    """Why the unfinished task in ``folder`` stopped, in a sentence; "" if unknown."""
    return notes.read(folder).stopped


@contextlib.contextmanager
def submitting(runs: Path) -> Iterator[None]:
    """A context in which nobody else, in any process, adds jobs to the queue of ``runs``.

    Raises ``RunError`` if the folder cannot be written to.
    """
    # On a stack, so that the errors of the lock are told from those of the caller's block.
    with contextlib.ExitStack() as stack:
        with file_errors("The queue of runs cannot be written", kind=RunError):
            (runs / QUEUE).mkdir(parents=True, exist_ok=True)
            stack.enter_context(file_lock(runs / QUEUE / "submitting"))
        yield


def is_queued(folder: Path) -> bool:
    """Whether the task in ``folder`` is queued or running."""
    return _job_file(folder).exists()


def asker(folder: Path) -> str:
    """Who asks for the job of the task in ``folder``; "" if it has none."""
    job = read_json(Job, _job_file(folder))
    if job is None:
        return ""
    return job.by


def outside_job(folder: Path) -> Job | None:
    """The work on the task in ``folder`` by a process that is no job, such as a command."""
    progress = read_progress(folder)
    if progress is None or is_queued(folder):
        return None
    if stop_reason(folder):  # the process of a cancelled job, which has yet to stop
        return None
    return Job(by="", asked=0.0, run=folder.name, progress=progress)


def read_queue(runs: Path) -> list[Job]:
    """The jobs in the folder ``runs``: running ones, then the others in the order of their turns.

    Deletes files that are not the job of a task.
    """
    working: list[Job] = []
    waiting: list[Job] = []
    for file in sorted((runs / QUEUE).glob("*.json")):
        job = read_json(Job, file)
        folder = runs / file.stem
        if job is None or not folder.is_dir():
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)  # it is gone if its task was finished just now
            continue
        job = job.model_copy(update={"run": file.stem, "progress": read_progress(folder)})
        if job.progress is None:
            waiting.append(job)
        else:
            working.append(job)
    queue = working
    for job in in_turn(waiting, last_served(runs)):
        queue.append(job.model_copy(update={"before": len(queue)}))
    return queue


def last_served(runs: Path) -> dict[str, float]:
    """When a process was last started for each asker, in seconds since 1970.

    Those whose last process was started more than a day ago may be missing.
    """
    return read_json(dict[str, FiniteFloat], runs / QUEUE / _SERVED_FILE) or {}


def note_served(runs: Path, by: str) -> None:
    """Records that a process is starting for ``by`` now."""
    now = time.time()
    served = {}
    for asker_name, started_at in last_served(runs).items():
        if now - started_at < _SECONDS_REMEMBERED:
            served[asker_name] = started_at
    served[by] = now
    with contextlib.suppress(OSError):
        write_whole(runs / QUEUE / _SERVED_FILE, json.dumps(served).encode())


@contextlib.contextmanager
def process_lock(folder: Path) -> Iterator[int]:
    """Locks the job of the task in ``folder``; yields the descriptor for its process to inherit.

    The system holds the lock until that process has ended, whatever becomes of the one that started
    it. Raises ``BlockingIOError`` while a process of the job lives, another ``OSError`` where there
    is no job.
    """
    descriptor = os.open(_job_file(folder), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def has_process(folder: Path) -> bool:
    """Whether a process of the job of the task in ``folder`` lives, at work or still starting.

    Only for the active supervisor: to ask is to lock for a moment.
    """
    try:
        with process_lock(folder):
            return False
    except BlockingIOError:
        return True
    except OSError:  # the job is done
        return False


class _CancelledError(Exception):
    """The job was deleted."""


def _show_nothing(_progress: Progress) -> None:
    """Shows no progress."""


def work_off(
    folder: Path,
    show: Show = _show_nothing,
    *,
    engine: str = "local",
    address: str | None = None,
) -> None:
    """Works on the task in ``folder`` to its end, or until its job, if any, is deleted.

    ``show`` receives the progress; the ``engine`` at ``address`` is that of an evaluation. Deletes
    the job at the end and at an error, whose sentence is then stored. Raises ``RunLockedError`` and
    deletes nothing if another process works on the task, ``RunError`` if it cannot continue, and
    what the engine or ``TaskRequest.perform`` raises.
    """
    has_job = is_queued(folder)

    def show_until_cancelled(progress: Progress) -> None:
        if has_job and not is_queued(folder):
            raise _CancelledError
        show(progress)

    try:
        task = read_task(folder)
        if task is None:
            _work_off_run(folder, has_job, show_until_cancelled, engine, address)
        else:
            _work_off_task(folder, task, has_job, show_until_cancelled)
    except _CancelledError:
        return
    except RunLockedError:  # the job is that of the other process
        raise
    except RobustnessError as error:
        cancel(folder, str(error))
        raise
    _forget_stop_reason(folder)  # of a cancellation that came too late
    drop(folder)


def _work_off_run(
    folder: Path, has_job: bool, show: Show, engine: str, address: str | None
) -> None:
    """Continues the run in ``folder`` to its end."""
    manifest = read(folder)
    try:
        writer = reopen(replan(manifest), folder, patience=PATIENCE)
    except RunError:
        raise
    except RobustnessError as error:
        raise RunError(f"The run {manifest.id} cannot continue: {error}") from error
    with writer:
        if not has_job:
            _forget_stop_reason(folder)
        for progress in writer.perform(engine, address):
            show(progress)


def _work_off_task(folder: Path, task: TaskRequest, has_job: bool, show: Show) -> None:
    """Performs the match or training in ``folder``, unless it has its answer."""
    lock = locked(folder, PATIENCE)
    progress_file = ProgressFile(folder)

    def write_and_show(progress: Progress) -> None:
        show(progress)
        progress_file.put(progress)

    try:
        if task.answer(folder) is None:
            if not has_job:
                _forget_stop_reason(folder)
            write_and_show(Progress(0, 1, text="Starting …"))
            task.perform(folder, write_and_show)
    finally:
        progress_file.remove()
        lock.release()


def _forget_stop_reason(folder: Path) -> None:
    if stop_reason(folder):
        notes.update(folder, stopped="")


def _add(folder: Path, by: str) -> None:
    """Writes the job of the task in ``folder``; raises ``RunError`` if that is impossible."""
    with file_errors(f"The run {folder.name} cannot be queued", kind=RunError):
        (folder.parent / QUEUE).mkdir(exist_ok=True)
        _forget_stop_reason(folder)
        job = {"by": by, "asked": time.time()}
        write_whole(_job_file(folder), json.dumps(job).encode())


def _job_file(folder: Path) -> Path:
    return folder.parent / QUEUE / f"{folder.name}.json"


Start = Callable[[Path], "subprocess.Popen[bytes]"]
"""Starts the process of the task in a folder; raises ``OSError`` if it cannot."""


@dataclass
class _Child:
    """A process started for ``job`` when ``images_at_start`` images were done."""

    job: Job
    process: subprocess.Popen[bytes]
    images_at_start: int
    was_terminated: bool = False

    def end(self) -> None:
        """Terminates it, resuming it if paused; only once, as a second signal could cost rows."""
        if not self.was_terminated:
            self.was_terminated = True
            self.process.terminate()
        self.process.send_signal(signal.SIGCONT)


class Supervisor:
    """Does the jobs of one folder of runs, at most ``limit`` at once.

    Of several supervisors of a folder, in any process, one is active at a time; when it ends,
    another takes over. ``start`` starts a process for the task in a folder.
    """

    def __init__(self, runs: Path, limit: int, start: Start | None = None) -> None:
        self._runs = runs
        self._limit = limit
        self._start = start or start_process
        # By run: its process, its deaths in a row, and its failed attempts to start in a row.
        self._children: dict[str, _Child] = {}
        self._deaths: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._lock: FileLock | None = None  # held while this supervisor is the active one
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._stopping = False
        self._last_error = ""

    def begin(self) -> None:
        """Starts the supervisor's thread, or wakes it if it runs already."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._keep_looking, name="jobs", daemon=True)
            self._thread.start()
        self._woken.set()

    def end(self) -> None:
        """Stops the processes; their finished work and their jobs stay for the next supervisor."""
        self._stopping = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join(_SECONDS_TO_STOP)  # it may be starting one more
        PAUSES.concerns([])
        # All are told to stop before the first is waited for, so that they stop at the same time.
        children = list(self._children.values())
        for child in children:
            child.end()
        for child in children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(_SECONDS_TO_STOP)
        if self._lock is not None:
            self._lock.release()

    def _keep_looking(self) -> None:
        while not self._stopping:
            self._woken.wait(_SECONDS_BETWEEN)
            self._woken.clear()
            try:
                self.look()
            except (OSError, RobustnessError) as error:  # such as a full disk or an invalid setting
                self._log_once(error)
            else:
                self._last_error = ""

    def _log_once(self, error: Exception) -> None:
        """Logs ``error``, unless it is the one of the last look."""
        if str(error) == self._last_error:
            return
        self._last_error = str(error)
        logging.getLogger(__name__).warning(
            "The queue of the runs in %s is blocked until this is fixed: %s", self._runs, error
        )

    def look(self) -> None:
        """Checks the started processes, and starts those of the jobs whose turn it is."""
        jobs_by_run = {job.run: job for job in read_queue(self._runs)}
        for run in self._check_processes(jobs_by_run):
            jobs_by_run.pop(run, None)
        for run in set(self._refusals) - set(jobs_by_run):
            del self._refusals[run]
        jobs = list(jobs_by_run.values())
        self._pause_beside_answers(jobs)
        if jobs and not self._stopping and self._is_active():
            self._start_waiting(jobs)

    def _check_processes(self, queued: Container[str]) -> list[str]:
        """Ends the processes of tasks that are not ``queued`` any more.

        Returns the tasks whose processes have ended and that are done or given up. A task whose
        process died before its end is not among them: another process is due.
        """
        ended = []
        for run, child in list(self._children.items()):
            if run not in queued and child.process.poll() is None:
                child.end()  # cancelled: it need not finish its chunk
            if child.process.poll() is None:
                continue
            del self._children[run]
            is_done = not is_queued(self._runs / run)  # perhaps since the queue was read
            if is_done or self._died_for_good(child):
                ended.append(run)
        return ended

    def _start_waiting(self, jobs: Sequence[Job]) -> None:
        """Starts as many of the waiting ``jobs`` in turn as may run beside those at work."""
        waiting = [job for job in jobs if not self._has_begun(job)]
        free = self._limit - (len(jobs) - len(waiting))
        for job in in_turn(waiting, last_served(self._runs)):
            if free <= 0:
                break
            if self._start_job(job):
                free -= 1

    def _has_begun(self, job: Job) -> bool:
        """Whether a process for ``job`` lives; an earlier server, killed or not, may have left it.

        Such a process writes no progress before it has imported everything, but it holds the lock.
        """
        if job.run in self._children or job.progress is not None:
            return True
        return has_process(self._runs / job.run)

    def _start_job(self, job: Job) -> bool:
        """Starts a process for ``job``; returns whether it did. Gives up after many refusals."""
        folder = self._runs / job.run
        try:
            process = self._start(folder)
        except OSError as error:
            self._count_refusal(folder, error)
            return False
        self._refusals.pop(job.run, None)
        self._children[job.run] = _Child(job, process, images_at_start=_images_done(folder))
        note_served(self._runs, job.by)
        return True

    def _count_refusal(self, folder: Path, error: OSError) -> None:
        refusals = self._refusals.pop(folder.name, 0) + 1
        if refusals < MOST_REFUSALS:
            self._refusals[folder.name] = refusals
            return
        cancel(
            folder,
            f"Its process cannot be started: {error.strerror or error}. Continue it once that is "
            "fixed, or ask the operator whether the run's job.log can be written.",
        )

    def _pause_beside_answers(self, jobs: Sequence[Job]) -> None:
        """Lets the processes of ``jobs`` pause while people wait for answers.

        They are those of this supervisor and those that an earlier one left. With the priority
        "normal" none of them pauses.
        """
        if self._stopping or not _is_idle():
            PAUSES.concerns([])
            return
        pids = {child.process.pid for child in self._children.values()}
        for job in jobs:
            worker = job.progress.worker if job.progress else None
            if worker is not None and worker.here:
                pids.add(worker.pid)
        PAUSES.concerns(pids)

    def _is_active(self) -> bool:
        """Whether this is the folder's active supervisor, which it becomes if there is none."""
        if self._lock is None:
            # ``end`` releases it, in another thread than the one that looks.
            lock = FileLock(self._runs / QUEUE / ".lock", thread_local=False)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                return False
            self._lock = lock
        return True

    def _died_for_good(self, child: _Child) -> bool:
        """Whether to give up the task of ``child``, which ended before the task did."""
        run = child.job.run
        folder = self._runs / run
        done = _images_done(folder)
        if done > child.images_at_start:
            deaths = 1  # it came further: those before do not count any more
        else:
            deaths = self._deaths.get(run, 0) + 1
        self._deaths[run] = deaths
        if deaths < MOST_DEATHS:
            return False
        del self._deaths[run]
        status = child.process.returncode
        if status < 0:
            end = f"was killed by signal {-status}"
        else:
            end = f"ended with status {status}"
        if status == -signal.SIGKILL:
            end += ", as when memory runs out"
        after = f" after {counted(done, 'image')}" if done else ""
        cancel(
            folder,
            f"Its process {end}, {counted(deaths, 'time')} in a row{after}. Continue it when there "
            "is room, or ask the operator to read the run's job.log.",
        )
        return True


def _images_done(folder: Path) -> int:
    """How many images of the run in ``folder`` are done; 0 where its manifest cannot be read."""
    try:
        manifest = read(folder)
    except RobustnessError:
        return 0
    return manifest.images + manifest.unreadable


def start_process(folder: Path) -> subprocess.Popen[bytes]:
    """Starts the command that does the job of the task in ``folder``."""
    command = ["runs", "resume", folder.name, "--out", str(folder.parent), "--background"]
    if _is_idle():
        command.append("--idle")
    with process_lock(folder) as lock, (folder / LOG_FILE).open("wb") as log:
        return processes.start(command, errors=log, inherits=[lock])


_SUPERVISORS: dict[Path, Supervisor] = {}
"""The supervisors of this process by folder of runs; read and changed under the lock."""

_SUPERVISORS_LOCK = threading.Lock()


def supervise(runs: Path) -> Supervisor:
    """Starts this process's supervisor of the folder ``runs`` and returns it.

    The setting ``jobs`` says how many run at once.
    """
    with _SUPERVISORS_LOCK:
        if runs not in _SUPERVISORS:
            settings.value(settings.JOB_PRIORITY)  # a wrong one is refused here
            _SUPERVISORS[runs] = Supervisor(runs, settings.value(settings.JOBS) or 1)
        supervisor = _SUPERVISORS[runs]
        supervisor.begin()
    return supervisor


def end_all() -> None:
    """Ends every supervisor of this process."""
    with _SUPERVISORS_LOCK:
        for supervisor in _SUPERVISORS.values():
            supervisor.end()
        _SUPERVISORS.clear()


def _is_idle() -> bool:
    """Whether jobs take only the time that nobody else needs."""
    return settings.value(settings.JOB_PRIORITY) != "normal"
