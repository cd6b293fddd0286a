"""The images of a run, a row each by its position: what they are, and why some could not be read.

While a run goes on, each file of rows has one of its images beside it; a finished run has one file,
with the other columns of its dataset's table as well.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness.base.errors import ParameterError, RunError
from robustness.base.files_and_locks import require_regular
from robustness.datasets import Dataset
from robustness.evaluation.request import Request
from robustness.pictures.image_properties import PROPERTIES
from robustness.runs.row_files import free_path, put_table

if TYPE_CHECKING:
    from robustness.runs.engines import Chunk

FILE = "images.parquet"
_OF_A_PART = "images-{:06d}.parquet"

READABLE, UNREADABLE = "readable", "unreadable"

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
    tables = [_read(folder / name) for name in files if name.startswith("images")]
    images = pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="default")
    positions = images["position"].to_numpy()
    _, last = np.unique(positions[::-1], return_index=True)
    order = len(positions) - 1 - last  # a newer file counts more
    done = np.isin(positions[order] // batch, np.fromiter(chunks, np.int64))
    return images.take(pa.array(order[done]))


def _read(path: Path) -> pa.Table:
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
    place = pc.index_in(rows["position"], images["position"].combine_chunks())

    def of_model(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
        """For each row the one of ``values`` of its model."""
        names = pa.array(spec.model_names, rows["model"].type)
        return pa.array(values, kind).take(pc.index_in(rows["model"], names))

    def framed_digests() -> pa.Array:
        framings, lists = list(spec.by_framing), images["framed"].combine_chunks()
        if not len(lists):
            return pa.nulls(0)
        each = [pc.list_element(lists, at).take(place) for at in range(len(framings))]
        framing_of = [framings.index(own) for _, own in spec.framings]
        return each[0] if len(each) == 1 else pc.choose(of_model(framing_of, pa.int32()), *each)

    def profiles() -> pa.Array:
        names = {each.id: each.profile for each in spec.conditions if each.profile}
        ids = pa.array([*names], rows["condition"].type)
        return pa.array([*names.values()], pa.string()).take(pc.index_in(rows["condition"], ids))

    make: Mapping[str, Callable[[], Any]] = {
        "image": lambda: images["name"].take(place),
        "image_digest": lambda: images["digest"].take(place),
        "framed_digest": framed_digests,
        "fit": lambda: of_model([own.fit for _, own in spec.framings], pa.string()),
        "side": lambda: of_model([own.side for _, own in spec.framings], pa.int32()),
        "profile": profiles,
        "seed": lambda: pa.repeat(pa.scalar(spec.seed, pa.int64()), len(rows)),
    }
    for name in names:
        rows = rows.append_column(name, make[name]())
    return rows
