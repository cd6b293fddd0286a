"""The rows of a foreign run, checked a few thousand at a time.

Every figure is to be a number that it can be, every word one of the manifest, and every image to
have one row for each model and condition, and for each remedy: what opens the run relies on that.
What follows from other columns is to follow from them.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustness.base.errors import RunError
from robustness.evaluation.row_schema import (
    COLUMNS,
    REMEDIED,
    REMEDIED_KEYS,
    REMEDY,
    stored,
)
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.runs import image_table
from robustness.runs.manifest import MAX_TEXT
from robustness.runs.row_files import Part, read_part

ROWS_FREE = 500_000
MIN_ROW_BYTES = 32
"""On disk, of the figures of a row, beyond ``ROWS_FREE``; real runs have more than 60."""

MIN_REMEDIED_BYTES = 4
"""The same of a row with a remedy, which holds four figures."""

_MAX_NOTE, _MAX_NOTES = 2**22, 2**24  # characters of what one file, and all, say of themselves
_MAX_LENGTH = 64  # of a list in a row
_ROUNDING = 1e-3
_FINITE = sys.float_info.max
_ROWS_AT_ONCE = 16_384
_FILES_AT_ONCE = 2
_TEXT_FREE, _MAX_TEXT_RATIO = 32_000_000, 20
_CLASSES = ("label", "clean_top1", "top1")
_WORDS = tuple(
    column.name for column in COLUMNS if column.stored and pa.types.is_string(column.type)
)
_MAY_LACK = {column.name for column in COLUMNS if column.null}

Whole = NDArray[np.int64]


@dataclass(frozen=True)
class ExpectedRows:
    """The rows that a run's manifest promises.

    ``classes`` counts those of each model; models with equal ``label_sets`` have the same ones.
    ``perturbations`` names each condition. ``is_from_table`` says that the predictions came in a
    table.
    """

    models: Sequence[str]
    classes: Sequence[int]
    label_sets: Sequence[int]
    conditions: Sequence[str]
    perturbations: Sequence[str]
    remedies: Sequence[str]
    pictures: int
    images: int
    unreadable: int
    content: str | None
    is_from_table: bool


def check_rows(folder: Path, files: Iterable[str], expected: ExpectedRows) -> None:
    """Raise ``RunError`` unless the ``files`` of rows and images in ``folder`` are ``expected``.

    Raises ``MemoryError``, and ``OSError`` if they cannot be read.
    """
    parts = []
    for name in files:
        if name != image_table.FILE:
            try:
                parts.append(read_part(folder / name))
            except RunError as error:
                raise RunError(f"{name} is damaged or of another kind") from error
    table = image_table.checked(folder, expected.pictures, MAX_TEXT)
    _check_counts(parts, table, expected)
    checks = _RowChecks(expected, table, sum(part.path.stat().st_size for part in parts))
    with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
        list(pool.map(partial(_check_part, checks), parts))
    # There are as many rows as there should be, so that each image has its own once.
    fine = bool(checks.cells.all() and checks.remedied.all())
    _expect(fine, "some of its rows are duplicates")


def _check_counts(parts: Sequence[Part], table: pa.Table, expected: ExpectedRows) -> None:
    """Whether files and manifest agree on how much there is, before a row is read.

    ``table`` is that of the images.
    """
    cells = len(expected.models) * len(expected.conditions)
    read, rows = sum(part.images for part in parts), sum(part.rows for part in parts)
    remedied = sum(part.remedied for part in parts)
    numbers = [number for part in parts for number in part.chunks]
    readable, total = len(image_table.readable(table)), len(table)
    notes = [len(part.note) for part in parts]
    size = sum(part.path.stat().st_size for part in parts)
    most, most_remedied = (
        max(ROWS_FREE, size // least) for least in (MIN_ROW_BYTES, MIN_REMEDIED_BYTES)
    )
    _expect(
        rows <= most and remedied <= most_remedied,
        f"its {size:,} bytes claim to hold {rows + remedied:,} rows, as no measurements do",
    )
    _expect(total == expected.pictures, "images are missing in it")
    fine = read == readable == expected.images and total - read == expected.unreadable
    _expect(fine, "its files have other numbers of images than its manifest")
    _expect(image_table.content(table) == expected.content, "its rows are of other images")
    fine = max(notes, default=0) <= _MAX_NOTE and sum(notes) <= _MAX_NOTES
    _expect(fine, "its texts are too long")
    fine = all(0 <= number < expected.pictures for number in numbers)
    fine = fine and len(numbers) == len(set(numbers)) <= total
    _expect(fine, "its files contain parts that the run does not have")
    _expect(len({part.own for part in parts}) <= 1, "its files have different columns")
    fine = rows == read * cells and remedied == read * cells * len(expected.remedies)
    _expect(fine, "it has too few or too many rows")


def _check_part(checks: _RowChecks, part: Part) -> None:
    """Check the rows of ``part``, and what its file says of each group of them."""
    with pq.ParquetFile(part.path, pre_buffer=False) as file:
        for number in range(file.num_row_groups):
            bounds = _Bounds(file.metadata.row_group(number), stored(part.own).names)
            for batch in _batches(file, number, part.own):
                checks.check(batch)
                bounds.add(batch)
            bounds.check()


def _batches(file: pq.ParquetFile, group: int, own: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        for batch in file.iter_batches(_ROWS_AT_ONCE, [group]):
            batch.validate(full=True)
            yield batch.select(stored(own).names)
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        raise RunError("its rows cannot be read") from error


class _Bounds:
    """What a file says of the values in a group of rows: readers skip groups by that."""

    def __init__(self, group: pq.RowGroupMetaData, names: Sequence[str]) -> None:
        self._said = {
            column.path_in_schema: column.statistics
            for column in map(group.column, range(group.num_columns))
            if column.path_in_schema in names and column.statistics is not None
        }
        self._nulls = dict.fromkeys(self._said, 0)

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next rows; raises ``RunError`` for a value that is said not to be there."""
        for name, said in self._said.items():
            nulls = batch[name].null_count
            self._nulls[name] += nulls
            if said.has_min_max and nulls < len(batch):
                ends = pc.min_max(batch[name])
                try:
                    fine = said.min <= ends["min"].as_py() and ends["max"].as_py() <= said.max
                except (pa.ArrowException, ValueError, TypeError):
                    fine = False
                _expect(fine, _UNTRUE)

    def check(self) -> None:
        """Raise ``RunError`` if other numbers of values are said to be missing."""
        for name, said in self._said.items():
            _expect(not said.has_null_count or said.null_count == self._nulls[name], _UNTRUE)


_UNTRUE = "its files contradict their rows"


class _RowChecks:
    """The rows of a run of the images of ``table``, whose files have ``size`` bytes.

    Raises ``RunError`` with what is wrong.
    """

    def __init__(self, expected: ExpectedRows, table: pa.Table, size: int) -> None:
        self.expected, self.size = expected, size
        positions = image_table.readable(table)["position"].to_numpy()
        self.place_of = np.full(expected.pictures, -1)
        self.place_of[positions] = np.arange(len(positions))
        self.ranges = {
            column.name: (column.low, column.high)
            for column in COLUMNS
            if column.low is not None and column.high is not None
        }
        self.may_lack = {*_MAY_LACK, *(self.ranges if expected.is_from_table else ())}
        self.names = list(dict.fromkeys(expected.perturbations))
        self.name_of = np.array([self.names.index(name) for name in expected.perturbations])
        self.classes = np.array(expected.classes)
        self.label_sets = np.array(expected.label_sets)
        models, remedies = len(positions) * len(expected.models), len(expected.remedies)
        cells = models * len(expected.conditions)
        self.cells, self.remedied = np.zeros(cells, bool), np.zeros(cells * remedies, bool)
        self.sets = len(set(expected.label_sets))
        self.label, self.original, self.remedied_original = (
            np.full(count, -2, np.int32)  # until it is known
            for count in (len(positions) * self.sets, models, models * remedies)
        )
        self.length = 0
        self._lock = threading.Lock()

    def check(self, batch: pa.RecordBatch) -> None:
        """Check the rows of ``batch``."""
        remedy = batch[REMEDY.name]
        plain = batch if remedy.null_count == len(batch) else batch.filter(remedy.is_null())
        self._figures(plain)
        with self._lock:
            self._texts(plain)
            self._words(plain)
            if len(plain) < len(batch):
                self._remedied(batch.filter(remedy.is_valid()))

    def _remedied(self, batch: pa.RecordBatch) -> None:
        """Check rows with a remedy, of which all but a few columns are null."""
        allowed = (*REMEDIED_KEYS, REMEDY.name, *REMEDIED)
        for name in batch.schema.names:
            _expect(name in allowed or batch[name].null_count == len(batch), _EXCESS_COLUMNS)
        for name in REMEDIED[1::2]:
            _within(name, batch[name], 0.0, 1.0)
        remedy = _codes(batch[REMEDY.name], self.expected.remedies, "remedies")
        place, of_model, condition = self._cells(batch)
        self._check_classes(batch, REMEDIED[::2], of_model)
        own, remedies = place * len(self.classes) + of_model, len(self.expected.remedies)
        _expect_one_value(self.remedied_original, own * remedies + remedy, batch["clean_top1"])
        self.remedied[(own * len(self.expected.conditions) + condition) * remedies + remedy] = True

    def _texts(self, batch: pa.RecordBatch) -> None:
        columns = {word: batch[word] for word in _WORDS}
        lengths, stages = pc.list_value_length(batch["stages"]), batch["stages"].flatten()
        _expect(lengths.null_count == stages.null_count == 0, "a row has no stages")
        _expect(_all(pc.less_equal(lengths, _MAX_LENGTH)), "it has too many stages")
        columns["stage"] = stages.field("stage")
        for name, column in columns.items():
            _expect(column.null_count == 0, f"a row has no {name}")
            lengths = pc.binary_length(column)
            _expect(_all(pc.less_equal(lengths, MAX_TEXT)), "its texts are too long")
            self.length += pc.sum(lengths).as_py() or 0
        most = max(_TEXT_FREE, _MAX_TEXT_RATIO * self.size)
        _expect(self.length <= most, "its texts are too long")

    def _figures(self, batch: pa.RecordBatch) -> None:
        for name, (low, high) in self.ranges.items():
            lists = pa.types.is_list(batch[name].type)
            column = batch[name].flatten() if lists else batch[name]
            _within(name, column, low, high, gaps=name in self.may_lack and not lists)
        stages = batch["stages"].flatten()
        for name in RESCALED:
            _within(f"{name} of a stage", stages.field(name), *self.ranges[name])
        for name in ("clean_top5", "top5"):
            classes, shares = batch[name], batch[f"{name}_probabilities"]
            lengths = pc.list_value_length(classes)
            same = lengths.equals(pc.list_value_length(shares)) and lengths.null_count == 0
            _expect(same and _all(pc.less_equal(lengths, 5)), f"{name} is not of up to 5 classes")
        for name in batch.schema.names[len(stored(())) - 1 : -1]:
            _within(name, batch[name], -_FINITE, _FINITE, gaps=True)

    def _words(self, batch: pa.RecordBatch) -> None:
        place, of_model, condition = self._cells(batch)
        self._check_classes(batch, (*_CLASSES, "clean_top5", "top5"), of_model)
        same = pc.equal(batch["consistent"], pc.equal(batch["clean_top1"], batch["top1"]))
        _expect(same.null_count == 0 and _all(same), "'consistent' contradicts its predictions")
        self._check_correctness(batch)
        own = place * len(self.classes) + of_model
        sets = place * self.sets + self.label_sets[of_model]
        _expect_one_value(self.label, sets, batch["label"])
        _expect_one_value(self.original, own, batch["clean_top1"])
        self.cells[own * len(self.expected.conditions) + condition] = True

    def _check_correctness(self, batch: pa.RecordBatch) -> None:
        """Whether top-5 and correctness follow from label and predictions.

        Those of a table may lack a top-5, or what follows from it.
        """
        label, is_table = batch["label"], self.expected.is_from_table
        labelled = label.is_valid().to_numpy(False)
        for prefix in ("clean_", ""):
            top1, top5 = batch[f"{prefix}top1"], batch[f"{prefix}top5"]
            correct, correct5 = batch[f"{prefix}correct"], batch[f"{prefix}correct5"]
            _expect(correct.equals(pc.equal(label, top1)), _contradicts(f"{prefix}correct"))
            classes = top5.flatten().to_numpy()
            lengths = pc.list_value_length(top5).to_numpy()
            ends, listed = lengths.cumsum(), lengths > 0
            _expect(is_table or bool(listed.all()), f"a row has no {prefix}top5")
            first = classes[(ends - lengths)[listed]]
            same = np.array_equal(first, top1.to_numpy()[listed])
            _expect(same, f"'{prefix}top5' contradicts its prediction")
            hits = np.repeat(pc.fill_null(label, -1).to_numpy(), lengths) == classes
            counts = np.concatenate([[0], hits.cumsum()])
            among = counts[ends] > counts[ends - lengths]
            said = correct5.is_valid().to_numpy(False)
            truths = pc.fill_null(correct5, False).to_numpy(False)
            fine = np.array_equal(said, labelled) or (is_table and not np.any(said & ~labelled))
            fine = fine and not np.any((truths != among) & said & listed)
            _expect(fine, _contradicts(f"{prefix}correct5"))

    def _cells(self, batch: pa.RecordBatch) -> tuple[Whole, Whole, Whole]:
        """(the place of the image of each row, its model, its condition)."""
        _within("position", batch["position"], 0, self.expected.pictures - 1)
        of_model = _codes(batch["model"], self.expected.models, "models")
        names = _codes(batch["perturbation"], self.names, "perturbations")
        conditions = _codes(batch["condition"], self.expected.conditions, "conditions")
        _expect(bool(np.all(self.name_of[conditions] == names)), "its rows have other conditions")
        place = self.place_of[batch["position"].to_numpy()]
        _expect(bool(np.all(place >= 0)), "some of its rows belong to no image")
        return place, of_model, conditions

    def _check_classes(self, batch: pa.RecordBatch, names: Sequence[str], of_model: Whole) -> None:
        """Whether the columns ``names`` are classes, or lists of these, of the rows' models."""
        for name in names:
            column, most = batch[name], self.classes[of_model]
            if pa.types.is_list(column.type):
                most = np.repeat(most, pc.list_value_length(column).to_numpy())
                column = column.flatten()
                _expect(column.null_count == 0, _NO_CLASS)
            _expect(name in _MAY_LACK or column.null_count == 0, f"a row has no {name}")
            values = pc.fill_null(column, 0).to_numpy()
            _expect(bool(np.all((values >= 0) & (values < most))), _NO_CLASS)


def _expect_one_value(classes: NDArray[np.int32], keys: Whole, column: pa.Int32Array) -> None:
    """Raise ``RunError`` if ``column``, of classes or null, has two values for one of ``keys``.

    ``classes`` holds those of earlier rows, -2 for none yet.
    """
    values = pc.fill_null(column, -1).to_numpy()
    unknown = classes[keys] == -2
    classes[keys[unknown]] = values[unknown]
    fine = np.array_equal(classes[keys], values)
    _expect(fine, "one image has different labels, or different predictions of one model")


def _contradicts(name: str) -> str:
    return f"{name!r} contradicts label and predictions"


_EXCESS_COLUMNS = "a row with a remedy has more than predictions"
_NO_CLASS = "it names classes that do not exist"


def _codes(column: pa.StringArray, values: Sequence[str], what: str) -> Whole:
    """The place of every value of ``column`` in ``values``."""
    places = pc.fill_null(pc.index_in(column, pa.array(values, pa.string())), -1)
    codes: Whole = places.to_numpy().astype(np.int64)
    _expect(bool(np.all(codes >= 0)), f"its rows are of other {what}")
    return codes


def _within(name: str, column: pa.Array, low: float, high: float, *, gaps: bool = False) -> None:
    whole = gaps or column.null_count == 0
    near = pc.and_(
        pc.greater_equal(column, low - _ROUNDING), pc.less_equal(column, high + _ROUNDING)
    )
    _expect(
        whole and _all(near),  # of what is no number, neither holds
        f"expected every {name} to be a number from {low:g} to {high:g}",
    )


def _all(truths: pa.Array) -> bool:
    return pc.all(truths, min_count=0).as_py() is not False


def _expect(fine: bool, otherwise: str) -> None:
    if not fine:
        raise RunError(otherwise)
