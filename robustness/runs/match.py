"""Matches among the runs: the request that a job performs, and its answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from robustness import matching
from robustness.base.errors import RunError
from robustness.base.files import file_errors, write_whole
from robustness.base.turns import Pace, Unit, duration
from robustness.base.validation import read_json
from robustness.matching import Match, MatchSettings
from robustness.runs.task import (
    ANSWER,
    MOST_ANSWER,
    KindName,
    Progress,
    Show,
    TaskRequest,
    open_source,
    write_answer,
)

FIRST = "accuracy.json"
"""The answer without a cause, before one is searched for."""

LABELS = "labels.csv"
"""Labels of images of the match, as ``matching.sheet`` writes them."""

PARTS = 1000
"""Parts of the work of a match, which its progress counts."""

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


class MatchRequest(TaskRequest):
    """The request of a match.

    ``production`` and ``reference`` are sources as ``open_dataset`` takes them; ``images`` counts
    those of both.
    """

    noun: ClassVar[KindName] = "match"

    format: Literal["robustness match"] = "robustness match"
    production: str
    reference: str
    settings: MatchSettings

    @property
    def model_names(self) -> tuple[str, ...]:
        return self.settings.models

    @property
    def how(self) -> str:
        return f"{self.settings.framing.text}, seed {self.settings.seed}"

    def answer(self, folder: Path) -> Match | None:
        return read_json(Match, folder / ANSWER, MOST_ANSWER)

    def perform(self, folder: Path, show: Show) -> None:
        """Matches the images, and writes the answer into ``folder``; see ``matching.match``."""
        answer = matching.match(
            open_source(self.production),
            open_source(self.reference),
            self.settings,
            note=_OverallProgress(show).note,
            first=partial(_write, folder / FIRST),
        )
        _write(folder / ANSWER, answer)


def _write(path: Path, answer: Match) -> None:
    remedy = "Make room on the disk, then continue the match."
    write_answer(path, answer, "The answer cannot be written", remedy)


def read_first_answer(folder: Path) -> Match | None:
    """The answer of the match in ``folder`` that has no cause yet; None until it is there."""
    return read_json(Match, folder / FIRST, MOST_ANSWER)


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


class _OverallProgress:
    """Shows the phases of a match as parts of the whole, with the time left if known.

    The pace of one phase tells nothing of another kind of work, and a fit takes as many rounds as
    it needs: only the phases of ``_PACED`` show a time, each group at its own pace.
    """

    def __init__(self, show: Show) -> None:
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
        text = f"{what}: {done:,} of {total:,}{self._time_left()}"
        self._show(Progress(int(self._done), PARTS, text=text))

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
