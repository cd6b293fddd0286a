"""Two runs against each other: what they share, what differs, and which predictions flip.

The rows of two runs of one request: whether they are equal, else what differs, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted, some
from robustness.measure.condition import effect, named
from robustness.measure.rows import (
    COLUMNS,
    ENGINE,
    REMEDIED,
    REMEDIED_KEYS,
    REMEDY,
    TIES,
    TOLERANCE,
    stored,
)
from robustness.metrics.scores import RESCALED
from robustness.runs.manifest import Manifest
from robustness.runs.run import Run
from robustness.statistics.grid import Grid, effects, part_of
from robustness.statistics.pairs import changes

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
    before = baseline.rows.digests
    after = other.rows.digests
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
        yield from row_changes(a.slice(0, size), b.slice(0, size))
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


def row_changes(first: pa.Table, second: pa.Table) -> Iterator[Change]:
    """The columns in which two tables differ; their rows are of the same measurements, in order."""
    for name in first.column_names:
        a = first[name]
        b = second[name]
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


Texts = Sequence[str] | NDArray[np.object_]


def shared_grids(several: Sequence[Sequence[Grid]], digests: Sequence[Texts]) -> list[list[Grid]]:
    """The grids of ``several`` runs on the images and conditions that all have.

    ``digests`` identify the images of each run; conditions are shared that have equal effects.
    Both are in the order of the first run, while each run has its own ids of the conditions.
    """
    if not all(several):
        return [[] for _ in several]
    images = [_places(each) for each in digests]
    conditions = [_places(effects(grids[0].conditions)) for grids in several]
    names, same = (
        [key for key in places[0] if all(key in other for other in places)]
        for places in (images, conditions)
    )
    shared = []
    for grids, row_of, column_of in zip(several, images, conditions, strict=True):
        rows = np.array([row_of[name] for name in names], np.intp)
        columns = np.array([column_of[key] for key in same], np.intp)
        shared.append([replace(part_of(grid, rows, columns), plugin_columns=()) for grid in grids])
    return shared


def _places(keys: Texts) -> dict[str, int]:
    return {key: at for at, key in enumerate(keys)}


def paired_grids(
    grids: tuple[Sequence[Grid], Sequence[Grid]], digests: tuple[Texts, Texts]
) -> list[Grid]:
    """One of ``shared_grids`` for each model of both runs, with columns of both.

    A column ``x`` is ``x_a`` of the first and ``x_b`` of the second run, whose ids of the
    conditions it has.
    """
    first, second = shared_grids(grids, digests)

    def read(sides: Mapping[str, Grid], column: str) -> Any:
        name, _, side = column.rpartition("_")
        return sides[side].read(name)

    return [
        replace(b, has_row=a.has_row & b.has_row, read=partial(read, {"a": a, "b": b}))
        for a in first
        for b in second
        if a.model == b.model
    ]


class Flip(NamedTuple):
    """An image, as the second run calls it, and the classes predicted before and after.

    ``condition`` is the id of what was done to it, "" for an original.
    """

    image: str
    before: int
    after: int
    condition: str


def flips(
    baseline: Run, other: Run, model: str, condition: str, quantity: str
) -> tuple[list[Flip], list[Flip]]:
    """The images that got worse in ``other``, and those that got better, under ``condition``.

    Worse is changed where it was unchanged if ``quantity`` is "consistency", else incorrect where
    it was correct. ``condition`` is an id of ``other``, or "" for the originals; under a profile,
    an image got worse if it did under more of its compositions than it got better, and has the
    classes of the first such. Images are matched as ``compare`` matches them.
    """
    parts = other.manifest.spec.profiles.get(condition, (condition,))
    gained: dict[str, int] = {}
    first_flips: dict[tuple[str, bool], Flip] = {}
    for part in parts:
        same = [c.id for c in baseline.conditions if c.effect == effect(part)] if part else [""]
        if not same:
            return [], []
        first, second = (
            _verdicts(run, model, name, quantity)
            for run, name in ((baseline, same[0]), (other, part))
        )
        before = {digest: (top1, good) for digest, _, top1, good in first if good is not None}
        for digest, image, top1, good in second:
            if good is not None and digest in before and before[digest][1] != good:
                gained[digest] = gained.get(digest, 0) + (1 if good else -1)
                flip = Flip(str(image), before[digest][0], top1, part)
                first_flips.setdefault((digest, bool(good)), flip)
    worse, better = (
        [
            first_flips[digest, good]
            for digest, gain in gained.items()
            if gain and (gain > 0) == good
        ]
        for good in (False, True)
    )
    return worse, better


def _verdicts(run: Run, model: str, condition: str, quantity: str) -> Iterator[tuple[Any, ...]]:
    """(digest, image, class, whether it is good), None for what does not count."""
    if condition:
        good = "consistent" if quantity == "consistency" else "correct"
        counts = "counted" if quantity == "consistency" else "true"
        columns = f"position, top1, CASE WHEN {counts} THEN {good} END"
        where = "condition = $condition"
        values = {"condition": condition}
    else:
        columns = "position, clean_top1, clean_top1 = label"
        where = "true"
        values = {}
    rows = run.rows.ask(
        f"SELECT DISTINCT {columns} FROM rows WHERE model = $model AND {where} ORDER BY position",
        model=model,
        **values,
    )
    digests = run.rows.digests
    names = run.rows.names
    return ((digests[at], names[at], top1, good) for at, top1, good in rows)


_MAX_NAMES = 3


@dataclass(frozen=True)
class Comparison:
    """Changes from ``baseline`` to ``other``.

    ``differences`` are those of ``statistics.run_differences.changes``, [] where nothing is shared;
    ``images`` counts the shared images. ``notes`` are sentences on what is not shared or not alike.
    """

    baseline: Run
    other: Run
    images: int
    differences: list[dict[str, Any]]
    notes: tuple[str, ...]

    @cached_property
    def rows(self) -> RowComparison | None:
        """Whether the rows are equal, if both runs are of one request; else None."""
        return compare_rows(self.baseline, self.other)


def compare(baseline: Run, other: Run, *, said: Callable[[str], str] = named) -> Comparison:
    """``other`` against ``baseline``; raises ``RunError`` for a run without rows.

    Images are matched by their pixels before any framing.

    ``said`` gives the words for the ``id`` of a condition: those of a command, unless others.
    """
    digests = baseline.rows.axes.digests, other.rows.axes.digests
    first, second = map(set, digests)
    differences = changes(paired_grids((baseline.rows.grids(), other.rows.grids()), digests))
    nothing = "Nothing to compare: no model has a condition in both runs."
    return Comparison(
        baseline=baseline,
        other=other,
        images=len(first & second),
        differences=differences,
        notes=(
            *([nothing] if first & second and not differences else []),
            *_images(first, second),
            *_settings(baseline.manifest, other.manifest, said),
        ),
    )


def differences_in_setup(before: Manifest, after: Manifest) -> str:
    """How the request of the run ``after`` differs, in a few words; "" if not at all."""
    one = before.spec
    two = after.spec
    pairs = [
        ("seed", one.seed, two.seed),
        ("preprocessing", one.framing_text, two.framing_text),
    ] + [
        (name, before.versions.get(name, "none"), after.versions.get(name, "none"))
        for name in sorted({*before.versions, *after.versions})
    ]
    texts = [f"{name} {first} → {second}" for name, first, second in pairs if first != second]
    if before.dataset.digest != after.dataset.digest:
        texts.insert(0, "other images")
    for what, mine, others in (
        ("other models", one.model_names, two.model_names),
        ("other conditions", one.conditions, two.conditions),
    ):
        if mine != others:
            texts.append(what)
        elif what == "other models" and one.models != two.models:
            texts.append("other versions of models")
    return ", ".join(texts)


def _images(first: set[str], second: set[str]) -> list[str]:
    if not first & second:
        return ["These runs share no images (compared by pixels)."]
    counts = (len(first - second), "the baseline"), (len(second - first), "the other run")
    return [
        f"{counted(count, 'image')} only in {whose}, not counted."
        for count, whose in counts
        if count
    ]


def _settings(first: Manifest, second: Manifest, said: Callable[[str], str]) -> list[str]:
    a = first.spec
    b = second.spec
    notes = [
        *_only("Models", *([models.label(name) for name in spec.model_names] for spec in (a, b))),
        *_only("Remedies", *([chain.label for chain in spec.remedies] for spec in (a, b))),
        *_only(
            "Conditions", *([said(c.effect) for c in spec.pooled_conditions] for spec in (a, b))
        ),
    ]
    after = dict(b.models)
    weights = list[str]()
    described = list[str]()
    for name, digest in a.models:
        versions = [text.removeprefix("sha256:")[:8] for text in (digest, after.get(name, digest))]
        if versions[0] != versions[1]:
            weights.append(f"{models.label(name)} ({' → '.join(versions)})")
        elif after.get(name, digest) != digest:
            described.append(models.label(name))
    for what, named_models in (("weights differ", weights), ("description differs", described)):
        if named_models:
            notes.append(f"The {what}: {some(named_models, _MAX_NAMES)}.")
    if a.seed != b.seed:
        notes.append(f"The seed differs: {a.seed} and {b.seed}.")
    before = dict(a.framings)
    framed = dict[tuple[str, str], list[str]]()
    for name, own in b.framings:
        if before.get(name, own) != own:
            framed.setdefault((before[name].text, own.text), []).append(models.label(name))
    notes += [
        f"The preprocessing differs: {one} in the baseline, {two} in the other run "
        f"({some(names, _MAX_NAMES)})."
        for (one, two), names in framed.items()
    ]
    versions_a, versions_b = (
        {**each.versions, **{f"the plugin {n}": text[:12] for n, text in each.plugins.items()}}
        for each in (first, second)
    )
    for name in sorted({*versions_a, *versions_b}, key=lambda name: (name == ENGINE, name)):
        one = versions_a.get(name, "none")
        two = versions_b.get(name, "none")
        if one != two and name == ENGINE:
            notes.append(f"Another inference engine: {one} and {two}; they round differently.")
        elif one != two:
            notes.append(f"Another version of {name}: {one} and {two}.")
    return notes


def _only(what: str, first: Collection[str], second: Collection[str]) -> list[str]:
    return [
        f"{what} only in the {whose}: {some(only, _MAX_NAMES)}."
        for mine, others, whose in ((first, second, "baseline"), (second, first, "other run"))
        if (only := [name for name in mine if name not in others])
    ]
