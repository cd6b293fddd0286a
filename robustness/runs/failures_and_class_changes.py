"""Where and why the models of a run fail: tables that page, report, command and Python share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustness import models
from robustness.models.weights.weights_state_and_digest import is_calibrated
from robustness.runs.row_queries_and_cells import Rows
from robustness.runs.row_selection import RowSelection
from robustness.statistics import agreement_and_majority_vote, safe_confidence_thresholds
from robustness.statistics.calibration import fits_temperature
from robustness.statistics.image_slices import by_slice, slices
from robustness.statistics.measurement_grid import (
    Grid,
    draw_compositions,
    part_of,
    pool_profiles,
    profile_groups,
)

NO_PROPERTIES = "Unknown: no properties of the images were measured, which slices need."

MOST_CELLS = 4_000_000
"""Images times conditions that the tables rest on; of larger runs they rest on some images."""

MOST_CHANGES = 20
"""Changes that are kept of each model and condition."""

ONCE_FINISHED = "Unknown until the run is finished."

SAMPLED = "Slices, changes, agreement and confidence use {:,} images drawn at random."

Places = NDArray[np.int64]
Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Failures:
    """Where the models fail; each table is JSON-ready.

    ``quantity`` is what counts as going well: "perturbed_accuracy" or, with few labels,
    "consistency". ``slices`` are those of ``image_slices.by_slice``, ``changes`` those of
    ``changes_by_condition``, ``pairs`` and ``majority`` those of ``statistics``,
    ``thresholds`` those of ``safe_thresholds``, and ``risk_coverage`` those of ``curves``
    beside it. Entries about images have their ``selection``, the text of a ``RowSelection``.
    ``unknown`` holds sentences on what this run cannot tell.
    """

    quantity: str
    slices: Entries
    changes: Entries
    pairs: Entries
    majority: Entries
    thresholds: Entries
    risk_coverage: Entries
    unknown: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def failure_tables(rows: Rows, properties: pa.Table | None) -> Failures:
    """The failures in ``rows``, whose images have these ``properties``."""
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    drawn = _draw_of_profiles(rows, grids, sample)
    pairs = agreement_and_majority_vote.by_pair(grids, column)
    for entry in pairs:
        one, other = entry["model"], entry["other"]
        entry["model_selection"] = RowSelection(model=one, against=other).text
        entry["other_selection"] = RowSelection(model=other, against=one).text
    is_sampled = len(sample) < len(rows.axes.images)
    return Failures(
        "perturbed_accuracy" if column == "correct" else "consistency",
        _slices(rows, grids, column, properties, sample),
        changes_by_condition(grids),
        pairs,
        agreement_and_majority_vote.majorities(grids, column),
        safe_confidence_thresholds.safe_thresholds(_certifying(rows, drawn, sample), column),
        safe_confidence_thresholds.curves(drawn, column),
        [
            *([] if properties is not None else [NO_PROPERTIES]),
            *([SAMPLED.format(len(sample))] if is_sampled else []),
        ],
    )


def safe_thresholds(
    rows: Rows,
    max_error: float = safe_confidence_thresholds.MAX_ERROR,
    promise: safe_confidence_thresholds.Promise = "suite",
    groups: Mapping[str, str] | None = None,
) -> Entries:
    """``safe_thresholds`` of the images that other tables rest on, too.

    Those of models with a temperature rest on the images that fit none.
    """
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    certifying = _certifying(rows, _draw_of_profiles(rows, grids, sample), sample)
    return safe_confidence_thresholds.safe_thresholds(
        certifying, column, max_error, promise, groups
    )


def _sampled(rows: Rows) -> tuple[list[Grid], Places]:
    """The grids of the images to look at, and the places of these among all."""
    grids = rows.grids()
    images, conditions = grids[0].there.shape if grids else (0, 1)
    most = max(1, MOST_CELLS // conditions)
    if images <= most:
        return grids, np.arange(images)
    sample = np.sort(np.random.default_rng(0).choice(images, most, replace=False))
    return [part_of(grid, sample) for grid in grids], sample


def _draw_of_profiles(rows: Rows, grids: Sequence[Grid], sample: Places) -> list[Grid]:
    """``grids`` with one random composition of each profile an image: images are independent."""
    return [draw_compositions(grid, lambda: rows.draws[sample]) for grid in grids]


def _certifying(rows: Rows, grids: Sequence[Grid], sample: Places) -> Sequence[Grid]:
    """``grids``, those of models with a temperature without the images that it was fitted on."""
    calibrated = {name for name, digest in rows.spec.models if is_calibrated(digest)}
    if not calibrated or not grids:
        return grids
    digests = rows.axes.digests[sample]
    rest = np.flatnonzero([not fits_temperature(digest) for digest in digests])
    return [part_of(grid, rest) if grid.model in calibrated else grid for grid in grids]


def _slices(
    rows: Rows,
    grids: Sequence[Grid],
    column: str,
    properties: pa.Table | None,
    sample: Places,
) -> list[dict[str, Any]]:
    if properties is None or not grids:
        return []
    place = {at: row for row, at in enumerate(properties["position"].to_pylist())}
    positions = rows.axes.positions[rows.axes.image_of >= 0][sample]
    table = properties.take(pa.array([place.get(at) for at in positions.tolist()], pa.int64()))
    values = [pool_profiles(grid).per_image(column) for grid in grids]
    measured = [at for at, value in enumerate(values) if not np.isnan(value).all()]
    columns = {name: table[name].to_pylist() for name in table.column_names[1:]}
    names = [grids[at].model for at in measured]
    entries = by_slice(names, [values[at] for at in measured], slices(columns))
    for entry in entries:
        part = (entry["column"], entry["value"])
        entry["selection"] = RowSelection(model=entry["model"], slices=(part,)).text
    return entries


def changes_by_condition(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """The most frequent changes of each model under each condition, and under any ("").

    Under any condition, as under any composition of a profile, an image counts once for each
    change. An attack counts where it had a
    prediction to break, as in the consistency.

    Keys: ``model``, ``condition``, ``before`` and ``after`` (names of classes), ``n_images``,
    ``share`` (of all changes) and ``selection``.
    """
    counts = {grid.model: _counts(grid) for grid in grids}  # one at a time: its arrays are large
    return [
        {
            "model": model,
            "condition": condition,
            "before": models.class_name(model, before),
            "after": models.class_name(model, after),
            "n_images": images,
            "share": images / every,
            "selection": RowSelection(
                model=model,
                conditions=(condition,) if condition else (),
                became=(before, after),
            ).text,
        }
        for conditions in (
            {""},
            {key.id for grid in grids for key in profile_groups(grid.conditions)},
        )
        for model in sorted(counts)
        for condition in sorted(conditions)
        for before, after, images, every in counts[model][condition]
    ]


def _counts(grid: Grid) -> dict[str, list[tuple[int, int, int, int]]]:
    """By condition, "" is any: (before, after, images, all changes) of the most frequent."""
    before, after = grid.values("clean_top1"), grid.values("top1")
    changed = (grid.flags("consistent") == 0) & ~np.isnan(before) & ~np.isnan(after)
    classes = 1 + int(np.where(changed, np.maximum(before, after), 0).max(initial=0))
    codes = np.where(changed, before * classes + after, -1).astype(np.int64).T  # by conditions
    groups = profile_groups(grid.conditions).items()
    counts = {}
    for condition, own in {"": codes, **{key.id: codes[places] for key, places in groups}}.items():
        changes = own[own >= 0]
        if len(own) > 1:  # each once for each image; np.unique is ten times slower
            changes = np.sort(np.nonzero(own >= 0)[1] * classes**2 + changes)
            changes = changes[np.diff(changes, prepend=-1) > 0] % classes**2
        distinct, images = np.unique(changes, return_counts=True)
        order = np.lexsort((distinct, -images))[:MOST_CHANGES]
        counts[condition] = [
            (*divmod(code, classes), count, len(changes))
            for code, count in zip(distinct[order].tolist(), images[order].tolist(), strict=True)
        ]
    return counts
