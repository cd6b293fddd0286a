"""Where and why the models of a run fail: tables that page, report, command and Python share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustness.runs import cache, changes
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.queries import Rows
from robustness.runs.selection import Chosen
from robustness.statistics import abstaining, agreement
from robustness.statistics.grid import Grid
from robustness.statistics.slices import by_slice, slices

NO_PROPERTIES = (
    "Unknown: the properties of the images are missing or damaged; evaluate the images again to "
    "have slices."
)

MOST_CELLS = 4_000_000
"""Images times conditions that the tables rest on; of larger runs they rest on some images."""

ONCE_FINISHED = "Unknown until the run is finished."

SAMPLED = "Slices, changes, agreement and confidence rest on {:,} images drawn at random."

Places = NDArray[np.int64]
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Failures:
    """Where the models fail; each table is JSON-ready.

    ``quantity`` is what counts as going well: "perturbed_accuracy" or, with few labels,
    "consistency". ``slices`` are those of ``statistics.slices.by_slice``, ``changes`` and
    ``groups`` those of ``runs.changes``, ``pairs`` and ``majority`` those of
    ``statistics.agreement``, ``confidence`` and ``risk_coverage`` those of
    ``statistics.abstaining``. Entries about images have their ``selection``, the text of a
    ``Chosen``. ``unknown`` holds sentences on what this run cannot tell.
    """

    quantity: str
    slices: Entries
    changes: Entries
    groups: Entries
    pairs: Entries
    majority: Entries
    confidence: Entries
    risk_coverage: Entries
    unknown: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def of(folder: Path, manifest: Manifest, rows: Rows, properties: pa.Table | None) -> Failures:
    """The failures of the run in ``folder``, worked out once; empty until it is finished."""
    if manifest.status != FINISHED:  # each write would have them worked out anew
        return Failures("consistency", (), (), (), (), (), (), (), (ONCE_FINISHED,))
    if not manifest.images:
        return fresh(rows, properties)
    return Failures(
        **cache.stored(folder, manifest, cache.FAILURES, lambda: fresh(rows, properties).as_dict())
    )


def fresh(rows: Rows, properties: pa.Table | None) -> Failures:
    """The failures of the rows that are there now."""
    whole = rows.grids()
    sample = _sample(whole)
    grids = whole if sample is None else [_part(grid, sample) for grid in whole]
    column = rows.judged_by if grids else "consistent"
    return Failures(
        "perturbed_accuracy" if column == "correct" else "consistency",
        _slices(rows, grids, column, properties, sample),
        changes.by_condition(grids),
        changes.by_group(grids),
        _pairs(grids, column),
        agreement.majorities(grids, column),
        abstaining.by_threshold(grids, column),
        abstaining.curves(grids, column),
        [
            *([] if properties is not None else [NO_PROPERTIES]),
            *([] if sample is None else [SAMPLED.format(len(sample))]),
        ],
    )


def _sample(grids: Sequence[Grid]) -> Places | None:
    """The rows of the images to look at; None for all of them."""
    images, conditions = grids[0].there.shape if grids else (0, 1)
    most = max(1, MOST_CELLS // conditions)
    if images <= most:
        return None
    return np.sort(np.random.default_rng(0).choice(images, most, replace=False))


def _part(grid: Grid, rows: Places) -> Grid:
    def read(column: str) -> Any:
        return np.take(grid.read(column).T, rows, axis=1).T  # in the order of the memory

    return replace(grid, images=grid.images[rows], there=grid.there[rows], read=read)


def _positions(rows: Rows, sample: Places | None) -> Places:
    """The positions in the dataset of the images to look at."""
    counted: Places = rows.axes.positions[rows.axes.image_of >= 0]
    return counted if sample is None else counted[sample]


def _pairs(grids: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    found = agreement.by_pair(grids, column)
    for entry in found:
        one, other = entry["model"], entry["other"]
        entry["model_selection"] = Chosen(model=one, against=other).text
        entry["other_selection"] = Chosen(model=other, against=one).text
    return found


def _slices(
    rows: Rows,
    grids: Sequence[Grid],
    column: str,
    properties: pa.Table | None,
    sample: Places | None,
) -> list[dict[str, Any]]:
    if properties is None or not grids:
        return []
    place = {at: row for row, at in enumerate(properties["position"].to_pylist())}
    chosen = [place.get(at) for at in _positions(rows, sample).tolist()]
    table = properties.take(pa.array(chosen, pa.int64()))
    values = [grid.per_image(column) for grid in grids]
    known = [at for at, value in enumerate(values) if not np.isnan(value).all()]
    columns = {name: table[name].to_pylist() for name in table.column_names[1:]}
    names = [grids[at].model for at in known]
    found = by_slice(names, [values[at] for at in known], slices(columns))
    for entry in found:
        part = (entry["column"], entry["value"])
        entry["selection"] = Chosen(model=entry["model"], slices=(part,)).text
    return found
