"""Runs that version 0.13 wrote, as this version writes them.

Its rows repeated what is now said once of an image and once of the run; files of rows named the
images that could not be read, and the properties of images had a file that a run could lack.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness.base.disk import put_whole, read_regular, require_regular
from robustness.base.errors import ParameterError, RunError
from robustness.base.validation import StrictRecord, checked_json
from robustness.evaluation.row_schema import (
    NOT_STORED,
    REMEDIED,
    REMEDIED_KEYS,
    REMEDY,
    completed,
    own_columns,
    stored,
)
from robustness.pictures.properties import PROPERTIES
from robustness.runs import images
from robustness.runs.row_files import KEY, ROWS_A_GROUP, free_path, written

VERSION = 3
"""The number of the run format."""

_TEXTS = {"title": "title.txt", "note": "note.txt", "stopped": "stopped.txt"}
NOTES_FILES = ("title.txt", "tags.txt", "note.txt")
"""Files of an exported run that say what people said of it."""

_MAX_BYTES = 8192


def record(folder: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """``head``, which stands in the ``manifest.json`` of the run in ``folder``, in this version.

    While a run went on, files of rows counted without being named in it.
    """
    if head.get("status") == "finished":
        return dict(head)
    return {**head, "parts": _parts(folder, head.get("parts"))}


def _parts(folder: Path, named: object) -> dict[str, int]:
    """The sizes of the files of an unfinished run, by name, that hold its rows.

    A file with a long name holds the rows of others, which it replaces, once it is named.
    """
    chunks = {}
    for path in sorted(folder.glob("part-*.parquet")):
        with suppress(OSError, pa.ArrowException, ValueError, KeyError, TypeError):
            require_regular(path)
            about = (pq.read_schema(path).metadata or {})[b"robustness"]
            chunks[path] = set(json.loads(about)["chunks"])
    joined = {path for path in chunks if len(path.stem) == len("part-") + 12}
    replacing = {path for path in joined if isinstance(named, dict) and path.name in named}
    replaced = {number for path in replacing for number in chunks[path]}
    counted = [
        path
        for path in chunks
        if path in replacing or (path not in joined and not replaced.issuperset(chunks[path]))
    ]
    return {path.name: path.stat().st_size for path in counted}


_REMEDIES = "remedies"
"""A column of lists: the predictions with each remedy."""

_FEW, _MOST = 8, 64
"""Remedies that are read at once with a row, and that a row may have."""


_DAMAGED = (
    *(pa.ArrowException, ParameterError),
    *(ValueError, KeyError, TypeError, AttributeError, OverflowError),
)
"""Errors of Arrow and NumPy for columns, types or values that rows do not have."""


class _Note(StrictRecord):
    """The metadata of a file of rows; ``unreadable`` are (name, reason)."""

    chunks: tuple[int, ...]
    images: int
    unreadable: tuple[tuple[str, str], ...]
    seconds: float


def needed(files: Collection[str]) -> bool:
    """Whether these ``files`` of a run, by their names, are those of version 0.13."""
    return bool(files) and not any(name.startswith("images") for name in files)


def rewrite(folder: Path, files: Collection[str], batch: int) -> dict[str, int]:
    """Write ``files`` of ``folder``, of chunks of ``batch`` images, as new ones beside them.

    Returns their sizes by name. Raises ``RunError`` for a damaged file, ``MemoryError``, and
    ``OSError`` if they cannot be written.
    """
    sizes: dict[str, int] = {}
    rows: list[dict[str, Any]] = []
    try:
        for name in files:
            path = _rewritten(folder / name, batch, rows)
            sizes[path.name] = path.stat().st_size
        rows.sort(key=lambda row: row["position"])
        table = pa.Table.from_pylist(rows, images.SCHEMA)
    except MemoryError:
        raise
    except _DAMAGED as error:
        raise RunError(f"its file {name} is damaged or has another format") from error
    path = images.put(folder, _with_properties(table, folder))
    return {path.name: path.stat().st_size, **sizes}


def _rewritten(old: Path, batch: int, images_of_run: list[dict[str, Any]]) -> Path:
    """The new file of the rows in ``old``, whose images are added to ``images_of_run``."""
    require_regular(old)
    with pq.ParquetFile(old, pre_buffer=False) as file:
        schema = file.schema_arrow
        gone, remedied = (*NOT_STORED, _REMEDIES), _REMEDIES in schema.names
        own = own_columns(pa.schema([field for field in schema if field.name not in gone]))
        note = checked_json(_Note, (schema.metadata or {}).get(KEY, b""))
        about = {"chunks": note.chunks, "images": note.images, "seconds": note.seconds}
        columns = stored(own).with_metadata({KEY: json.dumps(about).encode()})
        image_of: dict[int, tuple[str, str]] = {}

        def write(to: Path) -> None:
            with pq.ParquetWriter(to, columns, **written(columns)) as writer:
                for rows in file.iter_batches(ROWS_A_GROUP // (_FEW if remedied else 1)):
                    rows.validate(full=True)
                    image_of.update(_images(rows))
                    whole = [completed(rows, own)]
                    if remedied:
                        whole.append(completed(_remedied(rows), own))
                    writer.write_table(pa.Table.from_batches(whole).cast(columns), ROWS_A_GROUP)

        # A name that version 0.13 takes for a file only once the manifest names it.
        path = free_path(old.parent, "part-{:012d}.parquet", min(note.chunks, default=0))
        put_whole(path, write)
    images_of_run += [
        {"position": position, "name": name, "digest": digest, "status": images.READABLE}
        for position, (name, digest) in image_of.items()
    ]
    places = (at for chunk in note.chunks for at in range(chunk * batch, (chunk + 1) * batch))
    gaps = (position for position in places if position not in image_of)
    images_of_run += [
        {"position": position, "name": name, "status": images.UNREADABLE, "reason": reason}
        for position, (name, reason) in zip(gaps, note.unreadable, strict=False)
    ]
    return path


def _remedied(rows: pa.RecordBatch) -> pa.RecordBatch:
    """A row for each prediction with a remedy in ``rows``, which listed them."""
    lists = rows[_REMEDIES]
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    if lengths.max(initial=0) > _MOST:
        raise ParameterError(f"Expected at most {_MOST} remedies.")
    place = pa.array(np.repeat(np.arange(len(rows)), lengths))
    columns = {name: rows[name].take(place) for name in REMEDIED_KEYS}
    columns |= {name: lists.flatten().field(name) for name in (REMEDY.name, *REMEDIED)}
    return pa.RecordBatch.from_pydict(columns)


def _images(rows: pa.RecordBatch) -> Iterator[tuple[int, tuple[str, str]]]:
    """(position, (name, digest)) of the images of ``rows``."""
    positions, first = np.unique(rows["position"].to_numpy(), return_index=True)
    places = pa.array(first)
    names, digests = (rows[name].take(places).to_pylist() for name in ("image", "image_digest"))
    return zip(positions.tolist(), zip(names, digests, strict=True), strict=True)


def _with_properties(table: pa.Table, folder: Path) -> pa.Table:
    """The images of ``table`` with the properties in ``folder``; damaged files are left out."""
    files = [folder / images.FILE, *sorted(folder.glob("images-*.parquet"))]
    tables: list[pa.Table] = []
    for path in reversed(files):  # a later file counts more
        with suppress(OSError, pa.ArrowException):
            require_regular(path)
            file = pq.read_table(path)
            if "status" in file.column_names[:5]:  # an earlier attempt was interrupted
                file = images.properties(file)
            if file is not None and file.schema.field(0).equals(images.SCHEMA.field(0)):
                tables.append(file)
    if not tables:
        return table
    properties = pa.concat_tables(tables, promote_options="default")
    place = pc.index_in(table["position"], properties["position"].combine_chunks())
    for name in properties.column_names[1:]:
        values = properties[name].take(place)
        if name in PROPERTIES:
            at = table.column_names.index(name)
            table = table.set_column(at, table.schema.field(name), values)
        else:
            table = images.with_table_column(table, name, values)
    return table


def notes(folder: Path) -> dict[str, Any]:
    """The values of ``notes.Notes`` of the run, or the folder of runs, ``folder``."""
    values: dict[str, Any] = {key: _text(folder / name) for key, name in _TEXTS.items()}
    values["tags"] = (_text(folder / "tags.txt"),)
    values["baseline"] = _text(folder / ".baseline")
    for key in ("imported", "restored"):
        with suppress(OSError):
            values[key] = (folder / key).stat().st_mtime
    values["imported_by"] = _text(folder / "imported")
    with suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(read_regular(folder / "deleted.json", _MAX_BYTES))
        values |= {"deleted": float(note["when"]), "deleted_by": str(note["by"])}
    return values


def _text(file: Path) -> str:
    with suppress(OSError):
        return read_regular(file, _MAX_BYTES).decode(errors="replace")
    return ""
