"""Who wants which run to be worked on: a file an order beside the runs, gone once it is done.

A run that stopped before its end, by an error or because nobody wanted it any more, holds why.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from pydantic import FiniteFloat

from robustness.base.disk import write_whole
from robustness.base.errors import RobustnessError, RunError
from robustness.base.validation import StrictRecord, kept_json
from robustness.runs import notes
from robustness.runs.again import plan_again
from robustness.runs.manifest import FINISHED, Manifest, read
from robustness.runs.progress import Progress
from robustness.runs.session import Plan, Session, earlier, reopen, start

QUEUE = ".queue"
"""The folder beside the runs that holds the orders."""

CANCELLED = "It was cancelled."

_STOPPED_FILE = "stopped.txt"
_SERVED_FILE = "served"
_REMEMBERED = 24 * 3600.0
_MOST_BYTES = 4096

PATIENCE = 30.0
"""Seconds that an order waits for a process that was told to stop, and has yet to do so."""


class _OrderFile(StrictRecord):
    """The file of an order."""

    by: str
    asked: float


@dataclass(frozen=True)
class Order:
    """A run that somebody wants to be worked on.

    ``by`` tells those apart who ask; ``asked`` is in seconds since 1970.
    """

    run: str
    by: str
    asked: float


def submit(plan: Plan, runs: Path, by: str) -> Path:
    """Has ``plan`` be worked on in turn, a new run for ``by``; returns the folder of its run.

    That is the newest run of the same request, an unfinished one first, and else a new one. Raises
    what ``start`` raises.
    """
    folder = earlier(plan, runs)
    if folder is None:
        with start(plan, runs, creator=by) as session:
            folder = session.folder
    if read(folder).status != FINISHED:
        _place(folder, Order(folder.name, by, time.time()))
    return folder


def ask(folder: Path, by: str) -> None:
    """Has the unfinished run in ``folder`` be worked on in turn, as its manifest says.

    Raises ``RunError`` for a finished one, one of another machine, or where that cannot be noted.
    """
    manifest = read(folder)
    if manifest.status == FINISHED:
        raise RunError(f"The run {manifest.id} is finished: nothing is left to do.")
    if notes.is_imported(folder):
        raise RunError(
            f"The run {manifest.id} came from another machine: it goes on only where it was begun."
        )
    if not is_ordered(folder):
        _place(folder, Order(folder.name, by, time.time()))


def cancel(folder: Path, why: str = CANCELLED) -> None:
    """Has the run in ``folder`` be worked on no longer; it holds ``why`` from then on.

    A process that works on it stops between two chunks; what is done stays.
    """
    with contextlib.suppress(OSError):
        if folder.is_dir():
            write_whole(folder / _STOPPED_FILE, why.encode(errors="replace"))
    drop(folder)


def drop(folder: Path) -> None:
    """Forgets the order of the run in ``folder``, if there is one."""
    with contextlib.suppress(OSError):
        _file(folder).unlink(missing_ok=True)


def why_it_stopped(folder: Path) -> str:
    """Why the unfinished run in ``folder`` is no longer worked on, in a sentence; "" if unknown."""
    try:
        with (folder / _STOPPED_FILE).open("rb") as file:
            return file.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return ""


def is_ordered(folder: Path) -> bool:
    """Whether somebody wants the run in ``folder`` to be worked on."""
    return _file(folder).exists()


def orders(runs: Path) -> list[Order]:
    """The orders in the folder of runs ``runs``; what is no order, or of no run, is removed."""
    found = []
    for file in sorted((runs / QUEUE).glob("*.json")):
        said = kept_json(_OrderFile, file)
        if said is not None and (runs / file.stem).is_dir():
            found.append(Order(file.stem, said.by, said.asked))
        elif said is not None or file.exists():  # else it is done just now
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    return found


def last_served(runs: Path) -> dict[str, float]:
    """When a process was last started for each who asked, in seconds since 1970."""
    return kept_json(dict[str, FiniteFloat], runs / QUEUE / _SERVED_FILE) or {}


def note_served(runs: Path, by: str) -> None:
    """Notes that a process is started for ``by`` now."""
    now = time.time()
    kept = {who: when for who, when in last_served(runs).items() if now - when < _REMEMBERED}
    with contextlib.suppress(OSError):
        write_whole(runs / QUEUE / _SERVED_FILE, json.dumps({**kept, by: now}).encode())


def work_off(
    folder: Path, *, engine: str = "local", address: str | None = None
) -> Generator[Progress, None, None]:
    """Goes on with the run in ``folder``, to its end or until its order is gone, if it has one.

    Yields as ``Session.perform`` does. At the end the order is gone; an error ends it, too, and
    the run then holds the sentence. Raises ``RunError`` where the run cannot go on, and what its
    engine raises.
    """
    ordered = is_ordered(folder)
    try:
        with _reopened(folder) as session:
            for state in session.perform(engine, address):
                if ordered and not is_ordered(folder):
                    return
                yield state
    except RobustnessError as error:
        cancel(folder, str(error))
        raise
    (folder / _STOPPED_FILE).unlink(missing_ok=True)
    drop(folder)


def _reopened(folder: Path) -> Session:
    manifest: Manifest = read(folder)
    try:
        return reopen(plan_again(manifest), folder, patience=PATIENCE)
    except RunError:
        raise
    except RobustnessError as error:
        raise RunError(f"The run {manifest.id} cannot go on: {error}") from error


def _place(folder: Path, order: Order) -> None:
    try:
        (folder.parent / QUEUE).mkdir(exist_ok=True)
        (folder / _STOPPED_FILE).unlink(missing_ok=True)
        said = {"by": order.by, "asked": order.asked}
        write_whole(_file(folder), json.dumps(said).encode())
    except OSError as error:
        raise RunError(f"The run {order.run} cannot be queued: {error.strerror}.") from error


def _file(folder: Path) -> Path:
    return folder.parent / QUEUE / f"{folder.name}.json"
