"""Matches among the runs: the request that a job works on, and its answer.

A match lies in a folder beside the runs, with a manifest of its own, so that title, notes, bin,
locks, queue and owner are as those of runs. A folder from another installation is no match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter

from robustness import matching
from robustness.base.errors import RunError
from robustness.base.files import file_errors, write_whole
from robustness.base.turns import Pace, Unit, duration
from robustness.base.validation import StrictRecord, read_json
from robustness.datasets import Dataset, open_dataset
from robustness.matching import Match, MatchSettings
from robustness.runs.manifest import FILE as MANIFEST

ANSWER = "match.json"
"""The answer, once there is one."""

FIRST = "accuracy.json"
"""The answer without a cause, before one is searched for."""

LABELS = "labels.csv"
"""Labels of images of the match, as ``matching.sheet`` writes them."""

PARTS = 1000
"""Parts of the work of a match, which its progress counts."""

_MOST_REQUEST = 2**16
_MOST_ANSWER = 2**27  # bytes
_PHASES = {
    "Reading": (0, 20),
    "Estimating": (20, 100),
    "Simulating": (100, 600),
    "Learning": (600, 660),
    "Fitting": (660, 780),
    "Predicting": (780, PARTS),
}
"""The first and last of ``PARTS`` of each phase, by the first word of what it notes.

They are in proportion to the time that each phase takes with two models.
"""
_PACED = (("Simulating", "Learning"), ("Predicting",))
"""Groups of phases whose pace tells how long the rest takes; reading and estimating have none."""
_UNIT = Unit("parts")


class MatchRequest(StrictRecord):
    """The request of a match, which is its manifest.

    ``production`` and ``reference`` are sources as ``open_dataset`` takes them, and ``images``
    counts those of both that are used. ``created`` is in UTC, ISO 8601.
    """

    format: Literal["robustness match"] = "robustness match"
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    creator: str = ""
    title: str
    production: str
    reference: str
    images: int
    settings: MatchSettings

    @property
    def how(self) -> str:
        """The settings in which matches of the same images and models may differ."""
        return f"{self.settings.framing.text}, seed {self.settings.seed}"


def read_match(folder: Path) -> MatchRequest | None:
    """The match in ``folder``; None for anything else."""
    return read_json(MatchRequest, folder / MANIFEST, _MOST_REQUEST)


def read_answer(folder: Path) -> Match | None:
    """The answer of the match in ``folder``; None until it is finished."""
    return read_json(Match, folder / ANSWER, _MOST_ANSWER)


def read_first_answer(folder: Path) -> Match | None:
    """The answer of the match in ``folder`` that has no cause yet; None until it is there."""
    return read_json(Match, folder / FIRST, _MOST_ANSWER)


def read_labels(folder: Path, answer: Match) -> dict[tuple[str, str], bool]:
    """Whether the model is correct, by image and model; empty if the match has no labels."""
    path = folder / LABELS
    if not path.exists():
        return {}
    return matching.read_sheet(path, answer.sample)


def write_labels(folder: Path, answer: Match, correct: Mapping[tuple[str, str], bool]) -> None:
    """Write ``correct`` as the labels of the match in ``folder``.

    Raises ``RunError`` where the disk does not take them.
    """
    sheet = matching.sheet(answer.sample, correct)
    with file_errors("The labels cannot be written", "Make room on the disk.", kind=RunError):
        write_whole(folder / LABELS, sheet.encode())


def perform(folder: Path, saved: MatchRequest, show: Callable[[str, int], object]) -> None:
    """Performs the match in ``folder`` and writes its answer.

    ``show`` receives what is computed and how many of ``PARTS`` are done; it may raise to cancel.
    Raises ``RunError`` where the answer cannot be written, and what ``matching.match`` raises.
    """
    answer = matching.match(
        _open(saved.production),
        _open(saved.reference),
        saved.settings,
        note=_OverallProgress(show).note,
        first=partial(_write_answer, folder / FIRST),
    )
    _write_answer(folder / ANSWER, answer)


def _write_answer(path: Path, answer: Match) -> None:
    with file_errors(
        "The answer cannot be written",
        "Make room on the disk, then continue the match.",
        kind=RunError,
    ):
        write_whole(path, TypeAdapter(Match).dump_json(answer))


def _open(source: str) -> Dataset:
    with file_errors(f"{Path(source).name} cannot be read", kind=RunError):
        return open_dataset(source)


class _OverallProgress:
    """Shows the phases of a match as parts of the whole, with the time left if known.

    The pace of one phase tells nothing of another kind of work, and a fit takes as many rounds as
    it needs: only the phases of ``_PACED`` show a time, each group at its own pace.
    """

    def __init__(self, show: Callable[[str, int], object]) -> None:
        self._show = show
        self._done = 0.0  # of PARTS
        self._group: tuple[str, ...] = ()
        self._pace = Pace(_UNIT)

    def note(self, what: str, done: int, total: int) -> None:
        phase = what.partition(" ")[0]
        begin, end = _PHASES.get(phase, (self._done, self._done))
        done_now = begin + (end - begin) * done / max(1, total)
        # A fit is repeated, and starts at 0 again: the whole never goes back.
        self._done = max(self._done, done_now)
        if phase not in self._group:
            self._group = _paced_group(phase)
            self._pace = Pace(_UNIT, PARTS, time.monotonic, overall=True)
        self._show(f"{what}: {done:,} of {total:,}{self._time_left()}", int(self._done))

    def _time_left(self) -> str:
        if not self._group:
            return ""
        self._pace.note(self._done)
        seconds = self._pace.seconds_left
        if seconds is None or self._done >= PARTS:
            return ""
        return f", about {duration(seconds)} left"


def _paced_group(phase: str) -> tuple[str, ...]:
    """The phases that ``phase`` shares its pace with; none if it shows no time."""
    for phases in _PACED:
        if phase in phases:
            return phases
    return ()
