"""The properties of a run's images, kept beside its rows: one row an image, by its position.

While a run goes on, each file of rows has one of properties beside it; a finished run has one file,
with the other columns of its table as well. Runs of versions before 0.10 have none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.base.disk import require_regular
from robustness.base.errors import ParameterError
from robustness.datasets import Dataset
from robustness.pictures.properties import PROPERTIES
from robustness.runs.engines import Chunk
from robustness.runs.parts import free_path, put_table

FILE = "images.parquet"
_LOOSE, _LOOSE_FILES = "images-{:06d}.parquet", "images-*.parquet"

SCHEMA = pa.schema(
    [("position", pa.int32())]
    + [(name, pa.float64() if known.form else pa.string()) for name, known in PROPERTIES.items()]
)


def write(folder: Path, chunks: Sequence[Chunk]) -> None:
    """Write the properties of the images of ``chunks`` (at least one); raises ``OSError``."""
    rows = [{"position": at, **told} for chunk in chunks for at, told in chunk.properties]
    if rows:
        first = min(chunk.number for chunk in chunks)
        put_table(free_path(folder, _LOOSE, first), pa.Table.from_pylist(rows, SCHEMA))


def gather(folder: Path, dataset: Dataset) -> None:
    """Write one file of all properties, and of the columns of ``dataset``; remove the others.

    Where the disk does not take it, the files stay as they are: the rows are what counts.
    """
    loose = sorted(folder.glob(_LOOSE_FILES))
    table = read(folder)
    if table is None or not loose:
        return
    with contextlib.suppress(OSError, ParameterError):
        table = table.select(SCHEMA.names)  # columns of the dataset are read again
        positions = table["position"].to_pylist()
        for name, values in dataset.columns().items():
            texts = [values.get(dataset.entries[at].name) for at in positions]
            column = f"{name} (table)" if name in table.column_names else name
            table = table.append_column(column, pa.array(texts, pa.string()))
        put_table(folder / FILE, table)
        for path in loose:
            path.unlink(missing_ok=True)


def read(folder: Path) -> pa.Table | None:
    """The properties of the run in ``folder``, each position once; None if there are none.

    Files that are damaged or of another kind are left out.
    """
    tables: list[pa.Table] = []
    for path in [folder / FILE, *sorted(folder.glob(_LOOSE_FILES))]:
        with contextlib.suppress(OSError, pa.ArrowException):
            require_regular(path)
            table = pq.read_table(path)
            if SCHEMA.field(0) in table.schema:
                tables.append(table)
    if not tables:
        return None
    joined = pa.concat_tables(tables, promote_options="default")
    last: dict[Any, int] = {at: row for row, at in enumerate(joined["position"].to_pylist())}
    return joined.take(pa.array([last[at] for at in sorted(last)], pa.int64()))
