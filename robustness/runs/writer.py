"""Writes a run: begins or continues it, and saves its rows as they come.

How far a run is that somebody works on, for every other process to read.

What the models of a run cost: their size, and their latency on one machine.

Latencies are measured apart from the evaluation, after its rows are written: models in turns in one
process, so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import re
import shutil
import statistics
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from robustness import models
from robustness.base.errors import RobustnessError, RunError
from robustness.base.files import TEMPORARY, file_lock
from robustness.base.text import counted
from robustness.base.turns import Pace, Unit, in_turns
from robustness.base.validation import read_json
from robustness.base.workers import Identity
from robustness.images.decoding import sample_bytes
from robustness.images.framing import Framing, study_image
from robustness.measure.request import Request
from robustness.measure.rows import plugin_digests, versions
from robustness.models.check import PHOTOGRAPH, single_pass
from robustness.models.classifier import Classifier
from robustness.models.loaded import budget, needed
from robustness.models.weights import size
from robustness.remedies.chain import Chain
from robustness.runs import files as run_files
from robustness.runs import folder, notes
from robustness.runs.engines import REGISTRY as ENGINES
from robustness.runs.engines import UNANSWERED, Chunk
from robustness.runs.files import (
    ROWS_A_FILE,
    Part,
    all_parts,
    compact,
    remove_unlisted,
    without_chunks,
    write_part,
)
from robustness.runs.folder import listing, load, locked
from robustness.runs.latencies import Latencies, Sizes
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest, SizeField, read
from robustness.runs.planning import Plan

FILE = "progress.json"

_SECONDS_BETWEEN = 0.5
_REMOTE_SECONDS = 120.0
"""A process on another machine that has said nothing for so long is taken for gone."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: images ``done`` of ``total``, of which ``unreadable`` were not read.

    ``loading`` is true until the models are there. As the process that works on it wrote it,
    ``text`` has its rate and time left, and ``worker`` is that process.
    """

    done: int
    total: int
    unreadable: int
    loading: bool = False
    text: str = ""
    worker: Identity | None = None


class ProgressFile:
    """Written at most twice a second once the models are there."""

    def __init__(self, folder: Path, total: int) -> None:
        self._file = folder / FILE
        self._pace = Pace(Unit("images"), total)
        self._worker = Identity.own()
        self._written_at = 0.0
        self._loading = False

    def write(self, progress: Progress) -> None:
        """Writes ``progress``, unless it did so just now; a full disk stops nothing."""
        if not progress.loading:  # else the time that this takes would count as slow images
            self._pace.note(progress.done)
        now = time.monotonic()
        if now - self._written_at < _SECONDS_BETWEEN and progress.loading == self._loading:
            return
        self._written_at = now
        self._loading = progress.loading
        text = "Loading the models …" if progress.loading else self._pace.text
        if progress.unreadable:
            text += f", {progress.unreadable} left out"
        self.put(replace(progress, text=text))

    def put(self, progress: Progress) -> None:
        """Writes ``progress`` with its own text."""
        values = asdict(replace(progress, worker=self._worker))
        temporary = self._file.with_name(f".{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(values))
            os.replace(temporary, self._file)

    def remove(self) -> None:
        """Nobody works on the run any more."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """How far the run in ``folder`` is; None unless a process works on it now."""
    file = folder / FILE
    progress = read_json(Progress, file)
    if progress is None or progress.worker is None:
        return None
    try:
        if progress.worker.here:
            is_alive = progress.worker.alive
        else:
            is_alive = time.time() - file.stat().st_mtime < _REMOTE_SECONDS
    except (OSError, OverflowError):  # such as of a number that no process can have
        return None
    return progress if is_alive else None


def measure_sizes(spec: Request) -> Sizes:
    """By model its size; the memory of the loaded model is estimated from its weights."""
    sizes: dict[str, dict[SizeField, float]] = {}
    for name in spec.model_names:
        record = models.REGISTRY[name]
        size_in_bytes = size(record)
        if size_in_bytes:
            sizes[name] = {
                "megabytes": size_in_bytes / 1e6,
                "memory_megabytes": needed(record) / 1e6,
            }
    return sizes


def measure_latencies(spec: Request) -> tuple[Latencies, ...]:
    """The latencies of the models of ``spec`` and of its remedies on this machine.

    Models that the memory does not hold at once are in several records. One that cannot be loaded
    here, such as a service that is gone by now, is left out.
    """
    remedies = _remedy_tasks(spec)
    records = []
    for names in _in_memory(spec.model_names):
        passes: dict[str, Callable[[], object]] = {}
        engines = {}
        for name in names:
            with contextlib.suppress(RobustnessError):
                classifier = models.load(name, side=spec.framing_of(name).side)
                engines[name] = classifier.engine
                if classifier.call_seconds is None:
                    passes[name] = single_pass(classifier)
                elif classifier.call_seconds:
                    records.append(_of_calls(name, classifier))
        # One list of turns has both; no model's name has a blank.
        both = {**passes, **{f" {remedy}": task for remedy, task in remedies.items()}}
        if not both:
            continue
        turns, waiting = in_turns(both)
        record = Latencies(
            measured=_now(),
            processor=processor(),
            cores=os.cpu_count() or 1,
            engines={name: engines[name] for name in passes},
            models={name: tuple(turns[name]) for name in passes},
            remedies={remedy: tuple(turns[f" {remedy}"]) for remedy in remedies},
            waiting=waiting,
        )
        records.append(record)
    return tuple(records)


def _of_calls(name: str, classifier: Classifier) -> Latencies:
    """The record of a function, from its earlier calls."""
    seconds = sorted(classifier.call_seconds or ())
    tenth = len(seconds) // 10
    # The shortest and longest of the calls without a tenth at each end, and their median.
    chosen = (seconds[tenth], statistics.median(seconds), seconds[-1 - tenth])
    return Latencies(
        measured=_now(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        engines={name: classifier.engine},
        models={name: tuple(1000 * each for each in chosen)},
    )


def _in_memory(names: Sequence[str]) -> Iterator[list[str]]:
    """``names`` in groups that the memory budget holds at once."""
    group: list[str] = []
    taken = 0
    for name in names:
        taken += needed(models.REGISTRY[name])
        if group and taken > budget():
            yield group
            group = []
            taken = needed(models.REGISTRY[name])
        group.append(name)
    yield group


def _remedy_tasks(spec: Request) -> dict[str, Callable[[], object]]:
    """By remedy what makes the images that a model is asked about.

    Of a photograph at the largest side, with every gate open. Further forward passes come on top:
    ``Chain.passes`` - 1 of them.
    """
    side = max(own.side for own in spec.by_framing)
    image = study_image(sample_bytes(PHOTOGRAPH), Framing(side=side))[None]
    tasks: dict[str, Callable[[], object]] = {}
    for chain in spec.remedies:
        opened = (
            replace(remedy, gate=remedy.gate and replace(remedy.gate, threshold=-math.inf))
            for remedy in chain.remedies
        )
        tasks[chain.id] = partial(Chain(tuple(opened)).views, image)
    return tasks


def processor() -> str:
    """The name of this machine's processor, as the system tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())[:200]
    return (platform.processor() or platform.machine() or "unknown processor")[:200]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def unanswered(images: pa.Table) -> list[int]:
    """The positions of those of ``images`` that a model gave no answer for."""
    missing = images.filter(pc.starts_with(images["reason"], UNANSWERED))
    return list(missing["position"].to_pylist())


_HOW_TO_CONTINUE = "The command 'runs resume' continues it."

_LEAST_SECONDS = 5.0
_MOST_SECONDS = 60.0
_SHARE = 0.01
"""How much work goes into one file, as a share of all work before: what a killed run loses."""


class RunWriter:
    """Writes a run, with its folder locked against other writers; ``parts`` are its files of rows.

    A context manager: on leaving it, however that happens, what was computed is on the disk.
    """

    def __init__(
        self, plan: Plan, folder: Path, manifest: Manifest, parts: Sequence[Part], lock: FileLock
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self._lock = lock
        self._plan = plan
        self._parts = list(parts)
        self._image_files = [name for name in manifest.parts if name.startswith("images")]
        table = self._image_table
        self._images = len(run_files.readable(table))
        self._unreadable = len(table) - self._images
        self._waiting: list[Chunk] = []
        self._since = time.perf_counter()
        self._progress_file = ProgressFile(folder, len(plan.dataset))

    @property
    def _image_table(self) -> pa.Table:
        chunks = [number for part in self._parts for number in part.chunks]
        return run_files.read(self.folder, self.manifest.parts, self.manifest.batch, chunks)

    @property
    def finished(self) -> bool:
        return self.manifest.status == FINISHED

    @property
    def resumed(self) -> int:
        """How many images were done before, readable or not."""
        return self._images + self._unreadable

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_exception: object) -> None:
        try:
            self.write()
        finally:
            self._progress_file.remove()
            self._lock.release()

    def perform(
        self, engine: str = "local", address: str | None = None
    ) -> Generator[Progress, None, None]:
        """Does what is left to do; yields after every chunk.

        Closing the iterator stops it; what is done stays. Raises ``UnknownNameError`` for another
        engine, ``RunError`` where the disk does not take the rows, and what the engine raises.
        """
        done = {number for part in self._parts for number in part.chunks}
        todo = [number for number in range(self._plan.chunk_count) if number not in done]
        chunks = ENGINES[engine].run(self._plan, todo, address) if todo else iter(())
        began = time.perf_counter()
        yield self._progress(loading=True)
        for chunk in chunks:
            now = time.perf_counter()
            if chunk is None:
                self._since = now
                started = self.manifest.startup_seconds + now - began
                self.manifest = self.manifest.updated(startup_seconds=started)
            else:
                self._waiting.append(chunk)
                self._images += chunk.readable
                self._unreadable += len(chunk.images) - chunk.readable
                rows = sum(each.table.num_rows + len(each.images) for each in self._waiting)
                before = sum(part.seconds for part in self._parts)
                seconds = min(max(_LEAST_SECONDS, _SHARE * before), _MOST_SECONDS)
                if rows >= ROWS_A_FILE or now - self._since >= seconds:
                    self.write()
            yield self._progress()
        self.write()
        count = sum(len(part.chunks) for part in self._parts)
        if count < self._plan.chunk_count:
            raise RunError(
                f"The engine did only {count} of {counted(self._plan.chunk_count, 'part')} of the "
                "work: continue the run.",
                hint=_HOW_TO_CONTINUE,
            )
        self._parts = compact(self.folder, self._parts)
        # A run that was killed while it measured has no rows left to do, but no latencies either.
        unmeasured = bool(todo) or not self.manifest.latencies
        if unmeasured and ENGINES[engine].asks_models:
            spec = self.manifest.spec
            self.manifest = self.manifest.updated(
                sizes=measure_sizes(spec), latencies=measure_latencies(spec)
            )
        self.write(status=FINISHED)
        remove_unlisted(self.folder, self.manifest.parts)
        folder.compute(self.folder, self.manifest)

    def _progress(self, *, loading: bool = False) -> Progress:
        done = self._images + self._unreadable
        progress = Progress(done, len(self._plan.dataset), self._unreadable, loading)
        self._progress_file.write(progress)
        return progress

    def write(self, **changes: object) -> None:
        """Writes what is waiting, and the manifest with that and ``changes``."""
        if not (self._waiting or changes):
            return
        try:
            if self._waiting:
                now = time.perf_counter()
                self._image_files.append(run_files.write(self.folder, self._waiting).name)
                self._parts.append(write_part(self.folder, self._waiting, now - self._since))
                self._waiting = []
                self._since = now
            if changes.get("status") == FINISHED:
                table = self._image_table
                changes["content"] = run_files.content(table)
                file = run_files.gather(self.folder, table, self._plan.dataset)
                self._image_files = [file.name]
            files = [*self._image_files, *(part.path.name for part in self._parts)]
            self.manifest = self.manifest.updated(
                images=self._images,
                unreadable=self._unreadable,
                seconds=sum(part.seconds for part in self._parts),
                parts={name: (self.folder / name).stat().st_size for name in files},
                **changes,
            )
            self.manifest.write(self.folder)
        except OSError as error:
            raise RunError(
                f"The rows of the run {self.manifest.id} cannot be written: {error.strerror}; make "
                "room, then continue the run.",
                hint=f"Its folder is {self.folder}. {_HOW_TO_CONTINUE}",
            ) from error


def start(
    plan: Plan,
    runs: Path,
    *,
    engine: str = "local",
    resume: bool = False,
    patience: float = 0.0,
    creator: str = "",
) -> RunWriter:
    """A new run in the folder ``runs``; with ``resume``, the newest unfinished one of this plan.

    A new one is ``creator``'s. Where there is no unfinished one, ``resume`` takes a finished one of
    the same plan, in which only unanswered images are left to do, else begins. Raises
    ``ParameterError`` for an engine that cannot be used here, ``RunError`` where the folder cannot
    be written to, or where the run is still being written by somebody else after ``patience``
    seconds; no new run is left behind then.
    """
    chosen = ENGINES[engine]
    fresh = _fresh(plan, chosen.name, creator)
    same = _same_request(runs, fresh) if resume else None
    try:
        if same is None:
            chosen.require()
            (runs / fresh.id).mkdir(parents=True)
        writer = _open_writer(plan, same or runs / fresh.id, None if same else fresh, patience)
        if same and notes.read(same).stopped:
            with suppress(RunError):
                notes.update(same, stopped="")
        return writer
    except OSError as error:
        raise _refused(runs, error) from error


def _refused(runs: Path, error: OSError) -> RunError:
    return RunError(
        f"The folder of runs cannot be written to: {error.strerror}; make it writable, or choose "
        "another folder.",
        hint=f"The folder is {runs}; --out names another.",
    )


def earlier(plan: Plan, runs: Path) -> Path | None:
    """The run with which ``start`` would go on for ``resume``; None if there is none."""
    return _same_request(runs, _fresh(plan, "", ""))


def _fresh(plan: Plan, engine: str, creator: str) -> Manifest:
    return Manifest(
        id=new_id(plan.record.title),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        spec=plan.spec,
        dataset=plan.record,
        batch=plan.batch,
        engine=engine,
        versions=versions(),
        creator=creator,
        classes=plan.classes,
        plugins=plugin_digests(plan.spec),
        trained_on={
            name: models.REGISTRY[name].trained_on
            for name in plan.spec.model_names
            if name in models.REGISTRY and models.REGISTRY[name].trained_on
        },
    )


def reopen(plan: Plan, folder: Path, *, patience: float = 0.0) -> RunWriter:
    """The unfinished run in ``folder``, to go on with; ``plan`` is that of its manifest.

    Raises ``RunError`` where what was begun cannot be continued as the same run, or not here, and
    where somebody else still writes it after ``patience`` seconds.
    """
    manifest = read(folder)
    now = replace(
        manifest,
        spec=plan.spec,
        dataset=plan.record,
        versions=versions(),
        plugins=plugin_digests(plan.spec),
    )
    if now.key != manifest.key:
        raise RunError(
            f"The run {manifest.id} cannot continue: its images or versions of the software have "
            "changed. Evaluate the images again."
        )
    return _open_writer(plan, folder, None, patience)


def _open_writer(plan: Plan, folder: Path, fresh: Manifest | None, patience: float) -> RunWriter:
    """The writer of ``folder``: of the ``fresh`` run, or of the one that is there.

    Clears what a killed process left behind, and takes unanswered images out of the run.
    """
    lock: FileLock | None = None
    try:
        lock = locked(folder, patience)
        if fresh is not None:
            fresh.write(folder)  # from here on others see a run
        manifest = fresh or read(folder)  # as it stands now that nobody else writes it
        if manifest.status == FINISHED:
            load(folder)  # says so if it is damaged
        with file_lock(folder):  # nobody writes its notes just now
            for leftover in folder.glob(TEMPORARY):
                leftover.unlink(missing_ok=True)
        remove_unlisted(folder, manifest.parts)
        parts = all_parts(folder, manifest.parts)
        plan = replace(plan, spec=manifest.spec, batch=manifest.batch)
        answered = _answered(plan, folder, manifest, parts)
        writer = RunWriter(plan, folder, manifest, answered, lock)
        if answered != parts:
            writer.write(status=UNFINISHED, content=None)
            remove_unlisted(folder, writer.manifest.parts)
        return writer
    except BaseException as error:  # such as of a disk with room for a folder, but for no file
        if lock is not None:
            lock.release()
        if fresh is not None:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise _refused(folder.parent, error) from error
        raise


def _answered(plan: Plan, folder: Path, manifest: Manifest, parts: Sequence[Part]) -> list[Part]:
    """``parts`` without the chunks of unanswered images, in new files; the old ones stay."""
    done = [number for part in parts for number in part.chunks]
    images = run_files.read(folder, manifest.parts, manifest.batch, done)
    chunk_numbers = {position // plan.batch for position in unanswered(images)}
    positions = [position for number in chunk_numbers for position in plan.positions(number)]
    answered: list[Part] = []
    for part in parts:
        if chunk_numbers.isdisjoint(part.chunks):
            answered.append(part)
            continue
        rest = without_chunks(part, chunk_numbers, positions)
        if rest is not None:
            answered.append(rest)
    return answered


def _same_request(runs: Path, fresh: Manifest) -> Path | None:
    """The newest run of the same request, an unfinished one first; None if there is none."""
    newest_finished: Path | None = None
    for entry in listing(runs):  # the newest comes first
        manifest = entry.manifest
        if manifest is None or manifest.key != fresh.key:
            continue
        # Images elsewhere may be others, even where all names and sizes are the same.
        if manifest.dataset.source != fresh.dataset.source:
            continue
        if manifest.status != FINISHED:
            return entry.folder
        if newest_finished is None:
            newest_finished = entry.folder
    return newest_finished


def new_id(title: str) -> str:
    """An id that no other run or match has, which begins with its title."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
