"""The rows of a run on disk: Parquet files of one or several whole chunks."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness.base.disk import put_whole
from robustness.base.errors import RunError
from robustness.evaluation.condition import Condition
from robustness.evaluation.rows import SCHEMA
from robustness.runs.engines import Chunk
from robustness.runs.manifest import AMISS

_KEY = b"robustness"

_FIRST_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("condition"))
"""That of the first format, in which a row told its perturbation and strength alone."""


@dataclass(frozen=True)
class Part:
    """What a file of rows says of itself, without its rows.

    ``chunks`` are the numbers of the chunks in it; ``unreadable`` are (name, reason);
    ``seconds`` is the time since the part before it. ``has_ids`` is False for a file of the first
    format, whose rows lack the column ``condition``.
    """

    path: Path
    chunks: tuple[int, ...]
    images: int
    unreadable: tuple[tuple[str, str], ...]
    seconds: float
    rows: int
    has_ids: bool


def write_part(folder: Path, chunks: Sequence[Chunk], seconds: float) -> Part:
    """Writes ``chunks`` (at least one) as one file, whole or not at all."""
    ordered = sorted(chunks, key=lambda chunk: chunk.number)
    about = {
        "chunks": [chunk.number for chunk in ordered],
        "images": sum(chunk.images for chunk in ordered),
        "unreadable": [pair for chunk in ordered for pair in chunk.unreadable],
        "seconds": seconds,
    }
    table = pa.concat_tables([chunk.table for chunk in ordered])
    described = table.replace_schema_metadata({_KEY: json.dumps(about).encode()})
    path = folder / f"part-{ordered[0].number:06d}.parquet"
    put_whole(path, lambda temporary: pq.write_table(described, temporary, compression="zstd"))
    return read_part(path)


def read_part(path: Path) -> Part:
    """What the file says of itself; raises ``RunError`` for one that is damaged or foreign."""
    try:
        with pq.ParquetFile(path) as file:
            about: dict[str, Any] = json.loads((file.schema_arrow.metadata or {})[_KEY])
            has_ids = file.schema_arrow.equals(SCHEMA)
            if not has_ids and not file.schema_arrow.equals(_FIRST_SCHEMA):
                raise ValueError("schema")
            if not math.isfinite(about["seconds"]):
                raise ValueError("seconds")
            return Part(
                path=path,
                chunks=tuple(int(number) for number in about["chunks"]),
                images=int(about["images"]),
                unreadable=tuple((str(name), str(why)) for name, why in about["unreadable"]),
                seconds=float(about["seconds"]),
                rows=file.metadata.num_rows,
                has_ids=has_ids,
            )
    except (pa.ArrowException, OSError, *AMISS) as error:
        raise RunError(
            f"The file {path} of a run is damaged or of another kind: delete the run, or that file "
            "and go on with --resume."
        ) from error


def read_rows(
    part: Part,
    conditions: Sequence[Condition],
    columns: Sequence[str] | None = None,
    model: str | None = None,
) -> pa.Table:
    """The rows of ``part``, of one ``model`` if that is named; all ``columns`` unless named.

    In a file of the first format the rows of a picture and model stand in the order of the
    ``conditions`` of the run, which they take their ids from. Raises ``RunError`` where they do
    not.
    """
    wanted = SCHEMA.names if columns is None else list(columns)
    filters = None if model is None else [("model", "==", model)]
    if part.has_ids or "condition" not in wanted:
        table = pq.read_table(part.path, columns=wanted, filters=filters)
        return table.replace_schema_metadata(None)
    stored = [name for name in _FIRST_SCHEMA.names if name in (*wanted, "perturbation", "model")]
    table = pq.read_table(part.path, columns=stored)
    place = pa.array(np.arange(len(table)) % len(conditions))
    names = pa.array([condition.name for condition in conditions]).take(place)
    if not table["perturbation"].combine_chunks().equals(names):
        raise RunError(f"The file {part.path} of a run is damaged: its rows are in another order.")
    ids = pa.array([condition.id for condition in conditions]).take(place)
    table = table.append_column("condition", ids)
    if model is not None:
        table = table.filter(pc.equal(table["model"], model))
    return table.select(wanted).replace_schema_metadata(None)


def all_parts(folder: Path) -> list[Part]:
    """The parts in ``folder``, by their first chunk; raises ``RunError`` as ``read_part`` does.

    Raises it, too, where two parts hold the same chunk.
    """
    parts = [read_part(path) for path in sorted(folder.glob("part-*.parquet"))]
    numbers = [number for part in parts for number in part.chunks]
    if len(numbers) != len(set(numbers)):
        raise RunError(f"{folder} holds some rows twice: it was mixed from several runs.")
    return parts


def content(parts: Sequence[Part]) -> str | None:
    """SHA-256 over the digests of the study images, in the order of the dataset."""
    digests: dict[int, str] = {}
    for part in parts:
        table = pq.read_table(part.path, columns=["position", "image_digest"])
        digests |= dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
    if not digests:
        return None
    return hashlib.sha256(
        "\n".join(digests[place] for place in sorted(digests)).encode()
    ).hexdigest()
