"""What the operator lets the folder of runs hold: how much, how many, and for how long."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from robustness.base import settings
from robustness.base.access import policy
from robustness.base.disk import occupied
from robustness.base.errors import AccessError, RunError
from robustness.base.text import counted
from robustness.runs.bin import DAY, empty_bin, to_bin
from robustness.runs.store import Listed, listing

BIN_DAYS = 7


def bin_days() -> int:
    """Days that a deleted run can be brought back."""
    return settings.whole(settings.BIN_DAYS) or BIN_DAYS


def check_begin(runs: Path, pictures: int = 0) -> None:
    """Raises ``AccessError`` where a run of so many ``pictures``, or any, may not be begun."""
    most, disk = settings.whole(settings.PICTURES_LIMIT), settings.size(settings.DISK_LIMIT)
    contact = policy().contact
    if most is not None and pictures > most:
        raise AccessError(
            f"Expected a run of at most {counted(most, 'picture')}, got {pictures:,}: set the "
            f"largest number of pictures, or ask {contact}."
        )
    if disk is not None and (taken := occupied(runs)) >= disk:
        raise AccessError(
            f"The folder of runs takes {taken / 1e6:,.0f} MB of {disk / 1e6:,.0f} that it may: "
            f"delete runs, which frees their room once they leave the bin, or ask {contact}."
        )


def tidy(runs: Path) -> None:
    """Empties the bin of what is old, and moves runs to it that are too old or too many.

    A run that is being written stays.
    """
    empty_bin(runs, bin_days())
    most, days = settings.whole(settings.RUNS_KEPT), settings.whole(settings.DAYS_KEPT)
    if most is None and days is None:
        return
    entries = [entry for entry in listing(runs) if entry.manifest is not None]
    for place, entry in enumerate(entries):
        if (most is not None and place >= most) or (days is not None and _age(entry) > days * DAY):
            with suppress(RunError):
                to_bin(entry.folder, "the limits of this dashboard")


def _age(entry: Listed) -> float:
    """Seconds since the run was begun; of one that tells no time, 0."""
    try:
        created = datetime.fromisoformat(entry.manifest.created if entry.manifest else "")
    except ValueError:
        return 0.0
    return time.time() - (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()
