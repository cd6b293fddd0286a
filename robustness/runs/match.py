"""Matches among the runs: the request that a job works on, and its answer.

A match has the folder of a run, with another manifest: title, notes, bin, locks, queue and owner
are those of runs. A folder from another installation is no match.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter

from robustness import matching
from robustness.base.errors import RunError
from robustness.base.files import write_whole
from robustness.base.turns import Note, Pace, Unit, duration
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
"""Of a match, for its progress."""

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
"""First and last part of each phase, by the first word of what it notes: about as long as it takes
with two models."""
_PACED = (("Simulating", "Learning"), ("Predicting",))
"""Phases that tell how long the rest takes. Reading and estimating do not: they are other work."""
_UNIT = Unit("parts")


class MatchRequest(StrictRecord):
    """The request of a match, as its manifest.

    ``production`` and ``reference`` are sources as ``open_dataset`` takes them. ``images`` counts
    those that are used, of both. ``created`` is in UTC, ISO 8601.
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
    """The labels of the match in ``folder``, by image and model; none if there are none."""
    if not (folder / LABELS).exists():
        return {}
    return matching.read_sheet(folder / LABELS, answer.sample)


def write_labels(folder: Path, answer: Match, correct: Mapping[tuple[str, str], bool]) -> None:
    """Keep ``correct`` as the labels of the match in ``folder``; raises ``RunError``."""
    try:
        write_whole(folder / LABELS, matching.sheet(answer.sample, correct).encode())
    except OSError as error:
        raise RunError(f"The labels cannot be written: {error.strerror}; make room.") from error


def perform(folder: Path, saved: MatchRequest, show: Callable[[str, int], object]) -> None:
    """Performs the match in ``folder`` and writes its answer.

    ``show`` receives what is computed and how many of ``PARTS`` are done; it may raise to cancel.
    Raises ``RunError`` where the answer cannot be written, and what ``matching.match`` raises.
    """

    def put(name: str, answer: Match) -> None:
        try:
            write_whole(folder / name, TypeAdapter(Match).dump_json(answer))
        except OSError as error:
            raise RunError(
                f"The answer cannot be written: {error.strerror}; make room, then continue the "
                "match."
            ) from error

    answer = matching.match(
        _opened(saved.production),
        _opened(saved.reference),
        saved.settings,
        note=_as_a_whole(show),
        first=lambda answer: put(FIRST, answer),
    )
    put(ANSWER, answer)


def _opened(source: str) -> Dataset:
    try:
        return open_dataset(source)
    except OSError as error:
        raise RunError(f"{Path(source).name} cannot be read: {error.strerror}.") from error


def _as_a_whole(show: Callable[[str, int], object]) -> Note:
    """A note that shows the phases of a match as parts of the whole, with the time left if known.

    The pace of one phase tells nothing of another kind of work, and a fit takes as many rounds as
    it needs: only the phases of ``_PACED`` show a time, each group at its own pace.
    """
    last = 0.0
    group: tuple[str, ...] = ()
    pace = Pace(_UNIT)

    def note(what: str, done: int, total: int) -> None:
        nonlocal last, group, pace
        phase = what.partition(" ")[0]
        begin, end = _PHASES.get(phase, (last, last))
        last = max(last, begin + (end - begin) * done / max(1, total))  # fits are repeated
        left = ""
        if phase not in group:
            group = next((phases for phases in _PACED if phase in phases), ())
            pace = Pace(_UNIT, PARTS, time.monotonic, overall=True)
        if group:
            pace.note(last)
            seconds = pace.seconds_left
            if seconds is not None and last < PARTS:
                left = f", about {duration(seconds)} left"
        show(f"{what}: {done:,} of {total:,}{left}", int(last))

    return note
