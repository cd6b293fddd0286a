"""Where and why the models of a run fail: tables that page, report, command and Python share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from robustness import models
from robustness.evaluation.request import Request
from robustness.models.weights.weight_files import is_calibrated
from robustness.runs import cache
from robustness.runs.manifest import FINISHED, Manifest
from robustness.runs.row_selection import Chosen
from robustness.runs.rows import Rows
from robustness.statistics import agreement, thresholds
from robustness.statistics.calibration import fits_temperature
from robustness.statistics.measurement_grid import (
    Grid,
    draw_compositions,
    pool_profiles,
    profile_groups,
)
from robustness.statistics.slices import by_slice, slices

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
    "consistency". ``slices`` are those of ``statistics.slices.by_slice``, ``changes`` those of
    ``changes_by_condition``, ``pairs`` and ``majority`` those of ``statistics.agreement``,
    ``thresholds`` those of ``safe_thresholds``, and ``risk_coverage`` those of ``curves`` in
    ``statistics.thresholds``. Entries about images have their ``selection``, the text of a
    ``Chosen``. ``unknown`` holds sentences on what this run cannot tell.
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


def of(folder: Path, manifest: Manifest, rows: Rows, properties: pa.Table | None) -> Failures:
    """The failures of the run in ``folder``, worked out once; empty until it is finished."""
    if manifest.status != FINISHED:  # each write would have them worked out anew
        return Failures("consistency", (), (), (), (), (), (), (ONCE_FINISHED,))
    if not manifest.images:
        return fresh(rows, properties)
    return cache.stored(
        folder,
        manifest,
        cache.FAILURES,
        Failures,
        lambda: fresh(rows, properties, calibrated(manifest.spec)),
    )


def calibrated(spec: Request) -> tuple[str, ...]:
    """The models of ``spec`` that a temperature was fitted for."""
    return tuple(name for name, digest in spec.models if is_calibrated(digest))


def fresh(rows: Rows, properties: pa.Table | None, calibrated: Sequence[str] = ()) -> Failures:
    """The failures of the rows that are there now; ``calibrated`` are models with a temperature."""
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    return Failures(
        "perturbed_accuracy" if column == "correct" else "consistency",
        _slices(rows, grids, column, properties, sample),
        changes_by_condition(grids),
        _pairs(grids, column),
        agreement.majorities(grids, column),
        thresholds.safe_thresholds(_certifying(rows, grids, sample, calibrated), column),
        thresholds.curves(_draw_of_profiles(rows, grids, sample), column),
        [
            *([] if properties is not None else [NO_PROPERTIES]),
            *([] if sample is None else [SAMPLED.format(len(sample))]),
        ],
    )


def safe_thresholds(
    rows: Rows,
    max_error: float = thresholds.MAX_ERROR,
    promise: thresholds.Promise = "suite",
    groups: Mapping[str, str] | None = None,
    calibrated: Sequence[str] = (),
) -> Entries:
    """``statistics.thresholds.safe_thresholds`` of the images that other tables rest on, too.

    Those of the ``calibrated`` models rest on the images that fit no temperature.
    """
    grids, sample = _sampled(rows)
    column = rows.judged_by if grids else "consistent"
    grids = _certifying(rows, grids, sample, calibrated)
    return thresholds.safe_thresholds(grids, column, max_error, promise, groups)


def _certifying(
    rows: Rows, grids: Sequence[Grid], sample: Places | None, calibrated: Sequence[str]
) -> Sequence[Grid]:
    """As ``_draw_of_profiles``; of ``calibrated`` models the images that fit no temperature."""
    grids = _draw_of_profiles(rows, grids, sample)
    if not calibrated or not grids:
        return grids
    digests = rows.axes.digests if sample is None else rows.axes.digests[sample]
    rest = np.flatnonzero([not fits_temperature(digest) for digest in digests])
    return [_part(grid, rest) if grid.model in calibrated else grid for grid in grids]


def _draw_of_profiles(rows: Rows, grids: Sequence[Grid], sample: Places | None) -> Sequence[Grid]:
    """``grids`` with one random composition of each profile an image: images are independent."""
    chosen = slice(None) if sample is None else sample
    return [draw_compositions(grid, lambda: rows.draws[chosen]) for grid in grids]


def _sampled(rows: Rows) -> tuple[Sequence[Grid], Places | None]:
    """The grids of the images to look at, and the rows of these in those of all; None for all."""
    grids = rows.grids()
    sample = _sample(grids)
    return (grids, None) if sample is None else ([_part(g, sample) for g in grids], sample)


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
    pairs = agreement.by_pair(grids, column)
    for entry in pairs:
        one, other = entry["model"], entry["other"]
        entry["model_selection"] = Chosen(model=one, against=other).text
        entry["other_selection"] = Chosen(model=other, against=one).text
    return pairs


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
    values = [pool_profiles(grid).per_image(column) for grid in grids]
    measured = [at for at, value in enumerate(values) if not np.isnan(value).all()]
    columns = {name: table[name].to_pylist() for name in table.column_names[1:]}
    names = [grids[at].model for at in measured]
    entries = by_slice(names, [values[at] for at in measured], slices(columns))
    for entry in entries:
        part = (entry["column"], entry["value"])
        entry["selection"] = Chosen(model=entry["model"], slices=(part,)).text
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
            "selection": Chosen(
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
    parts = {"": codes} | {key.id: codes[places] for key, places in groups}
    return {
        condition: _most_frequent(_of_images(own, classes), classes)
        for condition, own in parts.items()
    }


def _of_images(codes: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """The changes in ``codes`` (conditions, images), once for each image; -1 is none."""
    if len(codes) == 1:
        return codes[codes >= 0]
    images = np.nonzero(codes >= 0)[1]
    of_images = np.sort(images * classes**2 + codes[codes >= 0])  # np.unique is ten times slower
    return of_images[np.diff(of_images, prepend=-1) > 0] % classes**2


def _most_frequent(codes: NDArray[np.int64], classes: int) -> list[tuple[int, int, int, int]]:
    distinct, counts = np.unique(codes, return_counts=True)
    order = np.lexsort((distinct, -counts))[:MOST_CHANGES]
    return [
        (*divmod(code, classes), images, len(codes))
        for code, images in zip(distinct[order].tolist(), counts[order].tolist(), strict=True)
    ]
