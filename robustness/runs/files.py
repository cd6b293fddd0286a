"""The Parquet files in the folder of a run: those of its rows, and those of its images.

A file of rows holds one or several whole chunks. A file of images holds a row for each image, by
its position in the dataset: what it is, and why it could not be read if so. While a run goes on,
a file of images is written beside each file of rows. A finished run has a single file of images,
which also holds the other columns of the dataset's table.

A file counts once the manifest names it. As a program may stop at any moment, it can leave other
files behind: nobody reads them, and the next writer removes them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
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
from robustness.measure.rows import BASE, plugin_columns_of, stored

if TYPE_CHECKING:
    from robustness.runs.engines import Chunk, ImageRecord

KEY = b"robustness"
"""The key, in the metadata of a Parquet file of rows, of the note that tells its chunks."""

ROWS_A_FILE = 2**18
"""The most rows of a file: about 130 MB in memory, for those that read a file at a time."""

ROWS_A_GROUP = 2**17
"""Rows of a Parquet row group. DuckDB takes a quarter less time than with groups of 2**15."""

FEW = 8
"""A finished run of at most so many files of rows keeps them as they are."""

_NOTES_A_FILE = 2**20
"""Characters of the note of a file, at most."""

NAME = "part-{:06d}.parquet"
"""The name of a file of rows: with the number of its first chunk, or the next one that is free."""

FILES = "part-*.parquet"
"""The pattern that all names of files of rows match."""


@dataclass(frozen=True)
class Part:
    """The metadata of a file of rows.

    ``chunks`` are the numbers of the chunks in it, and ``images`` counts the images with rows.
    ``seconds`` is the time that passed since the part before it. ``rows`` counts the rows of
    models, ``variant_rows`` those of variants. ``plugin_columns`` are the columns of plugins'
    metrics.
    """

    path: Path
    chunks: tuple[int, ...]
    images: int
    seconds: float
    rows: int
    variant_rows: int = 0
    plugin_columns: tuple[str, ...] = ()

    @property
    def note(self) -> str:
        """The JSON text in the file's metadata."""
        return _note(self.chunks, self.images, self.seconds)


class _Note(StrictRecord):
    """The fields of ``Part.note``."""

    chunks: tuple[int, ...]
    images: Annotated[int, Field(ge=0)]
    seconds: Annotated[float, Field(ge=0)]


def write_part(folder: Path, chunks: Sequence[Chunk], seconds: float) -> Part:
    """Write the rows of ``chunks`` (at least one) as one file, whole or not at all.

    Raises ``OSError`` where the disk does not take it.
    """
    ordered = sorted(chunks, key=lambda chunk: chunk.number)
    numbers = [chunk.number for chunk in ordered]
    image_count = sum(chunk.readable for chunk in ordered)
    rows = pa.concat_tables(chunk.table for chunk in ordered)
    path = free_path(folder, NAME, numbers[0])
    return _put_part(path, rows, _note(numbers, image_count, seconds))


def _put_part(path: Path, table: pa.Table, note: str) -> Part:
    put_table(path, table.replace_schema_metadata({KEY: note.encode()}))
    return read_part(path)


def _note(chunks: Sequence[int], images: int, seconds: float) -> str:
    return json.dumps({"chunks": list(chunks), "images": images, "seconds": seconds})


def compact(folder: Path, parts: Sequence[Part]) -> list[Part]:
    """Write the rows of ``parts`` into fewer files, beside the present ones, in the same order.

    Returns the parts of the run from then on. Those are ``parts`` themselves where there are few
    already, and where the disk has no room.
    """
    if len(parts) <= FEW:
        return list(parts)
    compacted: list[Part] = []
    new_paths: list[Path] = []
    try:
        for group in _groups_by_file(parts):
            if len(group) == 1:
                compacted += group
                continue
            joined = _join(folder, group)
            compacted.append(joined)
            new_paths.append(joined.path)
    except OSError:
        # There is no room for a second copy of the rows, and the run is whole without one.
        for path in new_paths:
            path.unlink(missing_ok=True)
        return list(parts)
    return compacted


def _groups_by_file(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Yield the successive ``parts`` that fit into one file together."""
    group: list[Part] = []
    row_count = 0
    note_length = 0
    for part in parts:
        row_count += part.rows
        note_length += len(part.note)
        if group and (row_count > ROWS_A_FILE or note_length > _NOTES_A_FILE):
            yield group
            group = []
            row_count = part.rows
            note_length = len(part.note)
        group.append(part)
    if group:
        yield group


def _join(folder: Path, parts: Sequence[Part]) -> Part:
    """Write the rows of ``parts`` into one new file."""
    chunk_numbers = [number for part in parts for number in part.chunks]
    image_count = sum(part.images for part in parts)
    seconds = sum(part.seconds for part in parts)
    rows = pa.concat_tables(_read(part) for part in parts)
    path = free_path(folder, NAME, chunk_numbers[0])
    return _put_part(path, rows, _note(chunk_numbers, image_count, seconds))


def put_table(path: Path, table: pa.Table) -> None:
    """Write ``table`` to ``path``, whole or not at all.

    Raises ``OSError`` with the reason in the operating system's words.
    """
    options = parquet_options(table.schema)
    try:
        put_whole(path, lambda file: pq.write_table(table, file, ROWS_A_GROUP, **options))
    except OSError as error:
        if error.errno is None:
            raise
        # Arrow hides the reason within a text of its own.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def parquet_options(columns: pa.Schema) -> dict[str, Any]:
    """The options of ``pq.write_table`` with which all Parquet files of a run are written."""
    # Only values that repeat gain from a dictionary. Measured figures hardly do, and dictionaries
    # of them would take time and space.
    repeating = []
    for field in columns:
        repeating += _paths_without_fractions(field, field.name)
    return {"compression": "zstd", "use_dictionary": repeating}


def _paths_without_fractions(field: pa.Field, path: str) -> list[str]:
    """The Parquet paths of the columns below ``field``, which is at ``path``, but for floats."""
    if pa.types.is_list(field.type):
        return _paths_without_fractions(field.type.value_field, f"{path}.list.element")
    if pa.types.is_struct(field.type):
        paths = []
        for inner in field.type:
            paths += _paths_without_fractions(inner, f"{path}.{inner.name}")
        return paths
    if pa.types.is_floating(field.type):
        return []
    return [path]


def free_path(folder: Path, name: str, number: int) -> Path:
    """The path of a new file in ``folder``: ``name`` with the first free number from ``number``."""
    # The number of a chunk may be taken: when some chunks of a file are done again, its other
    # chunks move to a new file, and the old one, called after its first chunk, is still there.
    while (folder / name.format(number)).exists():
        number += 1
    return folder / name.format(number)


def read_part(path: Path) -> Part:
    """Read the metadata of the file of rows at ``path``.

    Raises ``RunError`` for a file that is damaged or of another kind.
    """
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            plugin_columns = plugin_columns_of(file.schema_arrow)
            metadata = file.schema_arrow.metadata or {}
            note = checked_json(_Note, metadata.get(KEY, b""))
            variant_rows = _count_variant_rows(file)
            return Part(
                path,
                chunks=note.chunks,
                images=note.images,
                seconds=note.seconds,
                rows=file.metadata.num_rows - variant_rows,
                variant_rows=variant_rows,
                plugin_columns=plugin_columns,
            )
    except (pa.ArrowException, OSError, ParameterError) as error:
        raise RunError(
            f"The file {_named(path)} is damaged or of another kind: delete the run, or that file "
            "alone and continue the run.",
            hint=f"The file is {path}.",
        ) from error


def _count_variant_rows(file: pq.ParquetFile) -> int:
    """The number of rows of variants in ``file``, from its statistics, without reading rows.

    Raises ``ParameterError`` for a file without statistics.
    """
    names = [file.schema.column(index).path for index in range(file.metadata.num_columns)]
    column = names.index(BASE.name)
    count = 0
    for index in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(index)
        if not group.num_rows:
            continue
        statistics = group.column(column).statistics
        if statistics is None or not statistics.has_null_count:
            raise ParameterError("Expected statistics of the column of bases.")
        count += statistics.num_values
    return count


def _named(path: Path) -> str:
    return f"{path.name} of the run {path.parent.name}"


def read_rows(
    part: Part,
    columns: Sequence[str] | None = None,
    model: str | None = None,
    *,
    variants: bool = False,
) -> pa.Table:
    """Read the rows of ``part``: those of models or, if ``variants``, those of variants.

    ``columns`` are by default all of the file. ``model`` restricts the rows to one of them. Raises
    ``RunError`` where the file cannot be read.
    """
    filters = []
    if model is not None:
        filters.append(pc.field("model") == model)
    if variants:
        filters.append(pc.field(BASE.name).is_valid())
    elif part.variant_rows:
        # A part without rows of variants needs no filter, which would cost a comparison a row.
        filters.append(pc.field(BASE.name).is_null())
    every_filter = reduce(and_, filters) if filters else None
    return _read(part, columns or stored(part.plugin_columns).names, every_filter)


def _read(
    part: Part, columns: Sequence[str] | None = None, filters: pc.Expression | None = None
) -> pa.Table:
    """The rows of ``part`` that pass ``filters``, by default all, of models and of variants."""
    try:
        table = pq.read_table(
            part.path,
            columns=columns and list(columns),
            filters=filters,
            schema=stored(part.plugin_columns),
        )
    except (pa.ArrowException, OSError) as error:
        raise RunError(
            f"The file {_named(part.path)} can no longer be read: it is missing or damaged.",
            hint=f"The file is {part.path}.",
        ) from error
    return table.replace_schema_metadata(None)


def all_parts(folder: Path, files: Iterable[str]) -> list[Part]:
    """The parts among ``files`` that exist in ``folder``, sorted by their first chunk.

    Raises ``RunError`` as ``read_part`` does, and where two parts hold the same chunk or have
    different columns.
    """
    parts = []
    for name in files:
        path = folder / name
        if name.startswith("part") and path.exists():
            parts.append(read_part(path))
    numbers = [number for part in parts for number in part.chunks]
    has_duplicates = len(numbers) != len(set(numbers))
    column_sets = {part.plugin_columns for part in parts}
    if has_duplicates or len(column_sets) > 1:
        raise RunError(f"{folder.name} contains some rows twice: it mixes several runs.")
    return sorted(parts, key=lambda part: part.chunks[:1])


def remove_unlisted(folder: Path, files: Collection[str]) -> None:
    """Remove the files of rows and images in ``folder`` that are not among ``files``."""
    for path in [*folder.glob(FILES), *folder.glob("images*.parquet")]:
        if path.name in files:
            continue
        with contextlib.suppress(OSError):  # nobody reads it, so it may stay
            path.unlink()


def without_chunks(part: Part, numbers: Collection[int], positions: Collection[int]) -> Part | None:
    """Write the rows of ``part`` that are not of the chunks ``numbers`` into a file of their own.

    ``positions`` are those of the images of these chunks. Returns None, without a file, where
    ``part`` holds no other chunk.
    """
    rest = [number for number in part.chunks if number not in numbers]
    if not rest:
        return None
    rows = _read(part)
    is_removed = pc.is_in(rows["position"], pa.array(positions, pa.int32()))
    rows = rows.filter(pc.invert(is_removed))
    image_count = len(pc.unique(rows["position"]))
    path = free_path(part.path.parent, NAME, rest[0])
    return _put_part(path, rows, _note(rest, image_count, part.seconds))


FILE = "images.parquet"
"""The file of images of a finished run."""

_FILE_OF_A_PART = "images-{:06d}.parquet"

READABLE = "readable"
UNREADABLE = "unreadable"

_IMAGE_COLUMNS = pa.schema(
    [
        ("position", pa.int32()),
        ("name", pa.string()),
        ("digest", pa.string()),
        ("framed", pa.list_(pa.string())),
        ("status", pa.string()),
        ("reason", pa.string()),
    ]
)
_PROPERTY_COLUMNS = pa.schema(
    [
        (name, pa.float64() if image_property.form else pa.string())
        for name, image_property in PROPERTIES.items()
    ]
)
SCHEMA = pa.schema([*_IMAGE_COLUMNS, *_PROPERTY_COLUMNS])
"""The columns of a file of images.

``status`` is ``READABLE`` or ``UNREADABLE``. A readable image has a ``digest`` that identifies it
and, in ``framed``, the digests of its pixels in each framing of the request. An unreadable one has
a ``reason``.
"""

_TABLE = " (table)"
"""The suffix of a column of the dataset's table whose name is one of ``SCHEMA``."""


def write(folder: Path, chunks: Sequence[Chunk]) -> Path:
    """Write the images of ``chunks`` (at least one) as a new file; raises ``OSError``."""
    rows = []
    for chunk in chunks:
        rows += [_image_row(image) for image in chunk.images]
    first_number = min(chunk.number for chunk in chunks)
    path = free_path(folder, _FILE_OF_A_PART, first_number)
    put_table(path, pa.Table.from_pylist(rows, SCHEMA))
    return path


def _image_row(image: ImageRecord) -> dict[str, Any]:
    return {
        "position": image.position,
        "name": image.name,
        "digest": image.digest,
        "framed": image.framed or None,
        "status": UNREADABLE if image.reason else READABLE,
        "reason": image.reason or None,
        **image.properties,
    }


def gather(folder: Path, images: pa.Table, dataset: Dataset) -> Path:
    """Write ``images`` and the columns of the table of ``dataset`` as the one file of a run.

    Raises ``OSError`` where the disk does not take it.
    """
    images = images.select(SCHEMA.names)
    names = [dataset.entries[position].name for position in images["position"].to_pylist()]
    # The table may be gone by the end of the run, which is no reason to lose the images.
    with contextlib.suppress(ParameterError, OSError):
        for column, value_by_name in dataset.columns().items():
            values = pa.array([value_by_name.get(name) for name in names], pa.string())
            if column in images.column_names:
                column = f"{column}{_TABLE}"
            images = images.append_column(column, values)
    put_table(folder / FILE, images)
    return folder / FILE


def read(folder: Path, files: Iterable[str], batch: int, chunks: Collection[int]) -> pa.Table:
    """The images of ``chunks``, each of ``batch`` images, in the order of the dataset.

    They are read from those ``files`` of the run in ``folder`` that are files of images. Raises
    ``RunError`` where one of them is damaged or gone.
    """
    tables = [_read_images(folder / name) for name in files if name.startswith("images")]
    images = pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")
    positions = images["position"].to_numpy()
    # An image whose chunk was done again stands in two files, of which the newer one, that is the
    # later one, counts. np.unique tells first occurrences, hence the reversal.
    _, from_end = np.unique(positions[::-1], return_index=True)
    rows = len(positions) - 1 - from_end
    chunk_numbers = positions[rows] // batch
    is_done = np.isin(chunk_numbers, np.fromiter(chunks, np.int64))
    done = rows[is_done]
    if not np.array_equal(done, np.arange(len(positions))):  # else a copy would only take memory
        images = images.take(pa.array(done))
    # Decoding a file leaves Arrow twice the memory that its images need.
    pa.default_memory_pool().release_unused()
    return images


def _read_images(path: Path) -> pa.Table:
    try:
        require_regular(path)
        with pq.ParquetFile(path) as file:
            table = file.read()
        first_names = table.schema.names[: len(_IMAGE_COLUMNS)]
        if first_names != _IMAGE_COLUMNS.names or table["position"].null_count:
            raise ParameterError("Expected images.")
    except (pa.ArrowException, OSError, ParameterError) as error:
        raise RunError(
            f"The file {path.name} of the run {path.parent.name} is gone, damaged or of another "
            "kind: delete the run.",
            hint=f"The file is {path}.",
        ) from error
    return table.replace_schema_metadata(None)


def readable(images: pa.Table) -> pa.Table:
    """Those of ``images`` that were read, and so have rows."""
    is_readable = pc.equal(images["status"], READABLE)
    if pc.all(is_readable, skip_nulls=False).as_py():
        return images  # as a copy would only take memory
    return images.filter(is_readable)


def unreadable(images: pa.Table) -> list[tuple[str, str]]:
    """(name, reason) of those of ``images`` that could not be read."""
    others = images.filter(pc.equal(images["status"], UNREADABLE))
    names = others["name"].to_pylist()
    reasons = others["reason"].to_pylist()
    return list(zip(names, reasons, strict=True))


def properties(images: pa.Table) -> pa.Table | None:
    """The properties of ``images`` by ``position``, and the columns of their dataset's table.

    Returns None if the properties were not measured and there are no such columns.
    """
    dropped = _IMAGE_COLUMNS.names[1:]  # all but the position
    table = readable(images).drop_columns(dropped)
    has_columns = table.num_columns > 1 + len(PROPERTIES)
    if not has_columns and not are_measured(table):
        return None
    # Without those columns, ones of the dataset's table can have their names again.
    original_names = {f"{name}{_TABLE}": name for name in dropped}
    return table.rename_columns([original_names.get(name, name) for name in table.column_names])


def are_measured(table: pa.Table) -> bool:
    """Whether ``table`` has a property of some image, by measuring it."""
    return any(table[name].null_count < len(table) for name in PROPERTIES)


def content(images: pa.Table) -> str | None:
    """SHA-256 over the digests of the images, in the order of the dataset; None without images."""
    digests = readable(images)["digest"].to_pylist()
    if not digests:
        return None
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


OF_FRAMING = ("framed_digest", "fit", "side")
"""Columns that follow from the image and the framing of the model."""


def with_columns(rows: pa.Table, names: Iterable[str], images: pa.Table, spec: Request) -> pa.Table:
    """``rows`` with the columns ``names``, which are some of ``NOT_STORED``, appended.

    ``images`` are those of the run, as ``read`` returns them. ``rows`` need the column "position",
    for "profile" also "condition", and for ``OF_FRAMING`` also "model".
    """
    for name in names:
        rows = rows.append_column(name, _derived_column(name, rows, images, spec))
    return rows


def _derived_column(
    name: str, rows: pa.Table, images: pa.Table, spec: Request
) -> pa.Array | pa.ChunkedArray:
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
    column_of_images = {"image": "name", "image_digest": "digest"}[name]
    return images[column_of_images].take(image_rows)


def _by_model(values: Sequence[Any], kind: pa.DataType, rows: pa.Table, spec: Request) -> pa.Array:
    """For each row the one of ``values`` that belongs to its model."""
    names = pa.array(spec.model_names, rows["model"].type)
    return pa.array(values, kind).take(pc.index_in(rows["model"], names))


def _profiles(rows: pa.Table, spec: Request) -> pa.Array:
    """For each row the profile that its condition is part of, or null."""
    compositions = [condition for condition in spec.conditions if condition.profile]
    ids = pa.array([condition.id for condition in compositions], rows["condition"].type)
    profiles = pa.array([condition.profile for condition in compositions], pa.string())
    return profiles.take(pc.index_in(rows["condition"], ids))


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
    digests_by_framing = []
    for index in range(len(framings)):
        digests_by_framing.append(pc.list_element(digests, index).take(image_rows))
    if len(framings) == 1:
        return digests_by_framing[0]
    framing_index_by_model = [framings.index(framing) for _, framing in spec.framings]
    framing_index_by_row = _by_model(framing_index_by_model, pa.int32(), rows, spec)
    return pc.choose(framing_index_by_row, *digests_by_framing)
