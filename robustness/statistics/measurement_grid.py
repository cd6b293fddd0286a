"""Measurements as dense arrays, images x conditions, one grid a model.

A frame has one row per measurement with at least ``COLUMNS``. ``image`` tells the images of a run
apart, ``condition`` its conditions. Images of one ``image_digest``, where there is such a column,
are copies of one image, which counts once: it is no further evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.evaluation.condition import STORED, degree, series, unspecified
from robustness.evaluation.correctness import CORRECTNESS, require_columns, with_correctness
from robustness.evaluation.row_schema import own_scores
from robustness.metrics.features import RESCALED
from robustness.perturbations import REGISTRY
from robustness.statistics.counted_attacks import as_counted

Floats = NDArray[np.float64]
Places = slice | Sequence[int]

MEANS = (
    *(m.name for m in metrics.REGISTRY if math.isfinite(m.high) and m.name != "consistent"),
    *RESCALED.values(),
)
"""Metrics of which a mean makes sense; a PSNR is infinite where nothing changed."""

COLUMNS = (
    "image",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_probability",
    "probability",
    "consistent",
    *MEANS,
    *CORRECTNESS,
)
"""The columns of a measurement that this package reads.

In place of ``CORRECTNESS`` a frame may have ``clean_top1``, ``top1``, ``clean_top5`` and ``top5``;
without ``condition``, a perturbation at a strength counts as one."""


@dataclass(frozen=True)
class ConditionKey:
    """A condition by its ``id``, with what that and its rows say of it.

    ``strength`` is None where several perturbations have one. ``severity`` is that of ImageNet-C, 1
    to 5, where the strength is exactly one.
    """

    id: str
    perturbation: str
    strength: float | None

    @property
    def is_attack(self) -> bool:
        return self.perturbation in ATTACKS.names

    @property
    def series(self) -> str:
        """The label of all conditions that differ from this one in strength alone."""
        return series(self.id)

    @property
    def severity(self) -> int | None:
        name, strength = degree(self.id) or (self.perturbation, self.strength)
        if strength is not None and name.startswith(STORED):
            return round(5 * strength)
        if strength is None or name not in REGISTRY:
            return None
        marks = REGISTRY[name].severity_strengths
        levels = [
            place
            for place, mark in enumerate(marks, start=1)
            if math.isclose(mark, strength, abs_tol=1e-9)
        ]
        return levels[0] if levels else None


UNKNOWN = -1
"""A flag of a narrow grid that is neither true nor false: there is no row, or no label."""

Cells = NDArray[np.int8] | NDArray[np.int32] | NDArray[np.float64]
"""(images, conditions): flags as 0, 1 and ``UNKNOWN``, classes with ``UNKNOWN``, or numbers with
NaN."""


@dataclass(frozen=True)
class Grid:
    """The rows of one model; all grids of a run have the same ``images`` and ``conditions``.

    ``there`` (images, conditions) says where there is a row. ``read`` returns the cells of a
    column, which are not to be changed; it may read them from disk each time. ``own`` are the
    columns of plugins' metrics. A further axis, such as a remedy, is a further grid, as another
    model is.
    """

    model: str
    images: NDArray[np.object_]
    conditions: tuple[ConditionKey, ...]
    there: NDArray[np.bool_]
    read: Callable[[str], Cells]
    own: tuple[str, ...] = ()

    @property
    def n_images(self) -> int:
        """How many images have a row."""
        return int(self.there.any(axis=1).sum())

    def values(self, column: str) -> Floats:
        """(images, conditions) of a number or truth value; NaN where there is none. Read-only."""
        return next(self.parts(column, [slice(None)]))

    def parts(self, column: str, conditions: Iterable[Places]) -> Iterator[Floats]:
        """As ``values``, for some conditions at a time; the column is read once."""
        cells = self.read(column)
        for places in conditions:
            chosen = cells[:, places]
            values = chosen.astype(np.float64, copy=False)
            if cells.dtype.kind == "i":
                values[chosen == UNKNOWN] = np.nan
            values.flags.writeable = False
            yield values

    def flags(self, column: str) -> NDArray[np.int8]:
        """(images, conditions) of a truth value: 0, 1, or ``UNKNOWN`` where there is none."""
        cells = self.read(column)
        if cells.dtype == np.int8:
            return cells  # type: ignore[return-value]
        return np.where(np.isnan(cells), UNKNOWN, cells).astype(np.int8)

    def blocks(self, cells: int) -> list[slice]:
        """The conditions in blocks of at most ``cells``, to work on one after the other."""
        step = max(1, cells // max(1, len(self.images)))
        return [slice(at, at + step) for at in range(0, len(self.conditions), step)]

    def per_image(self, column: str) -> Floats:
        """(images,): mean over the conditions that are there; NaN where there is none."""
        cells = self.read(column)
        if cells.dtype.kind != "i":
            return mean_of_rows(self.values(column))
        present = cells != UNKNOWN
        return ratio(np.where(present, cells, 0).sum(axis=1), present.sum(axis=1))


def mean_of_rows(values: Floats) -> Floats:
    """(n,): the mean of each row without its NaNs; NaN for a row of nothing else."""
    gone = np.isnan(values)
    filled = np.where(gone, 0.0, values) if gone.any() else values
    return ratio(filled.sum(axis=1), (~gone).sum(axis=1))


def ratio(totals: NDArray[Any], counts: NDArray[np.intp]) -> Floats:
    """``totals`` (n,) divided by ``counts`` (n,); NaN for none."""
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


_THREADS = 2
_SMALL = 1_000_000  # cells of all grids

T = TypeVar("T")


def map_grids(work: Callable[..., T], some: Sequence[Grid], *more: Iterable[Any]) -> list[T]:
    """As ``map``, of grids; in two threads if they are large, as NumPy leaves others running."""
    if sum(grid.there.size for grid in some) < _SMALL:
        return list(map(work, some, *more))
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, some, *more))


Measured = pd.DataFrame | Sequence[Grid]
"""Measurements: a frame with one row each, or their grids."""


def grids(measured: Measured) -> Sequence[Grid]:
    """One grid a model, in order of appearance, with the columns ``CORRECTNESS``.

    Images are in the order of their ids, conditions by perturbation as they appear and by growing
    strength. ``consistent`` is as ``as_counted`` has it. Raises
    ``ParameterError`` if a column is missing. Grids are returned as they are.
    """
    if not isinstance(measured, pd.DataFrame):
        return measured
    require_columns(measured, ("image", "model", "perturbation", "strength", "consistent"))
    return laid_out(as_counted(with_conditions(with_correctness(without_copies(measured)))))


def without_copies(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``frame`` of the first image, by its id, of each ``image_digest``."""
    if "image_digest" not in frame.columns:
        return frame
    image_of, images = pd.factorize(frame["image"], sort=True)
    digest_of, digests = pd.factorize(frame["image_digest"])
    if len(digests) == len(images) or (digest_of < 0).any():
        return frame
    first = np.full(len(digests), len(images))
    np.minimum.at(first, digest_of, image_of)
    return frame[first[digest_of] == image_of]


def contradictory(frame: pd.DataFrame) -> int:
    """How many images of ``frame`` have copies with another label."""
    if not {"image_digest", "label"} <= {*frame.columns}:
        return 0
    labels = frame.groupby(["model", "image_digest"], observed=True)["label"].nunique()
    return labels[labels > 1].index.get_level_values("image_digest").nunique()


def laid_out(frame: pd.DataFrame) -> list[Grid]:
    """As ``grids``, of whatever else ``frame`` holds."""
    image_of, images = pd.factorize(frame["image"], sort=True)
    condition_of, conditions = _conditions(frame)
    model_of, names = pd.factorize(frame["model"])
    shape = len(images), len(conditions)
    own = tuple(name for name in own_scores() if name in frame)
    grids = []
    for code, name in enumerate(names):
        places = np.flatnonzero(model_of == code)
        cells = image_of[places], condition_of[places]
        there = np.zeros(shape, bool)
        there[cells] = True
        read = partial(_cells, frame, places, cells, shape)
        ids = np.asarray(images, dtype=object)
        grids.append(Grid(str(name), ids, conditions, there, read, own))
    return grids


def _cells(
    frame: pd.DataFrame,
    places: NDArray[np.intp],
    cells: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, int],
    column: str,
) -> Floats:
    """The values of ``column`` in the rows ``places``, each in its cell."""
    laid = np.full(shape, np.nan)
    laid[cells] = frame[column].iloc[places].to_numpy(float, na_value=np.nan)
    return laid


def with_conditions(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the column ``condition``: worked out as far as a row tells if it lacks it."""
    if "condition" in frame.columns:
        return frame
    require_columns(frame, ("perturbation", "strength"))
    pairs = zip(frame["perturbation"], frame["strength"].astype(float), strict=True)
    ids = [unspecified(str(name), None if math.isnan(level) else level) for name, level in pairs]
    return frame.assign(condition=pd.Categorical(ids))


def _conditions(frame: pd.DataFrame) -> tuple[NDArray[np.intp], tuple[ConditionKey, ...]]:
    """(place of each row's condition, the conditions): by perturbation, then by strength."""
    condition_of, ids = pd.factorize(frame["condition"])
    first = np.unique(condition_of, return_index=True)[1]
    names = frame["perturbation"].iloc[first].astype(str)
    levels = frame["strength"].iloc[first].to_numpy(float, na_value=np.nan)
    order, keys = in_order([str(text) for text in ids], list(names), levels.tolist())
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return place[condition_of], keys


def in_order(
    ids: Sequence[str], perturbations: Sequence[str], strengths: Sequence[float]
) -> tuple[list[int], tuple[ConditionKey, ...]]:
    """(the order of conditions, their keys): by perturbation as they appear, then by strength.

    ``strengths`` are NaN where a composition has several.
    """
    place_of = {name: at for at, name in enumerate(dict.fromkeys(perturbations))}
    order = sorted(
        range(len(ids)),
        key=lambda at: (
            place_of[perturbations[at]],
            -1.0 if math.isnan(strengths[at]) else strengths[at],
        ),
    )
    return order, tuple(
        ConditionKey(
            ids[at], perturbations[at], None if math.isnan(strengths[at]) else float(strengths[at])
        )
        for at in order
    )
