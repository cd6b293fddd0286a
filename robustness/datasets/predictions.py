"""A table of predictions that another system made of exported images: ``Predictions``.

A row is one image under one condition for one model. ``COLUMNS`` names what is read beside the
predictions, which have one of four forms:

- ``prediction``: the top-1 class, with its ``confidence`` if known;
- ``classes`` and ``probabilities``: lists of the top classes and their probabilities;
- ``probabilities`` alone: a list with one number for each class, in the order of the classes;
- ``p0``, ``p1``, ...: a column for each class.

Lists are JSON in a CSV file. A class is an index, a name or a synset.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from robustness.base import workers
from robustness.base.errors import ImageError, ParameterError, RobustnessError
from robustness.base.files import require_regular
from robustness.base.text import counted, from_csv_cell
from robustness.datasets.dataset import Dataset, Entry
from robustness.images.decoding import read_file
from robustness.models.record import Labels

PREDICTED = "prediction or probabilities"
"""The columns that hold predictions, as a sentence says them."""

_SHARES = "probabilities"

_NEAR_ONE = 0.02
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class TableAnswers:
    """The predictions of all rows.

    ``whole`` (rows, classes) has all probabilities; without it ``classes`` has the top classes of
    each row as texts, best first, and ``shares`` their probabilities, () if unknown.
    """

    whole: Floats | None = None
    classes: Sequence[Sequence[str]] = ()
    shares: Sequence[Sequence[float]] = ()

    @property
    def named(self) -> list[str]:
        """The distinct classes as they are written; none of whole predictions."""
        return list(dict.fromkeys(text for row in self.classes for text in row))


def read_answers(table: pa.Table, title: str) -> TableAnswers:
    """The predictions in ``table``; raises ``ParameterError`` if there are none it can use."""
    names = table.column_names
    columns = [name for name in names if re.fullmatch(r"p\d{1,6}", name)]
    if columns:
        if sorted(columns, key=lambda name: int(name[1:])) != [
            f"p{at}" for at in range(len(columns))
        ]:
            raise ParameterError(
                f"{title}: expected the columns p0 to p{len(columns) - 1}, one for each class."
            )
        stacked = [_numbers(table, f"p{at}", title) for at in range(len(columns))]
        return TableAnswers(_probabilities(np.stack(stacked, axis=1), title))
    if "classes" in names and "probabilities" in names:
        return _top(table, title)
    if "probabilities" in names:
        lists = _lists(table, "probabilities", title)
        lengths = {len(entries) for entries in lists}
        if len(lengths) > 1:
            raise ParameterError(
                f"{title}: expected the same number of probabilities in every row, got "
                f"{min(lengths)} to {max(lengths)}; give the top classes in a column classes."
            )
        return TableAnswers(_probabilities(_float(lists, title, dimensions=2), title))
    if "prediction" in names:
        return _first(table, title)
    raise ParameterError(
        f"{title}: expected a column {PREDICTED}, got {', '.join(map(str, names[:8]))}."
    )


def _numbers(table: pa.Table, name: str, title: str) -> Floats:
    column = table[name]
    try:
        floats = column if pa.types.is_floating(column.type) else pc.cast(column, pa.float64())
        numbers: Floats = floats.to_numpy()
    except pa.ArrowException as error:
        raise _no_numbers(title, name) from error
    return numbers


def _no_numbers(title: str, name: str = _SHARES) -> ParameterError:
    return ParameterError(f"{title}: expected numbers from 0 to 1 in {name}, got other values.")


def _lists(table: pa.Table, name: str, title: str) -> list[Any]:
    rows = table[name].to_pylist()
    try:
        lists = [json.loads(value) if isinstance(value, str) else value for value in rows]
    except (ValueError, RecursionError) as error:
        raise ParameterError(f"{title}: expected a list such as [0.7, 0.2] in {name}.") from error
    if not all(isinstance(entries, list) and entries for entries in lists):
        raise ParameterError(f"{title}: expected a list in every row of {name}.")
    return lists


def _float(values: Any, title: str, *, dimensions: int) -> Floats:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(title) from error
    if array.ndim != dimensions:
        raise _no_numbers(title)
    return array


def _probabilities(values: Floats, title: str) -> Floats:
    """``values`` as float32; raises ``ParameterError`` unless every row sums to 1."""
    _check_range(values, title)
    if values.shape[1] < 2:
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, two or more, got one in each "
            "row; give the top classes in a column classes."
        )
    sums = values.sum(axis=1)
    if not np.all(np.abs(sums - 1) <= _NEAR_ONE):
        off = float(sums[np.abs(sums - 1).argmax()])
        raise ParameterError(
            f"{title}: expected the probabilities of all classes, which sum to 1 in every row, "
            f"got a sum of {off:g}; give the top classes in a column classes."
        )
    return values.astype(np.float32)


def _check_range(values: Floats, title: str, name: str = _SHARES) -> None:
    if gaps := int(np.isnan(values).sum()):
        raise ParameterError(
            f"{title}: expected a number from 0 to 1 for each value of {name}, got {gaps:,} "
            "without one."
        )
    if not np.all((values >= 0) & (values <= 1 + 1e-6)):
        softmax = "; apply softmax to logits first" if name == _SHARES else ""
        raise ParameterError(
            f"{title}: expected {name} from 0 to 1, got {values.min():g} to {values.max():g}"
            f"{softmax}."
        )


def _top(table: pa.Table, title: str) -> TableAnswers:
    classes = _lists(table, "classes", title)
    shares = _lists(table, "probabilities", title)
    if [len(names) for names in classes] != [len(share) for share in shares]:
        raise ParameterError(f"{title}: expected as many probabilities as classes in every row.")
    flat = _float([share for row in shares for share in row], title, dimensions=1)
    _check_range(flat, title)
    values = iter(flat.tolist())
    ordered = [
        sorted(((next(values), cell_text(name)) for name in row), key=lambda pair: -pair[0])
        for row in classes
    ]
    return TableAnswers(
        classes=[[name for _, name in row] for row in ordered],
        shares=[[share for share, _ in row] for row in ordered],
    )


def _first(table: pa.Table, title: str) -> TableAnswers:
    texts = [cell_text(value) for value in table["prediction"].to_pylist()]
    if gaps := texts.count(""):
        raise ParameterError(
            f"{title}: expected a class in every row of prediction, got {gaps:,} without one."
        )
    shares: list[list[float]] = [[] for _ in texts]
    if "confidence" in table.column_names:
        confidence = _numbers(table, "confidence", title)
        _check_range(confidence, title, "confidence")
        shares = [[float(value)] for value in confidence]
    return TableAnswers(classes=[[text] for text in texts], shares=shares)


def cell_text(value: object) -> str:
    """``value`` as text; a float, as an index is in a column with gaps, as a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def meaning(answers: TableAnswers, labels: Labels, title: str) -> Callable[[str], int]:
    """A function from a class as written to its index; it raises ``ParameterError`` for others."""
    index_by_text: dict[str, int] = {}
    for text in answers.named:
        indices = labels.meant(text)
        if len(indices) != 1:
            raise ParameterError(
                f"{title}: {text!r} is not one of the {len(labels):,} classes of {labels.title}; "
                "name the classes.",
                hint="Use --classes imagenet or --classes FILE, with one class per line.",
            )
        index_by_text[text] = indices[0]
    return index_by_text.__getitem__


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
_CELLS_FREE = 1_000_000
_MAX_GAPS = 20
"""Most places for predictions, and most for each row of the table."""
MAX_BYTES = workers.MAX_BYTES
_FIRST_BYTES = 64 * 1024  # enough for the names of the columns


class Predictions(Dataset):
    """The images of a table of predictions, in order of appearance, with all their predictions.

    ``at`` (images, models, 1 + conditions) is the row of each prediction, the original first, and
    -1 where there is none. An image is shown if the column ``path`` of its original names a file.
    """

    fitted = True
    classes: Mapping[str, Labels] = {}
    """The classes of each model, from the plan of the run."""

    def __init__(self, table: pa.Table, source: str, title: str, folder: Path, name: str) -> None:
        """``name`` is the model of a table without the column ``model``.

        Raises ``ParameterError`` for a table that lacks a column, repeats a column or row, or is
        mostly gaps.
        """
        self._folder = folder
        self.table = table
        self.title = title
        names = table.column_names
        if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
            raise ParameterError(f"{title}: expected each column once, got {twice[0]} repeatedly.")
        for column in ("image", "condition"):
            if column not in names:
                raise ParameterError(
                    f"{title}: expected the columns image, condition and {PREDICTED}, got "
                    f"{_listed(names)}."
                )
            if gaps := table[column].null_count:
                raise ParameterError(
                    f"{title}: expected a value of {column} in every row, got {gaps:,} without one."
                )
        images, image_of = _coded(self.texts("image"))
        conditions, condition_of = _coded(self.texts("condition"))
        if ORIGINAL not in conditions:
            raise ParameterError(
                f"{title}: expected the predictions of the originals, too, in rows with the "
                f"condition {ORIGINAL!r}; got {_listed(conditions)}."
            )
        models = self.texts("model") if "model" in names else [name] * len(table)
        self.models, model_of = _coded(models)
        self.conditions = [text for text in conditions if text != ORIGINAL]
        place = {text: at for at, text in enumerate([ORIGINAL, *self.conditions])}
        column_of = np.array([place[text] for text in conditions])[condition_of]
        cells = len(images) * len(self.models) * len(place)
        if cells > max(_CELLS_FREE, _MAX_GAPS * len(table)):
            raise ParameterError(
                f"{title}: expected a row for each image, condition and model, {cells:,} in all, "
                f"got {len(table):,}."
            )
        self.at = np.full((len(images), len(self.models), len(place)), -1)
        self.at[image_of, model_of, column_of] = np.arange(len(table))
        if (count := int((self.at >= 0).sum())) < len(table):
            raise ParameterError(
                f"{title}: expected one row for each image, condition and model; "
                f"got {counted(len(table) - count, 'repeated row')}."
            )
        super().__init__(source, title, self._entries(images, image_of, column_of))

    def _entries(
        self, images: Sequence[str], image_of: NDArray[np.intp], column_of: NDArray[np.intp]
    ) -> list[Entry]:
        labels = dict.fromkeys(range(len(images)), "")
        for place, label in zip(image_of.tolist(), self.texts("label"), strict=True):
            if labels[place] and label and label != labels[place]:
                raise ParameterError(
                    f"{self.title} has two labels for {images[place]!r}, {labels[place]!r} "
                    f"and {label!r}: expected one label per image."
                )
            labels[place] = labels[place] or label
        paths = self.texts("path")
        originals = np.flatnonzero(column_of == 0)
        places = {int(image_of[row]): paths[row] for row in originals}
        return [
            Entry(name, places.get(at, ""), label=labels[at] or None)
            for at, name in enumerate(images)
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
        """The only value of ``column``; raises ``ParameterError`` if there are several."""
        values = sorted(set(self.texts(column)) - {""}) or [default]
        if len(values) > 1:
            raise ParameterError(
                f"{self.title}: expected one {column} for all rows, got {_listed(values)}."
            )
        return values[0]

    def answers(self) -> TableAnswers:
        """The predictions by row; raises ``ParameterError`` as ``read_answers`` does."""
        return read_answers(self.table, self.title)

    def read(self, entry: Entry) -> bytes:
        """The bytes of an original's file; raises ``ImageError`` if there is none."""
        if not entry.place:
            raise ImageError(f"The table names no file for {entry.name}.")
        return read_file(self._folder / entry.place, name=entry.name)

    @cached_property
    def content(self) -> str:
        """SHA-256 of the table, however its rows are cut into chunks."""
        digest = hashlib.sha256(str(self.table.schema.remove_metadata()).encode())
        for column in self.table.columns:
            _add(digest, column)
        return digest.hexdigest()


def _add(digest: hashlib._Hash, column: pa.ChunkedArray) -> None:
    """Add the values of ``column`` to the digest ``digest``: numbers as they lie in memory."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        _add(digest, pc.list_value_length(column))
        _add(digest, pc.list_flatten(column))
    elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        digest.update(pc.is_valid(column).to_numpy().tobytes())
        digest.update(pc.fill_null(column, 0).to_numpy().tobytes())
    else:
        for value in column.to_pylist():
            digest.update(repr(value).encode("utf-8", "backslashreplace"))


def _listed(names: Sequence[str]) -> str:
    examples = ", ".join(names[:8])
    return f"{examples} and {len(names) - 8} more" if len(names) > 8 else examples or "none"


def _coded(texts: Sequence[str]) -> tuple[list[str], NDArray[np.intp]]:
    """(the distinct ``texts`` in order of appearance, the place of each among them)."""
    place = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    return list(place), np.array([place[text] for text in texts], np.intp)


def read_predictions(path: Path) -> Predictions:
    """The predictions in the file ``path``; raises ``ParameterError`` if it cannot be used."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        kind = f"Expected a table of predictions ({', '.join(SUFFIXES)})"
        gone = "" if path.exists() else ", which does not exist"
        raise ParameterError(f"{kind}, got {path}{gone}.")
    try:
        require_regular(path, MAX_BYTES)
        table = _READERS[path.suffix.lower()](path)
    except ParameterError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        if reason := getattr(error, "strerror", None):
            raise ParameterError(f"{path.name} cannot be read: {reason}.") from error
        raise ParameterError(
            f"{path.name} cannot be read as a table of predictions: expected "
            f"{_KINDS[path.suffix.lower()]}, got something else or a damaged file."
        ) from error
    if not len(table):
        raise ParameterError(f"{path.name} has no rows: expected a row for each prediction.")
    return Predictions(table, str(path.resolve()), path.stem, path.resolve().parent, path.stem)


def holds_predictions(path: Path) -> bool:
    """Whether the table ``path`` has predictions: the columns, and a row of an original."""
    try:
        if path.suffix.lower() == ".parquet":
            names = [name for name, _ in workers.columns(path)]
        elif path.suffix.lower() == ".csv":
            with path.open("rb") as file:
                names = (
                    file.readline(_FIRST_BYTES).decode("utf-8-sig", "replace").strip().split(",")
                )
        else:
            return path.suffix.lower() == ".jsonl"
        plain = {name.strip().strip('"') for name in names}
        if not ({"image", "condition"} <= plain and plain & {*PREDICTED.split(" or "), "p0"}):
            return False
        require_regular(path, MAX_BYTES)
        conditions = _READERS[path.suffix.lower()](path, ["condition"])["condition"]
    except (pa.ArrowException, OSError, ValueError, RobustnessError):
        return False
    return ORIGINAL in {str(text).strip() for text in conditions.unique().to_pylist()}


def _csv(path: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import csv

    texts = (*COLUMNS, *_AS_TEXT)
    return csv.read_csv(
        path,
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types={n: pa.string() for n in texts}, include_columns=columns
        ),
    )


_AS_TEXT = ("prediction", "classes", "probabilities", "perturbation")


def _jsonl(path: Path, columns: list[str] | None = None) -> pa.Table:
    from pyarrow import json

    table = json.read_json(path, json.ReadOptions(block_size=16 * 1024**2))
    return table.select(columns) if columns else table


def _parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    return workers.read(path, columns, _MAX_RATIO)


_READERS = {".csv": _csv, ".parquet": _parquet, ".jsonl": _jsonl}
_KINDS = {
    ".csv": "comma-separated values",
    ".parquet": "Parquet",
    ".jsonl": "one JSON object per line",
}
