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
from robustness.base.errors import ParameterError
from robustness.base.text import counted, some
from robustness.images.framing import Framing
from robustness.measure.condition import effect, named
from robustness.measure.rows import (
    BASE,
    COLUMNS,
    ENGINE,
    OF_VARIANTS,
    TIES,
    TOLERANCE,
    stored,
)
from robustness.metrics.scores import RESCALED
from robustness.runs.manifest import OF_TABLE, Manifest
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
    columns = ["image", *stored(baseline.own_scores).names]
    columns.remove(BASE.name)
    difference, rounding = _first_change(_all_changes(baseline, other, same, columns), columns)
    if spec.variants:
        columns = ["image", *OF_VARIANTS]
        of_variants = _all_changes(baseline, other, same, columns, variants=True)
        first_of_variants, rounding_of_variants = _first_change(of_variants, columns)
        difference = difference or first_of_variants
        rounding = rounding or rounding_of_variants
    return RowComparison(count, difference, rounding)


def _first_change(changes: Iterable[Change], columns: Sequence[str]) -> tuple[Change | None, bool]:
    """The change beyond rounding in the first of ``columns``, and whether others are rounding."""
    beyond_rounding = []
    has_rounding = False
    for change in changes:
        if change.rounding:
            has_rounding = True
        else:
            beyond_rounding.append(change)
    first = min(beyond_rounding, key=lambda change: columns.index(change.column), default=None)
    return first, has_rounding


def _all_changes(
    baseline: Run,
    other: Run,
    positions: Collection[int],
    columns: Sequence[str],
    *,
    variants: bool = False,
) -> Iterator[Change]:
    """The changes of ``columns``, a file at a time, so that a column may come several times.

    The files of two runs end at different rows, so what both have read is compared, and the rest of
    the longer table waits for the next file of the other run.
    """
    first_tables = _tables(baseline, positions, columns, variants)
    second_tables = _tables(other, positions, columns, variants)
    first: pa.Table | None = None
    second: pa.Table | None = None
    while True:
        if first is None:
            first = next(first_tables, None)
        if second is None:
            second = next(second_tables, None)
        if first is None or second is None:
            return
        size = min(len(first), len(second))
        yield from row_changes(first.slice(0, size), second.slice(0, size))
        # A table that is used up is let go before the next file is read.
        first = first.slice(size) if len(first) > size else None
        second = second.slice(size) if len(second) > size else None


def _tables(
    run: Run, positions: Collection[int], columns: Sequence[str], variants: bool
) -> Iterator[pa.Table]:
    """The rows of the images at ``positions``, in the order of the dataset."""
    chunk_numbers = [number for part in run.parts for number in part.chunks]
    tables: Iterable[pa.Table]
    if chunk_numbers == sorted(chunk_numbers):
        tables = run.tables(columns, variants=variants)
    else:  # on a cluster any chunk may be done before another, so the whole is sorted in memory
        tables = [run.table(columns, variants=variants)]
    if len(positions) == run.images:
        yield from tables
        return
    wanted = pa.array(positions, pa.int32())
    for table in tables:
        yield table.filter(pc.is_in(table["position"], wanted))


def row_changes(first: pa.Table, second: pa.Table) -> Iterator[Change]:
    """The columns in which two tables differ; their rows are of the same measurements, in order."""
    for name in first.column_names:
        if first[name].equals(second[name]):
            continue
        is_different, gaps = _differences(
            first[name].combine_chunks(), second[name].combine_chunks()
        )
        if not is_different.any():
            continue
        if gaps is None:
            row = int(np.argmax(is_different))
            largest = None
        else:
            row = int(np.argmax(gaps))
            largest = float(gaps[row]) if np.isfinite(gaps[row]) else None
        tolerance = _TOLERANCES.get(name, TOLERANCE)
        yield Change(
            column=name,
            rows=int(is_different.sum()),
            largest=largest,
            image=first["image"][row].as_py(),
            model=first["model"][row].as_py(),
            condition=first["condition"][row].as_py(),
            rounding=tolerance == TIES or (largest is not None and largest <= tolerance),
        )


def _differences(first: pa.Array, second: pa.Array) -> tuple[NDArray[np.bool_], Floats | None]:
    """Which rows have another value, and by how much; both (n,).

    The second is None for columns that hold no numbers.
    """
    is_list = pa.types.is_list(first.type)
    value_type = first.type.value_type if is_list else first.type
    if pa.types.is_struct(value_type):  # the stages of a model
        gaps = np.maximum.reduce([_field_gaps(first, second, name) for name in RESCALED])
    elif not pa.types.is_floating(value_type):
        values = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([one != two for one, two in values], bool), None
    elif is_list:
        gaps = _list_gaps(first, second)
    else:
        gaps = _gaps(first, second)
    return gaps > 0, gaps


def _field_gaps(first: pa.ListArray, second: pa.ListArray, name: str) -> Floats:
    """``_list_gaps`` of the field ``name`` of lists of structs."""
    return _list_gaps(
        pa.ListArray.from_arrays(first.offsets, first.values.field(name)),
        pa.ListArray.from_arrays(second.offsets, second.values.field(name)),
    )


def _list_gaps(first: pa.ListArray, second: pa.ListArray) -> Floats:
    """The largest distance within each row; infinite where one has more values."""
    lengths = _list_lengths(first)
    is_alike = lengths == _list_lengths(second)
    mask = pa.array(is_alike)
    distances = _gaps(first.filter(mask).flatten(), second.filter(mask).flatten())
    row_of_value = np.repeat(np.flatnonzero(is_alike), lengths[is_alike])
    gaps = np.where(is_alike, 0.0, np.inf)
    np.maximum.at(gaps, row_of_value, distances)
    return gaps


def _list_lengths(column: pa.ListArray) -> NDArray[Any]:
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False))


def _gaps(first: pa.Array, second: pa.Array) -> Floats:
    """The distance between the values; infinite where only one of them is there."""
    first_values = first.to_numpy(zero_copy_only=False)
    second_values = second.to_numpy(zero_copy_only=False)
    missing = np.isnan(first_values).astype(int) + np.isnan(second_values)
    gaps = np.abs(first_values - second_values)
    gaps[missing == 1] = np.inf
    gaps[missing == 2] = 0.0
    return gaps


Texts = Sequence[str] | NDArray[np.object_]


def shared_grids(several: Sequence[Sequence[Grid]], digests: Sequence[Texts]) -> list[list[Grid]]:
    """The grids of ``several`` runs on the images and conditions that all have.

    ``digests`` identify the images of each run; conditions are shared that have equal effects.
    Both are in the order of the first run, while each run has its own ids of the conditions.
    """
    if not all(several):
        return [[] for _ in several]
    image_rows = [_index_of(texts) for texts in digests]
    condition_columns = [_index_of(effects(grids[0].conditions)) for grids in several]
    shared_digests = _shared_keys(image_rows)
    shared_effects = _shared_keys(condition_columns)
    shared = []
    for grids, row_of, column_of in zip(several, image_rows, condition_columns, strict=True):
        rows = np.array([row_of[digest] for digest in shared_digests], np.intp)
        columns = np.array([column_of[key] for key in shared_effects], np.intp)
        shared.append([replace(part_of(grid, rows, columns), plugin_columns=()) for grid in grids])
    return shared


def _index_of(keys: Texts) -> dict[str, int]:
    return {key: index for index, key in enumerate(keys)}


def _shared_keys(indices: Sequence[Mapping[str, int]]) -> list[str]:
    """The keys that all of ``indices`` have, in the order of the first."""
    return [key for key in indices[0] if all(key in other for other in indices)]


def paired_grids(
    grids: tuple[Sequence[Grid], Sequence[Grid]], digests: tuple[Texts, Texts]
) -> list[Grid]:
    """One of ``shared_grids`` for each model of both runs, with columns of both.

    A column ``x`` is ``x_a`` of the first and ``x_b`` of the second run, whose ids of the
    conditions it has.
    """
    first, second = shared_grids(grids, digests)
    pairs = []
    for a in first:
        for b in second:
            if a.model == b.model:
                read = partial(_read_of_pair, a, b)
                pairs.append(replace(b, has_row=a.has_row & b.has_row, read=read))
    return pairs


def _read_of_pair(a: Grid, b: Grid, column: str) -> Any:
    name, _, side = column.rpartition("_")
    return {"a": a, "b": b}[side].read(name)


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
    compositions = other.manifest.spec.profiles.get(condition, (condition,))
    gains: dict[str, int] = {}  # compositions under which an image got better, less the worse ones
    first_flips: dict[tuple[str, bool], Flip] = {}
    for composition in compositions:
        baseline_condition = ""
        if composition:
            matching = [c.id for c in baseline.conditions if c.effect == effect(composition)]
            if not matching:
                return [], []
            baseline_condition = matching[0]
        before = {
            verdict.digest: verdict
            for verdict in _verdicts(baseline, model, baseline_condition, quantity)
        }
        for after in _verdicts(other, model, composition, quantity):
            earlier = before.get(after.digest)
            if earlier is None or earlier.good == after.good:
                continue
            gains[after.digest] = gains.get(after.digest, 0) + (1 if after.good else -1)
            flip = Flip(after.image, earlier.top1, after.top1, composition)
            first_flips.setdefault((after.digest, after.good), flip)
    worse = [first_flips[digest, False] for digest, gain in gains.items() if gain < 0]
    better = [first_flips[digest, True] for digest, gain in gains.items() if gain > 0]
    return worse, better


class ScoreChange(NamedTuple):
    """An image, as the second run calls it, and its scores before and after, from 0 to 1."""

    image: str
    before: float
    after: float


def score_changes(
    baseline: Run, other: Run, model: str, condition: str
) -> tuple[list[ScoreChange], list[ScoreChange]]:
    """The images with a lower score in ``other``, and those with a higher one, under ``condition``.

    The largest change comes first. ``condition`` is an id of ``other``, or "" for the originals.
    Images are matched as ``compare`` matches them.
    """
    baseline_condition = ""
    if condition:
        matching = [c.id for c in baseline.conditions if c.effect == effect(condition)]
        if not matching:
            return [], []
        baseline_condition = matching[0]
    score_before = _scores_of_images(baseline, model, baseline_condition)
    score_after = _scores_of_images(other, model, condition)
    names = {digest: other.rows.names[place] for place, digest in other.rows.digests.items()}
    changes = []
    for digest, after in score_after.items():
        before = score_before.get(digest, after)
        if before != after:
            changes.append(ScoreChange(names[digest], before, after))
    changes.sort(key=lambda change: change.after - change.before)
    worse = [change for change in changes if change.after < change.before]
    better = [change for change in reversed(changes) if change.after > change.before]
    return worse, better


def _scores_of_images(run: Run, model: str, condition: str) -> dict[str, float]:
    """The score of each image by its digest; of the originals if ``condition`` is ""."""
    values = {"model": model}
    column = "clean_score"
    where = "model = $model"
    if condition:
        column = "score"
        where += " AND condition = $condition"
        values["condition"] = condition
    rows = run.rows.ask(f"SELECT DISTINCT position, {column} FROM rows WHERE {where}", **values)
    return {run.rows.digests[position]: float(score) for position, score in rows}


class _Verdict(NamedTuple):
    """Whether the prediction ``top1`` for an image is ``good``."""

    digest: str
    image: str
    top1: int
    good: bool


def _verdicts(run: Run, model: str, condition: str, quantity: str) -> Iterator[_Verdict]:
    """The verdicts on the rows that count; on the originals if ``condition`` is ""."""
    values = {"model": model}
    where = "model = $model"
    if not condition:
        columns = "position, clean_top1, clean_top1 = label"
    else:
        where += " AND condition = $condition"
        values["condition"] = condition
        if quantity == "consistency":
            columns = "position, top1, CASE WHEN counted THEN consistent END"
        else:
            columns = "position, top1, correct"
    rows = run.rows.ask(
        f"SELECT DISTINCT {columns} FROM rows WHERE {where} ORDER BY position", **values
    )
    digests = run.rows.digests
    names = run.rows.names
    for position, top1, good in rows:
        if good is not None:
            yield _Verdict(digests[position], str(names[position]), top1, bool(good))


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

    @property
    def score(self) -> str:
        """The name of the score of both runs; "" for predictions."""
        return self.other.score

    @cached_property
    def rows(self) -> RowComparison | None:
        """Whether the rows are equal, if both runs are of one request; else None."""
        return compare_rows(self.baseline, self.other)


def compare(baseline: Run, other: Run, *, said: Callable[[str], str] = named) -> Comparison:
    """``other`` against ``baseline``; raises ``RunError`` for a run without rows.

    Raises ``ParameterError`` if they have different scores, or one has predictions. Images are
    matched by their pixels before any framing.

    ``said`` gives the words for the ``id`` of a condition: those of a command, unless others.
    """
    digests = (baseline.rows.axes.digests, other.rows.axes.digests)
    first = set(digests[0])
    second = set(digests[1])
    shared_score([baseline, other])  # raises unless both measure the same
    differences = changes(paired_grids((baseline.rows.grids(), other.rows.grids()), digests))
    notes = []
    if first & second and not differences:
        notes.append("Nothing to compare: no model has a condition in both runs.")
    notes += _image_notes(first, second)
    notes += _setting_notes(baseline.manifest, other.manifest, said)
    return Comparison(
        baseline=baseline,
        other=other,
        images=len(first & second),
        differences=differences,
        notes=tuple(notes),
    )


def shared_score(several: Sequence[Run]) -> str:
    """The name of the score that ``several`` runs have, "" for predictions.

    Raises ``ParameterError`` if they differ.
    """
    names = list(dict.fromkeys(run.score for run in several))
    if len(names) > 1:
        measured = " and ".join(name or "predictions" for name in names)
        raise ParameterError(f"Expected runs that measure the same, got {measured}.")
    return names[0]


def differences_in_setup(before: Manifest, after: Manifest) -> str:
    """How the request of the run ``after`` differs, in a few words; "" if not at all."""
    old = before.spec
    new = after.spec
    texts = []
    if before.dataset.pictures != after.dataset.pictures:
        texts.append("other images")
    elif before.dataset.digest != after.dataset.digest:
        # They may be the same: a zip and its folder differ. Only a comparison reads the pixels.
        texts.append("another source")
    if old.seed != new.seed:
        texts.append(f"seed {old.seed} → {new.seed}")
    if old.framing_text != new.framing_text:
        texts.append(f"preprocessing {old.framing_text} → {new.framing_text}")
    for name in sorted({*before.versions, *after.versions}):
        old_version = before.versions.get(name, "none")
        new_version = after.versions.get(name, "none")
        if old_version != new_version:
            texts.append(f"{name} {old_version} → {new_version}")
    if old.model_names != new.model_names:
        texts.append("other models")
    elif old.models != new.models:
        texts.append("other versions of models")
    if old.conditions != new.conditions:
        texts.append("other conditions")
    return ", ".join(texts)


def _image_notes(first: set[str], second: set[str]) -> list[str]:
    """What the digests of the images of two runs do not share."""
    if not first & second:
        return ["These runs share no images (compared by pixels)."]
    notes = []
    if first - second:
        count = counted(len(first - second), "image")
        notes.append(f"{count} only in the baseline, not counted.")
    if second - first:
        count = counted(len(second - first), "image")
        notes.append(f"{count} only in this run, not counted.")
    return notes


def _setting_notes(baseline: Manifest, other: Manifest, said: Callable[[str], str]) -> list[str]:
    first = baseline.spec
    second = other.spec
    notes = _only(
        "Models",
        [models.label(name) for name in first.model_names],
        [models.label(name) for name in second.model_names],
    )
    notes += _only(
        "Remedies",
        [chain.label for chain in first.remedies],
        [chain.label for chain in second.remedies],
    )
    notes += _only(
        "Conditions",
        [said(condition.effect) for condition in first.pooled_conditions],
        [said(condition.effect) for condition in second.pooled_conditions],
    )
    notes += _weight_notes(dict(first.models), dict(second.models))
    if first.seed != second.seed:
        notes.append(f"The seed differs: {first.seed} and {second.seed}.")
    notes += _framing_notes(dict(first.framings), dict(second.framings))
    notes += _version_notes(_named_versions(baseline), _named_versions(other))
    return notes


def _weight_notes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Which models of both runs have other weights, or another description of the same ones.

    ``before`` and ``after`` hold the digests of the models by name.
    """
    weights = []
    descriptions = []
    for name, digest in before.items():
        other_digest = after.get(name, digest)
        if digest.startswith(OF_TABLE) or other_digest.startswith(OF_TABLE):
            continue  # it tells the rows, which differ, and not the model
        old = digest.removeprefix("sha256:")[:8]
        new = other_digest.removeprefix("sha256:")[:8]
        if old != new:
            weights.append(f"{models.label(name)} ({old} → {new})")
        elif digest != other_digest:
            descriptions.append(models.label(name))
    notes = []
    if weights:
        notes.append(f"The weights differ: {some(weights, _MAX_NAMES)}.")
    if descriptions:
        notes.append(f"The description differs: {some(descriptions, _MAX_NAMES)}.")
    return notes


def _framing_notes(before: Mapping[str, Framing], after: Mapping[str, Framing]) -> list[str]:
    """Which models of both runs see their images in another framing, one note a change."""
    labels_by_change: dict[tuple[str, str], list[str]] = {}
    for name, framing in after.items():
        if name in before and before[name] != framing:
            change = (before[name].text, framing.text)
            labels_by_change.setdefault(change, []).append(models.label(name))
    return [
        f"The preprocessing differs: {old} in the baseline, {new} in the other run "
        f"({some(labels, _MAX_NAMES)})."
        for (old, new), labels in labels_by_change.items()
    ]


def _named_versions(manifest: Manifest) -> dict[str, str]:
    """The versions of software and plugins, by what a note calls them."""
    plugin_versions = {
        f"the plugin {name}": digest[:12] for name, digest in manifest.plugins.items()
    }
    return {**manifest.versions, **plugin_versions}


def _version_notes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    notes = []
    for name in sorted({*before, *after}, key=lambda name: (name == ENGINE, name)):
        old = before.get(name, "none")
        new = after.get(name, "none")
        if old == new:
            continue
        if name == ENGINE:
            notes.append(f"Another inference engine: {old} and {new}; they round differently.")
        else:
            notes.append(f"Another version of {name}: {old} and {new}.")
    return notes


def _only(what: str, baseline: Sequence[str], other: Sequence[str]) -> list[str]:
    notes = []
    only_baseline = [name for name in baseline if name not in other]
    if only_baseline:
        notes.append(f"{what} only in the baseline: {some(only_baseline, _MAX_NAMES)}.")
    only_other = [name for name in other if name not in baseline]
    if only_other:
        notes.append(f"{what} only in this run: {some(only_other, _MAX_NAMES)}.")
    return notes
