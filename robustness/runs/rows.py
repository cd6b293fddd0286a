"""The saved rows of a run: queries in SQL, and the cells of a column in memory."""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
from robustness.measure.labels import CORRECTNESS
from robustness.measure.request import Request
from robustness.measure.rows import own_columns, stored
from robustness.statistics import Figures
from robustness.statistics.grid import (
    UNKNOWN,
    ConditionKey,
    Grid,
    attacks_in_sql,
    contradictory,
    count_attacks,
    in_order,
)
from robustness.statistics.tables import MOST_UNLABELLED

if TYPE_CHECKING:
    import duckdb


_READERS = 2  # files read at once
_AT_ONCE = 2**16  # rows of a file at a time
_MOST = 160_000_000  # bytes of numbers that stay, unless one column of one model has more

_FLAGS = ("consistent", *CORRECTNESS)
_KEYS = ("remedy", "model", "condition")

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
    models: tuple[str, ...]
    conditions: tuple[tuple[str, str, float], ...]

    @property
    def copies(self) -> int:
        return len(self.positions) - len(self.images)


def damaged(paths: Sequence[Path]) -> RunError:
    """The error of rows in ``paths`` that cannot be read any more."""
    return RunError(
        "The rows of the run can no longer be read: a file is missing or damaged.",
        hint=f"They are in {paths[0].parent}.",
    )


class Cells:
    """The cells of each model, arrays (images, conditions), from the files ``paths``.

    ``own`` are the columns of plugins' metrics. Of ``remedies`` there are the cells of each model
    with each, too. Flags stay in memory, and what is the same under all conditions; of the other
    columns those that were read last.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        axes: Axes,
        conditions: Sequence[str],
        own: Sequence[str],
        remedies: Sequence[str] = (),
    ) -> None:
        self.axes = axes
        self._paths = paths
        self._schema = stored(own)
        self._shape = len(conditions), len(axes.images)  # so that a condition is in one piece
        self._keys: list[_Key] = list(product(("", *remedies), axes.models))
        self._names = (("", *remedies), axes.models, conditions)
        self._small: dict[tuple[_Key, str], NDArray[Any]] = {}
        self._large: dict[tuple[_Key, str], NDArray[Any]] = {}
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
        cell = (remedy, model), column
        with self._lock:
            if cell not in self._small and cell not in self._large:
                self._load(*cell)
            return self._small[cell] if cell in self._small else self._large[cell]

    @cached_property
    def _there(self) -> dict[_Key, NDArray[np.bool_]]:
        there = np.zeros((len(self._keys), *self._shape), bool)
        for cells in self._cells:
            there.reshape(-1)[cells[cells >= 0]] = True
        return dict(zip(self._keys, map(_narrow, there), strict=True))

    @cached_property
    def _cells(self) -> list[NDArray[Any]]:
        """Where each row of each file is in (remedies, models, conditions, images).

        It is -1 for that of a copy, and for one with another remedy.
        """
        shape = *map(len, self._names), len(self.axes.images)
        number = np.int32 if math.prod(shape) < 2**31 else np.int64
        place_of = [{name: at for at, name in enumerate(names)} for names in self._names]

        def cells(path: Path) -> NDArray[Any]:
            numbers = [np.empty(0, number)]
            for batch in self._batches(path, ("position", *_KEYS)):
                # By search: a file from outside may have any position.
                image = np.searchsorted(self.axes.positions, batch["position"].to_numpy())
                keys = (batch[name] for name in _KEYS)
                places = [*map(_places, keys, place_of), self.axes.image_of[image]]
                cell = np.ravel_multi_index(places, shape, mode="clip")
                cell[np.minimum.reduce(places) < 0] = -1
                numbers.append(cell.astype(number))
            return np.concatenate(numbers)

        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(cells, self._paths))

    def _load(self, key: _Key, column: str) -> None:
        """Read ``column`` of ``key`` and of as many beside it as there is room for."""
        if column not in (*self._schema.names, *MARGINS):
            raise KeyError(column)  # only columns of the rows are read
        kind: np.dtype[Any] = np.dtype("float64")
        if column in _FLAGS:
            kind = np.dtype("int8")
        elif column not in MARGINS and pa.types.is_integer(self._schema.field(column).type):
            kind = np.dtype("int32")
        size = math.prod(self._shape)
        most = len(self._keys)
        if column not in _FLAGS:
            most = max(1, _MOST // max(1, size * kind.itemsize))
        start = self._keys.index(key) // most * most
        keys = self._keys[start : start + most]
        taken = sum(array.nbytes for array in self._large.values())
        if taken + len(keys) * size * kind.itemsize > _MOST:
            self._large.clear()
        unknown = np.nan if kind.kind == "f" else UNKNOWN
        arrays = np.full((len(keys), *self._shape), unknown, kind)
        flat = arrays.reshape(-1)

        def fill(path: Path, cells: NDArray[Any]) -> None:
            for batch in self._batches(path, [MARGINS.get(column, column)]):
                here = cells[: len(batch)] - start * size
                cells = cells[len(batch) :]
                chosen = (here >= 0) & (here < flat.size)
                read = batch.column(0)
                values = _margin(read) if column in MARGINS else _values(read, kind)
                flat[here[chosen]] = values[chosen]

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fill, self._paths, self._cells))
        for one, values in zip(keys, map(_narrow, arrays), strict=True):
            is_small = column in _FLAGS or not values.flags.writeable
            (self._small if is_small else self._large)[one, column] = values

    def _batches(self, path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path, read_dictionary=list(_KEYS)) as file:
                yield from file.iter_batches(_AT_ONCE, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._paths) from error


def _places(column: pa.DictionaryArray, place_of: Mapping[str, int]) -> NDArray[np.intp]:
    """What ``place_of`` has for each text of ``column``, "" for null; -1 for another text."""
    texts = [*column.dictionary.to_pylist(), ""]
    places = np.array([place_of.get(text, -1) for text in texts])
    return places[pc.fill_null(column.indices.cast(pa.int64()), len(texts) - 1).to_numpy()]


def _values(column: pa.Array, form: np.dtype[Any]) -> NDArray[Any]:
    """``column`` as numbers of ``form``; NaN or ``UNKNOWN`` where there is none."""
    if form.kind == "f":
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    return np.asarray(pc.fill_null(column.cast(pa.from_numpy_dtype(form)), UNKNOWN).to_numpy())


def _margin(column: pa.ListArray) -> NDArray[Any]:
    """The first number of each list less the second; NaN for fewer than two."""
    numbers = column.values.to_numpy(zero_copy_only=False)
    starts = column.offsets.to_numpy()[:-1]
    lengths = column.value_lengths().fill_null(0).to_numpy()
    margin = np.full(len(column), np.nan)
    two = lengths > 1
    margin[two] = numbers[starts[two]] - numbers[starts[two] + 1]
    return margin


def _narrow(cells: NDArray[Any]) -> NDArray[Any]:
    """(images, conditions) from ``cells`` (conditions, images); one value an image is kept, and the
    array cannot be written to, where all conditions have it."""
    first = cells[:1]
    same = (cells == first).all()
    return np.broadcast_to(first.copy(), cells.shape).T if same else cells.T


MEMORY = "384MB"
_THREADS = 4

ROW = "position::BIGINT * 4294967296 + file_row_number"
"""The order of the rows: that of the dataset, then of the file."""


@dataclass(eq=False)
class Rows:
    """The rows of a run of ``spec`` in the files ``paths``, and the ``images`` that have any."""

    paths: Sequence[Path]
    images: pa.Table
    spec: Request
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def _source(self) -> tuple[str, dict[str, Any]]:
        """The start of a query, and the values that it names."""
        attacks, values = attacks_in_sql([condition.id for condition in self.spec.conditions])
        return (  # our columns come first: a plugin may have a metric of the same name
            f"WITH rows AS (SELECT coalesce(correct, consistent) AS good, {attacks}, * "
            "FROM read_parquet($files, file_row_number = true) WHERE remedy IS NULL) ",
            {"files": [str(path) for path in self.paths], **values},
        )

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
        return self._by_position("name")

    @cached_property
    def digests(self) -> dict[int, str]:
        """The digest that identifies each image by its position."""
        return self._by_position("digest")

    def _by_position(self, column: str) -> dict[int, str]:
        columns = (self.images[name].to_pylist() for name in ("position", column))
        return dict(zip(*columns, strict=True))

    def ask(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """The answers to ``query``, which reads ``rows`` and names ``values`` as ``$name``.

        ``rows`` are those without a remedy. Beside their columns they have ``good`` (correct or,
        without a label, unchanged), ``attacked``, and ``counted`` (not of an attack that had no
        prediction to break). Raises ``RunError`` where they cannot be read.
        """
        import duckdb

        if not self.paths:
            raise RunError("There are no rows to read.")
        source, shared = self._source
        with self._lock:
            cursor = self._connection.cursor()
        try:
            return cursor.execute(source + query, {**shared, **values}).fetchall()
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
        names, digests = (self.images[column].to_numpy() for column in ("name", "digest"))
        first = ~pd.Series(digests).duplicated().to_numpy(bool)
        keys = (
            self.ask(
                "SELECT model, condition, any_value(perturbation), "
                f"arg_min(strength, {ROW}) FROM rows GROUP BY model, condition ORDER BY min({ROW})"
            )
            if self.paths
            else []
        )
        conditions: dict[str, tuple[str, float]] = {}
        for _, condition, perturbation, strength in keys:
            conditions.setdefault(
                condition, (perturbation, np.nan if strength is None else strength)
            )
        return Axes(
            images=names[first],
            digests=digests[first],
            positions=self.images["position"].to_numpy().astype(np.int64),
            image_of=np.where(first, np.cumsum(first) - 1, -1),
            models=tuple(dict.fromkeys(model for model, *_ in keys)),
            conditions=tuple((text, *key) for text, key in conditions.items()),
        )

    def figures(self) -> Figures:
        """The figures of the rows that are there now."""
        contradictions = 0  # images that have copies with another label
        if self.axes.copies:
            rows = self.ask("SELECT DISTINCT model, position, label FROM rows")
            labels = pd.DataFrame(rows, columns=["model", "position", "label"])
            labels["image_digest"] = labels["position"].map(self.digests)
            contradictions = contradictory(labels)
        figures = Figures(self.grids, self.axes.copies, contradictions)
        figures.classes = self.classes()
        return figures

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

    def cells(
        self, remedies: Sequence[str] = (), *, copies: bool = False
    ) -> tuple[Cells, tuple[ConditionKey, ...]]:
        """The cells of each model, and of each with each of ``remedies``, and their conditions.

        With ``copies``, each copy of an image is one of its own. There must be rows.
        """
        axes = self.axes
        if copies:
            names = self.images["name"].to_numpy()
            places = np.arange(len(axes.positions))
            axes = replace(axes, images=names, image_of=places)
        ids, perturbations, strengths = zip(*axes.conditions, strict=True)
        profiles = {each.id: each.profile for each in self.spec.conditions}
        _, keys = in_order(ids, perturbations, strengths, profiles)
        return Cells(self.paths, axes, [key.id for key in keys], self.own_scores, remedies), keys

    def grids(self, *, copies: bool = False) -> list[Grid]:
        """One grid a model, as ``measurement_grid.grids`` makes them of the frame of the rows.

        But each composition of a profile is a condition. Flags are a byte each and stay in memory;
        numbers are read anew as they are needed. ``copies`` is as in ``cells``.
        """
        if not self.axes.models:
            return []
        cells, keys = self.cells(copies=copies)
        return [
            count_attacks(
                Grid(
                    model,
                    cells.axes.images,
                    keys,
                    cells.there(model),
                    partial(cells.read, model),
                    self.own_scores,
                )
            )
            for model in self.axes.models
        ]

    @cached_property
    def draws(self) -> NDArray[np.uint64]:
        """(images,) random numbers, of the seed and each image's digest alone."""
        texts = (f"{self.spec.seed} {digest}".encode() for digest in self.axes.digests)
        parts = (hashlib.sha256(text).digest()[:8] for text in texts)
        return np.array([int.from_bytes(part, "big") for part in parts], np.uint64)
