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
from pathlib import Path
from types import MappingProxyType
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
from robustness.measure.rows import OF_VARIANTS, SCORES, plugin_columns_of, stored
from robustness.models.variant import Variant
from robustness.statistics.grid import (
    UNKNOWN,
    ConditionKey,
    Grid,
    attacks_in_sql,
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
_KEYS = ("model", "condition")

MARGINS = {"clean_margin": "clean_top5_probabilities", "margin": "top5_probabilities"}
"""Values that follow from a column of lists: by how much the first of the probabilities exceeds the
second."""

_SCORES_IN_FIGURES = {"clean_correct": "clean_score", "correct": "score"}


@dataclass(frozen=True)
class Axes:
    """The axes of the rows: images, models and conditions, in order.

    ``images`` are names, and ``digests`` theirs. ``positions`` are those of the dataset that have
    rows, ascending. ``image_of`` has for each of them the index of its image in ``images``, -1 for
    one of the ``copies`` of an image that counts already. ``conditions`` are (id, perturbation,
    strength).
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
    """The values of the rows of a run, as one array (images, conditions) for each model and column.

    ``names`` are those of models and variants. ``plugin_columns`` are those of plugins' metrics.
    ``renamed`` has the columns that are read in place of others. Flags stay in memory, as does what
    is the same under all conditions; of the other columns only those that were read last.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        axes: Axes,
        conditions: Sequence[str],
        plugin_columns: Sequence[str],
        names: Sequence[str],
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.axes = axes
        self._renamed = renamed
        self._paths = paths
        self._schema = stored(plugin_columns)
        # Conditions come first, so that the images of a condition lie side by side in memory.
        self._shape = (len(conditions), len(axes.images))
        self._conditions = conditions
        self._names = list(names)
        self._small: dict[tuple[str, str], NDArray[Any]] = {}
        self._large: dict[tuple[str, str], NDArray[Any]] = {}
        self._lock = threading.RLock()

    def has_row(self, model: str) -> NDArray[np.bool_]:
        """Whether ``model`` has a row: (images, conditions)."""
        with self._lock:
            return self._has_row[model]

    def read(self, model: str, column: str) -> NDArray[Any]:
        """The values of ``column``, (images, conditions), of the rows of ``model``.

        Flags are int8 and classes int32, with ``UNKNOWN`` where there is none; all else is float64,
        with NaN. Raises ``KeyError`` for a column that rows do not have, ``RunError`` where a file
        cannot be read.
        """
        column = self._renamed.get(column, column)
        key = (model, column)
        with self._lock:
            if key not in self._small and key not in self._large:
                self._load(model, column)
            if key in self._small:
                return self._small[key]
            return self._large[key]

    @cached_property
    def _has_row(self) -> dict[str, NDArray[np.bool_]]:
        has_row = np.zeros((len(self._names), *self._shape), bool)
        for cells in self._row_cells:
            has_row.reshape(-1)[cells[cells >= 0]] = True
        return {name: _narrow(cells) for name, cells in zip(self._names, has_row, strict=True)}

    @cached_property
    def _row_cells(self) -> list[NDArray[Any]]:
        """For each file, the flat index of each of its rows in an array of all cells.

        That array is (names, conditions, images). The index is -1 for a row that no cell shows: of
        a copy of an image, or of a variant that was not asked for.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self._cells_of_file, self._paths))

    def _cells_of_file(self, path: Path) -> NDArray[Any]:
        shape = (len(self._names), len(self._conditions), len(self.axes.images))
        dtype = np.int32 if math.prod(shape) < 2**31 else np.int64  # half the memory, if that holds
        model_index = {name: index for index, name in enumerate(self._names)}
        condition_index = {condition: index for index, condition in enumerate(self._conditions)}
        numbers = [np.empty(0, dtype)]
        for batch in self._batches(path, ("position", *_KEYS)):
            # By search, as a file from outside may have any position.
            image_row = np.searchsorted(self.axes.positions, batch["position"].to_numpy())
            indices = (
                _indices(batch["model"], model_index),
                _indices(batch["condition"], condition_index),
                self.axes.image_of[image_row],
            )
            cells = np.ravel_multi_index(indices, shape, mode="clip")
            is_shown = np.minimum.reduce(indices) >= 0
            numbers.append(np.where(is_shown, cells, -1).astype(dtype))
        return np.concatenate(numbers)

    def _load(self, name: str, column: str) -> None:
        """Read ``column`` for ``name``, and for as many names beside it as there is room for.

        A file has the rows of all models, and reading it once for several of them saves time.
        """
        dtype = self._dtype(column)
        cell_count = math.prod(self._shape)
        name_count = len(self._names)
        if column not in _FLAGS:
            name_count = max(1, _MOST // max(1, cell_count * dtype.itemsize))
        start = self._names.index(name) // name_count * name_count
        names = self._names[start : start + name_count]
        bytes_taken = sum(array.nbytes for array in self._large.values())
        if bytes_taken + len(names) * cell_count * dtype.itemsize > _MOST:
            self._large.clear()

        unknown = np.nan if dtype.kind == "f" else UNKNOWN
        arrays = np.full((len(names), *self._shape), unknown, dtype)
        flat = arrays.reshape(-1)

        def fill(path: Path, cells: NDArray[Any]) -> None:
            first_row = 0
            for batch in self._batches(path, [MARGINS.get(column, column)]):
                targets = cells[first_row : first_row + len(batch)] - start * cell_count
                first_row += len(batch)
                is_loaded = (targets >= 0) & (targets < flat.size)
                if column in MARGINS:
                    values = _margin(batch.column(0))
                else:
                    values = _values(batch.column(0), dtype)
                flat[targets[is_loaded]] = values[is_loaded]

        with ThreadPoolExecutor(_READERS) as pool:
            list(pool.map(fill, self._paths, self._row_cells))  # the list raises what a thread did
        for loaded_name, array in zip(names, arrays, strict=True):
            values = _narrow(array)
            is_constant = not values.flags.writeable
            if column in _FLAGS or is_constant:
                self._small[loaded_name, column] = values
            else:
                self._large[loaded_name, column] = values

    def _dtype(self, column: str) -> np.dtype[Any]:
        if column in MARGINS:
            return np.dtype("float64")
        if column not in self._schema.names:
            raise KeyError(column)
        if column in _FLAGS:
            return np.dtype("int8")
        if pa.types.is_integer(self._schema.field(column).type):
            return np.dtype("int32")
        return np.dtype("float64")

    def _batches(self, path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        try:
            with pq.ParquetFile(path, read_dictionary=list(_KEYS)) as file:
                yield from file.iter_batches(_AT_ONCE, columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise damaged(self._paths) from error


def _indices(column: pa.DictionaryArray, index_of: Mapping[str, int]) -> NDArray[np.intp]:
    """The index of each text of ``column``, where null counts as ""; -1 for an unknown text."""
    texts = [*column.dictionary.to_pylist(), ""]
    index_by_code = np.array([index_of.get(text, -1) for text in texts])
    code_of_null = len(texts) - 1
    codes = pc.fill_null(column.indices.cast(pa.int64()), code_of_null)
    return index_by_code[codes.to_numpy()]


def _values(column: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``column`` as numbers of ``dtype``; NaN or ``UNKNOWN`` where there is none."""
    if dtype.kind == "f":
        return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    integers = column.cast(pa.from_numpy_dtype(dtype))
    return np.asarray(pc.fill_null(integers, UNKNOWN).to_numpy())


def _margin(column: pa.ListArray) -> NDArray[Any]:
    """The first number of each list less the second; NaN for fewer than two."""
    numbers = column.values.to_numpy(zero_copy_only=False)
    starts = column.offsets.to_numpy()[:-1]
    lengths = column.value_lengths().fill_null(0).to_numpy()
    margins = np.full(len(column), np.nan)
    has_two = lengths > 1
    first = starts[has_two]
    margins[has_two] = numbers[first] - numbers[first + 1]
    return margins


def _narrow(cells: NDArray[Any]) -> NDArray[Any]:
    """``cells`` (conditions, images) as (images, conditions).

    Where each image has one value under all conditions, only that is kept: the result is then a
    view that cannot be written to.
    """
    first = cells[:1]
    if (cells == first).all():
        return np.broadcast_to(first.copy(), cells.shape).T
    return cells.T


def _read_of_variant(cells: Cells, name: str, column: str) -> NDArray[Any]:
    if column in OF_VARIANTS:
        return cells.read(name, column)
    return np.full(cells.has_row(name).shape, np.nan)


MEMORY = "384MB"
_THREADS = 4

ROW = "position::BIGINT * 4294967296 + file_row_number"
"""The order of the rows: that of the dataset, then of the file."""


@dataclass(eq=False)
class Rows:
    """The rows of a run of ``spec`` in the files ``paths``, and the ``images`` that have any.

    ``score`` is the name of the score that they have in place of predictions, "" for predictions.
    """

    paths: Sequence[Path]
    images: pa.Table
    spec: Request
    score: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @cached_property
    def _source(self) -> tuple[str, dict[str, Any]]:
        """The start of a query, and the values that it names."""
        attacks, values = attacks_in_sql([condition.id for condition in self.spec.conditions])
        # Our columns come first, as a plugin may have a metric of the same name.
        good = "coalesce(correct, consistent)"
        if self.score:
            good = "score >= clean_score"
        query = (
            f"WITH rows AS (SELECT {good} AS good, {attacks}, * "
            "FROM read_parquet($files, file_row_number = true) WHERE base IS NULL) "
        )
        return query, {"files": [str(path) for path in self.paths], **values}

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
        if not self.paths:
            return ()
        return plugin_columns_of(pq.read_schema(self.paths[0]))

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each image by its position."""
        return self._by_position("name")

    @cached_property
    def digests(self) -> dict[int, str]:
        """The digest that identifies each image by its position."""
        return self._by_position("digest")

    def _by_position(self, column: str) -> dict[int, str]:
        positions = self.images["position"].to_pylist()
        return dict(zip(positions, self.images[column].to_pylist(), strict=True))

    def ask(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """The answers to ``query``, which reads ``rows`` and names ``values`` as ``$name``.

        ``rows`` are those of models, without variants. Beside their columns they have ``good``
        (correct or, without a label, unchanged; of a score, not below that of the original),
        ``attacked``, and ``counted`` (not of an attack that had no prediction to break). Raises
        ``RunError`` where they cannot be read.
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
        names = self.images["name"].to_numpy()
        digests = self.images["digest"].to_numpy()
        is_first = ~pd.Series(digests).duplicated().to_numpy(bool)
        model_conditions = []
        if self.paths:
            model_conditions = self.ask(
                "SELECT model, condition, any_value(perturbation), "
                f"arg_min(strength, {ROW}) FROM rows GROUP BY model, condition ORDER BY min({ROW})"
            )
        models: dict[str, None] = {}  # a set that keeps the order of the rows
        conditions: dict[str, tuple[str, str, float]] = {}
        for model, condition, perturbation, strength in model_conditions:
            models[model] = None
            if strength is None:
                strength = np.nan
            conditions.setdefault(condition, (condition, perturbation, strength))
        return Axes(
            images=names[is_first],
            digests=digests[is_first],
            positions=self.images["position"].to_numpy().astype(np.int64),
            image_of=np.where(is_first, np.cumsum(is_first) - 1, -1),
            models=tuple(models),
            conditions=tuple(conditions.values()),
        )

    @cached_property
    def judged_by(self) -> str:
        """The column that says whether a row went well, in figures that need one for all rows.

        It is "correct", of the labelled images alone, where at least half of the images have a
        label for every model; else "consistent".
        """
        if self.score:
            return "correct"
        axes = self.axes
        counts = self.ask(
            "SELECT count(DISTINCT position) FILTER (label IS NOT NULL) FROM rows "
            "WHERE position IN (SELECT unnest($positions::INTEGER[])) GROUP BY model",
            positions=axes.positions[axes.image_of >= 0].tolist(),
        )
        fewest = (1 - MOST_UNLABELLED) * len(axes.images)
        for (labelled_count,) in counts:
            if labelled_count < fewest:
                return "consistent"
        return "correct"

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
        self, variants: Sequence[str] = (), *, copies: bool = False
    ) -> tuple[Cells, tuple[ConditionKey, ...]]:
        """The cells of each model, and of the ``variants`` that are named, and their conditions.

        With ``copies``, each copy of an image is one of its own. There must be rows.
        """
        axes = self.axes
        if copies:
            axes = replace(
                axes,
                images=self.images["name"].to_numpy(),
                digests=self.images["digest"].to_numpy(),
                image_of=np.arange(len(axes.positions)),
            )
        ids, perturbations, strengths = zip(*axes.conditions, strict=True)
        profiles = {condition.id: condition.profile for condition in self.spec.conditions}
        _, keys = in_order(ids, perturbations, strengths, profiles)
        conditions = [key.id for key in keys]
        names = [*axes.models, *variants]
        renamed = _SCORES_IN_FIGURES if self.score else {}
        cells = Cells(self.paths, axes, conditions, self.own_scores, names, renamed)
        return cells, keys

    def grids(self, *, copies: bool = False) -> list[Grid]:
        """One grid a model, as ``measurement_grid.grids`` makes them of the frame of the rows.

        But each composition of a profile is a condition. Flags are a byte each and stay in memory;
        numbers are read anew as they are needed. ``copies`` is as in ``cells``.
        """
        if not self.axes.models:
            return []
        cells, keys = self.cells(copies=copies)
        plugin_columns = self.own_scores
        if self.score:
            plugin_columns = tuple(name for name in plugin_columns if name not in SCORES)
        grids = []
        for model in self.axes.models:
            grid = Grid(
                model,
                cells.axes.images,
                keys,
                cells.has_row(model),
                partial(cells.read, model),
                plugin_columns,
                digests=cells.axes.digests,
            )
            grids.append(count_attacks(grid))
        return grids

    def variant_cells(self) -> tuple[Cells, tuple[ConditionKey, ...]]:
        """The cells of the models and of all variants, and their conditions. There must be rows.

        Raises ``RunError`` if some rows of a variant are missing.
        """
        variants = self.spec.variants
        cells, keys = self.cells([variant.name for variant in variants])
        for variant in variants:
            if not np.array_equal(cells.has_row(variant.name), cells.has_row(variant.base)):
                raise RunError(
                    f"The rows of {variant.base} lack some predictions with {variant.chain.id}: "
                    "the run was damaged or changed. Evaluate it again."
                )
        return cells, keys

    def variant_grids(self) -> dict[Variant, Grid]:
        """The grid of each variant, as ``grids`` has those of models.

        Its columns are ``OF_VARIANTS``; other numbers are unknown. Raises as ``variant_cells``.
        """
        if not self.spec.variants or not self.axes.models:
            return {}
        cells, keys = self.variant_cells()
        grids = {}
        for variant in self.spec.variants:
            read = partial(_read_of_variant, cells, variant.name)
            has_row = cells.has_row(variant.name)
            digests = cells.axes.digests
            grid = Grid(variant.name, cells.axes.images, keys, has_row, read, digests=digests)
            grids[variant] = count_attacks(grid)
        return grids

    @cached_property
    def draws(self) -> NDArray[np.uint64]:
        """(images,) random numbers, of the seed and each image's digest alone."""
        numbers = []
        for digest in self.axes.digests:
            text = f"{self.spec.seed} {digest}"
            eight_bytes = hashlib.sha256(text.encode()).digest()[:8]
            numbers.append(int.from_bytes(eight_bytes, "big"))
        return np.array(numbers, np.uint64)
