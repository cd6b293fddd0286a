"""A run repeated, and whether the new rows are those of the saved one, to rounding."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness.base.errors import RobustnessError, RunError
from robustness.base.text import counted, some
from robustness.evaluation.condition import named
from robustness.evaluation.provenance import versions
from robustness.evaluation.row_schema import COLUMNS, REMEDIED, REMEDY, TIES, TOLERANCE
from robustness.metrics.features import RESCALED
from robustness.runs import racing
from robustness.runs.compare import version_notes
from robustness.runs.planning import Plan, replan
from robustness.runs.progress import Progress
from robustness.runs.run import Run
from robustness.runs.store import load
from robustness.runs.writer import start

Floats = NDArray[np.float64]

_TOLERANCES = {column.name: column.tolerance for column in COLUMNS}

_STAGES = "stages"


@dataclass(frozen=True)
class Change:
    """A column whose values are not all the same.

    ``rows`` have another value; ``largest`` is the largest difference of a number, None where
    values are not numbers. ``image``, ``model`` and ``condition`` say where that is.
    ``rounding`` is whether all of it is within the tolerance of the column.
    """

    column: str
    rows: int
    largest: float | None
    image: str
    model: str
    perturbation: str
    condition: str
    rounding: bool

    @property
    def sentence(self) -> str:
        where = f"{self.image}, {self.model}, {named(self.condition)}"
        by = "" if self.largest is None else f" by up to {self.largest:.2g}"
        small = ", within rounding" if self.rounding else ""
        differ = "row differs" if self.rows == 1 else "rows differ"
        return f"{self.column}: {self.rows} {differ}{by}{small} ({where})."


def changes(
    first: pa.Table, second: pa.Table, images: Collection[str], *, of: str = ""
) -> Iterator[Change]:
    """The columns in which rows of ``images`` differ; ``of`` is put before their names.

    Both tables hold the rows of an image in the same order, as runs of the same request do. What
    runs of earlier versions did not keep is not compared.
    """
    a, b = (_of(table, images) for table in (first, second))
    if len(a) != len(b):
        larger = a if len(a) > len(b) else b
        yield _change(larger, f"{of}rows", np.ones(len(larger), bool), None)
        return
    for name in a.column_names:
        if name in ("position", _STAGES) or a[name].equals(b[name]):
            continue
        if a[name].null_count == len(a) and name != "label":
            continue
        yield _change(
            a, name, *_differences(a[name].combine_chunks(), b[name].combine_chunks()), of
        )
    if _STAGES not in a.column_names or a[_STAGES].equals(b[_STAGES]):
        return
    one, two = (table[_STAGES].combine_chunks() for table in (a, b))
    for name in RESCALED:
        differences = _differences(
            *(pa.ListArray.from_arrays(c.offsets, c.values.field(name)) for c in (one, two))
        )
        if differences[0].any():
            yield _change(a, f"{_STAGES} {name}", *differences)


def _of(table: pa.Table, images: Collection[str]) -> pa.Table:
    """The rows of ``images``, by their name; a stable sort leaves the order within an image."""
    chosen = pc.is_in(table["image"], pa.array(list(images), pa.string()))
    return table.filter(chosen).sort_by("image")


def _differences(first: pa.Array, second: pa.Array) -> tuple[NDArray[np.bool_], Floats | None]:
    """(which rows have another value, by how much), (n,) each; no numbers where it is no number."""
    kind = first.type
    lists = pa.types.is_list(kind)
    if not pa.types.is_floating(kind.value_type if lists else kind):
        pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([one != two for one, two in pairs], bool), None
    a, b = (column.flatten() if lists else column for column in (first, second))
    if len(a) != len(b):
        return np.ones(len(first), bool), np.full(len(first), np.inf)
    gaps = _gaps(a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False))
    if lists:  # the largest of each row's
        differences = np.zeros(len(first))
        lengths = pc.fill_null(pc.list_value_length(first), 0).to_numpy(zero_copy_only=False)
        np.maximum.at(differences, np.repeat(np.arange(len(first)), lengths), gaps)
        gaps = differences
    return gaps > 0, gaps


def _gaps(a: Floats, b: Floats) -> Floats:
    """The distance between the values; infinite where only one of them is there."""
    gone = np.isnan(a).astype(int) + np.isnan(b)
    return np.where(gone == 0, np.abs(a - b), np.where(gone == 1, np.inf, 0.0))


def _change(
    rows: pa.Table, name: str, differ: NDArray[np.bool_], gaps: Floats | None, of: str = ""
) -> Change:
    place = int(np.argmax(differ if gaps is None else gaps))
    largest = None if gaps is None or not np.isfinite(gaps[place]) else float(gaps[place])
    tolerance = _TOLERANCES.get(name, TOLERANCE)
    return Change(
        column=of + name,
        rows=int(differ.sum()),
        largest=largest,
        **{
            word: rows[word][place].as_py()
            for word in ("image", "model", "perturbation", "condition")
        },
        rounding=tolerance == TIES or (largest is not None and largest <= tolerance),
    )


IDENTICAL, ROUNDED, DIFFERENT = "identical", "agrees within rounding", "different"

_EXAMPLES = 5


_DECIDED = ("settled", "best", "worse", "passed", "decisions")
"""The decisions in the outcome of a race."""


@dataclass(frozen=True)
class Replay:
    """The result of running a run again.

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
        """One sentence per difference; [] if there is none."""
        pictures = (
            ("Not read any more", self.missing),
            ("Not read before", self.extra),
            ("Of other pixels than before", self.changed),
        )
        return [
            *([] if self.listing else ["The dataset has other files than the run."]),
            *(f"{what}: {_pictures(names)}." for what, names in pictures if names),
            *self.versions,
            *(change.sentence for change in self.changes),
            *self._decided_otherwise(),
        ]

    def _decided_otherwise(self) -> Iterator[str]:
        """The decision by the new rows, if it differs from the race's or comes at another image."""
        before, now = self.run.raced, self.repeat.raced
        if before and now and any(before[what] != now[what] for what in _DECIDED if what in before):
            pictures = self.repeat.manifest.dataset.pictures
            outcome = " ".join(racing.sentences(now, pictures))
            yield f"The race followed the decisions of the run. By its new rows: {outcome}"

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
    with start(_planned(run), folder, engine=engine) as writer:
        for state in writer.perform(engine, address, follows=follows):
            note(state)
    return agreement(run, load(writer.folder))


def _digests(run: Run) -> dict[str, str]:
    return {f"the plugin {name}": text[:12] for name, text in run.manifest.plugins.items()}


def _planned(run: Run) -> Plan:
    """The plan of ``run``, on the same source with the same weights."""
    try:
        return replan(run.manifest)
    except RobustnessError as error:
        raise RunError(f"The run {run.id} cannot be replayed: {error}") from error


def _rows(run: Run, names: Sequence[str]) -> int:
    """How many rows the images ``names`` have."""
    if run.manifest.race is None:
        return len(names) * len(run.manifest.spec.models) * len(run.conditions)
    own = set(names)
    return sum(name in own for name in run.table(["image"])["image"].to_pylist())


def _remedied(run: Run) -> pa.Table:
    keys = ("image", "model", "condition", "perturbation", REMEDY.name)
    return run.table([*keys, *REMEDIED], remedied=True)


def agreement(run: Run, repeat: Run) -> Replay:
    """Whether the rows of ``again`` equal those of ``run``, from the same request."""
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
            *changes(run.table(), repeat.table(), same),
            *changes(_remedied(run), _remedied(repeat), same, of="remedies "),
        )
        if same
        else (),
    )
