"""Many files of rows become few: while a run goes on, and when it is finished.

A long run writes a file every few seconds. ``parts.all_parts`` counts a compacted file once the
manifest names it, so a program may stop at any moment: before that, the files that it was made of
count; afterwards, they do not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustness.base.disk import put_whole
from robustness.runs.parts import COMPACTED, KEY, Part, free_path, is_compacted, read_part, written

FEW = 8
"""A finished run keeps so many files as they are."""

ROWS_A_FILE = 2**18
"""About 100 MB in memory, for those that read a file at a time."""

ROWS_A_GROUP = 2**17
"""Rows that are read at once: measured with DuckDB, a quarter less time than groups of 2**15."""

_NOTES_A_FILE = 2**20  # characters of what a file says of itself


def compact(folder: Path, parts: Sequence[Part], *, finished: bool) -> list[Part]:
    """Writes the rows of ``parts`` into few files beside theirs; returns the parts of the run then.

    Rows keep their order, and what is compacted already stays as it is. Until the run is
    ``finished``, only whole files are written: the rest waits. Returns ``parts`` where there are
    few files already, and where the disk has no room.
    """
    compacted = [part for part in parts if is_compacted(part.path.name)]
    loose = [part for part in parts if not is_compacted(part.path.name)]
    groups = list(_groups(loose))
    waiting = [] if finished or not groups else groups.pop()
    enough = bool(compacted) or (len(loose) > FEW and len(groups) < len(loose))
    if not groups or (finished and not enough):
        return list(parts)
    written: list[Part] = []
    try:
        for group in groups:
            path = free_path(folder, COMPACTED, group[0].chunks[0])
            put_whole(path, partial(_write, group))
            written.append(read_part(path))
    except OSError:  # no room for a second copy: the run is whole without it
        for part in written:
            part.path.unlink(missing_ok=True)
        return list(parts)
    return [*compacted, *written, *waiting]


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """``parts`` in their order, grouped by file."""
    group: list[Part] = []
    for part in parts:
        if group and not _fit([*group, part]):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def _fit(group: Sequence[Part]) -> bool:
    return sum(part.rows for part in group) <= ROWS_A_FILE and len(note_of(group)) <= _NOTES_A_FILE


def note_of(group: Sequence[Part]) -> str:
    """What a file of the rows of ``group`` says of itself."""
    about = {
        "chunks": [number for part in group for number in part.chunks],
        "images": sum(part.images for part in group),
        "unreadable": [pair for part in group for pair in part.unreadable],
        "seconds": sum(part.seconds for part in group),
    }
    return json.dumps(about)


def _write(group: Sequence[Part], path: Path) -> None:
    described = pq.read_schema(group[0].path).with_metadata({KEY: note_of(group).encode()})
    with pq.ParquetWriter(path, described, **written(described)) as writer:
        waiting: list[pa.Table] = []
        for part in group:
            waiting.append(pq.read_table(part.path).replace_schema_metadata(described.metadata))
            if sum(table.num_rows for table in waiting) >= ROWS_A_GROUP:  # memory stays flat
                _write_group(writer, waiting)
                waiting = []
        if waiting:
            _write_group(writer, waiting)


def _write_group(writer: pq.ParquetWriter, tables: Sequence[pa.Table]) -> None:
    joined = pa.concat_tables(tables)
    writer.write_table(joined, max(1, joined.num_rows))
