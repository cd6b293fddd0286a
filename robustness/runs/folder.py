"""The folder of saved runs: opening, listing, locking and deleting them."""

from __future__ import annotations

import os
import reprlib
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from robustness.base.errors import ParameterError, RunError, RunLockedError
from robustness.base.files import file_errors
from robustness.base.text import counted, visible
from robustness.base.validation import read_json
from robustness.matching import Match
from robustness.models.record import note_classes
from robustness.runs import manifest as manifests
from robustness.runs import notes
from robustness.runs.files import Part, all_parts
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.match import MatchRequest
from robustness.runs.run import Run
from robustness.runs.task import ANSWER, MOST_REQUEST, KindName, TaskRequest
from robustness.runs.training import TrainingRequest

_TASKS: tuple[type[TaskRequest], ...] = (MatchRequest, TrainingRequest)

MAX_ID = 255
"""Bytes of the longest name that a folder can have."""


def load(folder: Path, *, unfinished: bool = False) -> Run:
    """The run in ``folder``, which is trusted: only the operator writes to the folder of runs.

    Raises ``RunError`` where there is no run, where it is damaged, and for one that is not finished
    unless ``unfinished`` allows that.
    """
    manifest = manifests.read(folder)
    try:
        return _open(folder, manifest, unfinished)
    except RunError:
        # A writer may have replaced the manifest, and removed files that it named, meanwhile.
        current = manifests.read(folder)
        if current == manifest:
            raise
        return _open(folder, current, unfinished)


def _open(folder: Path, manifest: Manifest, unfinished: bool) -> Run:
    note_classes(manifest.classes)
    is_finished = manifest.status == FINISHED
    if is_finished:
        for name, size in manifest.parts.items():
            file = folder / name
            if not file.is_file() or file.stat().st_size != size:
                raise _damaged(folder, "its files of rows have changed")
    parts = all_parts(folder, manifest.parts)
    if is_finished and not _is_complete(manifest, parts):
        raise _damaged(folder, "some of its rows are missing")
    if not is_finished and not unfinished:
        image_count = sum(part.images for part in parts)
        raise RunError(
            f"The run {folder.name} is not finished ({image_count} of "
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
    image_count = sum(part.images for part in parts)
    readable_count = manifest.dataset.pictures - manifest.unreadable
    if not image_count == manifest.images == readable_count:
        return False
    spec = manifest.spec
    cell_count = image_count * len(spec.conditions)
    if sum(part.rows for part in parts) != cell_count * len(spec.models):
        return False
    return sum(part.variant_rows for part in parts) == cell_count * len(spec.variants)


def title_of(folder: Path) -> str:
    """The title of the run or other task in ``folder``, else that of its images, else its id."""
    return listed(folder).title or folder.name


def find(runs: Path, run_id: str, *, unfinished: bool = False) -> Run:
    """The run called ``run_id`` in the folder ``runs``; raises ``RunError`` as ``load`` does."""
    return load(path_by_id(runs, run_id), unfinished=unfinished)


def find_match(runs: Path, name: str) -> tuple[MatchRequest, Match]:
    """The finished match called ``name`` in the folder ``runs``, and its answer.

    Raises ``RunError`` where there is none.
    """
    folder = path_by_id(runs, name)
    request = read_task(folder)
    if isinstance(request, MatchRequest):
        answer = request.answer(folder)
        if answer is not None:
            return request, answer
    raise RunError(f"There is no finished match {name} here: choose one in the table.")


def read_task(folder: Path) -> TaskRequest | None:
    """The request of the match or training in ``folder``; None for anything else."""
    for kind in _TASKS:
        request = read_json(kind, folder / manifests.FILE, MOST_REQUEST)
        if request is not None:
            return request
    return None


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


def path_by_id(runs: Path, run_id: str) -> Path:
    """The path that the run ``run_id`` has in the folder ``runs``, if there is one.

    Raises ``RunError`` for an invalid name: links may contain any text.
    """
    is_name = run_id == Path(run_id).name and not run_id.startswith(".")
    if not is_name or not _fits_file_name(run_id):
        raise RunError(f"Expected the name of a run in {runs.name}, got {reprlib.repr(run_id)}.")
    return runs / run_id


def _fits_file_name(text: str) -> bool:
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return 0 < len(encoded) <= MAX_ID and b"\0" not in encoded


def written(folder: Path) -> int:
    """A number that changes whenever the run in ``folder`` does; 0 if there is none."""
    try:
        return (folder / manifests.FILE).stat().st_mtime_ns
    except OSError:
        return 0


@dataclass(frozen=True)
class Listed:
    """One folder among the runs, or the ``reason`` why it cannot be used.

    ``record`` is the manifest of a run, or the request of a match or a training. ``title`` is what
    people call it; ``owner`` the name of whose it is, "" where it is nobody's; ``tags`` and
    ``note`` are what users said of it.
    """

    folder: Path
    record: Manifest | TaskRequest | None
    reason: str = ""
    title: str = ""
    owner: str = ""
    tags: tuple[str, ...] = ()
    note: str = ""

    @property
    def kind(self) -> KindName:
        return "run" if self.record is None else self.record.noun

    @property
    def manifest(self) -> Manifest | None:
        """The record of a run; None for anything else."""
        return self.record if isinstance(self.record, Manifest) else None

    @property
    def created(self) -> str:
        """When it began, in UTC, ISO 8601; "" for what cannot be used."""
        return "" if self.record is None else self.record.created

    @property
    def finished(self) -> bool:
        """Whether it has all its rows, or its answer."""
        if self.manifest is not None:
            return self.manifest.status == FINISHED
        return self.record is not None and (self.folder / ANSWER).exists()


def listed(folder: Path) -> Listed:
    """The entry of ``folder``, without opening its rows."""
    record: Manifest | TaskRequest | None
    try:
        record = manifests.read(folder)
    except RunError as error:
        record = read_task(folder)
        if record is None:
            return Listed(folder, None, str(error))
    folder_notes = notes.read(folder)
    return Listed(
        folder,
        record,
        title=folder_notes.title or visible(record.title),
        owner=record.creator,
        tags=folder_notes.tags,
        note=folder_notes.note,
    )


def owner_of(folder: Path) -> str:
    """The owner of the run or other task in ``folder``, "" for nobody.

    Raises ``RunError`` where there is none.
    """
    entry = listed(folder)
    if entry.reason:
        raise RunError(entry.reason)
    return entry.owner


def listing(runs: Path) -> list[Listed]:
    """Every folder in ``runs``, the newest first, then those that cannot be used."""
    with file_errors("The folder of runs cannot be listed", kind=RunError, hint=f"It is {runs}."):
        try:
            folders = sorted(path for path in runs.iterdir() if path.is_dir())
        except FileNotFoundError:
            return []
    entries = [listed(path) for path in folders if not path.name.startswith(".")]
    return sorted(entries, key=lambda entry: entry.created, reverse=True)


def delete(folder: Path) -> None:
    """Deletes the run or other task in ``folder``.

    Raises ``RunError`` for anything else, for one that is being written, and where the disk does
    not allow it.
    """
    owner_of(folder)  # raises for anything else
    # Renamed before its files go one by one, so that nobody reads a part of it.
    doomed = folder.with_name(f".{uuid.uuid4().hex}.deleted")
    with file_errors(f"The run {folder.name} cannot be deleted", kind=RunError):
        lock = locked(folder)
        try:
            folder.rename(doomed)
        finally:
            lock.release()
        shutil.rmtree(doomed)


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
        inode = folder.stat().st_ino
        lock.acquire(timeout=patience)
        # FileLock makes a new folder for its file if the run was moved or deleted just before.
        if folder.stat().st_ino != inode:
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
