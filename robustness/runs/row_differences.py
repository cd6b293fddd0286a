"""The rows of two runs of one request: whether they are equal, else what differs, and where."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness.evaluation.perturbation_and_attack_conditions import named
from robustness.evaluation.row_schema import (
    COLUMNS,
    REMEDIED,
    REMEDIED_KEYS,
    REMEDY,
    TIES,
    TOLERANCE,
    stored,
)
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.runs.run import Run

Floats = NDArray[np.float64]

_TOLERANCES = {column.name: column.tolerance for column in COLUMNS}


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
    condition: str
    rounding: bool


@dataclass(frozen=True)
class RowComparison:
    """So many ``rows`` of two runs of one request, of the images that both have.

    ``difference`` is in the first column that differs by more than its tolerance, None if there is
    none; ``rounding`` says that others differ by less.
    """

    rows: int
    difference: Change | None = None
    rounding: bool = False

    @property
    def sentence(self) -> str:
        if self.difference is None:
            rounding = " within rounding" if self.rounding else ""
            return f"Rows equal{rounding} ({self.rows:,} compared)."
        first = self.difference
        by = "" if first.largest is None else f" by {first.largest:.2g}"
        return (
            f"{first.column} differs{by}: {first.image}, {first.model}, {named(first.condition)}."
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        first = self.difference
        return {
            "compared": self.rows,
            "equal": first is None,
            "column": first and first.column,
            "difference": first and first.largest,
            "image": first and first.image,
            "model": first and first.model,
            "condition": first and first.condition,
        }


def compare_rows(baseline: Run, other: Run) -> RowComparison | None:
    """The rows of ``other`` against those of ``baseline``.

    None where the runs are not of one request, or share no image.
    """
    if baseline.manifest.request_key != other.manifest.request_key:
        return None
    before, after = baseline.rows.digests, other.rows.digests
    same = {position for position, digest in before.items() if after.get(position) == digest}
    if not same:
        return None
    spec = baseline.manifest.spec
    count = len(same) * len(spec.models) * len(spec.conditions)
    if baseline.folder == other.folder:
        return RowComparison(count)
    plain = [name for name in stored(baseline.own_scores).names if name != REMEDY.name]
    tables = {"": ["image", *plain]}
    if spec.remedies:
        tables["remedied "] = ["image", *REMEDIED_KEYS, REMEDY.name, *REMEDIED]
    differences = [
        replace(change, column=kind + change.column)
        for kind, names in tables.items()
        for change in _all_changes(baseline, other, same, names, remedied=bool(kind))
    ]
    order = [kind + name for kind, names in tables.items() for name in names]
    beyond = [change for change in differences if not change.rounding]
    first = min(beyond, key=lambda change: order.index(change.column), default=None)
    return RowComparison(count, first, rounding=len(beyond) < len(differences))


def _all_changes(
    baseline: Run,
    other: Run,
    positions: Collection[int],
    columns: Sequence[str],
    *,
    remedied: bool = False,
) -> Iterator[Change]:
    """The changes of ``columns``, a file at a time, so that a column may come several times."""
    first, second = (_tables(run, positions, columns, remedied) for run in (baseline, other))
    a = b = None
    while True:
        a = next(first, None) if a is None else a
        b = next(second, None) if b is None else b
        if a is None or b is None:
            return
        size = min(len(a), len(b))
        yield from changes(a.slice(0, size), b.slice(0, size))
        a = a.slice(size) if len(a) > size else None  # before the next file is read
        b = b.slice(size) if len(b) > size else None


def _tables(
    run: Run, positions: Collection[int], columns: Sequence[str], remedied: bool
) -> Iterator[pa.Table]:
    """The rows of the images at ``positions``, in the order of the dataset."""
    numbers = [number for part in run.parts for number in part.chunks]
    in_order = numbers == sorted(numbers)  # on a cluster any chunk may be done before another
    read: Callable[..., Iterable[pa.Table]]
    read = run.tables if in_order else lambda *how, **more: [run.table(*how, **more)]
    tables = read(columns, remedied=remedied)
    if len(positions) == run.images:
        return iter(tables)
    chosen = pa.array(positions, pa.int32())
    return (table.filter(pc.is_in(table["position"], chosen)) for table in tables)


def changes(first: pa.Table, second: pa.Table) -> Iterator[Change]:
    """The columns in which two tables differ; their rows are of the same measurements, in order."""
    for name in first.column_names:
        a, b = first[name], second[name]
        if a.equals(b):
            continue
        differ, gaps = _differences(a.combine_chunks(), b.combine_chunks())
        if not differ.any():
            continue
        place = int(np.argmax(differ if gaps is None else gaps))
        largest = None if gaps is None or not np.isfinite(gaps[place]) else float(gaps[place])
        tolerance = _TOLERANCES.get(name, TOLERANCE)
        yield Change(
            column=name,
            rows=int(differ.sum()),
            largest=largest,
            **{word: first[word][place].as_py() for word in ("image", "model", "condition")},
            rounding=tolerance == TIES or (largest is not None and largest <= tolerance),
        )


def _differences(first: pa.Array, second: pa.Array) -> tuple[NDArray[np.bool_], Floats | None]:
    """(which rows have another value, by how much), (n,) each; no numbers where it is no number."""
    kind = first.type.value_type if pa.types.is_list(first.type) else first.type
    if pa.types.is_struct(kind):  # of stages
        columns = (first, second)
        pairs = (
            [pa.ListArray.from_arrays(each.offsets, each.values.field(name)) for each in columns]
            for name in RESCALED
        )
        gaps = np.maximum.reduce([_list_gaps(*pair) for pair in pairs])
    elif not pa.types.is_floating(kind):
        values = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([one != two for one, two in values], bool), None
    elif pa.types.is_list(first.type):
        gaps = _list_gaps(first, second)
    else:
        gaps = _gaps(first, second)
    return gaps > 0, gaps


def _list_gaps(first: pa.Array, second: pa.Array) -> Floats:
    """The largest distance within each row; infinite where one has more values."""
    lengths, others = (
        pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
        for column in (first, second)
    )
    alike = lengths == others
    a, b = (column.filter(pa.array(alike)).flatten() for column in (first, second))
    gaps = np.where(alike, 0.0, np.inf)
    np.maximum.at(gaps, np.repeat(np.flatnonzero(alike), lengths[alike]), _gaps(a, b))
    return gaps


def _gaps(first: pa.Array, second: pa.Array) -> Floats:
    """The distance between the values; infinite where only one of them is there."""
    a, b = (column.to_numpy(zero_copy_only=False) for column in (first, second))
    gone = np.isnan(a).astype(int) + np.isnan(b)
    return np.where(gone == 0, np.abs(a - b), np.where(gone == 1, np.inf, 0.0))
