"""The properties of the images in an imported run, checked and rewritten."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness.base.errors import RunError
from robustness.datasets.table import LONGEST_VALUE, MAX_COLUMNS
from robustness.runs.parts import put_table
from robustness.runs.properties import FILE, SCHEMA

_FREE, _MAX_RATIO = 64 * 1024**2, 100
_MAX_COLUMNS = len(SCHEMA) + MAX_COLUMNS
_LONGEST = 8 * LONGEST_VALUE  # bytes; a name may be longer than a value


def rewrite_properties(folder: Path, pictures: int) -> None:
    """Rewrite the properties in ``folder``, if there are any.

    Raises ``RunError`` unless they are of some of ``pictures`` images, ``MemoryError``, and
    ``OSError`` if they cannot be written.
    """
    path = folder / FILE
    if not path.exists():
        return
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(file.schema_arrow)
            _expect(file.metadata.num_rows <= pictures)
            table = file.read()
        table.validate(full=True)
    except MemoryError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        raise RunError(f"{FILE} is damaged or of another kind") from error
    _expect(table.nbytes <= max(_FREE, _MAX_RATIO * path.stat().st_size))
    for column in table.columns:
        if pa.types.is_string(column.type):
            _expect((pc.max(pc.binary_length(column)).as_py() or 0) <= _LONGEST)
        elif pa.types.is_floating(column.type):
            _expect(pc.all(pc.is_finite(column), min_count=0).as_py() is not False)
    places = table["position"]
    _expect(places.null_count == 0 and len(places.unique()) == len(places))
    _expect(not len(places) or (pc.min(places).as_py() >= 0 and pc.max(places).as_py() < pictures))
    put_table(path, table.replace_schema_metadata(None))


def _check_columns(told: pa.Schema) -> None:
    _expect(len(told) <= _MAX_COLUMNS and len(set(told.names)) == len(told))
    _expect(all(len(name.encode()) <= _LONGEST for name in told.names))
    _expect(told.names[: len(SCHEMA)] == SCHEMA.names)
    others = told.names[len(SCHEMA) :]
    _expect(told.equals(pa.schema([*SCHEMA, *((name, pa.string()) for name in others)])))


def _expect(fine: bool) -> None:
    if not fine:
        raise RunError(
            f"{FILE} is refused: expected one row an image, with numbers and short texts"
        )
