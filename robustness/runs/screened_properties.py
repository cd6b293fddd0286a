"""The properties of images in a run from elsewhere, checked before anything reads them whole."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness.base.errors import RunError
from robustness.base.parquet import DICTIONARIES, PLAIN, ClaimsError, claims
from robustness.datasets.table import LONGEST_VALUE, MAX_COLUMNS
from robustness.runs.properties import FILE, SCHEMA

_UNPACKED_FREE, _MAX_RATIO = 64 * 1024**2, 100
_MAX_COLUMNS = len(SCHEMA) + MAX_COLUMNS
_LONGEST = 8 * LONGEST_VALUE  # bytes; a name may be longer than a value


def check_properties(folder: Path, pictures: int) -> None:
    """Raise ``RunError`` unless the properties in ``folder``, if any, are of ``pictures`` images.

    Texts stay in dictionaries until their lengths are known.
    """
    path = folder / FILE
    if not path.exists():
        return
    try:
        found, size = claims(path), path.stat().st_size
        plain = all(encodings <= PLAIN | DICTIONARIES for encodings in found.encodings.values())
        _expect(plain and found.most_values <= 1 and found.rows <= pictures)
        _expect(found.unpacked <= max(_UNPACKED_FREE, _MAX_RATIO * size))
        told = pq.read_schema(path)
        _expect(len(told) <= _MAX_COLUMNS and len(set(told.names)) == len(told))
        _expect(all(len(name.encode()) <= _LONGEST for name in told.names))
        _expect(told.names[: len(SCHEMA)] == SCHEMA.names)
        for field in told:
            kind = SCHEMA.field(field.name).type if field.name in SCHEMA.names else pa.string()
            _expect(field.type == kind)
            texts = [field.name] if kind == pa.string() else []
            _column(pq.read_table(path, columns=[field.name], read_dictionary=texts)[0])
        positions = pq.read_table(path, columns=["position"])["position"]
        _expect(positions.null_count == 0 and len(positions.unique()) == len(positions))
        _expect(not len(positions) or pc.min(positions).as_py() >= 0)
        _expect(not len(positions) or pc.max(positions).as_py() < pictures)
    except (pa.ArrowException, ClaimsError, ValueError, UnicodeError, OSError) as error:
        raise RunError(f"{FILE} is damaged or of another kind: {error}.") from error


def _column(column: pa.ChunkedArray) -> None:
    """Raise ``RunError`` for a long text, or a number that is none."""
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            _expect((pc.max(pc.binary_length(chunk.dictionary)).as_py() or 0) <= _LONGEST)
        elif pa.types.is_floating(chunk.type):
            _expect(pc.all(pc.is_finite(chunk), min_count=0).as_py() is not False)


def _expect(fine: bool) -> None:
    if not fine:
        raise RunError(
            f"{FILE} is refused: expected one row an image, with numbers and short texts."
        )
