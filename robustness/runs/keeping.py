"""The bin of deleted runs, and the limits of the folder of runs.

A deleted run can be brought back until the bin is emptied of it. The limits are the operator's: how
much the folder may hold, how many runs, and for how long.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import AccessError, RunError
from robustness.base.files import file_errors, stored_bytes
from robustness.base.roles import policy
from robustness.base.text import counted
from robustness.runs import notes
from robustness.runs.folder import Listed, listed, listing, locked, owner_of

BIN = ".bin"
"""The folder of deleted runs, among the runs."""

DAY = 24 * 3600.0

_CLOCK = time.time() - time.monotonic()


def now() -> float:
    """Seconds since 1970, without those by which the clock was set ahead since this process began.

    A run that is old by this time may be removed for good, so a wrong clock must not age it.
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
    bin_folder = folder.parent / BIN
    with file_errors(f"The run {folder.name} cannot be deleted", kind=RunError):
        bin_folder.mkdir(exist_ok=True)
        lock = locked(folder)
        try:
            notes.update(folder, deleted=now(), deleted_by=by)
            folder.rename(_free_path(bin_folder / folder.name))
        finally:
            lock.release()


def deleted(runs: Path) -> list[Deleted]:
    """The runs in the bin of the folder ``runs``, the last deleted first."""
    bin_folder = runs / BIN
    if not bin_folder.is_dir():
        return []
    entries = []
    for folder in bin_folder.iterdir():
        if folder.is_dir():
            folder_notes = notes.read(folder)
            when = folder_notes.deleted or None
            entries.append(Deleted(listed(folder), when, folder_notes.deleted_by))
    return sorted(entries, key=lambda entry: entry.when or 0.0, reverse=True)


def restore(runs: Path, name: str) -> Path:
    """Restore the run called ``name`` in the bin; returns its folder.

    It counts as new where runs go by their age, lest it went to the bin again at once.
    Raises ``RunError`` where there is none, and where the disk does not allow it.
    """
    folder = binned(runs, name)
    restored = _free_path(runs / name)
    with file_errors(f"The run {name} cannot be restored", kind=RunError):
        notes.update(folder, restored=time.time(), deleted=0.0, deleted_by="")
        folder.rename(restored)
    return restored


def binned(runs: Path, name: str) -> Path:
    """The folder of the run called ``name`` in the bin; raises ``RunError`` for none."""
    folder = runs / BIN / name
    if name != Path(name).name or name.startswith(".") or not os.path.isdir(folder):
        raise RunError(f"There is no run {name} in the bin: it may have been emptied since.")
    return folder


def empty_bin(runs: Path, days: float) -> list[str]:
    """Removes for good the runs that were deleted ``days`` ago or more; returns their names.

    A run without a note of its deletion stays: nobody knows since when it could be restored.
    """
    latest = now() - days * DAY
    names = []
    for run in deleted(runs):
        if run.when is not None and run.when <= latest:
            shutil.rmtree(run.entry.folder, ignore_errors=True)
            names.append(run.entry.folder.name)
    return names


def _free_path(folder: Path) -> Path:
    """``folder``, or with a number behind its name where that is taken."""
    path = folder
    number = 2
    while path.exists():
        path = folder.with_name(f"{folder.name}-{number}")
        number += 1
    return path


BIN_DAYS = 7


def bin_days() -> int:
    """Days that a deleted run can be brought back."""
    return settings.value(settings.BIN_DAYS) or BIN_DAYS


def check_begin(runs: Path, pictures: int = 0) -> None:
    """Raise ``AccessError`` if a run of this many ``pictures``, or any run, may not start."""
    most_pictures = settings.value(settings.PICTURES_LIMIT)
    most_bytes = settings.value(settings.DISK_LIMIT)
    contact = policy().contact
    if most_pictures is not None and pictures > most_pictures:
        raise AccessError(
            f"Expected a run of at most {counted(most_pictures, 'image')}, got {pictures:,}: use "
            f"fewer images, or ask {contact}."
        )
    if most_bytes is None:
        return
    bytes_taken = stored_bytes(runs)
    if bytes_taken >= most_bytes:
        raise AccessError(
            f"The folder of runs takes {bytes_taken / 1e6:,.0f} MB of {most_bytes / 1e6:,.0f} "
            "allowed: delete runs, which frees space once they leave the bin, or ask "
            f"{contact}."
        )


def tidy(runs: Path) -> None:
    """Empties the bin of what is old, and moves runs to it that are too old or too many.

    The number counts for each creator alone: nobody's runs make room for somebody else's. A run
    that is being written stays, and all do while the dashboard is read-only. One that was brought
    back is as old as that is ago.
    """
    if policy().read_only:
        return
    empty_bin(runs, bin_days())
    most_runs = settings.value(settings.RUNS_KEPT)
    most_days = settings.value(settings.DAYS_KEPT)
    if most_runs is None and most_days is None:
        return
    earliest = -math.inf
    if most_days is not None:
        earliest = now() - most_days * DAY
    entries = [(_begun(entry), entry) for entry in listing(runs) if not entry.reason]
    entries.sort(key=itemgetter(0), reverse=True)
    runs_by_owner: Counter[str] = Counter()
    for begun, entry in entries:
        runs_by_owner[entry.owner] += 1
        is_old = begun < earliest
        is_too_many = most_runs is not None and runs_by_owner[entry.owner] > most_runs
        if is_old or is_too_many:
            with suppress(RunError):  # such as one that is being written
                to_bin(entry.folder, "the limits of this dashboard")


def _begun(entry: Listed) -> float:
    """When the run was restored, else begun, in seconds since 1970; ``now`` if unknown."""
    restored = notes.read(entry.folder).restored
    if restored:
        return restored
    try:
        created = datetime.fromisoformat(entry.created)
    except ValueError:
        return now()
    if created.tzinfo is None:
        created = created.replace(tzinfo=UTC)
    return created.timestamp()
