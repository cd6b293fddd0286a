"""Writes a run: begins or continues it, and saves its rows as they come."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from robustness import models
from robustness.base.errors import RunError
from robustness.base.files_and_locks import TEMPORARY, file_lock
from robustness.base.text import counted
from robustness.evaluation.provenance import plugin_digests, versions
from robustness.runs import headline_figures, image_table, notes
from robustness.runs.engines import REGISTRY as ENGINES
from robustness.runs.engines import UNANSWERED, Chunk
from robustness.runs.manifest import FINISHED, UNFINISHED, Manifest, read
from robustness.runs.model_and_remedy_costs import measure_latencies, measure_sizes
from robustness.runs.planning import Plan
from robustness.runs.row_files import (
    ROWS_A_FILE,
    Part,
    all_parts,
    compact,
    remove_unlisted,
    without_chunks,
    write_part,
)
from robustness.runs.run_folders_and_opening import listing, load, locked
from robustness.runs.run_progress import Progress, ProgressFile


def unanswered(images: pa.Table) -> list[int]:
    """The positions of those of ``images`` that a model gave no answer for."""
    missing = images.filter(pc.starts_with(images["reason"], UNANSWERED))
    return list(missing["position"].to_pylist())


_HOW_TO_CONTINUE = "The command 'runs resume' continues it."

_LEAST_SECONDS, _MOST_SECONDS, _SHARE = 5.0, 60.0, 0.01
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
        self._images = len(image_table.readable(table))
        self._unreadable = len(table) - self._images
        self._waiting: list[Chunk] = []
        self._since = time.perf_counter()
        self._progress_file = ProgressFile(folder, len(plan.dataset))

    @property
    def _image_table(self) -> pa.Table:
        chunks = [number for part in self._parts for number in part.chunks]
        return image_table.read(self.folder, self.manifest.parts, self.manifest.batch, chunks)

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
        headline_figures.compute(self.folder, self.manifest)

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
                self._image_files.append(image_table.write(self.folder, self._waiting).name)
                self._parts.append(write_part(self.folder, self._waiting, now - self._since))
                self._waiting, self._since = [], now
            if changes.get("status") == FINISHED:
                table = self._image_table
                changes["content"] = image_table.content(table)
                file = image_table.gather(self.folder, table, self._plan.dataset)
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
    table = image_table.read(folder, manifest.parts, manifest.batch, done)
    numbers = {position // plan.batch for position in unanswered(table)}
    positions = [position for number in numbers for position in plan.positions(number)]
    rest = (
        part if numbers.isdisjoint(part.chunks) else without_chunks(part, numbers, positions)
        for part in parts
    )
    return [part for part in rest if part is not None]


def _same_request(runs: Path, fresh: Manifest) -> Path | None:
    """The newest run of the same request, an unfinished one first; None if there is none."""
    same = [
        (entry.manifest.status == FINISHED, entry.folder)
        for entry in listing(runs)
        if entry.manifest is not None
        and entry.manifest.key == fresh.key
        # Images elsewhere may be others, even where all names and sizes are the same.
        and entry.manifest.dataset.source == fresh.dataset.source
    ]
    return min(same, key=lambda pair: pair[0])[1] if same else None


def new_id(title: str) -> str:
    """An id that no other run or match has, which begins with its title."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    return f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
