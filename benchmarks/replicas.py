"""Large saved runs for measuring: a small real run, replicated.

How to use it::

    from pathlib import Path
    from benchmarks.replicas import replicated, small_run

    small = small_run(Path("scratch"))                      # 6 images x 95 conditions x 4 models
    one = replicated(small, Path("scratch/runs/one"), 20_000, ["SqueezeNet"])
    all_four = replicated(small, Path("scratch/runs/four"), 50_000)

``small_run`` evaluates once and finds its run again the next time; ``replicated`` writes a finished
run that ``runs.load`` opens, and opens it without writing if the folder has it already. On the
command line: ``python -m benchmarks.replicas FOLDER --images 20000 --models SqueezeNet``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.offline_models import NAMES
from benchmarks.support.image_folders import labelled_folder
from robustness import runs
from robustness.base.files import put_whole
from robustness.measure.options import IMAGENET_C_SUITE
from robustness.measure.request import SEVERITIES, make_spec, suite_conditions
from robustness.measure.rows import BASE, stored
from robustness.runs import files
from robustness.runs.files import KEY, NAME, ROWS_A_FILE, ROWS_A_GROUP, Part, read_part

CASES_A_CELL = 2
"""Images a class in the small run, of three classes."""

WRITERS = 2
_LEAST_FACTOR = 0.999
"""Measured values of a replica are those of its original times a factor of its own, from this to 1:
repeated values would compress, and be read, better than measured ones."""

_AS_ASKED = ("strength", "parameter")


def small_run(folder: Path, source: Path | None = None, limit: int | None = None) -> runs.Run:
    """The finished run of the four offline models under ImageNet-C's 95 conditions in ``folder``.

    Its images are the first ``limit`` of ``source``, else crops of the sample photographs. It is
    evaluated if it is not there yet.
    """
    if source is None:
        source = folder / "images"
        if not source.exists():
            labelled_folder(source, CASES_A_CELL)
    spec = make_spec(NAMES, suite_conditions(IMAGENET_C_SUITE, severities=SEVERITIES))
    plan = runs.plan(str(source), spec, limit=limit)
    with runs.start(plan, folder / "small", resume=True) as writer:
        for _ in writer.perform() if not writer.finished else ():
            pass
    return runs.load(writer.folder)


def replicated(
    run: runs.Run, folder: Path, count: int, models: Sequence[str] | None = None, seed: int = 0
) -> runs.Run:
    """A finished run in ``folder`` of ``count`` images, each with the rows of one of ``run``.

    Which one is drawn by ``seed``; names and digests are new. ``models`` keeps some of the run's.
    """
    if (folder / runs.MANIFEST_FILE).exists():
        return runs.load(folder)
    spec = run.manifest.spec
    kept = [name for name in spec.model_names if models is None or name in models]
    spec = spec.of_models(kept)
    table = run.table().filter(pc.is_in(run.table()["model"], pa.array(spec.model_names)))
    table = table.append_column(BASE, pa.nulls(len(table), BASE.type))
    original = _Original(table.combine_chunks(), len(kept) * len(spec.conditions))
    drawn = np.random.default_rng(seed).integers(0, original.images, count)
    folder.mkdir(parents=True)
    each = max(1, ROWS_A_FILE // original.rows_an_image)
    starts = range(0, count, each)
    with ThreadPoolExecutor(WRITERS) as pool:
        write = partial(_write, original, drawn, folder, run.seconds / run.images, each)
        parts = list(pool.map(write, starts))
    files = [_put_images(folder, count), *(part.path for part in parts)]
    manifest = run.manifest.updated(
        id=folder.name,
        spec=spec,
        dataset=replace(
            run.manifest.dataset, title=folder.name, pictures=count, limit=None, digest=folder.name
        ),
        batch=1,
        images=count,
        unreadable=0,
        seconds=sum(part.seconds for part in parts),
        parts={path.name: path.stat().st_size for path in files},
        content=_content(count),
    )
    manifest.write(folder)
    return runs.load(folder)


@dataclass(frozen=True)
class _Original:
    """The rows of the small run, ``rows_an_image`` for each of its images, one after the other."""

    table: pa.Table
    rows_an_image: int

    @property
    def images(self) -> int:
        return int(self.table.num_rows // self.rows_an_image)


def _write(
    original: _Original,
    drawn: NDArray[np.int64],
    folder: Path,
    seconds: float,
    each: int,
    start: int,
) -> Part:
    """The file of the images from ``start`` on."""
    stop = min(start + each, len(drawn))
    note = {
        "chunks": list(range(start, stop)),
        "images": stop - start,
        "seconds": seconds * (stop - start),
    }
    about = {KEY: json.dumps(note).encode()}
    schema = stored(()).with_metadata(about)
    path = folder / NAME.format(start)

    def put(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for first in _steps(start, stop, ROWS_A_GROUP // original.rows_an_image):
                table = _rows(original, drawn, first)
                writer.write_table(table.replace_schema_metadata(about), ROWS_A_GROUP)

    put_whole(path, put)
    return read_part(path)


def _steps(start: int, stop: int, size: int) -> Iterator[range]:
    size = max(1, size)
    return (range(first, min(first + size, stop)) for first in range(start, stop, size))


def _rows(original: _Original, drawn: NDArray[np.int64], places: range) -> pa.Table:
    """The rows of the images at ``places``."""
    each = original.rows_an_image
    taken = (drawn[places.start : places.stop, None] * each + np.arange(each)).ravel()
    table = original.table.take(pa.array(taken))
    random = np.random.default_rng([1, places.start])
    factors = np.repeat(random.uniform(_LEAST_FACTOR, 1.0, len(places)), each)
    columns = [_scaled(field, table[field.name], factors) for field in stored(())]
    columns[0] = pa.array(np.repeat(np.asarray(places, np.int32), each))
    return pa.Table.from_arrays(columns, schema=stored(()))


def _scaled(field: pa.Field, column: pa.ChunkedArray, factors: NDArray[np.float64]) -> pa.Array:
    """``column``, its measured numbers times the ``factors`` of its rows."""
    array = column.combine_chunks()
    if pa.types.is_list(field.type):
        lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        inner = _multiplied(field.type.value_type, array.flatten(), np.repeat(factors, lengths))
        return pa.ListArray.from_arrays(offsets, inner).cast(field.type)
    return array if field.name in _AS_ASKED else _multiplied(field.type, array, factors)


def _multiplied(kind: pa.DataType, array: pa.Array, factors: NDArray[np.float64]) -> pa.Array:
    if pa.types.is_floating(kind):
        return pc.multiply(array, pa.array(factors))
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        values = [_multiplied(f.type, array.field(f.name), factors) for f in fields]
        return pa.StructArray.from_arrays(values, fields=fields)
    return array


def _name(place: int) -> str:
    return f"replica-{place:08d}.jpg"


def _digest(place: int) -> str:
    return hashlib.sha256(_name(place).encode()).hexdigest()


def _put_images(folder: Path, count: int) -> Path:
    columns = {
        "position": range(count),
        "name": map(_name, range(count)),
        "digest": map(_digest, range(count)),
        "status": [files.READABLE] * count,
    }
    table = [
        pa.array(columns.get(field.name, [None] * count), field.type) for field in files.SCHEMA
    ]
    path = folder / files.FILE
    files.put_table(path, pa.table(table, files.SCHEMA))
    return path


def _content(count: int) -> str:
    return hashlib.sha256("\n".join(map(_digest, range(count))).encode()).hexdigest()


def main() -> None:
    """Makes one replica and prints where it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path, help="the small run and the replicas lie in it")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--models", type=lambda text: text.split(","), default=None)
    options = parser.parse_args()
    small = small_run(options.folder)
    count = len(options.models or NAMES)
    place = options.folder / "runs" / f"images-{options.images}-models-{count}"
    print(replicated(small, place, options.images, options.models).folder)


if __name__ == "__main__":
    main()
