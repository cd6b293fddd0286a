"""The bin: deleted runs, which can be brought back until it is emptied of them."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from robustness.base.errors import RunError
from robustness.runs import notes
from robustness.runs.run_folders_and_opening import Listed, listed, locked, owner_of

BIN = ".bin"
"""The folder of deleted runs, among the runs."""

DAY = 24 * 3600.0

_CLOCK = time.time() - time.monotonic()


def now() -> float:
    """Seconds since 1970, without those by which the clock was set ahead since this process began.

    What it judges to be old may be removed for good.
    """
    return min(time.time(), _CLOCK + time.monotonic())


@dataclass(frozen=True)
class Deleted:
    """A run in the bin: when it was deleted, in seconds since the epoch, and by whom.

    ``when`` is None without a note of its deletion: the times of its files are no such note.
    """

    entry: Listed
    when: float | None
    by: str


def to_bin(folder: Path, by: str = "") -> None:
    """Moves the run or match in ``folder`` to the bin beside it, deleted ``by`` somebody.

    Raises ``RunError`` for anything else, for one that is being written, and where the disk does
    not allow it.
    """
    owner_of(folder)  # raises for anything else
    place = folder.parent / BIN
    try:
        place.mkdir(exist_ok=True)
        lock = locked(folder)
        try:
            notes.update(folder, deleted=now(), deleted_by=by)
            folder.rename(_free(place / folder.name))
        finally:
            lock.release()
    except OSError as error:
        raise RunError(f"The run {folder.name} cannot be deleted: {error.strerror}.") from error


def deleted(runs: Path) -> list[Deleted]:
    """The runs in the bin of the folder ``runs``, the last deleted first."""
    place = runs / BIN
    entries = []
    for folder in filter(Path.is_dir, place.iterdir() if place.is_dir() else ()):
        said = notes.read(folder)
        entries.append(Deleted(listed(folder), said.deleted or None, said.deleted_by))
    return sorted(entries, key=lambda entry: entry.when or 0.0, reverse=True)


def restore(runs: Path, name: str) -> Path:
    """Restore the run called ``name`` in the bin; returns its folder.

    It counts as new where runs go by their age, lest it went to the bin again at once.
    Raises ``RunError`` where there is none, and where the disk does not allow it.
    """
    folder = binned(runs, name)
    back = _free(runs / name)
    try:
        notes.update(folder, restored=time.time(), deleted=0.0, deleted_by="")
        folder.rename(back)
    except OSError as error:
        raise RunError(f"The run {name} cannot be restored: {error.strerror}.") from error
    return back


def binned(runs: Path, name: str) -> Path:
    """The folder of the run called ``name`` in the bin; raises ``RunError`` for none."""
    folder = runs / BIN / name
    if name != Path(name).name or name.startswith(".") or not os.path.isdir(folder):
        raise RunError(f"There is no run {name} in the bin: it may have been emptied since.")
    return folder


def empty_bin(runs: Path, days: float) -> list[str]:
    """Removes for good what was deleted ``days`` ago or more; the names of it.

    A run without a note of its deletion stays: nobody knows since when it could be restored.
    """
    oldest = now() - days * DAY
    old = [entry for entry in deleted(runs) if entry.when is not None and entry.when <= oldest]
    for entry in old:
        shutil.rmtree(entry.entry.folder, ignore_errors=True)
    return [entry.entry.folder.name for entry in old]


def _free(folder: Path) -> Path:
    """``folder``, or with a number behind its name where that is taken."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return next(path for path in chain([folder], others) if not path.exists())
