"""The folder of saved runs: opening, listing, locking and deleting them.

Robustness of each model of a run, cached for lists of runs.
"""

from __future__ import annotations

import os
import reprlib
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from robustness.base.code_digest import code_digest
from robustness.base.errors import ParameterError, RobustnessError, RunError, RunLockedError
from robustness.base.text import counted, visible
from robustness.matching import Match
from robustness.models.record import note_classes
from robustness.runs import manifest as manifests
from robustness.runs import notes, results
from robustness.runs.files import Part, all_parts
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.match import ANSWER, MatchRequest, read_answer, read_match
from robustness.runs.run import Run

MAX_ID = 255
"""Bytes of the longest name that a folder can have."""


def load(folder: Path, *, unfinished: bool = False) -> Run:
    """The run in ``folder``, which is trusted: only the operator writes to the folder of runs.

    Raises ``RunError`` where there is no run, where it is damaged, and for one that is not finished
    unless ``unfinished`` allows that.
    """
    manifest = manifests.read(folder)
    try:
        return _opened(folder, manifest, unfinished)
    except RunError:
        now = manifests.read(folder)
        if now == manifest:
            raise
        return _opened(folder, now, unfinished)  # it was written on between two looks


def _opened(folder: Path, manifest: Manifest, unfinished: bool) -> Run:
    note_classes(manifest.classes)
    if manifest.status == FINISHED:
        for name, size in manifest.parts.items():
            file = folder / name
            if not file.is_file() or file.stat().st_size != size:
                raise _damaged(folder, "its files of rows have changed")
    parts = all_parts(folder, manifest.parts)
    if manifest.status == FINISHED and not _is_complete(manifest, parts):
        raise _damaged(folder, "some of its rows are missing")
    if manifest.status != FINISHED and not unfinished:
        raise RunError(
            f"The run {folder.name} is not finished ({sum(p.images for p in parts)} of "
            f"{counted(manifest.dataset.pictures, 'image')}): continue it first.",
            hint="The command 'evaluate' with --resume does.",
        )
    return Run(folder, manifest, parts)


def _damaged(folder: Path, reason: str) -> RunError:
    return RunError(
        f"The run {folder.name} is damaged: {reason}. Delete it and evaluate the images again."
    )


def _is_complete(manifest: Manifest, parts: Sequence[Part]) -> bool:
    """Whether the ``parts`` have the rows of all images of the finished run."""
    spec = manifest.spec
    images = sum(part.images for part in parts)
    rows = images * len(spec.models) * len(spec.conditions)
    return (
        images == manifest.images == manifest.dataset.pictures - manifest.unreadable
        and sum(part.rows for part in parts) == rows
        and sum(part.remedied for part in parts) == rows * len(spec.remedies)
    )


def title_of(folder: Path) -> str:
    """The title of the run or match in ``folder``, else that of its images, else its id."""
    return listed(folder).title or folder.name


def find(runs: Path, run_id: str, *, unfinished: bool = False) -> Run:
    """The run called ``run_id`` in the folder ``runs``; raises ``RunError`` as ``load`` does."""
    return load(place(runs, run_id), unfinished=unfinished)


def find_match(runs: Path, name: str) -> tuple[MatchRequest, Match]:
    """The finished match called ``name`` in the folder ``runs``, and its answer.

    Raises ``RunError`` where there is none.
    """
    folder = place(runs, name)
    saved = read_match(folder)
    answer = read_answer(folder)
    if saved is None or answer is None:
        raise RunError(f"There is no finished match {name} here: choose one in the table.")
    return saved, answer


def folder_of(run: str, runs: Path) -> Path:
    """The folder of ``run``, which is the path of one or an id in the folder ``runs``.

    Raises ``ParameterError`` where there is neither.
    """
    by_id = runs / run
    if run == Path(run).name and by_id.is_dir():
        return by_id
    if Path(run).is_dir():
        return Path(run).resolve()
    raise ParameterError(
        f"There is no run {run}: expected the folder of a run, or the id of one in {runs}; "
        "'runs' lists them."
    )


def place(runs: Path, run_id: str) -> Path:
    """The path of the run ``run_id`` in the folder ``runs``, if there is one.

    Raises ``RunError`` for an invalid name: links may contain any text.
    """
    try:
        is_valid = 0 < len(os.fsencode(run_id)) <= MAX_ID and "\0" not in run_id
    except UnicodeEncodeError:
        is_valid = False
    if not is_valid or run_id != Path(run_id).name or run_id.startswith("."):
        raise RunError(f"Expected the name of a run in {runs.name}, got {reprlib.repr(run_id)}.")
    return runs / run_id


def written(folder: Path) -> int:
    """A number that changes whenever the run in ``folder`` does; 0 if there is none."""
    try:
        return (folder / manifests.FILE).stat().st_mtime_ns
    except OSError:
        return 0


@dataclass(frozen=True)
class Listed:
    """One folder among the runs: its manifest, its match, or the ``reason`` why it cannot be used.

    ``title`` is what people call the run; ``owner`` the name of whose it is, "" where it is
    nobody's; ``tags`` and ``note`` are what users said of it.
    """

    folder: Path
    manifest: Manifest | None
    reason: str = ""
    title: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""
    match: MatchRequest | None = None

    @property
    def created(self) -> str:
        """When the run or match began, in UTC, ISO 8601; "" for what is neither."""
        record = self.manifest or self.match
        return record.created if record else ""

    @property
    def finished(self) -> bool:
        """Whether it has all its rows, or its answer."""
        if self.manifest is not None:
            return self.manifest.status == FINISHED
        return self.match is not None and (self.folder / ANSWER).exists()


def listed(folder: Path) -> Listed:
    """The entry of ``folder``, without opening its rows."""
    manifest: Manifest | None = None
    match = None
    try:
        manifest = manifests.read(folder)
        title = manifest.dataset.title
        owner = manifest.creator
    except RunError as error:
        match = read_match(folder)
        if match is None:
            return Listed(folder, None, str(error))
        title = match.title
        owner = match.creator
    said = notes.read(folder)
    return Listed(
        folder,
        manifest,
        title=said.title or visible(title),
        owner=owner,
        tags=said.tags,
        note=said.note,
        match=match,
    )


def owner_of(folder: Path) -> str:
    """The owner of the run or match in ``folder``, "" for nobody.

    Raises ``RunError`` where there is neither.
    """
    entry = listed(folder)
    if entry.reason:
        raise RunError(entry.reason)
    return entry.owner


def listing(runs: Path) -> list[Listed]:
    """Every folder in ``runs``, the newest run or match first, then those that are neither."""
    try:
        folders = sorted(path for path in runs.iterdir() if path.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(
            f"The folder of runs cannot be listed: {error.strerror}.", hint=f"It is {runs}."
        ) from error
    entries = [listed(path) for path in folders if not path.name.startswith(".")]
    return sorted(entries, key=lambda entry: entry.created, reverse=True)


def delete(folder: Path) -> None:
    """Deletes the run or match in ``folder``.

    Raises ``RunError`` for anything else, for one that is being written, and where the disk does
    not allow it.
    """
    owner_of(folder)  # raises for anything else
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

    Raises ``RunLockedError`` where somebody else still does after ``patience`` seconds,
    ``RunError`` where the folder is deleted or moved before.
    """
    path = folder / ".lock"
    lock = FileLock(path)
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise RunError(f"The run {folder.name} cannot be locked: its .lock is no file. Remove it.")
    try:
        before = folder.stat().st_ino
        lock.acquire(timeout=patience)
        if folder.stat().st_ino != before:  # FileLock has made a folder for its file
            path.unlink(missing_ok=True)
            folder.rmdir()
            raise FileNotFoundError
    except FileNotFoundError as error:
        lock.release()
        raise RunError(
            f"The run {folder.name} was deleted meanwhile: restore it from the bin first."
        ) from error
    except Timeout as error:
        raise RunLockedError(
            f"The run {folder.name} is being written by another process: wait for it to end."
        ) from error
    return lock


_RATES = ("consistency", "perturbed_accuracy", "robust_accuracy")
_NAMES = (
    "model",
    "label_set",
    "ranked_by",
    "n_labelled",
    "n_images",
    *(f"{rate}{bound}" for rate in _RATES for bound in ("", "_low", "_high")),
)

_ROWS_SOON_READ = 1_000_000

_PAIR = ("quantity", "label_set", "better", "worse", "established")


@dataclass(frozen=True)
class Headline:
    """``models`` has entries of the summary, ``pairs`` those of its models, shortened, and
    ``choice`` the sentences on which to choose; () where unknown. ``problem`` says why that is,
    if it is no damage of the run."""

    models: Sequence[dict[str, Any]] = ()
    pairs: Sequence[dict[str, Any]] = ()
    choice: Sequence[str] = ()
    problem: str = ""


def stored(folder: Path, manifest: Manifest) -> Headline | None:
    """The figures that ``compute`` stored for this run; None before that."""
    return results.read(folder, manifest, results.HEADLINE, Headline, code_digest(__name__))


def compute(folder: Path, manifest: Manifest) -> Headline:
    """Works it out and stores it, with all else that a visitor would wait for.

    All is empty for a run that is not finished or cannot be read; opening it says why.
    """
    try:
        return compute_of(folder, manifest, load)
    except (RobustnessError, pa.ArrowException, OSError):
        return Headline()


def compute_of(folder: Path, manifest: Manifest, opened: Callable[[Path], Run]) -> Headline:
    """As ``compute``, of the run as it is ``opened``; raises what its files or figures raise."""
    if manifest.status != FINISHED or not manifest.images:
        return Headline()
    run = opened(folder)
    figures = run.figures()
    if run.row_count > _ROWS_SOON_READ:
        _ = run.failures
    pairs = [*figures.pairs(), *figures.pairs_under_attack]
    choice = figures.choice.with_costs(manifest.costs)
    sentences = choice.sentences if choice.compared else ()
    headline = Headline(
        [{name: entry[name] for name in _NAMES} for entry in figures.summary],
        [{name: pair[name] for name in _PAIR} for pair in pairs],
        sentences,
    )
    results.write(folder, manifest, results.HEADLINE, headline, code_digest(__name__))
    return headline
