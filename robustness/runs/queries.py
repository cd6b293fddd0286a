"""Saved rows, queried by DuckDB in the Parquet files where they lie.

Nothing of a query is put together from text that a link or a file brings: values are parameters,
and columns are those of the schema. A connection reads the files of its run and nothing else, loads
no extension, and is limited in memory and threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robustness.base.errors import RunError
from robustness.evaluation.row_schema import own_columns, stored
from robustness.runs.cells import Axes, Cells, damaged
from robustness.statistics import Figures
from robustness.statistics.attacked import breakable, targets
from robustness.statistics.grid import AS_WRITTEN, UNKNOWN, ConditionKey, Grid, in_order
from robustness.statistics.summaries import MOST_UNLABELLED

if TYPE_CHECKING:
    import duckdb

MEMORY = "384MB"
_THREADS = 4

ROW = "position::BIGINT * 4294967296 + file_row_number"
"""The order of the rows: that of the dataset, then of the file."""


@dataclass(eq=False)
class Rows:
    """The rows in the files ``paths``, which ``parts`` wrote, and the ``images`` that have any."""

    paths: Sequence[Path]
    images: pa.Table
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
        return own_columns(self._columns)

    @cached_property
    def _columns(self) -> pa.Schema:
        return pq.read_schema(self.paths[0]) if self.paths else stored(())

    @cached_property
    def _source(self) -> str:
        """What a query begins with: the rows without a remedy; columns that lack are null."""
        lacking = [field for field in stored(()) if field.name not in self._columns.names]
        more = "".join(f", NULL::{field.type} AS {field.name}" for field in lacking)
        files = "read_parquet($files, file_row_number = true)"
        return f"WITH rows AS (SELECT *{more} FROM {files} WHERE remedy IS NULL) "

    @cached_property
    def names(self) -> dict[int, str]:
        """The name of each image by its position."""
        columns = (self.images[name].to_pylist() for name in ("position", "name"))
        return dict(zip(*columns, strict=True))

    def ask(self, query: str, **values: object) -> list[tuple[Any, ...]]:
        """The answers to ``query``, which reads ``rows`` and names ``values`` as ``$name``."""
        with self._query(query, values) as found:
            return found.fetchall()

    def ask_columns(self, query: str, **values: object) -> list[NDArray[Any]]:
        """As ``ask``, an array for each column."""
        with self._query(query, values) as found:
            return list(found.fetchnumpy().values())

    @contextmanager
    def _query(self, query: str, values: dict[str, object]) -> Iterator[duckdb.DuckDBPyRelation]:
        import duckdb

        if not self.paths:
            raise RunError("There are no rows to read.")
        paths = [str(path) for path in self.paths]
        with self._lock:
            cursor = self._connection.cursor()
        try:
            yield cursor.sql(self._source + query, params={"files": paths, **values})
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
            tuple((text, *told) for text, told in conditions.items()),
        )

    def figures(self) -> Figures:
        """The figures of the rows that are there now."""
        figures = Figures(self.grids, self.axes.copies)
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

    def cells(self, remedies: Sequence[str] = ()) -> tuple[Cells, tuple[ConditionKey, ...]]:
        """The cells of each model, and of each with each of ``remedies``, and their conditions.

        There must be rows.
        """
        _, keys = in_order(*zip(*self.axes.conditions, strict=True))
        ids = [key.id for key in keys]
        return Cells(self.paths, self.axes, ids, self.own_scores, remedies), keys

    def grids(self) -> list[Grid]:
        """One grid a model, as ``statistics.grid.grids`` makes them of the frame of the rows.

        Flags are a byte each and kept; numbers are read anew as they are needed.
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


def _counted(
    cells: Cells,
    model: str,
    attacks: NDArray[np.bool_],
    aims: NDArray[np.float64],
    column: str,
) -> Any:
    """The cells of ``column``; ``consistent`` as ``statistics.attacked.as_counted`` has it."""
    if column == AS_WRITTEN:
        return cells.read(model, "consistent")
    found = cells.read(model, column)
    if column != "consistent" or not attacks.any():
        return found
    top1 = UNKNOWN if np.isnan(aims).all() else cells.read(model, "clean_top1")
    counted = breakable(cells.read(model, "clean_correct"), top1, aims) | ~attacks
    return np.where(counted, found, np.int8(UNKNOWN))
