"""Saved runs: a folder each, with a manifest and its rows."""

from __future__ import annotations

import os
import reprlib
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from filelock import FileLock, Timeout

from robustness.base.errors import ImageError, RobustnessError, RunError
from robustness.base.text import counted, visible
from robustness.datasets import Dataset, Entry, open_dataset
from robustness.evaluation.condition import Condition
from robustness.evaluation.rows import NUMBERS, REMEDIES, schema, to_frame
from robustness.models import elsewhere
from robustness.perturbations import Images
from robustness.pictures.picture import Picture
from robustness.pictures.untrusted import study_image
from robustness.runs import failures, kept_cases, kept_figures, notes, properties
from robustness.runs import manifest as manifests
from robustness.runs.cases import CaseRows
from robustness.runs.engines import REGISTRY as ENGINES
from robustness.runs.engines.engine import stored_image
from robustness.runs.failures import Failures
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.parts import Part, all_parts, read_rows
from robustness.runs.queries import Rows
from robustness.runs.racing import Race, Track, sentences
from robustness.statistics import Figures

if TYPE_CHECKING:
    import pandas as pd

MAX_ID = 255
"""Bytes of the longest name that a folder can have."""


@dataclass(eq=False)
class Run:
    """One saved run, opened for reading by ``load``, which says what ``anywhere`` means."""

    folder: Path
    manifest: Manifest
    parts: Sequence[Part]
    anywhere: bool = False

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def title(self) -> str:
        """What people call it: the title it was given, else that of its images."""
        return notes.title(self.folder) or visible(self.manifest.dataset.title)

    @property
    def imported(self) -> bool:
        """Whether it came from another machine."""
        return notes.is_imported(self.folder)

    @property
    def owner(self) -> str:
        """The name of whose it is here; "" is nobody's."""
        return notes.owner(self.folder, self.manifest.creator)

    @property
    def finished(self) -> bool:
        return self.manifest.status == FINISHED

    @property
    def told(self) -> bool:
        """Whether its predictions came in a table, so that no model ran."""
        engine = self.manifest.engine
        return engine in ENGINES and not ENGINES[engine].asks_models

    @property
    def conditions(self) -> tuple[Condition, ...]:
        return self.manifest.spec.conditions

    @property
    def seed(self) -> int:
        return self.manifest.spec.seed

    def recount_note(self, found: Figures) -> str:
        """How its figures ``found`` differ from what the version that wrote it told; "" if not."""
        return found.recount if self.manifest.counted_otherwise else ""

    @property
    def images(self) -> int:
        """How many images were read and evaluated."""
        return sum(part.images for part in self.parts)

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """(name, reason) of the images that could not be read."""
        return [pair for part in self.parts for pair in part.unreadable]

    @property
    def seconds(self) -> float:
        """Time spent on the images in all sittings, without loading the models."""
        return sum(part.seconds for part in self.parts)

    @cached_property
    def rows(self) -> Rows:
        """Its rows, to be queried where they lie."""
        return Rows([part.path for part in self.parts])

    @cached_property
    def cases(self) -> CaseRows:
        """Its measurements to look at."""
        ids = [condition.id for condition in self.conditions]
        return CaseRows(
            self.rows,
            ids,
            partial(kept_cases.of, self.folder, self.manifest),
            cache(partial(properties.read, self.folder)),  # no cycle: a session's run goes at once
        )

    @cached_property
    def properties(self) -> pa.Table | None:
        """The properties of its images by ``position``; None where they were not measured."""
        return properties.read(self.folder)

    @cached_property
    def failures(self) -> Failures:
        """Where and why its models fail, which is worked out once and kept beside a finished
        run. Raises ``RunError`` for a race."""
        self._check_complete()
        return failures.of(self.folder, self.manifest, self.rows, self.properties)

    @property
    def own_scores(self) -> tuple[str, ...]:
        """The columns of plugins' metrics."""
        return self.parts[0].own if self.parts else ()

    @property
    def row_count(self) -> int:
        """How many rows, that is measurements, there are."""
        return sum(part.rows for part in self.parts)

    @cached_property
    def raced(self) -> dict[str, Any] | None:
        """The outcome of its race so far, as ``Track.outcome``; None if it is no race."""
        manifest = self.manifest
        if manifest.race is None:
            return None
        if self.finished and not self.imported and manifest.decided:
            return dict(manifest.decided)
        return self.track(manifest.race).outcome()

    def track(self, race: Race) -> Track:
        """``race`` over its rows, which are of a race."""
        found = Track(race, self.manifest.spec)
        for part in self.parts:
            found.feed(read_rows(part), part.images + len(part.unreadable))
        if self.finished and not found.settled:
            found.close()
        return found

    def figures(self) -> Figures:
        """Its figures, which are worked out once and kept beside a finished run.

        Raises ``RunError`` for a race: its means and their intervals would be misleading, as it
        ended when they looked best.
        """
        self._check_complete()
        return kept_figures.of(self.folder, self.manifest, self.rows)

    def _check_complete(self) -> None:
        if self.manifest.race is not None:
            raise RunError(
                f"Expected a run of all images, got the race {self.id}, which stops early: "
                "evaluate all images for its figures.",
                hint="Leave out --until.",
            )

    def table(self, columns: Sequence[str] | None = None, model: str | None = None) -> pa.Table:
        """The rows, in the order of the dataset; all ``columns`` unless named."""
        every = schema(self.own_scores)
        wanted = every.names if columns is None else list(dict.fromkeys([*columns, "position"]))
        tables = [read_rows(part, wanted, model) for part in self.parts]
        joined = pa.concat_tables(tables or [every.append(REMEDIES).empty_table().select(wanted)])
        numbers = [number for part in self.parts for number in part.chunks]
        return joined if numbers == sorted(numbers) else joined.sort_by("position")

    def tables(self) -> Iterator[pa.Table]:
        """The rows a file at a time, as they were written; the whole need not fit into memory."""
        for part in self.parts:
            yield read_rows(part)

    def frame(self, columns: Sequence[str] | None = (), model: str | None = None) -> pd.DataFrame:
        """The rows as a frame: by default the columns of one value each, None for all."""
        wanted = (*NUMBERS, *self.own_scores) if columns == () else columns
        frame = to_frame(self.table(wanted, model))
        return frame if wanted is None else frame[list(wanted)]

    @cached_property
    def dataset(self) -> Dataset:
        """The images, listed again; raises ``RunError`` where they cannot be opened."""
        asked = self.manifest.dataset
        if self.imported and not self.anywhere:
            notes.check_source(asked.source, self.folder.parent)
        try:
            dataset = open_dataset(asked.source)
        except (RobustnessError, OSError) as error:
            reason = error.with_hint if isinstance(error, RobustnessError) else f"{error.strerror}."
            raise RunError(
                "The images of this run cannot be opened again: they are not where they were, or "
                "cannot be read there.",
                hint=reason,
            ) from error
        dataset.select(asked.limit, asked.sample, self.seed)
        return dataset

    @cached_property
    def _entries(self) -> dict[str, Entry]:
        return {entry.name: entry for entry in self.dataset.entries}

    def picture(self, name: str) -> Picture:
        """The study image called ``name``, read again.

        Raises ``RunError`` or ``ImageError`` where that is not possible any more.
        """
        if name not in self._entries:
            raise ImageError(f"{name} is not among the images of {self.dataset.title} any more.")
        spec = self.manifest.spec
        data = self.dataset.read(self._entries[name])
        fit = "squash" if self.dataset.fitted else spec.fit
        image = study_image(data, name=name, fit=fit, side=spec.side)
        picture = Picture.of(name, image, fit=spec.fit)
        known = "SELECT image_digest FROM rows WHERE image = $name LIMIT 1"
        if self.rows.paths and self.rows.ask(known, name=name) not in ([], [(picture.digest,)]):
            raise ImageError(
                f"{name} is not the image any more that this run evaluated: its pixels have "
                "changed since."
            )
        return picture

    def stored_image(self, name: str, condition: Condition) -> Images:
        """The image (S, S, 3) called ``name`` under ``condition``, which is a file of the dataset.

        Raises as ``picture`` does.
        """
        entry = self._entries[name]
        return stored_image(self.dataset, entry, condition, self.manifest.spec.side)

    @cached_property
    def digests(self) -> dict[str, str]:
        """The digest of the study image of every image that was evaluated, by its name."""
        if not self.images:
            return {}
        return dict(
            self.rows.ask(
                "SELECT any_value(image), any_value(image_digest) FROM rows "
                "GROUP BY position ORDER BY position"
            )
        )


def load(folder: Path, *, unfinished: bool = False, anywhere: bool = False) -> Run:
    """The run in ``folder``.

    The manifest of an imported run may name any path as its source: its images are opened only
    where ``notes.check_source`` allows that, unless ``anywhere`` says that whoever asks may read
    every path himself. Raises ``RunError`` where there is no run, where it is damaged, and for one
    that is not finished unless ``unfinished`` allows that.
    """
    manifest = manifests.read(folder)
    try:
        return _opened(folder, manifest, unfinished, anywhere)
    except RunError:
        now = manifests.read(folder)
        if now == manifest:
            raise
        return _opened(folder, now, unfinished, anywhere)  # it was written on between two looks


def _opened(folder: Path, manifest: Manifest, unfinished: bool, anywhere: bool) -> Run:
    elsewhere.note(manifest.classes)
    parts = all_parts(folder, manifest)
    if manifest.status == FINISHED:
        found = {part.path.name: part.path.stat().st_size for part in parts}
        if found != dict(manifest.parts):
            raise RunError(
                f"The run {manifest.id} is damaged: its files of rows are not those that it wrote."
            )
    elif not unfinished:
        raise RunError(
            f"The run {manifest.id} is not finished ({sum(p.images for p in parts)} of "
            f"{counted(manifest.dataset.pictures, 'image')}): continue it first.",
            hint="The command 'evaluate' with --resume does.",
        )
    return Run(folder, manifest, parts, anywhere)


def title_of(folder: Path) -> str:
    """What people call the run in ``folder``: its title, else that of its images, else its id."""
    try:
        return notes.title(folder) or manifests.read(folder).dataset.title
    except RunError:
        return folder.name


def find(runs: Path, run_id: str, *, unfinished: bool = False) -> Run:
    """The run called ``run_id`` in the folder ``runs``; raises ``RunError`` as ``load`` does."""
    return load(place(runs, run_id), unfinished=unfinished)


def place(runs: Path, run_id: str) -> Path:
    """Where in the folder ``runs`` the run called ``run_id`` lies, if there is one.

    Raises ``RunError`` for what is no name of a folder: links bring any text.
    """
    try:
        fine = 0 < len(os.fsencode(run_id)) <= MAX_ID and "\0" not in run_id
    except UnicodeEncodeError:
        fine = False
    if not fine or run_id != Path(run_id).name or run_id.startswith("."):
        raise RunError(
            f"{reprlib.repr(run_id)} is no name of a run: expected one of those in {runs.name}."
        )
    return runs / run_id


@dataclass(frozen=True)
class Listed:
    """One folder among the runs: its manifest, or the ``reason`` why it cannot be used.

    ``title`` is what people call the run; ``imported`` whether it came from another machine;
    ``owner`` the name of whose it is here, "" where it is nobody's; ``tags`` and ``note`` are what
    users said of it.
    """

    folder: Path
    manifest: Manifest | None
    reason: str = ""
    title: str = ""
    imported: bool = False
    owner: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def race_result(self) -> str:
        """The outcome of a finished race in a sentence; "" for other runs, and imported ones."""
        if self.manifest is None or not self.manifest.decided or self.imported:
            return ""
        return sentences(self.manifest.decided, self.manifest.dataset.pictures)[0]


def listed(folder: Path) -> Listed:
    """The entry of ``folder``, without opening its rows."""
    try:
        manifest = manifests.read(folder)
    except RunError as error:
        return Listed(folder, None, str(error))
    return Listed(
        folder,
        manifest,
        title=notes.title(folder) or visible(manifest.dataset.title),
        imported=notes.is_imported(folder),
        owner=notes.owner(folder, manifest.creator),
        tags=notes.tags(folder),
        note=notes.note(folder),
    )


def owner_of(folder: Path) -> str:
    """The name of whose the run in ``folder`` is; raises ``RunError`` where there is none."""
    return notes.owner(folder, manifests.read(folder).creator)


def listing(runs: Path) -> list[Listed]:
    """Every folder in ``runs``, the newest run first, then those that are no runs."""
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"The folder of runs cannot be listed: {error.strerror}.", hint=f"It is {runs}."
        ) from error
    entries = [listed(path) for path in folders if not path.name.startswith(".")]
    return sorted(
        entries, key=lambda entry: entry.manifest.created if entry.manifest else "", reverse=True
    )


def delete(folder: Path) -> None:
    """Deletes the run in ``folder``.

    Raises ``RunError`` for anything that is not a run, for one that is being written, and where
    the disk does not allow it.
    """
    manifests.read(folder)
    gone = folder.with_name(f".{uuid.uuid4().hex}.deleted")  # no reader meets it by half
    try:
        lock = locked(folder)
        try:
            folder.rename(gone)
        finally:
            lock.release()
        shutil.rmtree(gone)
    except OSError as error:
        raise RunError(f"The run {folder.name} cannot be deleted: {error.strerror}.") from error


def locked(folder: Path, patience: float = 0.0) -> FileLock:
    """Holds the run in ``folder`` alone.

    Raises ``RunError`` where somebody else still does after ``patience`` seconds.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=patience)
    except Timeout as error:
        raise RunError(
            f"The run {folder.name} is being written by another process: wait for it to end."
        ) from error
    return lock
