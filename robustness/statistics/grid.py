"""Measurements as dense arrays, images x conditions, one grid a model.

A frame has one row per measurement with at least ``COLUMNS``. ``image`` tells the images of a run
apart, ``condition`` its conditions. Images of one ``image_digest``, where there is such a column,
are copies of one image, which counts once: it is no further evidence.

The compositions of a profile count alike and are one condition in every figure: an image's value is
the mean over them. ``grids`` does that, once for all tables.

Which rows of an attack count: those with a prediction to break.
"""

from __future__ import annotations

import hashlib
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


def breakable(
    clean_correct: NDArray[Any], clean_top1: NDArray[Any] | int, targets: NDArray[Any]
) -> Flags:
    """Whether attacks on the classes ``targets`` (NaN: without one) have a prediction to break.

    An attack on a labelled image leads away from the true class: it has nothing to break if the
    model was incorrect on the original (``clean_correct`` is 0), or predicts the target already. A
    row without a prediction to break is neither changed nor unchanged.
    """
    return np.asarray((clean_correct != 0) & (clean_top1 != targets))


def attacks_in_sql(conditions: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """SQL of two columns of rows of the ``conditions``, and the values that it names.

    ``attacked`` says which rows are of an attack, ``counted`` all but those of one that has no
    prediction to break, by ``breakable``.
    """
    if not any(name in text for text in conditions for name in ATTACKS.names):
        return "false AS attacked, true AS counted", {}
    target_of = dict(zip(conditions, targets(conditions).tolist(), strict=True))
    return _ATTACKS, {
        "attacks": list(ATTACKS.names),
        "aimed": list(target_of),
        "aims": [None if math.isnan(target) else int(target) for target in target_of.values()],
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
    found = []
    for text in ids:
        condition = readable(text)
        target = None
        if condition is not None and condition.attacks:
            target = condition.attacks[0].target
        found.append(np.nan if target is None else target)
    return np.array(found, np.float64)


Floats = NDArray[np.float64]
Columns = slice | Sequence[int]
"""Positions of conditions: the columns of an array (images, conditions)."""

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
        if strength is None:
            return None
        if name.startswith(STORED):
            return round(5 * strength)
        if name not in REGISTRY:
            return None
        for severity, at_severity in enumerate(REGISTRY[name].severity_strengths, start=1):
            if math.isclose(at_severity, strength, abs_tol=1e-9):
                return severity
        return None


UNKNOWN = -1
"""A flag of a narrow grid that is neither true nor false: there is no row, or no label."""

Cells = NDArray[np.int8] | NDArray[np.int32] | NDArray[np.float64]
"""(images, conditions): flags as 0, 1 and ``UNKNOWN``, classes with ``UNKNOWN``, or numbers with
NaN."""


@dataclass(frozen=True)
class Grid:
    """The rows of one model; all grids of a run have the same ``images`` and ``conditions``.

    ``has_row`` (images, conditions) says where there is a row. ``read`` returns the cells of a
    column, which are not to be changed; it may read them from disk each time. ``plugin_columns``
    are those of plugins' metrics. A further axis, such as a remedy, is a further grid, as another
    model is. Where profiles are one condition each, ``compositions`` is the grid of their parts.
    ``digests`` (images,) are those of the images, None if they are unknown.
    """

    model: str
    images: NDArray[np.object_]
    conditions: tuple[ConditionKey, ...]
    has_row: NDArray[np.bool_]
    read: Callable[[str], Cells]
    plugin_columns: tuple[str, ...] = ()
    compositions: Grid | None = None
    digests: NDArray[np.object_] | None = None

    @property
    def chooses(self) -> Flags:
        """(images,): which images choose among conditions; the others judge the chosen one.

        A condition that is chosen and judged on the same images looks worse than it is. The digest
        of an image alone decides, or its name without digests, so that all runs agree.
        """
        texts = self.images if self.digests is None else self.digests
        return np.array([_chooses(str(text)) for text in texts], bool)

    @property
    def n_images(self) -> int:
        """How many images have a row."""
        return int(self.has_row.any(axis=1).sum())

    def values(self, column: str) -> Floats:
        """(images, conditions) of a number or truth value; NaN where there is none. Read-only."""
        return next(self.parts(column, [slice(None)]))

    def parts(self, column: str, blocks: Iterable[Columns]) -> Iterator[Floats]:
        """As ``values``, for one block of conditions after the other; the column is read once."""
        cells = self.read(column)
        for block in blocks:
            block_cells = cells[:, block]
            values = block_cells.astype(np.float64, copy=False)
            if cells.dtype.kind == "i":
                values[block_cells == UNKNOWN] = np.nan
            values.flags.writeable = False
            yield values

    def flags(self, column: str) -> NDArray[Any]:
        """(images, conditions) of a truth value: 0, 1, or ``UNKNOWN`` where there is none.

        They are bytes, but floats where a profile is a condition, of which they are shares, and
        where another system's scores from 0 to 1 take their place.
        """
        cells = self.read(column)
        if cells.dtype == np.int8:
            return cells
        flags = np.where(np.isnan(cells), UNKNOWN, cells)
        if self.compositions is not None:
            return flags
        narrow = flags.astype(np.int8)
        return narrow if np.array_equal(narrow, flags) else flags

    def blocks(self, most_cells: int) -> list[slice]:
        """The conditions in blocks of at most ``most_cells``, to work on one after the other."""
        step = max(1, most_cells // max(1, len(self.images)))
        return [slice(start, start + step) for start in range(0, len(self.conditions), step)]

    def per_image(self, column: str) -> Floats:
        """(images,): mean over the conditions with a value; NaN where there is none."""
        cells = self.read(column)
        if cells.dtype.kind != "i":
            return mean_of_rows(self.values(column))
        present = cells != UNKNOWN
        return ratio(np.where(present, cells, 0).sum(axis=1), present.sum(axis=1))


def _chooses(digest: str) -> bool:
    return hashlib.sha256(f"condition {digest}".encode()).digest()[0] % 2 == 0


def profile_groups(conditions: Sequence[ConditionKey]) -> dict[ConditionKey, list[int]]:
    """The conditions of figures, each with the positions of its parts: a profile is one condition.

    A condition without a profile is its own only part.
    """
    groups: dict[ConditionKey, list[int]] = {}
    for index, key in enumerate(conditions):
        figure_key = key
        if key.profile:
            figure_key = ConditionKey(key.profile, key.profile, None)
        groups.setdefault(figure_key, []).append(index)
    return groups


def effects(conditions: Sequence[ConditionKey]) -> list[str]:
    """What identifies each condition in several runs: its effect, and the whole of its profile."""
    effect_of = [effect(key.id) for key in conditions]
    text_of_profile = {}
    for members in profile_groups(conditions).values():
        profile = conditions[members[0]].profile
        if profile:
            effects_within = sorted(effect_of[index] for index in members)
            text_of_profile[profile] = "\n".join([profile, *effects_within])
    return [
        f"{text}{text_of_profile.get(key.profile, '')}"
        for key, text in zip(conditions, effect_of, strict=True)
    ]


def mean_of_groups(values: Floats, groups: Iterable[Sequence[int]]) -> Floats:
    """(n, groups): the mean of the columns of ``values`` (n, k) in each group, without NaNs."""
    means = []
    for columns in groups:
        if len(columns) == 1:
            means.append(values[:, columns[0]])
        else:
            means.append(mean_of_rows(values[:, columns]))
    return np.asfortranarray(np.stack(means, axis=1))


def part_of(
    grid: Grid, images: NDArray[np.intp], conditions: NDArray[np.intp] | slice = slice(None)
) -> Grid:
    """``grid`` at the positions ``images`` and ``conditions``."""

    def read(column: str) -> Any:
        # Columns lie in memory one after the other, so they are chosen before the images.
        return np.take(grid.read(column).T[conditions], images, axis=1).T

    return replace(
        grid,
        images=grid.images[images],
        conditions=tuple(np.array(grid.conditions, object)[conditions]),
        has_row=grid.has_row[images][:, conditions],
        read=read,
    )


def count_attacks(grid: Grid) -> Grid:
    """``grid`` with ``consistent`` unknown where an attack had no prediction to break."""
    is_attack = np.array([key.is_attack for key in grid.conditions], bool)
    if not is_attack.any():
        return grid
    target_classes = targets([key.id for key in grid.conditions])

    def read(column: str) -> Cells:
        cells = grid.read(column)
        if column != "consistent":
            return cells
        clean_top1: Cells | int = UNKNOWN
        if not np.isnan(target_classes).all():  # only a target needs another column read
            clean_top1 = grid.read("clean_top1")
        can_break = breakable(grid.read("clean_correct"), clean_top1, target_classes)
        unknown = np.nan if cells.dtype.kind == "f" else np.int8(UNKNOWN)
        return np.where(is_attack & ~can_break, unknown, cells)

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
        images = np.arange(len(cells))
        drawn = []
        for members in groups:
            member_of_image = np.array(members)[draws % len(members)]
            drawn.append(cells[images, member_of_image])
        return np.asfortranarray(np.stack(drawn, axis=1))

    return replace(_with_profiles(grid, read), compositions=None)


def _with_profiles(grid: Grid, read: Callable[[str, Sequence[Sequence[int]]], Cells]) -> Grid:
    """``grid`` with one condition a profile.

    ``read`` makes the cells of a column from the positions of the parts of each condition.
    """
    if not any(key.profile for key in grid.conditions):
        return grid
    groups = profile_groups(grid.conditions)
    members = list(groups.values())
    has_row = [grid.has_row[:, columns].any(axis=1) for columns in members]
    return replace(
        grid,
        conditions=tuple(groups),
        has_row=np.stack(has_row, axis=1),
        read=lambda column: read(column, members),
        compositions=grid,
    )


def mean_of_rows(values: Floats) -> Floats:
    """(n,): the mean of each row without its NaNs; NaN for a row of nothing else."""
    missing = np.isnan(values)
    filled = values
    if missing.any():  # most columns have all values, and need no copy
        filled = np.where(missing, 0.0, values)
    return ratio(filled.sum(axis=1), (~missing).sum(axis=1))


def ratio(totals: NDArray[Any], counts: NDArray[np.intp]) -> Floats:
    """``totals`` (n,) divided by ``counts`` (n,); NaN for a count of 0."""
    return np.divide(totals, counts, out=np.full(len(counts), np.nan), where=counts > 0)


_THREADS = 2
_SMALL = 1_000_000  # cells of all grids

T = TypeVar("T")


def map_grids(work: Callable[..., T], grids: Sequence[Grid], *more: Iterable[Any]) -> list[T]:
    """As ``map``, over grids; in two threads if they are large, as NumPy releases the interpreter's
    lock."""
    if sum(grid.has_row.size for grid in grids) < _SMALL:
        return list(map(work, grids, *more))
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, grids, *more))


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
    image_codes, images = pd.factorize(frame["image"], sort=True)
    digest_codes, digests = pd.factorize(frame["image_digest"])
    is_missing = (digest_codes < 0).any()
    if len(digests) == len(images) or is_missing:
        return frame
    first_image = np.full(len(digests), len(images))
    np.minimum.at(first_image, digest_codes, image_codes)
    return frame[first_image[digest_codes] == image_codes]


def contradictory(frame: pd.DataFrame) -> int:
    """How many images of ``frame`` have copies with another label."""
    if not {"image_digest", "label"} <= {*frame.columns}:
        return 0
    labels = frame.groupby(["model", "image_digest"], observed=True)["label"].nunique()
    return labels[labels > 1].index.get_level_values("image_digest").nunique()


def laid_out(frame: pd.DataFrame) -> list[Grid]:
    """As ``grids``, but compositions of a profile stay conditions, and any columns will do."""
    image_codes, images = pd.factorize(frame["image"], sort=True)
    condition_codes, conditions = _conditions(frame)
    model_codes, names = pd.factorize(frame["model"])
    shape = len(images), len(conditions)
    grids = []
    for code, name in enumerate(names):
        rows = np.flatnonzero(model_codes == code)
        cells = image_codes[rows], condition_codes[rows]
        has_row = np.zeros(shape, bool)
        has_row[cells] = True
        grids.append(
            Grid(
                model=str(name),
                images=np.asarray(images, dtype=object),
                conditions=conditions,
                has_row=has_row,
                read=partial(_read_cells, frame, rows, cells, shape),
                plugin_columns=tuple(name for name in own_scores() if name in frame),
            )
        )
    return grids


def _read_cells(
    frame: pd.DataFrame,
    rows: NDArray[np.intp],
    cells: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, int],
    column: str,
) -> Floats:
    """The values of ``column`` in the ``rows`` of ``frame``, each in its cell."""
    values = np.full(shape, np.nan)
    values[cells] = frame[column].iloc[rows].to_numpy(float, na_value=np.nan)
    return values


def with_conditions(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the column ``condition``: worked out as far as a row tells if it lacks it."""
    if "condition" in frame.columns:
        return frame
    require_columns(frame, ("perturbation", "strength"))
    ids = []
    strengths = frame["strength"].astype(float)
    for perturbation, strength in zip(frame["perturbation"], strengths, strict=True):
        known_strength = None if math.isnan(strength) else strength
        ids.append(unspecified(str(perturbation), known_strength))
    return frame.assign(condition=pd.Categorical(ids))


def _conditions(frame: pd.DataFrame) -> tuple[NDArray[np.intp], tuple[ConditionKey, ...]]:
    """(position of each row's condition, the conditions): by perturbation, then by strength."""
    codes, ids = pd.factorize(frame["condition"])
    first_rows = np.unique(codes, return_index=True)[1]  # one of each condition
    perturbations = frame["perturbation"].iloc[first_rows].astype(str)
    strengths = frame["strength"].iloc[first_rows].to_numpy(float, na_value=np.nan)
    profiles = {}
    if "profile" in frame.columns:
        names = frame["profile"].iloc[first_rows]
        for condition, name in zip(ids, names, strict=True):
            if pd.notna(name):
                profiles[str(condition)] = str(name)
    texts = [str(condition) for condition in ids]
    order, keys = in_order(texts, list(perturbations), strengths.tolist(), profiles)
    position_of = np.empty(len(order), np.intp)
    position_of[order] = np.arange(len(order))
    return position_of[codes], keys


def in_order(
    ids: Sequence[str],
    perturbations: Sequence[str],
    strengths: Sequence[float],
    profiles: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[int], tuple[ConditionKey, ...]]:
    """(the order of conditions, their keys): by perturbation as they appear, then by strength.

    ``strengths`` are NaN where a composition has several; it comes before the others of its name.
    ``profiles`` has, by id, the name of that whose composition it is.
    """
    rank_of = {name: rank for rank, name in enumerate(dict.fromkeys(perturbations))}

    def sort_key(index: int) -> tuple[int, float]:
        strength = strengths[index]
        return rank_of[perturbations[index]], -1.0 if math.isnan(strength) else strength

    order = sorted(range(len(ids)), key=sort_key)
    keys = []
    for index in order:
        strength = strengths[index]
        keys.append(
            ConditionKey(
                id=ids[index],
                perturbation=perturbations[index],
                strength=None if math.isnan(strength) else float(strength),
                profile=profiles.get(ids[index], ""),
            )
        )
    return order, tuple(keys)
