"""The folder of saved runs: opening, listing, locking and deleting them."""

from __future__ import annotations

import os
import reprlib
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from robustness.base.errors import RunError, RunLockedError
from robustness.base.text import counted, visible
from robustness.models import imported_labels
from robustness.runs import manifest as manifests
from robustness.runs import notes
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.row_files import all_parts
from robustness.runs.run import Run

MAX_ID = 255
"""Bytes of the longest name that a folder can have."""


def load(folder: Path, *, unfinished: bool = False, anywhere: bool = False) -> Run:
    """The run in ``folder``.

    The manifest of an imported run may name any path as its source: its images are opened only
    where ``run.check_source`` allows that, unless ``anywhere`` says that the user may read every
    path. Raises ``RunError`` where there is no run, where it is damaged, and for one
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
    imported_labels.note(manifest.classes)
    parts = all_parts(folder, manifest.parts)
    if manifest.status == FINISHED:
        files = {name: folder / name for name in manifest.parts}
        sizes = {name: file.stat().st_size for name, file in files.items() if file.is_file()}
        if sizes != dict(manifest.parts):
            raise RunError(f"The run {manifest.id} is damaged: its files of rows have changed.")
    elif not unfinished:
        raise RunError(
            f"The run {manifest.id} is not finished ({sum(p.images for p in parts)} of "
            f"{counted(manifest.dataset.pictures, 'image')}): continue it first.",
            hint="The command 'evaluate' with --resume does.",
        )
    return Run(folder, manifest, parts, anywhere)


def title_of(folder: Path) -> str:
    """The title of the run in ``folder``, else that of its images, else its id."""
    try:
        return notes.read(folder).title or manifests.read(folder).dataset.title
    except RunError:
        return folder.name


def find(runs: Path, run_id: str, *, unfinished: bool = False) -> Run:
    """The run called ``run_id`` in the folder ``runs``; raises ``RunError`` as ``load`` does."""
    return load(place(runs, run_id), unfinished=unfinished)


def place(runs: Path, run_id: str) -> Path:
    """The path of the run ``run_id`` in the folder ``runs``, if there is one.

    Raises ``RunError`` for an invalid name: links may contain any text.
    """
    try:
        fine = 0 < len(os.fsencode(run_id)) <= MAX_ID and "\0" not in run_id
    except UnicodeEncodeError:
        fine = False
    if not fine or run_id != Path(run_id).name or run_id.startswith("."):
        raise RunError(f"Expected the name of a run in {runs.name}, got {reprlib.repr(run_id)}.")
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


def listed(folder: Path) -> Listed:
    """The entry of ``folder``, without opening its rows."""
    try:
        manifest = manifests.read(folder)
    except RunError as error:
        return Listed(folder, None, str(error))
    said = notes.read(folder)
    return Listed(
        folder,
        manifest,
        title=said.title or visible(manifest.dataset.title),
        imported=said.imported > 0,
        owner=said.owner(manifest.creator),
        tags=said.tags,
        note=said.note,
    )


def owner_of(folder: Path) -> str:
    """The name of the owner of the run in ``folder``; raises ``RunError`` where there is none."""
    return notes.read(folder).owner(manifests.read(folder).creator)


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

    Raises ``RunLockedError`` where somebody else still does after ``patience`` seconds,
    ``RunError`` where the folder is deleted or moved before.
    """
    path = folder / ".lock"
    lock = FileLock(path)
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
