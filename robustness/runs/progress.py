"""How far a run is that somebody works on, for every other process to read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from robustness.base.processes import Identity
from robustness.base.time_left import Pace, Unit
from robustness.base.validation import read_json

FILE = "progress.json"

_SECONDS_BETWEEN = 0.5
_ELSEWHERE_SECONDS = 120.0
"""A process on another machine that has said nothing for so long is taken for gone."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: images ``done`` of ``total``, of which ``unreadable`` were not read.

    ``loading`` is true until the models are there.
    """

    done: int
    total: int
    unreadable: int
    loading: bool = False


@dataclass(frozen=True)
class Seen:
    """What the process that works on a run has said last; ``text`` has its rate and time left."""

    progress: Progress
    text: str
    worker: Identity


class Teller:
    """Says how far the run in ``folder`` is, at most twice a second once the models are there."""

    def __init__(self, folder: Path, total: int) -> None:
        self._file = folder / FILE
        self._pace = Pace(Unit("images"), total)
        self._worker = Identity.own()
        self._said = 0.0
        self._loading = False

    def note(self, progress: Progress) -> None:
        """Says ``progress``, unless something was said just now; a full disk stops nothing."""
        if not progress.loading:  # else the time that this takes would count as slow images
            self._pace.note(progress.done)
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN and progress.loading == self._loading:
            return
        self._said, self._loading = now, progress.loading
        text = "Loading the models …" if progress.loading else self._pace.text
        if progress.unreadable:
            text += f", {progress.unreadable} left out"
        said = asdict(Seen(progress, text, self._worker))
        beside = self._file.with_name(f".{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            beside.write_text(json.dumps(said))
            os.replace(beside, self._file)

    def end(self) -> None:
        """Nobody works on the run any more."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def seen(folder: Path) -> Seen | None:
    """How far the run in ``folder`` is; None unless a process works on it now."""
    file = folder / FILE
    found = read_json(Seen, file)
    if found is None:
        return None
    try:
        age = time.time() - file.stat().st_mtime
        alive = found.worker.alive if found.worker.here else age < _ELSEWHERE_SECONDS
    except (OSError, OverflowError):  # such as of a number that no process can have
        return None
    return found if alive else None
