"""Long work: what an evaluation, a match and a training have in common.

Each lies in a folder of its own beside the others, so that title, notes, bin, locks, queue and
owner are the same for all. Its manifest is the request. While a process is at work, a file says
how far it is. A match and a training are a ``TaskRequest``, with an answer in one file; the answer
of an evaluation are its rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, TypeAdapter

from robustness.base.errors import RunError
from robustness.base.files import file_errors, write_whole
from robustness.base.processes import Identity
from robustness.base.turns import Pace, Unit
from robustness.base.validation import StrictRecord, read_json
from robustness.datasets import Dataset, open_dataset

KindName = Literal["run", "match", "training"]

ANSWER = "answer.json"
"""The answer of a match or a training, once there is one."""

PROGRESS = "progress.json"
"""How far a process is that works on the task."""

MOST_REQUEST = 2**16
MOST_ANSWER = 2**27
"""Bytes of these files."""

_SECONDS_BETWEEN = 0.5
"""The least time between two writes of the progress."""

_REMOTE_SECONDS = 120.0
"""A process on another machine that has written nothing for so long is taken for gone."""


@dataclass(frozen=True)
class Progress:
    """How far a task is: images or other parts ``done`` of ``total``.

    ``unreadable`` of the images have no rows. ``loading`` is true until the models are loaded.
    ``text``, with rate and time left, and ``worker``, the process at work, are those of the file.
    What an evaluation yields has neither; only when it searches a worst composition, after its
    images, it has a text.
    """

    done: int
    total: int
    unreadable: int = 0
    loading: bool = False
    text: str = ""
    worker: Identity | None = None


Show = Callable[[Progress], object]
"""Receives the progress of a task, and may raise to cancel it."""


class ProgressFile:
    """The file in which a process tells the others how far it is with a task."""

    def __init__(self, folder: Path, total: int = 0) -> None:
        self._file = folder / PROGRESS
        self._pace = Pace(Unit("images"), total)
        self._worker = Identity.own()
        self._written_at = 0.0
        self._loading = False

    def write(self, progress: Progress) -> None:
        """Writes ``progress`` with a text of its rate and time left.

        At most twice a second, apart from the moment when the models are loaded.
        """
        if not progress.loading:  # else the time that this takes would count as slow images
            self._pace.note(progress.done)
        now = time.monotonic()
        if now - self._written_at < _SECONDS_BETWEEN and progress.loading == self._loading:
            return
        self._written_at = now
        self._loading = progress.loading
        if progress.loading:
            text = "Loading the models …"
        else:
            text = self._pace.text
        if progress.unreadable:
            text += f", {progress.unreadable} left out"
        self.put(replace(progress, text=text))

    def put(self, progress: Progress) -> None:
        """Writes ``progress`` with the text that it has; a full disk stops nothing."""
        values = asdict(replace(progress, worker=self._worker))
        temporary = self._file.with_name(f".{PROGRESS}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(values))
            os.replace(temporary, self._file)

    def remove(self) -> None:
        """Deletes the file, when nobody works on the task any more."""
        with contextlib.suppress(OSError):
            self._file.unlink(missing_ok=True)


def read_progress(folder: Path) -> Progress | None:
    """How far the task in ``folder`` is; None unless a process works on it now."""
    file = folder / PROGRESS
    progress = read_json(Progress, file)
    if progress is None or progress.worker is None:
        return None
    try:
        if progress.worker.here:
            is_alive = progress.worker.alive
        else:
            is_alive = time.time() - file.stat().st_mtime < _REMOTE_SECONDS
    except (OSError, OverflowError):  # such as of a number that no process can have
        return None
    return progress if is_alive else None


def new_id(title: str) -> str:
    """An id that no other task has, which begins with its title."""
    name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:40] or "run"
    created = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{name}-{created}-{uuid.uuid4().hex[:6]}"


class TaskRequest(StrictRecord):
    """The request of a match or a training, which is the manifest of its folder.

    ``created`` is in UTC, ISO 8601. ``images`` counts those that are used, 0 if that is not known
    before. ``noun`` is the kind in texts.
    """

    noun: ClassVar[KindName]

    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    creator: str = ""
    title: str
    images: int = 0

    @property
    def model_names(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def how(self) -> str:
        """The settings in which tasks of the same images and models may differ."""
        raise NotImplementedError

    def answer(self, folder: Path) -> object | None:
        """The answer in ``folder``; None until the work is finished."""
        raise NotImplementedError

    def perform(self, folder: Path, show: Show) -> None:
        """Does the work, and writes its answer into ``folder``.

        Raises ``RunError`` where the answer cannot be written, and what the work itself raises.
        """
        raise NotImplementedError


def write_answer(path: Path, answer: object, problem: str, remedy: str) -> None:
    """Writes the record ``answer``; raises ``RunError`` with the ``problem`` where it cannot."""
    with file_errors(problem, remedy, kind=RunError):
        write_whole(path, TypeAdapter(type(answer)).dump_json(answer))


def open_source(source: str) -> Dataset:
    """The dataset of a request; raises ``RunError`` where it cannot be read."""
    with file_errors(f"{Path(source).name} cannot be read", kind=RunError):
        return open_dataset(source)
