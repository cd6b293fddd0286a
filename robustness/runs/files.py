"""The rows of a run on disk: Parquet files of one or several whole chunks.

A file counts once the manifest names it. A program may stop at any moment: other files are what it
left behind, which nobody reads and the next writer removes.

The images of a run, a row each by its position: what they are, and why some could not be read.

While a run goes on, each file of rows has one of its images beside it; a finished run has one file,
with the other columns of its dataset's table as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import count
from operator import and_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from robustness.base.errors import ParameterError, RunError
from robustness.base.files import put_whole, require_regular
from robustness.base.validation import StrictRecord, checked_json
from robustness.datasets import Dataset
from robustness.images.properties import PROPERTIES
from robustness.measure.request import Request
from robustness.measure.rows import REMEDY, own_columns, stored

if TYPE_CHECKING:
    from robustness.runs.engines import Chunk

KEY = b"robustness"
"""Under which a file of rows says what it is."""

ROWS_A_FILE = 2**18
"""About 130 MB in memory, for those that read a file at a time."""

ROWS_A_GROUP = 2**17
"""Rows that are read at once: measured with DuckDB, a quarter less time than groups of 2**15."""

FEW = 8
"""A finished run keeps so many files as they are."""

_NOTES_A_FILE = 2**20  # characters of what a file says of itself

NAME = "part-{:06d}.parquet"
FILES = "part-*.parquet"
"""Names of files of rows, with the number of their first chunk, or the next one that is free."""


@dataclass(frozen=True)
class Part:
    """The metadata of a file of rows.

    ``chunks`` are the numbers of the chunks in it; ``images`` counts those with rows; ``seconds``
    is the time since the part before it. ``rows`` have no remedy, ``remedied`` ones have one.
    ``own`` are its columns of plugins' metrics.
    """

    path: Path
    chunks: tuple[int, ...]
    images: int
    seconds: float
    rows: int
    remedied: int = 0
    own: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """What the file says of itself."""
        return _note(self.chunks, self.images, self.seconds)


class _About(StrictRecord):
    """The stored metadata of a file of rows, as in ``Part``."""

    chunks: tuple[int, ...]
    images: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


def write_part(folder: Path, chunks: Sequence[Chunk], seconds: float) -> Part:
    """Writes ``chunks`` (at least one) as one file, whole or not at all.

    Raises ``OSError`` where the disk does not take it.
    """
    ordered = sorted(chunks, key=lambda chunk: chunk.number)
    numbers = [chunk.number for chunk in ordered]
    note = _note(numbers, sum(chunk.readable for chunk in ordered), seconds)
    path = free_path(folder, NAME, numbers[0])
    return _put_part(path, pa.concat_tables(chunk.table for chunk in ordered), note)


def _put_part(path: Path, table: pa.Table, note: str) -> Part:
    put_table(path, table.replace_schema_metadata({KEY: note.encode()}))
    return read_part(path)


def _note(chunks: Sequence[int], images: int, seconds: float) -> str:
    return json.dumps({"chunks": list(chunks), "images": images, "seconds": seconds})


def compact(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Write the rows of ``parts`` into few files beside theirs; return the parts of the run then.

    Rows keep their order. Returns ``parts`` where there are few files already, and where the disk
    has no room.
    """
    if len(parts) <= FEW:
        return list(parts)
    files: list[Part] = []
    written: list[Path] = []
    try:
        for group in _groups(parts):
            if len(group) == 1:
                files += group
                continue
            chunks = [number for part in group for number in part.chunks]
            count = sum(part.images for part in group)
            seconds = sum(part.seconds for part in group)
            path = free_path(folder, NAME, chunks[0])
            rows = pa.concat_tables(map(_read, group))
            files.append(_put_part(path, rows, _note(chunks, count, seconds)))
            written.append(path)
    except OSError:  # no room for a second copy: the run is whole without it
        for path in written:
            path.unlink(missing_ok=True)
        return list(parts)
    return files


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """``parts`` in their order, grouped by file."""
    group: list[Part] = []
    rows = note = 0
    for part in parts:
        rows = rows + part.rows
        note = note + len(part.note)
        if group and (rows > ROWS_A_FILE or note > _NOTES_A_FILE):
            yield group
            group = []
            rows = part.rows
            note = len(part.note)
        group.append(part)
    if group:
        yield group


def put_table(path: Path, table: pa.Table) -> None:
    """Write ``table`` to ``path``, whole or not at all; raises ``OSError`` with a plain reason."""
    try:
        options = written(table.schema)
        put_whole(path, lambda to: pq.write_table(table, to, ROWS_A_GROUP, **options))
    except OSError as error:
        if error.errno is None:
            raise
        # Arrow has the reason within a text of its own.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def written(columns: pa.Schema) -> dict[str, Any]:
    """The options with which all Parquet files of a run are written.

    Dictionaries of measured figures, which hardly repeat, would take time and space.
    """
    repeating = [path for field in columns for path in _repeating(field, field.name)]
    return {"compression": "zstd", "use_dictionary": repeating}


def _repeating(field: pa.Field, path: str) -> Iterator[str]:
    """The paths of the columns in ``field`` that hold no fractions."""
    if pa.types.is_list(field.type):
        yield from _repeating(field.type.value_field, f"{path}.list.element")
    elif pa.types.is_struct(field.type):
        for inner in field.type:
            yield from _repeating(inner, f"{path}.{inner.name}")
    elif not pa.types.is_floating(field.type):
        yield path


def free_path(folder: Path, name: str, number: int) -> Path:
    """A path in ``folder`` without a file: ``name`` with ``number``, or with the first after it.

    A file without the chunks that are done again may still be called after one of them.
    """
    paths = (folder / name.format(free) for free in count(number))
    return next(path for path in paths if not path.exists())


def read_part(path: Path) -> Part:
    """The metadata of the file; raises ``RunError`` for one that is damaged or of another kind."""
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            own = own_columns(file.schema_arrow)
            about = checked_json(_About, (file.schema_arrow.metadata or {}).get(KEY, b""))
            remedied = _remedied(file)
            rows = file.metadata.num_rows - remedied
            return Part(path, **vars(about), rows=rows, remedied=remedied, own=own)
    except (pa.ArrowException, OSError, ParameterError) as error:
        raise RunError(
            f"The file {_named(path)} is damaged or of another kind: delete the run, or that file "
            "alone and continue the run.",
            hint=f"The file is {path}.",
        ) from error


def _remedied(file: pq.ParquetFile) -> int:
    """How many rows of ``file`` have a remedy."""
    names = [file.schema.column(index).path for index in range(file.metadata.num_columns)]
    column = names.index(REMEDY.name)
    remedied = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        if not group.num_rows:
            continue
        statistics = group.column(column).statistics
        if statistics is None or not statistics.has_null_count:
            raise ParameterError("Expected statistics of the column of remedies.")
        remedied += statistics.num_values
    return remedied


def _named(path: Path) -> str:
    return f"{path.name} of the run {path.parent.name}"


def read_rows(
    part: Part,
    columns: Sequence[str] | None = None,
    model: str | None = None,
    *,
    remedied: bool = False,
) -> pa.Table:
    """The rows of ``part``, of one ``model`` if that is named.

    All ``columns`` of the file unless named. The rows have no remedy or, if ``remedied``, each
    has one. Raises ``RunError`` where the file cannot be read.
    """
    filters = []
    if model is not None:
        filters.append(pc.field("model") == model)
    if remedied:
        filters.append(pc.field(REMEDY.name).is_valid())
    elif part.remedied:  # else no row has a remedy, and nothing need be compared
        filters.append(pc.field(REMEDY.name).is_null())
    combined = reduce(and_, filters) if filters else None
    return _read(part, columns or stored(part.own).names, combined)


def _read(part: Part, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """All rows of ``part``, unless there are ``filters``."""
    path = part.path
    try:
        table = pq.read_table(
            path,
            columns=columns and list(columns),
            filters=filters,
            schema=stored(part.own),
        )
        return table.replace_schema_metadata(None)
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"The file {_named(path)} can no longer be read: it is missing or damaged.",
            hint=f"The file is {path}.",
        ) from error


def all_parts(folder: Path, files: Iterable[str]) -> list[Part]:
    """The parts among ``files`` that are in ``folder``, by their first chunk.

    Raises ``RunError`` as ``read_part`` does, and where two parts hold the same chunk or have
    other columns.
    """
    names = [name for name in files if name.startswith("part")]
    parts = [read_part(folder / name) for name in names if (folder / name).exists()]
    numbers = [number for part in parts for number in part.chunks]
    if len(numbers) != len(set(numbers)) or len({part.own for part in parts}) > 1:
        raise RunError(f"{folder.name} contains some rows twice: it mixes several runs.")
    return sorted(parts, key=lambda part: part.chunks[:1])


def remove_unlisted(folder: Path, files: Collection[str]) -> None:
    """Remove the files of rows and images in ``folder`` that are not among ``files``."""
    for path in (*folder.glob(FILES), *folder.glob("images*.parquet")):
        if path.name not in files:
            with contextlib.suppress(OSError):  # it does not count, so it may stay
                path.unlink()


def without_chunks(part: Part, numbers: Collection[int], positions: Collection[int]) -> Part | None:
    """``part`` in a file of its own without the chunks ``numbers``; None if no other is in it.

    These are of the images at the ``positions``.
    """
    rest = [number for number in part.chunks if number not in numbers]
    if not rest:
        return None
    rows = _read(part)
    rows = rows.filter(pc.invert(pc.is_in(rows["position"], pa.array(positions, pa.int32()))))
    note = _note(rest, len(pc.unique(rows["position"])), part.seconds)
    return _put_part(free_path(part.path.parent, NAME, rest[0]), rows, note)


FILE = "images.parquet"
_OF_A_PART = "images-{:06d}.parquet"

READABLE = "readable"
UNREADABLE = "unreadable"

_ABOUT = pa.schema(
    [
        ("position", pa.int32()),
        ("name", pa.string()),
        ("digest", pa.string()),
        ("framed", pa.list_(pa.string())),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [*_ABOUT, *((name, pa.float64() if p.form else pa.string()) for name, p in PROPERTIES.items())]
)
"""``status`` is ``READABLE``, then with the digest that identifies the image and those of its
pixels in each framing of the request, or ``UNREADABLE`` for a ``reason``."""

_TABLE = " (table)"
"""Ends the name of a column of the dataset that is taken."""


def write(folder: Path, chunks: Sequence[Chunk]) -> Path:
    """Write the images of ``chunks`` (at least one); raises ``OSError``."""
    rows = [
        {
            "position": image.position,
            "name": image.name,
            "digest": image.digest,
            "framed": image.framed or None,
            "status": UNREADABLE if image.reason else READABLE,
            "reason": image.reason or None,
            **image.properties,
        }
        for chunk in chunks
        for image in chunk.images
    ]
    path = free_path(folder, _OF_A_PART, min(chunk.number for chunk in chunks))
    put_table(path, pa.Table.from_pylist(rows, SCHEMA))
    return path


def gather(folder: Path, images: pa.Table, dataset: Dataset) -> Path:
    """As ``put``, with the columns of ``dataset``."""
    images = images.select(SCHEMA.names)
    positions = images["position"].to_pylist()
    with contextlib.suppress(ParameterError, OSError):  # the table may be gone
        for name, values in dataset.columns().items():
            texts = [values.get(dataset.entries[at].name) for at in positions]
            own = f"{name}{_TABLE}" if name in images.column_names else name
            images = images.append_column(own, pa.array(texts, pa.string()))
    return put(folder, images)


def put(folder: Path, images: pa.Table) -> Path:
    """Write ``images`` as the one file of a run; raises ``OSError``."""
    put_table(folder / FILE, images)
    return folder / FILE


def read(folder: Path, files: Iterable[str], batch: int, chunks: Collection[int]) -> pa.Table:
    """The images of ``chunks``, each of ``batch`` images, in the order of the dataset.

    They are in those ``files`` of the run in ``folder`` that are of images. Raises ``RunError``
    where one is damaged or gone.
    """
    tables = [_read_images(folder / name) for name in files if name.startswith("images")]
    images = pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")
    positions = images["position"].to_numpy()
    _, last = np.unique(positions[::-1], return_index=True)
    order = len(positions) - 1 - last  # a newer file counts more
    done = np.isin(positions[order] // batch, np.fromiter(chunks, np.int64))
    return images.take(pa.array(order[done]))


def _read_images(path: Path) -> pa.Table:
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            table = file.read()
        if table.schema.names[: len(_ABOUT)] != _ABOUT.names or table["position"].null_count:
            raise ParameterError("Expected images.")
    except (pa.ArrowException, OSError, ParameterError) as error:
        raise RunError(
            f"The file {path.name} of the run {path.parent.name} is gone, damaged or of another "
            "kind: delete the run.",
            hint=f"The file is {path}.",
        ) from error
    return table.replace_schema_metadata(None)


def readable(images: pa.Table) -> pa.Table:
    """The ``images`` that have rows."""
    return images.filter(pc.equal(images["status"], READABLE))


def unreadable(images: pa.Table) -> list[tuple[str, str]]:
    """(name, reason) of those of ``images`` that could not be read."""
    others = images.filter(pc.equal(images["status"], UNREADABLE))
    return list(zip(others["name"].to_pylist(), others["reason"].to_pylist(), strict=True))


def properties(images: pa.Table) -> pa.Table | None:
    """The properties of ``images`` by ``position``, and the columns of their dataset's table.

    None if they were not measured.
    """
    table = readable(images).drop_columns(_ABOUT.names[1:])
    if all(table[name].null_count == len(table) for name in PROPERTIES):
        return None
    own = {f"{name}{_TABLE}": name for name in _ABOUT.names[1:]}
    return table.rename_columns([own.get(name, name) for name in table.column_names])


def content(images: pa.Table) -> str | None:
    """SHA-256 over the digests of the images, in the order of the dataset."""
    texts = readable(images)["digest"].to_pylist()
    return hashlib.sha256("\n".join(texts).encode()).hexdigest() if texts else None


OF_FRAMING = ("framed_digest", "fit", "side")
"""Columns that follow from the image and the model."""


def with_columns(rows: pa.Table, names: Iterable[str], images: pa.Table, spec: Request) -> pa.Table:
    """``rows``, which have positions, with the columns ``names`` of ``NOT_STORED``.

    For columns of ``OF_FRAMING`` they have a model, too.
    """
    for name in names:
        rows = rows.append_column(name, _derived_column(name, rows, images, spec))
    return rows


def _derived_column(name: str, rows: pa.Table, images: pa.Table, spec: Request) -> Any:
    framings = [framing for _, framing in spec.framings]
    if name == "seed":
        return pa.repeat(pa.scalar(spec.seed, pa.int64()), len(rows))
    if name == "fit":
        return _by_model([framing.fit for framing in framings], pa.string(), rows, spec)
    if name == "side":
        return _by_model([framing.side for framing in framings], pa.int32(), rows, spec)
    if name == "profile":
        return _profiles(rows, spec)
    image_rows = pc.index_in(rows["position"], images["position"].combine_chunks())
    if name == "framed_digest":
        return _framed_digests(rows, images["framed"], image_rows, spec)
    column = {"image": "name", "image_digest": "digest"}[name]
    return images[column].take(image_rows)


def _by_model(values: Sequence[Any], kind: pa.DataType, rows: pa.Table, spec: Request) -> pa.Array:
    """For each row the one of ``values`` that belongs to its model."""
    names = pa.array(spec.model_names, rows["model"].type)
    return pa.array(values, kind).take(pc.index_in(rows["model"], names))


def _profiles(rows: pa.Table, spec: Request) -> pa.Array:
    """For each row the profile that its condition is part of, or null."""
    profiles = {each.id: each.profile for each in spec.conditions if each.profile}
    ids = pa.array(list(profiles), rows["condition"].type)
    names = pa.array(list(profiles.values()), pa.string())
    return names.take(pc.index_in(rows["condition"], ids))


def _framed_digests(
    rows: pa.Table, framed: pa.ChunkedArray, image_rows: pa.Array, spec: Request
) -> pa.Array:
    """For each row the digest of its image in the framing of its model.

    ``framed`` has for each image a list of digests, one for each framing.
    """
    digests = framed.combine_chunks()
    if not len(digests):
        return pa.nulls(0)
    framings = list(spec.by_framing)
    by_framing = [pc.list_element(digests, i).take(image_rows) for i in range(len(framings))]
    if len(framings) == 1:
        return by_framing[0]
    framing_of_model = [framings.index(framing) for _, framing in spec.framings]
    return pc.choose(_by_model(framing_of_model, pa.int32(), rows, spec), *by_framing)
