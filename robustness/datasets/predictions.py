"""A table of predictions that another system made of exported images: ``Predictions``.

A row is one image under one condition for one model. ``COLUMNS`` names what is read beside the
predictions, which have one of five forms:

- ``prediction``: the top-1 class, with its ``confidence`` if known;
- ``classes`` and ``probabilities``: lists of the top classes and their probabilities;
- ``probabilities`` alone: a list with one number for each class, in the order of the classes;
- ``p0``, ``p1``, ...: a column for each class;
- ``score``: how good the output for the image is, from 0 to 1, where higher is better. It is for
  tasks without classes, such as detection. ``score_name`` says what it is.

Lists are JSON in a CSV file. A class is an index, a name or a synset.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness import metrics
from robustness.base import parquet
from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.files import require_regular
from robustness.base.text import counted, from_csv_cell, visible
from robustness.datasets.dataset import Columns, Dataset, Entry
from robustness.images.decoding import read_file
from robustness.models.record import Labels

PREDICTED = "prediction or probabilities or score"
"""The columns that hold predictions, as a sentence says them."""

_PROBABILITIES = "probabilities"

SCORE = "score"
SCORE_NAME = "score_name"

_CLASS_COLUMN = re.compile(r"p\d{1,6}")
_NEAR_ONE = 0.02
_ROUNDING = 1e-6
_MOST_QUOTED = 40
"""Characters of a value that an error quotes."""

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TableAnswers:
    """The predictions of all rows of a table.

    ``whole`` (rows, classes) has the probabilities of all classes. Without it, ``classes`` has for
    each row its top classes as they are written, the most probable first, and ``shares`` their
    probabilities, an empty list where they are unknown.
    """

    whole: Floats | None = None
    classes: Sequence[Sequence[str]] = ()
    shares: Sequence[Sequence[float]] = ()

    @property
    def distinct_classes(self) -> list[str]:
        """The classes as they are written, each once; empty if ``whole`` is there."""
        return list(dict.fromkeys(text for row in self.classes for text in row))


def holds_scores(table: pa.Table) -> bool:
    """Whether ``table`` has scores, and no predictions of classes, which would come first."""
    return SCORE in table.column_names and not _class_columns(table)


def _class_columns(table: pa.Table) -> list[str]:
    """The columns of ``table`` with predictions of classes."""
    names = []
    for name in table.column_names:
        if name in ("prediction", _PROBABILITIES) or _CLASS_COLUMN.fullmatch(name):
            names.append(name)
    return names


def read_answers(table: pa.Table, title: str) -> TableAnswers:
    """Read the predictions in ``table``, whose ``title`` is for error messages.

    Raises ``ParameterError`` if the columns of predictions are missing or hold something else.
    """
    names = table.column_names
    class_columns = [name for name in names if _CLASS_COLUMN.fullmatch(name)]
    if class_columns:
        return TableAnswers(whole=_from_class_columns(table, class_columns, title))
    if "classes" in names and _PROBABILITIES in names:
        return _from_top_classes(table, title)
    if _PROBABILITIES in names:
        return TableAnswers(whole=_from_lists(table, title))
    if "prediction" in names:
        return _from_top1(table, title)
    raise ParameterError(
        f"{title}: expected a column {PREDICTED}, got {', '.join(map(str, names[:8]))}."
    )


def read_scores(table: pa.Table, title: str) -> Floats:
    """The scores (rows,) in ``table``, from 0 to 1; ``title`` is for error messages.

    Raises ``ParameterError``, which names the first row, for other values and for gaps.
    """
    try:
        scores = _numbers(table, SCORE, title)
    except ParameterError as error:
        row = _first_without_number(table[SCORE])
        text = visible(cell_text(table[SCORE][row].as_py()))[:_MOST_QUOTED]
        raise ParameterError(
            f"{title}: expected numbers from 0 to 1 in {SCORE}, got {text!r} "
            f"{_row_text(table, row)}."
        ) from error
    is_gap = np.isnan(scores)
    if is_gap.any():
        gaps = counted(int(is_gap.sum()), "row")
        first_gap = _row_text(table, int(is_gap.argmax()))
        raise ParameterError(
            f"{title}: expected a {SCORE} from 0 to 1 in every row, got {gaps} without one, the "
            f"first {first_gap}. Give 0 where nothing was found, and leave out images "
            "without a score."
        )
    is_outside = (scores < 0) | (scores > 1 + _ROUNDING)
    if is_outside.any():
        row = int(is_outside.argmax())
        raise ParameterError(
            f"{title}: expected {SCORE} from 0 to 1, got {scores[row]:g} {_row_text(table, row)}. "
            "Divide percentages by 100, and write 1 - error for an error."
        )
    return np.clip(scores.astype(np.float64), 0.0, 1.0)


def _first_without_number(column: pa.ChunkedArray) -> int:
    """The first row of ``column`` whose value is no number."""
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            if value is not None:
                return row
    return 0


def _row_text(table: pa.Table, row: int) -> str:
    """The number of a row, from 1, and what it is of: "in row 3 (cat.jpg, fog=0.6)"."""
    names = []
    for column in ("image", "condition", "model"):
        if column in table.column_names:
            names.append(visible(from_csv_cell(cell_text(table[column][row].as_py()))))
    return f"in row {row + 1:,} ({', '.join(names)})"


def _from_class_columns(table: pa.Table, columns: Sequence[str], title: str) -> Floats:
    """The probabilities (rows, classes) in the ``columns`` p0, p1, ..., in any order."""
    expected = [f"p{index}" for index in range(len(columns))]
    if set(columns) != set(expected):
        raise ParameterError(
            f"{title}: expected the columns p0 to p{len(columns) - 1}, one for each class."
        )
    stacked = np.stack([_numbers(table, name, title) for name in expected], axis=1)
    return _checked_probabilities(stacked, title)


def _from_lists(table: pa.Table, title: str) -> Floats:
    """The probabilities (rows, classes) in the column of lists."""
    lists = _lists(table, _PROBABILITIES, title)
    lengths = {len(probabilities) for probabilities in lists}
    if len(lengths) > 1:
        raise ParameterError(
            f"{title}: expected the same number of probabilities in every row, got "
            f"{min(lengths)} to {max(lengths)}; give the top classes in a column classes."
        )
    return _checked_probabilities(_float_array(lists, title, dimensions=2), title)


def _from_top_classes(table: pa.Table, title: str) -> TableAnswers:
    class_lists = _lists(table, "classes", title)
    probability_lists = _lists(table, _PROBABILITIES, title)
    if [len(names) for names in class_lists] != [len(row) for row in probability_lists]:
        raise ParameterError(f"{title}: expected as many probabilities as classes in every row.")
    joined = [probability for row in probability_lists for probability in row]
    probabilities = _float_array(joined, title, dimensions=1)
    _check_range(probabilities, title)

    remaining = iter(probabilities.tolist())
    classes = []
    shares = []
    for names in class_lists:
        pairs = [(next(remaining), cell_text(name)) for name in names]
        pairs.sort(key=lambda pair: -pair[0])  # stable: equal ones stay in the order of the table
        classes.append([name for _, name in pairs])
        shares.append([probability for probability, _ in pairs])
    return TableAnswers(classes=classes, shares=shares)


def _from_top1(table: pa.Table, title: str) -> TableAnswers:
    texts = [cell_text(value) for value in table["prediction"].to_pylist()]
    gaps = texts.count("")
    if gaps:
        raise ParameterError(
            f"{title}: expected a class in every row of prediction, got {gaps:,} without one."
        )
    shares: list[list[float]] = [[] for _ in texts]
    if "confidence" in table.column_names:
        confidence = _numbers(table, "confidence", title)
        _check_range(confidence, title, "confidence")
        shares = [[float(value)] for value in confidence]
    return TableAnswers(classes=[[text] for text in texts], shares=shares)


def _numbers(table: pa.Table, name: str, title: str) -> Floats:
    column = table[name]
    try:
        if not pa.types.is_floating(column.type):
            column = pc.cast(column, pa.float64())
        numbers: Floats = column.to_numpy()
    except pa.ArrowException as error:
        raise _no_numbers(title, name) from error
    return numbers


def _no_numbers(title: str, name: str = _PROBABILITIES) -> ParameterError:
    return ParameterError(f"{title}: expected numbers from 0 to 1 in {name}, got other values.")


def _lists(table: pa.Table, name: str, title: str) -> list[list[Any]]:
    """The lists in the column ``name``, which are written as JSON in a CSV file."""
    lists = []
    try:
        for value in table[name].to_pylist():
            lists.append(json.loads(value) if isinstance(value, str) else value)
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{title}: expected a list such as [0.7, 0.2] in {name}.") from error
    if not all(isinstance(entries, list) and entries for entries in lists):
        raise ParameterError(f"{title}: expected a list in every row of {name}.")
    return lists


def _float_array(values: list[Any], title: str, *, dimensions: int) -> Floats:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(title) from error
    if array.ndim != dimensions:
        raise _no_numbers(title)
    return array


def _checked_probabilities(values: Floats, title: str) -> Floats:
    """``values`` (rows, classes) as float32, if every row sums to 1."""
    _check_range(values, title)
    if values.shape[1] < 2:
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, two or more, got one in each "
            "row; give the top classes in a column classes."
        )
    sums = values.sum(axis=1)
    distances = np.abs(sums - 1)
    if not np.all(distances <= _NEAR_ONE):
        worst_sum = float(sums[distances.argmax()])
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, which sum to 1 in every row, "
            f"got a sum of {worst_sum:g}; give the top classes in a column classes."
        )
    return values.astype(np.float32)


def _check_range(values: Floats, title: str, name: str = _PROBABILITIES) -> None:
    """Raise ``ParameterError`` unless all ``values`` of the column ``name`` are from 0 to 1."""
    gaps = int(np.isnan(values).sum())
    if gaps:
        raise ParameterError(
            f"{title}: expected a number from 0 to 1 for each value of {name}, got {gaps:,} "
            "without one."
        )
    if not np.all((values >= 0) & (values <= 1 + _ROUNDING)):
        advice = "; apply softmax to logits first" if name == _PROBABILITIES else ""
        raise ParameterError(
            f"{title}: expected {name} from 0 to 1, got {values.min():g} to {values.max():g}"
            f"{advice}."
        )


def cell_text(value: object) -> str:
    """``value`` as text without spaces around it, "" for None.

    A float that is a whole number has no fraction: class indices are floats in a column with gaps.
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def class_indices(answers: TableAnswers, labels: Labels, title: str) -> dict[str, int]:
    """The index, among ``labels``, of each class that ``answers`` name.

    Raises ``ParameterError`` for a name that does not mean exactly one class.
    """
    index_by_name: dict[str, int] = {}
    for name in answers.distinct_classes:
        indices = labels.meant(name)
        if len(indices) != 1:
            raise ParameterError(
                f"{title}: {name!r} is not one of the {len(labels):,} classes of {labels.title}; "
                "name the classes.",
                hint="Use --classes imagenet or --classes FILE, with one class per line.",
            )
        index_by_name[name] = indices[0]
    return index_by_name


SUFFIXES = (".csv", ".parquet", ".jsonl")
ORIGINAL = "clean"
"""The condition of the original images."""

COLUMNS = (
    "image",
    "condition",
    "model",
    "label",
    "path",
    "image_digest",
    "framed_digest",
    "fit",
    "side",
    "seed",
)
_MAX_RATIO = 200
"""The most bytes of a Parquet file unpacked, for each packed one."""

_CELLS_FREE = 1_000_000
_MAX_GAPS = 20
"""The most combinations of image, model and condition: so many, or so many for each row if that is
more."""

_ABOUT_ROWS = frozenset(
    {*COLUMNS, SCORE, SCORE_NAME, "sha256", "perturbation", "strength", "parameter"}
)
"""Columns that are no properties of images, besides those of metrics."""

MAX_BYTES = parquet.MAX_BYTES
_FIRST_BYTES = 64 * 1024  # enough for the names of the columns


class Predictions(Dataset):
    """The images of a table of predictions, in order of appearance, with all their predictions.

    ``row_of`` (images, models, 1 + conditions) has the row of each prediction in the table, that of
    the original first, and -1 where there is none. An image is shown if the column ``path`` of its
    original names a file.
    """

    fitted = True
    classes: Mapping[str, Labels] = {}
    """The classes of each model, from the plan of the run."""

    def __init__(self, table: pa.Table, source: str, title: str, folder: Path, name: str) -> None:
        """``name`` is the model of a table without the column ``model``.

        Raises ``ParameterError`` for a table that lacks a column, repeats a column or row, or is
        mostly gaps.
        """
        _check_columns(table, title)
        self._folder = folder
        self.table = table
        self.title = title
        image_texts = self.texts("image")
        images = _distinct(image_texts)
        condition_texts = self.texts("condition")
        conditions = _distinct(condition_texts)
        if ORIGINAL not in conditions:
            raise ParameterError(
                f"{title}: expected the predictions of the originals, too, in rows with the "
                f"condition {ORIGINAL!r}; got {_listed(conditions)}."
            )
        self.conditions = [text for text in conditions if text != ORIGINAL]
        if "model" in table.column_names:
            model_texts = self.texts("model")
        else:
            model_texts = [name] * len(table)
        self.models = _distinct(model_texts)

        shape = (len(images), len(self.models), 1 + len(self.conditions))
        cell_count = math.prod(shape)
        if cell_count > max(_CELLS_FREE, _MAX_GAPS * len(table)):
            raise ParameterError(
                f"{title}: expected a row for each image, condition and model, {cell_count:,} in "
                f"all, got {len(table):,}."
            )
        image_index = _indices(image_texts, images)
        model_index = _indices(model_texts, self.models)
        condition_index = _indices(condition_texts, [ORIGINAL, *self.conditions])
        self.row_of = np.full(shape, -1)
        self.row_of[image_index, model_index, condition_index] = np.arange(len(table))
        # A later row of the same image, model and condition takes the place of an earlier one.
        is_replaced = self.row_of[image_index, model_index, condition_index] != np.arange(
            len(table)
        )
        if is_replaced.any():
            raise ParameterError(
                f"{title}: expected one row for each image, condition and model; got "
                f"{counted(int(is_replaced.sum()), 'repeated row')}, the first "
                f"{_row_text(table, int(is_replaced.argmax()))}."
            )
        super().__init__(source, title, self._entries(images, image_index, condition_index == 0))

    def _entries(
        self,
        images: Sequence[str],
        image_index: NDArray[np.intp],
        is_original: NDArray[np.bool_],
    ) -> list[Entry]:
        """The entries of ``images``; the other two are the image and the condition of each row."""
        labels = [""] * len(images)
        for index, label in zip(image_index.tolist(), self.texts("label"), strict=True):
            known_label = labels[index]
            if known_label and label and label != known_label:
                raise ParameterError(
                    f"{self.title} has two labels for {images[index]!r}, {known_label!r} "
                    f"and {label!r}: expected one label per image."
                )
            labels[index] = known_label or label
        path_texts = self.texts("path")
        paths = [""] * len(images)
        for row in np.flatnonzero(is_original):
            paths[image_index[row]] = path_texts[row]
        return [
            Entry(name, path, label=label or None)
            for name, path, label in zip(images, paths, labels, strict=True)
        ]

    def texts(self, column: str) -> list[str]:
        """The texts of ``column``, as they were before an export; "" where there is none."""
        if column not in self.table.column_names:
            return [""] * len(self.table)
        return [from_csv_cell(cell_text(value)) for value in self.table[column].to_pylist()]

    def numbers(self, column: str) -> list[float | None]:
        """The numbers of ``column``; None where there is none.

        Raises ``ParameterError`` where it has other values.
        """
        if column not in self.table.column_names:
            return [None] * len(self.table)
        try:
            numbers: list[float | None] = self.table[column].cast(pa.float64()).to_pylist()
        except pa.ArrowException as error:
            raise ParameterError(
                f"{self.title}: expected numbers in {column}, got other values."
            ) from error
        return numbers

    def one(self, column: str, default: str) -> str:
        """The only value of ``column``, or ``default`` if it has none.

        Raises ``ParameterError`` if it has several.
        """
        values = sorted(set(self.texts(column)) - {""})
        if not values:
            return default
        if len(values) > 1:
            raise ParameterError(
                f"{self.title}: expected one {column} for all rows, got {_listed(values)}."
            )
        return values[0]

    @property
    def is_scored(self) -> bool:
        """Whether it has scores in place of predictions of classes."""
        return holds_scores(self.table)

    def without(self, conditions: Sequence[str]) -> Predictions:
        """A copy that lacks the ``conditions``."""
        kept = [text for text in self.conditions if text not in conditions]
        columns = [0, *(1 + self.conditions.index(text) for text in kept)]
        others = copy(self)
        others.conditions = kept
        others.row_of = self.row_of[:, :, columns]
        return others

    def answers(self) -> TableAnswers:
        """The predictions by row; raises ``ParameterError`` as ``read_answers`` does."""
        return read_answers(self.table, self.title)

    def scores(self) -> Floats:
        """The scores by row; raises ``ParameterError`` as ``read_scores`` does."""
        return read_scores(self.table, self.title)

    def columns(self) -> Columns:
        """Of a table of scores, the label and what else the rows of the originals say of them."""
        if not self.is_scored:
            return {}
        names = [name for name in self.table.column_names if name not in _ABOUT_ROWS]
        names = ["label", *(name for name in names if name not in metrics.REGISTRY)]
        originals = self.row_of[:, 0, 0].tolist()
        columns = {}
        for name in names:
            texts = self.texts(name)
            values = {
                entry.name: texts[row]
                for entry, row in zip(self.entries, originals, strict=True)
                if row >= 0 and texts[row]
            }
            if values:
                columns[name] = values
        return columns

    def read(self, entry: Entry) -> bytes:
        """The bytes of an original's file; raises ``ImageError`` if there is none."""
        if not entry.location:
            raise ImageError(f"The table names no file for {entry.name}.")
        return read_file(self._folder / entry.location, name=entry.name)

    @cached_property
    def content(self) -> str:
        """SHA-256 of the table, however its rows are cut into chunks."""
        digest = hashlib.sha256(str(self.table.schema.remove_metadata()).encode())
        for column in self.table.columns:
            _add(digest, column)
        return digest.hexdigest()


def _add(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Add the values of ``column`` to ``digest``: numbers as they lie in memory."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        _add(digest, pc.list_value_length(column))
        _add(digest, pc.list_flatten(column))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        digest.update(pc.is_valid(column).to_numpy().tobytes())
        digest.update(pc.fill_null(column, 0).to_numpy().tobytes())
    else:
        for value in column.to_pylist():
            digest.update(repr(value).encode("utf-8", "backslashreplace"))


def _check_columns(table: pa.Table, title: str) -> None:
    names = table.column_names
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated:
        raise ParameterError(f"{title}: expected each column once, got {repeated[0]} repeatedly.")
    for column in ("image", "condition"):
        if column not in names:
            raise ParameterError(
                f"{title}: expected the columns image, condition and {PREDICTED}, got "
                f"{_listed(names)}."
            )
        gaps = table[column].null_count
        if gaps:
            raise ParameterError(
                f"{title}: expected a value of {column} in every row, got {gaps:,} without one."
            )
    classes = _class_columns(table)
    if classes and SCORE in names and SCORE_NAME in names:
        raise ParameterError(
            f"{title}: expected predictions of classes or scores, got both, {classes[0]} and "
            f"{SCORE}: remove one of them."
        )


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "none"
    examples = ", ".join(names[:8])
    if len(names) > 8:
        return f"{examples} and {len(names) - 8} more"
    return examples


def _distinct(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _indices(texts: Sequence[str], known: Sequence[str]) -> NDArray[np.intp]:
    """The index of each of ``texts`` in ``known``."""
    index_by_text = {text: index for index, text in enumerate(known)}
    return np.array([index_by_text[text] for text in texts], np.intp)


def read_predictions(path: Path) -> Predictions:
    """The predictions in the file ``path``; raises ``ParameterError`` if it cannot be used."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or not path.is_file():
        expected = f"Expected a table of predictions ({', '.join(SUFFIXES)})"
        note = "" if path.exists() else ", which does not exist"
        raise ParameterError(f"{expected}, got {path}{note}.")
    try:
        require_regular(path, MAX_BYTES)
        table = _READERS[suffix](path)
    except ParameterError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None)
        if reason:
            raise ParameterError(f"{path.name} cannot be read: {reason}.") from error
        raise ParameterError(
            f"{path.name} cannot be read as a table of predictions: expected "
            f"{_KINDS[suffix]}, got something else or a damaged file."
        ) from error
    if not len(table):
        raise ParameterError(f"{path.name} has no rows: expected a row for each prediction.")
    absolute_path = path.resolve()
    return Predictions(table, str(absolute_path), path.stem, absolute_path.parent, path.stem)


def holds_predictions(path: Path) -> bool:
    """Whether the table ``path`` has predictions: the columns, and a row of an original.

    A file of JSON lines is taken for one unread, as tables of paths have other formats.
    """
    suffix = path.suffix.lower()
    if suffix == ".jsonl":
        return True
    if suffix not in SUFFIXES:
        return False
    try:
        names = {name.strip().strip('"') for name in _column_names(path)}
        predicted = {*PREDICTED.split(" or "), "p0"}
        if not {"image", "condition"} <= names or names.isdisjoint(predicted):
            return False
        require_regular(path, MAX_BYTES)
        conditions = _READERS[suffix](path, ["condition"])["condition"]
    except (pa.ArrowException, OSError, ValueError, RobustnessError):
        return False
    return ORIGINAL in {str(text).strip() for text in conditions.unique().to_pylist()}


def _column_names(path: Path) -> list[str]:
    """The names of the columns of a CSV or Parquet file, from its beginning alone."""
    if path.suffix.lower() == ".parquet":
        return [name for name, _ in parquet.columns(path)]
    with path.open("rb") as file:
        first_line = file.readline(_FIRST_BYTES)
    return first_line.decode("utf-8-sig", "replace").strip().split(",")


def _csv(path: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import csv

    column_types = {name: pa.string() for name in (*COLUMNS, *_READ_AS_TEXT)}
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(column_types=column_types, include_columns=columns),
    )


_READ_AS_TEXT = ("prediction", "classes", "probabilities", "perturbation")
"""Columns, beside ``COLUMNS``, of which the reader of CSV files must not guess a type."""


def _jsonl(path: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import json

    table = json.read_json(path, json.ReadOptions(block_size=16 * 1024**2))
    if columns is None:
        return table
    return table.select(columns)


def _parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    return parquet.read(path, columns, _MAX_RATIO)


_READERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _jsonl}
_KINDS = {
    ".csv": "comma-separated values",
    ".parquet": "Parquet",
    ".jsonl": "one JSON object per line",
}
