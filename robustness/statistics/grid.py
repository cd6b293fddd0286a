"""Measurements as dense arrays, images x conditions, one grid a model.

A frame has one row per measurement with at least ``COLUMNS``. ``image`` tells the images of a run
apart, ``condition`` its conditions. Images of one ``image_digest``, where there is such a column,
are copies of one image, which counts once: it is no further evidence.

The compositions of a profile count alike and are one condition in every figure: an image's value is
the mean over them. ``grids`` does that, once for all tables.

Which rows of an attack count: those with a prediction to break.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.measure.condition import STORED, degree, effect, readable, series, unspecified
from robustness.measure.labels import CORRECTNESS, require_columns, with_correctness
from robustness.measure.rows import own_scores
from robustness.metrics.scores import RESCALED
from robustness.perturbations import REGISTRY

Flags = NDArray[np.bool_]


def breakable(before: NDArray[Any], top1: NDArray[Any] | int, aims: NDArray[Any]) -> Flags:
    """Whether attacks that aim at the classes ``aims`` (NaN: at none) have a prediction to break.

    An attack on a labelled image leads away from the true class: it has nothing to break if the
    model was incorrect ``before`` (0), or predicts the target already. ``top1`` are the predictions
    before. A row without a prediction to break is neither changed nor unchanged.
    """
    return np.asarray((before != 0) & (top1 != aims))


def attacks_in_sql(conditions: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """SQL of two columns of rows of the ``conditions``, and the values that it names.

    ``attacked`` says which rows are of an attack, ``counted`` all but those of one that has no
    prediction to break, by ``breakable``.
    """
    if not any(name in text for text in conditions for name in ATTACKS.names):
        return "false AS attacked, true AS counted", {}
    aims = dict(zip(conditions, targets(conditions).tolist(), strict=True))
    return _ATTACKS, {
        "attacks": list(ATTACKS.names),
        "aimed": list(aims),
        "aims": [None if math.isnan(aim) else int(aim) for aim in aims.values()],
    }


_ATTACKS = """
    list_contains($attacks, perturbation) AS attacked,
    NOT list_contains($attacks, perturbation) OR (
        clean_correct IS DISTINCT FROM false
        AND NOT coalesce(list_extract($aims, list_position($aimed, condition)) = clean_top1, false)
    ) AS counted
"""


def targets(ids: Sequence[str]) -> NDArray[np.float64]:
    """The class that the attack of each condition aims at; NaN for a condition without one."""
    aims = []
    for text in ids:
        condition = readable(text)
        own = [] if condition is None else [attack.target for attack in condition.attacks]
        aims.append(own[0] if own and own[0] is not None else np.nan)
    return np.array(aims, np.float64)


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
    to 5, where the strength is exactly one. ``profile`` is the name of that whose composition it
    is, if any.
    """

    id: str
    perturbation: str
    strength: float | None
    profile: str = ""

    @property
    def is_attack(self) -> bool:
        return self.perturbation in ATTACKS.names

    @property
    def series(self) -> str:
        """The label shared by all conditions that differ only in strength."""
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
    model is. Where profiles are one condition each, ``compositions`` is the grid of their parts.
    """

    model: str
    images: NDArray[np.object_]
    conditions: tuple[ConditionKey, ...]
    there: NDArray[np.bool_]
    read: Callable[[str], Cells]
    own: tuple[str, ...] = ()
    compositions: Grid | None = None

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

    def flags(self, column: str) -> NDArray[Any]:
        """(images, conditions) of a truth value: 0, 1, or ``UNKNOWN`` where there is none.

        They are bytes, but floats where a profile is a condition, of which they are shares.
        """
        cells = self.read(column)
        if cells.dtype == np.int8:
            return cells
        flags = np.where(np.isnan(cells), UNKNOWN, cells)
        return flags.astype(np.int8) if self.compositions is None else flags

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


def profile_groups(conditions: Sequence[ConditionKey]) -> dict[ConditionKey, list[int]]:
    """The conditions of figures, each with the places of its parts: one a profile."""
    groups: dict[ConditionKey, list[int]] = {}
    for place, key in enumerate(conditions):
        whole = ConditionKey(key.profile, key.profile, None) if key.profile else key
        groups.setdefault(whole, []).append(place)
    return groups


def effects(conditions: Sequence[ConditionKey]) -> list[str]:
    """What identifies each condition in several runs: its effect, and the whole of its profile."""
    own = [effect(key.id) for key in conditions]
    wholes = {}
    for places in profile_groups(conditions).values():
        profile = conditions[places[0]].profile
        if profile:
            effects_within = sorted(own[place] for place in places)
            wholes[profile] = "\n".join([profile, *effects_within])
    return [
        f"{text}{wholes.get(key.profile, '')}" for key, text in zip(conditions, own, strict=True)
    ]


def mean_of_groups(values: Floats, groups: Iterable[Sequence[int]]) -> Floats:
    """(n, groups): the mean of the columns of ``values`` (n, k) in each group, without NaNs."""
    parts = (
        values[:, places[0]] if len(places) == 1 else mean_of_rows(values[:, places])
        for places in groups
    )
    return np.asfortranarray(np.stack([*parts], axis=1))


def part_of(
    grid: Grid, images: NDArray[np.intp], conditions: NDArray[np.intp] | slice = slice(None)
) -> Grid:
    """``grid`` at the places ``images`` and ``conditions``."""

    def read(column: str) -> Any:  # in the order of the memory
        return np.take(grid.read(column).T[conditions], images, axis=1).T

    return replace(
        grid,
        images=grid.images[images],
        conditions=tuple(np.array(grid.conditions, object)[conditions]),
        there=grid.there[images][:, conditions],
        read=read,
    )


def count_attacks(grid: Grid) -> Grid:
    """``grid`` with ``consistent`` unknown where an attack had no prediction to break."""
    attacks = np.array([key.is_attack for key in grid.conditions], bool)
    if not attacks.any():
        return grid
    aims = targets([key.id for key in grid.conditions])

    def read(column: str) -> Cells:
        cells = grid.read(column)
        if column != "consistent":
            return cells
        top1 = UNKNOWN if np.isnan(aims).all() else grid.read("clean_top1")
        idle = attacks & ~breakable(grid.read("clean_correct"), top1, aims)
        return np.where(idle, np.nan if cells.dtype.kind == "f" else np.int8(UNKNOWN), cells)

    return replace(grid, read=read)


def pool_profiles(grid: Grid) -> Grid:
    """``grid`` with one condition a profile, under which each image has the mean of its parts."""

    def read(column: str, groups: Sequence[Sequence[int]]) -> Cells:
        return mean_of_groups(grid.values(column), groups)

    return _with_profiles(grid, read)


def draw_compositions(grid: Grid, numbers: Callable[[], NDArray[np.uint64]]) -> Grid:
    """As ``pool_profiles``, with one composition of a profile an image instead of their mean.

    It is chosen by the random ``numbers`` (images,), so that images are independent draws.
    """

    def read(column: str, groups: Sequence[Sequence[int]]) -> Cells:
        cells = grid.read(column)
        draws = numbers()
        rows = np.arange(len(cells))
        drawn = [cells[rows, np.array(places)[draws % len(places)]] for places in groups]
        return np.asfortranarray(np.stack(drawn, axis=1))

    return replace(_with_profiles(grid, read), compositions=None)


def _with_profiles(grid: Grid, read: Callable[[str, Sequence[Sequence[int]]], Cells]) -> Grid:
    """``grid`` with one condition a profile, whose cells ``read`` makes of the parts' places."""
    if not any(key.profile for key in grid.conditions):
        return grid
    groups = profile_groups(grid.conditions)
    places = list(groups.values())
    return replace(
        grid,
        conditions=tuple(groups),
        there=np.stack([grid.there[:, some].any(axis=1) for some in places], axis=1),
        read=lambda column: read(column, places),
        compositions=grid,
    )


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
    strength; profiles are one each. ``consistent`` is that of ``count_attacks``. Raises
    ``ParameterError`` if a column is missing.
    """
    if isinstance(measured, pd.DataFrame):
        require_columns(measured, ("image", "model", "perturbation", "strength", "consistent"))
        frame = with_conditions(with_correctness(without_copies(measured)))
        if "clean_top1" not in frame:
            frame = frame.assign(clean_top1=np.nan)
        measured = [count_attacks(grid) for grid in laid_out(frame)]
    return [pool_profiles(grid) for grid in measured]


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
    profiles = {}
    if "profile" in frame.columns:
        named = frame["profile"].iloc[first]
        profiles = {str(i): str(name) for i, name in zip(ids, named, strict=True) if pd.notna(name)}
    order, keys = in_order([str(text) for text in ids], list(names), levels.tolist(), profiles)
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return place[condition_of], keys


def in_order(
    ids: Sequence[str],
    perturbations: Sequence[str],
    strengths: Sequence[float],
    profiles: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[int], tuple[ConditionKey, ...]]:
    """(the order of conditions, their keys): by perturbation as they appear, then by strength.

    ``strengths`` are NaN where a composition has several. ``profiles`` has, by id, the name of that
    whose composition it is.
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
            ids[at],
            perturbations[at],
            None if math.isnan(strengths[at]) else float(strengths[at]),
            profiles.get(ids[at], ""),
        )
        for at in order
    )
