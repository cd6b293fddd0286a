"""A saved run once more: the same request of the same images, and whether its rows agree."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from robustness.base.errors import RobustnessError, RunError
from robustness.base.text import counted, some
from robustness.evaluation.provenance import versions
from robustness.evaluation.row_schema import REMEDIED, REMEDY
from robustness.runs import racing, rounding
from robustness.runs.compare import version_notes
from robustness.runs.planning import Plan
from robustness.runs.progress import Progress
from robustness.runs.resume import replan
from robustness.runs.rounding import Change
from robustness.runs.run import Run
from robustness.runs.session import start
from robustness.runs.store import load

IDENTICAL, ROUNDED, DIFFERENT = "identical", "agrees within rounding", "different"

_EXAMPLES = 5


_DECIDED = ("settled", "best", "worse", "passed", "decisions")
"""What a race decided, of its outcome."""


@dataclass(frozen=True)
class Replay:
    """What came of running a run again.

    ``rows`` counts the rows of images that both have. ``listing`` says whether the dataset lists
    the same files. ``missing``, ``extra`` and ``changed`` are names of images: no longer read,
    not read before, and not the same pixels any more. ``versions`` are sentences on what was
    updated since; ``changes`` are the columns whose values differ, of the unchanged images.
    """

    run: Run
    repeat: Run
    rows: int
    listing: bool
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]
    versions: tuple[str, ...]
    changes: tuple[Change, ...]

    @property
    def verdict(self) -> str:
        """``IDENTICAL``: every value of every row; ``ROUNDED``: by ``rounding``; ``DIFFERENT``."""
        if not self.listing or self.missing or self.extra or self.changed:
            return DIFFERENT
        if not self.changes:
            return IDENTICAL
        return ROUNDED if all(change.rounding for change in self.changes) else DIFFERENT

    @property
    def agrees(self) -> bool:
        return self.verdict != DIFFERENT

    @property
    def findings(self) -> list[str]:
        """What differs, a sentence each; [] where nothing does."""
        pictures = (
            ("Not read any more", self.missing),
            ("Not read before", self.extra),
            ("Of other pixels than before", self.changed),
        )
        return [
            *([] if self.listing else ["The files of the dataset are not those of the run."]),
            *(f"{what}: {_pictures(names)}." for what, names in pictures if names),
            *self.versions,
            *(change.sentence for change in self.changes),
            *self._decided_otherwise(),
        ]

    def _decided_otherwise(self) -> Iterator[str]:
        """What the new rows decide, if the race would end in another answer, or elsewhere."""
        before, now = self.run.raced, self.repeat.raced
        if before and now and any(before[what] != now[what] for what in _DECIDED if what in before):
            pictures = self.repeat.manifest.dataset.pictures
            told = " ".join(racing.sentences(now, pictures))
            yield f"The race followed the decisions of the run. By its new rows: {told}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "run": self.run.id,
            "again": self.repeat.id,
            "verdict": self.verdict,
            "rows": self.rows,
            "same_listing": self.listing,
            "missing": list(self.missing),
            "extra": list(self.extra),
            "changed": list(self.changed),
            "versions": list(self.versions),
            "columns": [asdict(change) for change in self.changes],
        }


def _pictures(names: Sequence[str]) -> str:
    return f"{counted(len(names), 'image')} ({some(names, _EXAMPLES)})"


def replay(
    run: Run,
    folder: Path,
    *,
    engine: str = "local",
    address: str | None = None,
    note: Callable[[Progress], object] = lambda _state: None,
) -> Replay:
    """Runs the manifest of ``run`` again into the folder of runs ``folder``; ``note`` hears of it.

    A race ends and drops models where that of ``run`` did, whatever its rows are now.
    It opens whatever source the manifest names, so it is for those who may read that themselves.
    Raises ``RunError`` where it could not run: weights that changed or are missing, a source that
    is gone, a run that is not finished or has no rows.
    """
    if not run.finished:
        raise RunError(f"The run {run.id} is not finished: there is nothing to compare with.")
    if not run.images:
        raise RunError(f"The run {run.id} has no rows: there is nothing to compare with.")
    race = run.manifest.race
    follows = None if race is None else run.track(race).outcome()  # earlier versions kept others
    with start(_planned(run), folder, engine=engine) as session:
        for state in session.perform(engine, address, follows=follows):
            note(state)
    return agreement(run, load(session.folder))


def _digests(run: Run) -> dict[str, str]:
    return {f"the plugin {name}": text[:12] for name, text in run.manifest.plugins.items()}


def _planned(run: Run) -> Plan:
    """What ``run`` was to do, of the same source with the same weights."""
    try:
        return replan(run.manifest)
    except RobustnessError as error:
        raise RunError(f"The run {run.id} cannot be replayed: {error}") from error


def _rows(run: Run, names: Sequence[str]) -> int:
    """How many rows the images ``names`` have."""
    if run.manifest.race is None:
        return len(names) * len(run.manifest.spec.models) * len(run.conditions)
    known = set(names)
    return sum(name in known for name in run.table(["image"])["image"].to_pylist())


def _remedied(run: Run) -> pa.Table:
    keys = ("image", "model", "condition", "perturbation", REMEDY.name)
    return run.table([*keys, *REMEDIED], remedied=True)


def agreement(run: Run, repeat: Run) -> Replay:
    """Whether the rows of ``again`` are those of ``run``, which asked the same."""
    before, after = run.digests, repeat.digests
    shared = [name for name in before if name in after]
    same = {name for name in shared if before[name] == after[name]}
    return Replay(
        run=run,
        repeat=repeat,
        rows=_rows(run, shared),
        listing=run.manifest.dataset.digest == repeat.manifest.dataset.digest,
        missing=tuple(name for name in before if name not in after),
        extra=tuple(name for name in after if name not in before),
        changed=tuple(name for name in shared if name not in same),
        versions=tuple(
            version_notes(
                {**run.manifest.versions, **_digests(run)}, {**versions(), **_digests(repeat)}
            )
        ),
        changes=(
            *rounding.changes(run.table(), repeat.table(), same),
            *rounding.changes(_remedied(run), _remedied(repeat), same, of="remedies "),
        )
        if same
        else (),
    )
