"""The saved rows of a run: queries in SQL, and the cells of a column in memory."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustness.base.errors import RunError
from robustness.evaluation.correctness import CORRECTNESS
from robustness.evaluation.row_schema import own_columns, stored
from robustness.statistics import Figures
from robustness.statistics.counted_attacks import breakable, targets
from robustness.statistics.measurement_grid import (
    MEANS,
    UNKNOWN,
    ConditionKey,
    Grid,
    contradictory,
    in_order,
)
from robustness.statistics.summaries import MOST_UNLABELLED

if TYPE_CHECKING:
    import duckdb


_READERS = 2  # files read at once
_AT_ONCE = 2**16  # rows of a file at a time
_FEW_AT_ONCE = 2**13  # where only some are wanted: a fifth of the memory
_MOST = 160_000_000  # bytes of numbers read together, unless one column of one model has more

_FLAGS = ("consistent", *CORRECTNESS)
_NUMBERS = (*MEANS, "clean_probability", "probability")
_CLASSES = ("label", "clean_top1", "top1")
_KEYS = ("model", "condition", "remedy")

MARGINS = {"clean_margin": "clean_top5_probabilities", "margin": "top5_probabilities"}
"""Values that follow from a column: by how much the first of the probabilities
exceeds the second."""


_Key = tuple[str, str]
"""A remedy, "" for none, and a model."""


@dataclass(frozen=True)
class Axes:
    """The axes of the rows: images, models and conditions, in order.

    ``positions`` are those in the dataset that have rows, ascending; ``image_of`` is the place of
    each among ``images``, -1 for one of the ``copies`` of an image that counts already. ``digests``
    are those of the ``images``.
    """

    images: NDArray[np.object_]
    digests: NDArray[np.object_]
    positions: NDArray[np.int64]
    image_of: NDArray[np.int64]
    copies: int
    models: tuple[str, ...]
    conditions: tuple[tuple[str, str, float], ...]


def damaged(paths: Sequence[Path]) -> RunError:
    """The error of rows in ``paths`` that cannot be read any more."""
    return RunError(
        "The rows of the run can no longer be read: a file is missing or damaged.",
        hint=f"They are in {paths[0].parent}.",
    )


class Cells:
    """The cells of each model, arrays (images, conditions), from the files ``paths``.

    ``own`` are the columns of plugins' metrics. Of ``remedies`` there are the cells of each model
    with each, too. Flags are kept, and what is the same under all conditions; of the other columns
    those that were read last.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        axes: Axes,
        conditions: Sequence[str],
        own: Sequence[str],
        remedies: Sequence[str] = (),
    ) -> None:
        self._paths = paths
        self._axes = axes
        self._schema = stored(own)
        self._shape = len(conditions), len(axes.images)  # so that a condition is in one piece
        self._size = math.prod(self._shape)
        keys = product(("", *remedies), axes.models)
        self._starts = {key: at * self._size for at, key in enumerate(keys)}
        self._places = {text: at * self._shape[1] for at, text in enumerate(conditions)}
        self._first_columns: dict[tuple[_Key, str], NDArray[Any]] = {}
        self._last: dict[tuple[_Key, str], NDArray[Any]] = {}
        self._lock = threading.RLock()

    def there(self, model: str, remedy: str = "") -> NDArray[np.bool_]:
        """The cells where ``model``, with ``remedy`` if one is named, has a row."""
        with self._lock:
            return self._there[remedy, model]

    def read(self, model: str, column: str, remedy: str = "") -> NDArray[Any]:
        """The cells of ``column``: flags as bytes, classes as integers, numbers as they are.

        They are of the rows without a remedy unless one is named. Raises ``KeyError`` for a column
        that rows do not have, ``RunError`` where a file cannot be read.
        """
        key = (remedy, model), column
        with self._lock:
            if key not in self._first_columns and key not in self._last:
                self._load((remedy, model), column)
            return self._first_columns[key] if key in self._first_columns else self._last[key]

    @cached_property
    def _there(self) -> dict[_Key, NDArray[np.bool_]]:
        there = np.zeros((len(self._starts), *self._shape), bool)
        for cells in self._cells:
            there.ravel()[cells[cells >= 0]] = True
        return {key: _narrow(array) for key, array in zip(self._starts, there, strict=True)}

    @cached_property
    def _cells(self) -> list[NDArray[Any]]:
        """Where each row of each file is in (models, conditions, images); -1 for that of a copy,
        and for one with another remedy."""
        return self._of_files(self._cells_of)

    def _cells_of(self, path: Path) -> NDArray[Any]:
        small = len(self._starts) * self._size < 2**31
        numbers = [np.empty(0, np.int32)]
        for batch in self._batches(path, ("position", *_KEYS)):
            position = batch.column(0).to_numpy()
            # Rows of an image stand together. By search: a file from outside may have any position.
            first = np.flatnonzero(np.diff(position, prepend=position[:1] - 1))
            image = self._axes.image_of[np.searchsorted(self._axes.positions, position[first])]
            cells = np.repeat(image, np.diff(first, append=len(position)))
            coded = map(_coded, batch.columns[1:])
            (models, model), (conditions, condition), (remedies, remedy_of) = coded
            starts = np.array(
                [[self._starts.get((remedy, name), -1) for name in models] for remedy in remedies]
            )[remedy_of, model]
            places = np.array([self._places[text] for text in conditions], np.int64)
            others = (cells < 0) | (starts < 0)
            cells += starts + places[condition]
            cells[others] = -1
            numbers.append(cells.astype(np.int32) if small else cells)
        return np.concatenate(numbers)

    def _load(self, key: _Key, column: str) -> None:
        """Read ``column`` of ``key`` and, as far as there is room, what is needed with it."""
        if column not in (*self._schema.names, *MARGINS):
            raise KeyError(column)  # only columns of the rows are read
        group: tuple[str, ...] = (column,)
        keys = [*self._starts]
        form: np.dtype[Any] = np.dtype(np.float64)
        if column in _FLAGS:
            group, form = _FLAGS, np.dtype("int8")
        else:
            self._last.clear()
            if column not in MARGINS and pa.types.is_integer(self._schema.field(column).type):
                form = np.dtype("int32")
            most = max(1, _MOST // max(1, form.itemsize * self._size))  # arrays
            for names in (_NUMBERS, _CLASSES):
                if column in names and len(names) * len(keys) <= most:
                    group = names
            start = keys.index(key) // most * most
            keys = keys[start : start + most]
        shape = len(keys), *self._shape
        unknown = np.nan if form.kind == "f" else UNKNOWN
        arrays = {name: np.full(shape, unknown, form) for name in group}
        self._fill(arrays, self._starts[keys[0]])
        for name, array in arrays.items():
            for one, values in zip(keys, map(_narrow, array), strict=True):
                owned = name in _FLAGS or not values.flags.writeable
                (self._first_columns if owned else self._last)[one, name] = values

    def _fill(self, arrays: Mapping[str, NDArray[Any]], start: int) -> None:
        """Fill in the columns (models, conditions, images), whose first cell is ``start``."""
        flat = {name: array.ravel() for name, array in arrays.items()}
        most = next(iter(flat.values())).size

        def fill(path: Path, cells: NDArray[Any]) -> None:
            for batch in self._batches(path, [MARGINS.get(name, name) for name in flat]):
                here, cells = cells[: len(batch)] - start, cells[len(batch) :]
                chosen = (here >= 0) & (here < most)
                rows = slice(None) if chosen.all() else chosen
                for name, array in flat.items():
                    column = batch.column(MARGINS.get(name, name))
                    values = _margin(column) if name in MARGINS else _values(column, array.dtype)
                    array[here[rows]] = values[rows]

        self._of_files(fill, self._cells)

    def _of_files(self, work: Callable[..., Any], *more: Iterable[Any]) -> list[Any]:
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(work, self._paths, *more))

    def _batches(self, path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path, read_dictionary=list(_KEYS)) as file:
                yield from file.iter_batches(_AT_ONCE, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._paths) from error


def _coded(column: pa.DictionaryArray) -> tuple[list[str], NDArray[np.intp]]:
    """(the texts of ``column``, the place of each row among them); "" is for null."""
    texts = [*column.dictionary.to_pylist(), ""]
    if column.null_count == len(column):
        return [""], np.zeros(1, np.intp)  # for all rows
    codes = pc.fill_null(column.indices.cast(pa.int64()), len(texts) - 1)
    return texts if column.null_count else texts[:-1], codes.to_numpy()


def _values(column: pa.Array, form: np.dtype[Any]) -> NDArray[Any]:
    """``column`` as numbers of ``form``; NaN or ``UNKNOWN`` where there is none."""
    if form.kind == "f":
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.asarray(pc.fill_null(column.cast(pa.from_numpy_dtype(form)), UNKNOWN).to_numpy())


def _margin(column: pa.ListArray) -> NDArray[Any]:
    """The first number of each list less the second; NaN for fewer than two."""
    numbers = column.values.to_numpy(zero_copy_only=False)
    starts, lengths = column.offsets.to_numpy()[:-1], column.value_lengths().fill_null(0).to_numpy()
    margin = np.full(len(column), np.nan)
    two = lengths > 1
    margin[two] = numbers[starts[two]] - numbers[starts[two] + 1]
    return margin


def _narrow(cells: NDArray[Any]) -> NDArray[Any]:
    """(images, conditions) from ``cells`` (conditions, images); one value an image is kept, and the
    array cannot be written to, where all conditions have it."""
    first = cells[:1]
    same = len(cells) > 0 and bool((cells == first).all())
    return np.broadcast_to(first.copy(), cells.shape).T if same else cells.T


MEMORY = "384MB"
_THREADS = 4

ROW = "position::BIGINT * 4294967296 + file_row_number"
"""The order of the rows: that of the dataset, then of the file."""

_SOURCE = (
    "WITH rows AS (SELECT * FROM read_parquet($files, file_row_number = true) "
    "WHERE remedy IS NULL) "
)
"""The start of a query: the rows without a remedy."""


@dataclass(eq=False)
class Rows:
    """The rows in the files ``paths``, which ``parts`` wrote, and the ``images`` that have any.

    ``profiles`` has, by the id of a condition, the name of the profile whose composition it is;
    ``seed`` is that of the run.
    """

    paths: Sequence[Path]
    images: pa.Table
    profiles: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        import duckdb  # slow to import

        connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": MEMORY,
                "threads": str(min(_THREADS, os.cpu_count() or 1)),
                "temp_directory": "",
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
            },
        )
        allowed = [str(path) for path in self.paths]
        connection.execute("SET allowed_paths = $allowed", {"allowed": allowed})
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        return connection

    @cached_property
    def own_scores(self) -> tuple[str, ...]:
        """The columns of plugins' metrics."""
        return own_columns(pq.read_schema(self.paths[0])) if self.paths else ()

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each image by its position."""
        columns = (self.images[name].to_pylist() for name in ("position", "name"))
        return dict(zip(*columns, strict=True))

    def at(self, numbers: Sequence[int], columns: Sequence[str]) -> dict[int, dict[str, Any]]:
        """The ``columns`` and ``position`` of the rows ``numbers``, as ``ROW`` counts them.

        Only the groups of rows that hold their images are read. Raises ``RunError`` where a file
        cannot be read.
        """
        ordered = np.unique(np.array(numbers, np.int64))
        positions = np.unique(ordered >> 32)
        rows: dict[int, dict[str, Any]] = {}
        try:
            for path in self.paths:
                with pq.ParquetFile(path, read_dictionary=list(_KEYS)) as file:
                    for group, start in _groups_with(file.metadata, positions):
                        for batch in file.iter_batches(
                            _FEW_AT_ONCE, [group], ["position", *columns], use_threads=False
                        ):
                            places = batch["position"].to_numpy().astype(np.int64) << 32
                            places += np.arange(start, start := start + len(batch))
                            near = np.searchsorted(ordered, places).clip(max=len(ordered) - 1)
                            chosen = np.flatnonzero(ordered[near] == places)
                            values = batch.take(pa.array(chosen)).to_pylist()
                            rows |= dict(zip(places[chosen].tolist(), values, strict=True))
        except (pa.ArrowException, OSError) as error:
            raise damaged(self.paths) from error
        return rows

    def ask(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """The answers to ``query``, which reads ``rows`` and names ``values`` as ``$name``."""
        with self._query(query, values) as result:
            return result.fetchall()

    def ask_columns(self, query: str, **values: object) -> list[NDArray[Any]]:
        """As ``ask``, an array for each column."""
        with self._query(query, values) as result:
            return list(result.fetchnumpy().values())

    @contextmanager
    def _query(self, query: str, values: dict[str, object]) -> Iterator[duckdb.DuckDBPyRelation]:
        import duckdb

        if not self.paths:
            raise RunError("There are no rows to read.")
        paths = [str(path) for path in self.paths]
        with self._lock:
            cursor = self._connection.cursor()
        try:
            yield cursor.sql(_SOURCE + query, params={"files": paths, **values})
        except duckdb.OutOfMemoryException as error:
            raise RunError(
                f"The run has too many rows for this table: expected a query within {MEMORY} of "
                "memory.",
                hint="Evaluate fewer images or conditions in one run.",
            ) from error
        except duckdb.Error as error:
            raise damaged(self.paths) from error
        finally:
            cursor.close()

    @cached_property
    def axes(self) -> Axes:
        """The images, models and conditions of the rows."""
        if not self.paths:
            none = np.empty(0, np.int64)
            return Axes(np.empty(0, object), np.empty(0, object), none, none, 0, (), ())
        columns = (self.images[name].to_pylist() for name in ("position", "name", "digest"))
        images = list(zip(*columns, strict=True))
        keys = self.ask(
            "SELECT model, condition, any_value(perturbation), "
            f"arg_min(strength, {ROW}) FROM rows GROUP BY model, condition ORDER BY min({ROW})"
        )
        first: dict[object, int] = {}
        image_of = np.full(len(images), -1, np.int64)
        names: list[str] = []
        digests: list[str] = []
        for place, (position, name, digest) in enumerate(images):
            if first.setdefault(digest, position) == position:
                image_of[place] = len(names)
                names.append(name)
                digests.append(str(digest))
        conditions: dict[str, tuple[str, float]] = {}
        for _, condition, perturbation, strength in keys:
            level = float("nan") if strength is None else float(strength)
            conditions.setdefault(str(condition), (str(perturbation), level))
        return Axes(
            np.array(names, object),
            np.array(digests, object),
            np.array([position for position, *_ in images], np.int64),
            image_of,
            len(images) - len(names),
            tuple(dict.fromkeys(str(model) for model, *_ in keys)),
            tuple((text, *cell) for text, cell in conditions.items()),
        )

    def figures(self) -> Figures:
        """The figures of the rows that are there now."""
        figures = Figures(self.grids, self.axes.copies, self._contradictions())
        figures.classes = self.classes()
        return figures

    def _contradictions(self) -> int:
        """How many images have copies with another label."""
        if not self.axes.copies:
            return 0
        digests = dict(
            zip(*(self.images[c].to_pylist() for c in ("position", "digest")), strict=True)
        )
        rows = self.ask("SELECT DISTINCT model, position, label FROM rows")
        frame = pd.DataFrame(rows, columns=["model", "position", "label"])
        return contradictory(frame.assign(image_digest=frame["position"].map(digests)))

    @cached_property
    def judged_by(self) -> str:
        """The column that says whether a row went well, in figures that need one for all rows.

        It is "correct", of the labelled images alone, where at least half of the images have a
        label for every model; else "consistent".
        """
        axes = self.axes
        labelled = self.ask(
            "SELECT count(DISTINCT position) FILTER (label IS NOT NULL) FROM rows "
            "WHERE position IN (SELECT unnest($positions::INTEGER[])) GROUP BY model",
            positions=axes.positions[axes.image_of >= 0].tolist(),
        )
        least = (1 - MOST_UNLABELLED) * len(axes.images)
        return "correct" if all(count >= least for (count,) in labelled) else "consistent"

    def classes(self) -> list[tuple[str, int]]:
        """(model, class) of every image that has one: its label, else the original's prediction."""
        if not self.paths:
            return []
        query = (
            "SELECT DISTINCT model, coalesce(label, clean_top1)::INTEGER AS class FROM rows "
            "WHERE class IS NOT NULL ORDER BY ALL"
        )
        return [(str(model), int(index)) for model, index in self.ask(query)]

    def cells(self, remedies: Sequence[str] = ()) -> tuple[Cells, tuple[ConditionKey, ...]]:
        """The cells of each model, and of each with each of ``remedies``, and their conditions.

        There must be rows.
        """
        texts, perturbations, strengths = zip(*self.axes.conditions, strict=True)
        _, keys = in_order(texts, perturbations, strengths, self.profiles)
        ids = [key.id for key in keys]
        return Cells(self.paths, self.axes, ids, self.own_scores, remedies), keys

    def grids(self) -> list[Grid]:
        """One grid a model, as ``measurement_grid.grids`` makes them of the frame of the rows.

        But each composition of a profile is a condition. Flags are a byte each and kept; numbers
        are read anew as they are needed.
        """
        axes = self.axes
        if not axes.models:
            return []
        cells, keys = self.cells()
        attacks = np.array([key.is_attack for key in keys])
        return [
            Grid(
                model,
                axes.images,
                keys,
                cells.there(model),
                partial(_counted, cells, model, attacks, targets([key.id for key in keys])),
                self.own_scores,
            )
            for model in axes.models
        ]

    @cached_property
    def draws(self) -> NDArray[np.uint64]:
        """(images,) random numbers, of the seed and each image's digest alone."""
        texts = (f"{self.seed} {digest}".encode() for digest in self.axes.digests)
        parts = (hashlib.sha256(text).digest()[:8] for text in texts)
        return np.array([int.from_bytes(part, "big") for part in parts], np.uint64)


def _groups_with(
    metadata: pq.FileMetaData, positions: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """(a group of rows that may be of the images at ``positions``, its first row in the file)."""
    column = metadata.schema.names.index("position")
    start = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        bounds = group.column(column).statistics
        least, most = (bounds.min, bounds.max) if bounds and bounds.has_min_max else (0, 2**31)
        if np.searchsorted(positions, least) < np.searchsorted(positions, most, "right"):
            yield number, start
        start += group.num_rows


def _counted(
    cells: Cells,
    model: str,
    attacks: NDArray[np.bool_],
    aims: NDArray[np.float64],
    column: str,
) -> Any:
    """The cells of ``column``; ``consistent`` as ``statistics.attacked.as_counted`` has it."""
    values = cells.read(model, column)
    if column != "consistent" or not attacks.any():
        return values
    top1 = UNKNOWN if np.isnan(aims).all() else cells.read(model, "clean_top1")
    counted = breakable(cells.read(model, "clean_correct"), top1, aims) | ~attacks
    return np.where(counted, values, np.int8(UNKNOWN))
