"""What the operator lets the folder of runs hold: how much, how many, and for how long."""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import AccessError, RunError
from robustness.base.files_and_locks import stored_bytes
from robustness.base.permission_policy_and_check import policy
from robustness.base.text import counted
from robustness.runs import notes
from robustness.runs.bin import DAY, empty_bin, now, to_bin
from robustness.runs.run_folders_and_opening import Listed, listing

BIN_DAYS = 7


def bin_days() -> int:
    """Days that a deleted run can be brought back."""
    return settings.value(settings.BIN_DAYS) or BIN_DAYS


def check_begin(runs: Path, pictures: int = 0) -> None:
    """Raise ``AccessError`` if a run of this many ``pictures``, or any run, may not start."""
    most, disk = settings.value(settings.PICTURES_LIMIT), settings.value(settings.DISK_LIMIT)
    contact = policy().contact
    if most is not None and pictures > most:
        raise AccessError(
            f"Expected a run of at most {counted(most, 'image')}, got {pictures:,}: use fewer "
            f"images, or ask {contact}."
        )
    if disk is not None and (taken := stored_bytes(runs)) >= disk:
        raise AccessError(
            f"The folder of runs takes {taken / 1e6:,.0f} MB of {disk / 1e6:,.0f} allowed: delete "
            f"runs, which frees space once they leave the bin, or ask {contact}."
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
    most, days = settings.value(settings.RUNS_KEPT), settings.value(settings.DAYS_KEPT)
    if most is None and days is None:
        return
    entries = [(_since(entry), entry) for entry in listing(runs) if not entry.reason]
    oldest = -math.inf if days is None else now() - days * DAY
    entries.sort(key=itemgetter(0), reverse=True)
    counts: Counter[str] = Counter()
    for since, entry in entries:
        counts[entry.owner] += 1
        if since < oldest or (most is not None and counts[entry.owner] > most):
            with suppress(RunError):
                to_bin(entry.folder, "the limits of this dashboard")


def _since(entry: Listed) -> float:
    """When the run was restored, else begun, in seconds since 1970; ``now`` if unknown."""
    if restored := notes.read(entry.folder).restored:
        return restored
    try:
        created = datetime.fromisoformat(entry.created)
    except ValueError:
        return now()
    return (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()
