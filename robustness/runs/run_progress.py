"""How far a run is that somebody works on, for every other process to read."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from robustness.base.processes import Identity
from robustness.base.progress_and_time_left import Pace, Unit
from robustness.base.pydantic_validation import read_json

FILE = "progress.json"

_SECONDS_BETWEEN = 0.5
_REMOTE_SECONDS = 120.0
"""A process on another machine that has said nothing for so long is taken for gone."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: images ``done`` of ``total``, of which ``unreadable`` were not read.

    ``loading`` is true until the models are there. As the process that works on it wrote it,
    ``text`` has its rate and time left, and ``worker`` is that process.
    """

    done: int
    total: int
    unreadable: int
    loading: bool = False
    text: str = ""
    worker: Identity | None = None


class ProgressFile:
    """Written at most twice a second once the models are there."""

    def __init__(self, folder: Path, total: int) -> None:
        self._file = folder / FILE
        self._pace = Pace(Unit("images"), total)
        self._worker = Identity.own()
        self._written_at = 0.0
        self._loading = False

    def write(self, progress: Progress) -> None:
        """Writes ``progress``, unless it did so just now; a full disk stops nothing."""
        if not progress.loading:  # else the time that this takes would count as slow images
            self._pace.note(progress.done)
        now = time.monotonic()
        if now - self._written_at < _SECONDS_BETWEEN and progress.loading == self._loading:
            return
        self._written_at, self._loading = now, progress.loading
        text = "Loading the models …" if progress.loading else self._pace.text
        if progress.unreadable:
            text += f", {progress.unreadable} left out"
        self.put(replace(progress, text=text))

    def put(self, progress: Progress) -> None:
        """Writes ``progress`` with its own text."""
        values = asdict(replace(progress, worker=self._worker))
        temporary = self._file.with_name(f".{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(values))
            os.replace(temporary, self._file)

    def remove(self) -> None:
        """Nobody works on the run any more."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """How far the run in ``folder`` is; None unless a process works on it now."""
    file = folder / FILE
    progress = read_json(Progress, file)
    if progress is None or (worker := progress.worker) is None:
        return None
    try:
        age = time.time() - file.stat().st_mtime
        alive = worker.alive if worker.here else age < _REMOTE_SECONDS
    except (OSError, OverflowError):  # such as of a number that no process can have
        return None
    return progress if alive else None
