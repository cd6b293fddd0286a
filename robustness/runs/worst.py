"""The search for the worst composition of a run's domain, once the run has its rows.

Half of the images, by their digests, choose: the search begins at the condition of the run under
which fewest of them go well, and evaluates its compositions on them alone. The other half judges
the worst one, so that its interval is not that of a figure which was picked for being low.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.measure.worst import most_tried, search_worst, worst_of
from robustness.runs.engines import Chunk, Workload, default_batch
from robustness.runs.manifest import WorstRecord
from robustness.runs.run import Run
from robustness.statistics.domain import PASSED
from robustness.statistics.grid import UNKNOWN, Grid

Evaluate = Callable[[Workload, Sequence[int]], Iterator[Chunk | None]]
"""Evaluates chunks of a workload, as an engine does."""


@dataclass(frozen=True)
class Searched:
    """The records of all models so far, and how many of at most ``most`` compositions are done.

    ``model`` is the one that is searched for now.
    """

    records: tuple[WorstRecord, ...]
    model: str
    done: int
    most: int


def search(
    run: Run, work: Workload, evaluate: Evaluate, records: Sequence[WorstRecord]
) -> Iterator[Searched]:
    """Search the worst composition of the domain of ``run`` for each of its models.

    Continues what the ``records`` have, and yields after every composition of a range. ``work`` is
    that of the run, whose rows are complete. Models for which a half has no image that counts are
    left out. Raises what ``evaluate`` raises.
    """
    domain = run.manifest.spec.domain
    assert domain is not None
    record_of = {record.model: record for record in records}
    grids = run.rows.grids()
    most = most_tried(domain)
    for index, grid in enumerate(grids):
        known = record_of.get(grid.model, WorstRecord(grid.model))
        if known.ended:
            continue
        for record in _search_model(_Halves.of(run, work, grid), domain, grid, known, evaluate):
            record_of[grid.model] = record
            yield Searched(
                records=tuple(record_of.values()),
                model=grid.model,
                done=index * most + min(len(record.tried), most),
                most=len(grids) * most,
            )


class _Halves(NamedTuple):
    """The work on the half of the images that chooses, and on the half that judges."""

    choosing: Workload
    judging: Workload

    @staticmethod
    def of(run: Run, work: Workload, grid: Grid) -> _Halves:
        """Of each image one copy counts, as in all figures."""
        axes = run.rows.axes
        positions = axes.positions[axes.image_of >= 0]
        chooses = grid.chooses
        spec = replace(work.spec.of_models([grid.model]), variants=())
        work = replace(work, spec=spec)
        return _Halves(_part(work, positions[chooses]), _part(work, positions[~chooses]))


def _part(work: Workload, positions: NDArray[np.int64]) -> Workload:
    """``work`` on the images at ``positions`` alone."""
    chosen = positions.tolist()
    dataset = copy(work.dataset)
    dataset.entries = tuple(work.dataset.entries[position] for position in chosen)
    labels = {}
    for key, indices in work.labels.items():
        labels[key] = tuple(indices[position] for position in chosen)
    return Workload(work.spec, dataset, labels, work.batch)


def _search_model(
    halves: _Halves, domain: Domain, grid: Grid, record: WorstRecord, evaluate: Evaluate
) -> Iterator[WorstRecord]:
    """Yield the ``record`` after every composition of a range, and at the end with the worst."""
    column = PASSED[domain.limit[0]]
    shares = _shares_of_run(domain, grid, column)
    if not shares:
        return
    start = worst_of(shares)
    share_of = {condition.id: share for condition, share in shares.items()}
    share_of |= record.tried
    steps = search_worst(domain, start)
    candidates = next(steps)
    while True:
        untried = [condition for condition in candidates if condition.id not in share_of]
        if untried:
            counts = _counts(halves.choosing, untried, column, evaluate)
            tried = {text: count.share for text, count in counts.items()}
            share_of |= tried
            record = replace(record, tried={**record.tried, **tried})
            yield record
        try:
            candidates = steps.send([share_of[condition.id] for condition in candidates])
        except StopIteration as end:
            worst: Condition = end.value
            break
    count = _counts(halves.judging, [worst], column, evaluate)[worst.id]
    if count.images:
        yield replace(record, condition=worst.id, passed=count.passed, images=count.images)


def _shares_of_run(domain: Domain, grid: Grid, column: str) -> dict[Condition, float]:
    """The share that goes well in the choosing half, under each condition of the run."""
    flags = grid.flags(column)[grid.chooses]
    shares = {}
    for index, key in enumerate(grid.conditions):
        condition = Condition.parse(key.id)
        counted = flags[flags[:, index] != UNKNOWN, index]
        if len(counted) and domain.holds(condition):
            shares[condition] = float(counted.mean())
    return shares


class _Count(NamedTuple):
    """How many ``images`` count, and under how many of them a prediction went well."""

    passed: int
    images: int

    @property
    def share(self) -> float:
        return self.passed / self.images if self.images else 1.0


def _counts(
    work: Workload, conditions: Sequence[Condition], column: str, evaluate: Evaluate
) -> Mapping[str, _Count]:
    """How many images of ``work`` go well under each of ``conditions``, by their ids."""
    spec = replace(work.spec, conditions=tuple(conditions))
    part = replace(work, spec=spec, batch=default_batch(spec))
    tables = []
    for chunk in evaluate(part, range(part.chunk_count)):
        if chunk is not None:
            tables.append(chunk.table.select(["condition", column]))
    counts = {condition.id: _Count(0, 0) for condition in conditions}
    if not tables:
        return counts
    # Nulls, of images without a label, are left out of both.
    rows = pa.concat_tables(tables).group_by("condition")
    for row in rows.aggregate([(column, "sum"), (column, "count")]).to_pylist():
        passed = row[f"{column}_sum"] or 0
        counts[row["condition"]] = _Count(passed, row[f"{column}_count"])
    return counts
