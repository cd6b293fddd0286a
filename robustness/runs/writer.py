"""Writes a run: begins or continues it, and saves its rows as they come.

At the end it measures what the models cost: their size, and their latency on this machine. This is
done apart from the evaluation, after its rows are written, with the models in turns in one process,
so that a machine that is busy for a while slows all of them.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from robustness import models
from robustness.base.errors import RobustnessError, RunError
from robustness.base.files import TEMPORARY, file_errors, file_lock
from robustness.base.text import counted
from robustness.base.turns import Pace, Unit, in_turns
from robustness.images.framing import timed_photograph
from robustness.measure.request import Request
from robustness.measure.rows import plugin_digests, versions
from robustness.models.classifier import Classifier
from robustness.models.loaded import budget, needed
from robustness.models.variant import Variant
from robustness.models.weights import size
from robustness.remedies.chain import Chain, Remedy
from robustness.runs import files as run_files
from robustness.runs import notes
from robustness.runs.analysis import compute_headline
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
from robustness.runs.task import Progress, ProgressFile, new_id
from robustness.runs.worst import search

_HOW_TO_CONTINUE = "The command 'runs resume' continues it."

_SHARE_A_FILE = 0.01
"""The work that goes into one file, as a share of all work before: what a killed run loses."""

_LEAST_SECONDS_A_FILE = 5.0
_MOST_SECONDS_A_FILE = 60.0


def measure_sizes(spec: Request) -> Sizes:
    """The size and memory of each model and variant in MB, as far as known.

    Memory follows from the weights; a variant has the sum of its models.
    """
    sizes: dict[str, dict[SizeField, float]] = {}
    for name in spec.model_names:
        record = models.REGISTRY[name]
        size_in_bytes = size(record)
        if size_in_bytes:
            sizes[name] = {
                "megabytes": size_in_bytes / 1e6,
                "memory_megabytes": needed(record) / 1e6,
            }
    for variant in spec.variants:
        if set(variant.models) <= set(sizes):
            sizes_of_models = [sizes[name] for name in variant.models]
            sizes[variant.name] = {
                "megabytes": sum(size["megabytes"] for size in sizes_of_models),
                "memory_megabytes": sum(size["memory_megabytes"] for size in sizes_of_models),
            }
    return sizes


def measure_latencies(spec: Request) -> tuple[Latencies, ...]:
    """The latencies of the models of ``spec`` and of its variants on this machine.

    Models that the memory does not hold at once are in several records. One that cannot be loaded
    here, such as a service that is gone by now, is left out.
    """
    remedies = _remedy_tasks(spec)
    records = []
    for names in _groups_in_memory(spec.model_names):
        passes: dict[str, Callable[[], object]] = {}
        engines: dict[str, str] = {}
        for name in names:
            with contextlib.suppress(RobustnessError):
                classifier = models.load(name, side=spec.framing_of(name).side)
                if classifier.call_seconds is None:
                    passes[name] = partial(classifier, timed_photograph(classifier.side))
                    engines[name] = classifier.engine
                elif classifier.call_seconds:
                    records.append(_latencies_of_calls(name, classifier))
        if passes or remedies:
            records.append(_latencies_in_turns(passes, engines, spec.variants, remedies))
    return tuple(records)


def _latencies_in_turns(
    passes: Mapping[str, Callable[[], object]],
    engines: Mapping[str, str],
    variants: Sequence[Variant],
    remedies: Mapping[str, Callable[[], object]],
) -> Latencies:
    """The record of models and of their ``variants``; models and remedies take turns."""
    tasks = dict(passes)
    for remedy, task in remedies.items():
        tasks[f" {remedy}"] = task  # no model's name has a blank
    turns, waiting = in_turns(tasks)
    milliseconds = {name: tuple(turns[name]) for name in passes}
    engines_of_all = dict(engines)
    for variant in variants:
        if set(variant.models) <= set(passes):
            pass_turns = [turns[name] for name in variant.models] * variant.chain.passes
            with_remedies = zip(turns[f" {variant.chain.id}"], *pass_turns, strict=True)
            milliseconds[variant.name] = tuple(sum(times) for times in with_remedies)
            engines_of_all[variant.name] = engines[variant.base]
    return Latencies(
        measured=_now(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        engines=engines_of_all,
        models=milliseconds,
        waiting=waiting,
    )


def _latencies_of_calls(name: str, classifier: Classifier) -> Latencies:
    """The record of a model that is a function, from the calls during the evaluation.

    It has the shortest and the longest of the calls without a tenth at each end, and the median.
    """
    seconds = sorted(classifier.call_seconds or ())
    tenth = len(seconds) // 10
    shortest = seconds[tenth]
    longest = seconds[-1 - tenth]
    milliseconds = [1000 * each for each in (shortest, statistics.median(seconds), longest)]
    return Latencies(
        measured=_now(),
        processor=processor(),
        cores=os.cpu_count() or 1,
        engines={name: classifier.engine},
        models={name: tuple(milliseconds)},
    )


def _groups_in_memory(names: Sequence[str]) -> Iterator[list[str]]:
    """The models ``names`` in groups that the memory budget holds at once."""
    group: list[str] = []
    group_bytes = 0
    for name in names:
        model_bytes = needed(models.REGISTRY[name])
        if group and group_bytes + model_bytes > budget():
            yield group
            group = []
            group_bytes = 0
        group.append(name)
        group_bytes += model_bytes
    yield group


def _remedy_tasks(spec: Request) -> dict[str, Callable[[], object]]:
    """By remedy a function that makes the images that a model is asked about.

    It makes them of one photograph at the largest side, with every gate open. The further forward
    passes that a remedy needs, ``Chain.passes`` - 1, are not part of it.
    """
    side = max(framing.side for framing in spec.by_framing)
    image = timed_photograph(side)
    tasks: dict[str, Callable[[], object]] = {}
    for chain in spec.remedies:
        opened = Chain(tuple(_with_open_gate(remedy) for remedy in chain.remedies))
        tasks[chain.id] = partial(opened.views, image)
    return tasks


def _with_open_gate(remedy: Remedy) -> Remedy:
    """``remedy`` acting on every image, after the measurement that its gate, if any, makes."""
    if remedy.gate is None:
        return remedy
    return replace(remedy, gate=replace(remedy.gate, threshold=-math.inf))


def processor() -> str:
    """The name of this machine's processor, as the system tells it."""
    with contextlib.suppress(OSError):  # of a system that is not Linux
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return " ".join(value.split())[:200]
    return (platform.processor() or platform.machine() or "unknown processor")[:200]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def unanswered(images: pa.Table) -> list[int]:
    """The positions of those of ``images``, a table of a run's, that a model gave no answer for."""
    is_unanswered = pc.starts_with(images["reason"], UNANSWERED)
    return list(images.filter(is_unanswered)["position"].to_pylist())


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
        images = self._image_table()
        self._readable_count = len(run_files.readable(images))
        self._unreadable_count = len(images) - self._readable_count
        self._waiting: list[Chunk] = []  # those that no file has yet
        self._waiting_since = time.perf_counter()
        self._progress_file = ProgressFile(folder, len(plan.dataset))

    @property
    def finished(self) -> bool:
        return self.manifest.status == FINISHED

    @property
    def resumed(self) -> int:
        """How many images were done before, readable or not."""
        return self._done_count

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
        done = set(self._chunk_numbers())
        todo = [number for number in range(self._plan.chunk_count) if number not in done]
        chunks: Iterator[Chunk | None] = iter(())
        if todo:
            chunks = ENGINES[engine].run(self._plan, todo, address)
        began = time.perf_counter()
        yield self._progress(loading=True)
        for chunk in chunks:
            if chunk is None:  # the models are loaded
                self._waiting_since = time.perf_counter()
                startup_seconds = self.manifest.startup_seconds + self._waiting_since - began
                self.manifest = self.manifest.updated(startup_seconds=startup_seconds)
            else:
                self._take(chunk)
            yield self._progress()
        self.write()
        self._check_complete()
        self._parts = compact(self.folder, self._parts)
        if ENGINES[engine].asks_models and self.manifest.spec.domain is not None:
            yield from self._search_worst(engine, address, anew=bool(todo))
        # A run that was killed while it measured has no rows left to do, but no latencies either.
        unmeasured = bool(todo) or not self.manifest.latencies
        has_rows = self._readable_count > 0  # without any there is nothing to choose from
        if unmeasured and has_rows and ENGINES[engine].asks_models:
            spec = self.manifest.spec
            self.manifest = self.manifest.updated(
                sizes=measure_sizes(spec), latencies=measure_latencies(spec)
            )
        self.write(status=FINISHED)
        remove_unlisted(self.folder, self.manifest.parts)
        compute_headline(self.folder, self.manifest)

    def _search_worst(self, engine: str, address: str | None, *, anew: bool) -> Iterator[Progress]:
        """Searches the worst composition of the domain; yields after every step, which is kept.

        With ``anew`` an earlier search, of fewer rows, is forgotten.
        """
        known = () if anew else self.manifest.worst
        self.write(worst=known)
        evaluate = ENGINES[engine].run
        pace = Pace(Unit("compositions"))
        steps = search(
            load(self.folder, unfinished=True),
            self._plan,
            lambda work, numbers: evaluate(work, numbers, address),
            known,
        )
        for searched in steps:
            self.write(worst=searched.records)
            pace.note(searched.done, searched.most)
            progress = Progress(
                done=searched.done,
                total=searched.most,
                text=f"Worst composition of {models.label(searched.model)}: {pace.text}",
            )
            self._progress_file.put(progress)
            yield progress

    def _take(self, chunk: Chunk) -> None:
        """Lets ``chunk`` wait to be written; writes what waits where that is enough for a file."""
        self._waiting.append(chunk)
        self._readable_count += chunk.readable
        self._unreadable_count += len(chunk.images) - chunk.readable
        row_count = sum(waiting.table.num_rows + len(waiting.images) for waiting in self._waiting)
        seconds_a_file = _SHARE_A_FILE * self._seconds_written()
        seconds_a_file = min(max(_LEAST_SECONDS_A_FILE, seconds_a_file), _MOST_SECONDS_A_FILE)
        seconds_waiting = time.perf_counter() - self._waiting_since
        if row_count >= ROWS_A_FILE or seconds_waiting >= seconds_a_file:
            self.write()

    def _check_complete(self) -> None:
        """Raises ``RunError`` unless the files have every chunk."""
        chunk_count = len(self._chunk_numbers())
        if chunk_count < self._plan.chunk_count:
            raise RunError(
                f"The engine did only {chunk_count} of {counted(self._plan.chunk_count, 'part')} "
                "of the work: continue the run.",
                hint=_HOW_TO_CONTINUE,
            )

    def _progress(self, *, loading: bool = False) -> Progress:
        """The progress, which is written to its file too."""
        progress = Progress(
            done=self._done_count,
            total=len(self._plan.dataset),
            unreadable=self._unreadable_count,
            loading=loading,
        )
        self._progress_file.write(progress)
        return progress

    def write(self, **changes: object) -> None:
        """Writes what is waiting, and the manifest with that and ``changes``.

        Raises ``RunError`` where the disk does not take them.
        """
        if not self._waiting and not changes:
            return
        with file_errors(
            f"The rows of the run {self.manifest.id} cannot be written",
            "Make room, then continue the run.",
            kind=RunError,
            hint=f"Its folder is {self.folder}. {_HOW_TO_CONTINUE}",
        ):
            if self._waiting:
                self._write_waiting()
            if changes.get("status") == FINISHED:
                images = self._image_table()
                changes["content"] = run_files.content(images)
                file = run_files.gather(self.folder, images, self._plan.dataset)
                self._image_files = [file.name]
            files = [*self._image_files, *(part.path.name for part in self._parts)]
            self.manifest = self.manifest.updated(
                images=self._readable_count,
                unreadable=self._unreadable_count,
                seconds=self._seconds_written(),
                parts={name: (self.folder / name).stat().st_size for name in files},
                **changes,
            )
            self.manifest.write(self.folder)

    def _write_waiting(self) -> None:
        """Writes the waiting chunks: a file of their images, and one of their rows."""
        now = time.perf_counter()
        image_file = run_files.write(self.folder, self._waiting)
        self._image_files.append(image_file.name)
        part = write_part(self.folder, self._waiting, seconds=now - self._waiting_since)
        self._parts.append(part)
        self._waiting = []
        self._waiting_since = now

    @property
    def _done_count(self) -> int:
        return self._readable_count + self._unreadable_count

    def _seconds_written(self) -> float:
        return sum(part.seconds for part in self._parts)

    def _chunk_numbers(self) -> list[int]:
        """The chunks that the files of rows have."""
        return [number for part in self._parts for number in part.chunks]

    def _image_table(self) -> pa.Table:
        """The images of the chunks that the files of rows have."""
        return run_files.read(
            self.folder, self.manifest.parts, self.manifest.batch, self._chunk_numbers()
        )


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
    fresh = _new_manifest(plan, chosen.name, creator)
    same = _same_request(runs, fresh) if resume else None
    with _writable(runs):
        if same is not None:
            writer = _open_writer(plan, same, fresh=None, patience=patience)
            if notes.read(same).stopped:
                with contextlib.suppress(RunError):  # a note is no reason to stop
                    notes.update(same, stopped="")
            return writer
        chosen.require()
        folder = runs / fresh.id
        folder.mkdir(parents=True)
        return _open_writer(plan, folder, fresh, patience)


def _writable(runs: Path) -> contextlib.AbstractContextManager[None]:
    """A context whose ``OSError`` becomes a ``RunError`` that ``runs`` cannot be written to."""
    return file_errors(
        "The folder of runs cannot be written to",
        "Make it writable, or choose another folder.",
        kind=RunError,
        hint=f"The folder is {runs}; --out names another.",
    )


def earlier(plan: Plan, runs: Path) -> Path | None:
    """The folder of the run that ``start`` would continue by ``resume``; None if there is none."""
    return _same_request(runs, _new_manifest(plan, engine="", creator=""))


def _new_manifest(plan: Plan, engine: str, creator: str) -> Manifest:
    trained_on = {}
    for name in plan.spec.model_names:
        if name in models.REGISTRY and models.REGISTRY[name].trained_on:
            trained_on[name] = models.REGISTRY[name].trained_on
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
        plugins=plugin_digests(plan.spec, plan.record.source),
        trained_on=trained_on,
        score=plan.score,
    )


def reopen(plan: Plan, folder: Path, *, patience: float = 0.0) -> RunWriter:
    """The writer that continues the run in ``folder``; ``plan`` is that of its manifest.

    Raises ``RunError`` where what was begun cannot be continued as the same run, and
    ``RunLockedError`` where somebody else still writes it after ``patience`` seconds.
    """
    manifest = read(folder)
    begun_now = replace(
        manifest,
        spec=plan.spec,
        dataset=plan.record,
        versions=versions(),
        plugins=plugin_digests(plan.spec, plan.record.source),
    )
    if begun_now.key != manifest.key:
        raise RunError(
            f"The run {manifest.id} cannot continue: its images or versions of the software have "
            "changed. Evaluate the images again."
        )
    with _writable(folder.parent):
        return _open_writer(plan, folder, fresh=None, patience=patience)


def _open_writer(plan: Plan, folder: Path, fresh: Manifest | None, patience: float) -> RunWriter:
    """The writer of the run in ``folder``: of the ``fresh`` one, or without it of the one there.

    Clears what a killed process left behind, and takes out of the run the images that a model did
    not answer, so that it is asked again. Raises ``OSError`` where the disk does not take them; no
    folder of a ``fresh`` run is left behind then.
    """
    lock: FileLock | None = None
    try:
        lock = locked(folder, patience)
        if fresh is not None:
            fresh.write(folder)  # from here on others see a run
            manifest = fresh
        else:
            manifest = read(folder)  # anew, as nobody else writes it from now on
        if manifest.status == FINISHED:
            load(folder)  # raises an error where it is damaged
        with file_lock(folder):  # else they might be those of notes that are being written
            for leftover in folder.glob(TEMPORARY):
                leftover.unlink(missing_ok=True)
        remove_unlisted(folder, manifest.parts)
        parts = all_parts(folder, manifest.parts)
        plan = replace(plan, spec=manifest.spec, batch=manifest.batch)
        answered_parts = _without_unanswered(plan, folder, manifest, parts)
        writer = RunWriter(plan, folder, manifest, answered_parts, lock)
        if answered_parts != parts:
            writer.write(status=UNFINISHED, content=None)
            remove_unlisted(folder, writer.manifest.parts)
        return writer
    except BaseException:  # such as of a disk with room for a folder, but for no file
        if lock is not None:
            lock.release()
        if fresh is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _without_unanswered(
    plan: Plan, folder: Path, manifest: Manifest, parts: Sequence[Part]
) -> list[Part]:
    """``parts`` without the chunks of unanswered images, in new files; the old ones stay."""
    done = [number for part in parts for number in part.chunks]
    images = run_files.read(folder, manifest.parts, manifest.batch, done)
    unanswered_chunks = {position // plan.batch for position in unanswered(images)}
    positions: list[int] = []
    for number in unanswered_chunks:
        positions += plan.positions(number)
    answered_parts: list[Part] = []
    for part in parts:
        if unanswered_chunks.isdisjoint(part.chunks):
            answered_parts.append(part)
            continue
        rest = without_chunks(part, unanswered_chunks, positions)
        if rest is not None:
            answered_parts.append(rest)
    return answered_parts


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
