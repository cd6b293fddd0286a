"""Whether the rows of a run from elsewhere are what its manifest says: before anybody reads them.

A file of rows may claim any number of them and repeat a long text at no cost; both would fill the
memory of whoever opens it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from robustness import models
from robustness.base.errors import RobustnessError, RunError
from robustness.pictures.fitting import MAX_SIDE, check_fit
from robustness.runs.manifest import AMISS
from robustness.runs.parts import Part, content, read_rows
from robustness.runs.store import Run

MIN_ROW_BYTES = 8
"""On disk, of the probabilities alone that a row holds; real runs have ten times as much."""

MAX_NAME = 4096
_MAX_VALUES = 64  # of one row in one column: stages, or classes of the top 5
_MAX_RATIO = 200  # of the unpacked size of a file of rows
_MAX_TEXT_RATIO = 20  # of all texts written out
_ROWS_FREE, _TEXT_FREE = 100_000, 10_000_000
_CLASS_COLUMNS = ("label", "clean_top1", "top1")
_WORDS = ("image", "image_digest", "model", "perturbation")


def check_rows(run: Run) -> None:
    """Raises ``RunError`` unless the rows of ``run`` can be those of its manifest."""
    try:
        _check_manifest(run)
        for part in run.parts:
            _check_size(part)
        if run.parts:
            _check_content(run)
    except (pa.ArrowException, OSError, *AMISS) as error:
        raise RunError(f"The run {run.id} is refused: its rows cannot be read.") from error


def _check_manifest(run: Run) -> None:
    manifest = run.manifest
    try:
        check_fit(manifest.spec.fit)
    except RobustnessError as error:
        raise RunError(f"The run {run.id} is refused: {error}") from error
    _expect(run, 1 <= manifest.spec.side <= MAX_SIDE, "its pictures are of no possible size")
    _expect(run, bool(manifest.spec.models and manifest.spec.conditions), "it asks for nothing")
    texts = (manifest.dataset.title, manifest.dataset.source, *manifest.spec.model_names)
    _expect(run, all(len(text) <= MAX_NAME for text in texts), "a name in it is too long")
    for number in (manifest.dataset.limit, manifest.dataset.sample):
        _expect(run, number is None or number >= 1, "it asks for no picture")


def _expect(run: Run, fine: bool, otherwise: str) -> None:
    if not fine:
        raise RunError(f"The run {run.id} is refused: {otherwise}.")


def _check_size(part: Part) -> None:
    size = part.path.stat().st_size
    with pq.ParquetFile(part.path) as file:
        about = file.metadata
    columns = [
        (group.num_rows, group.column(place))
        for group in map(about.row_group, range(about.num_row_groups))
        for place in range(group.num_columns)
    ]
    unpacked = sum(column.total_uncompressed_size for _, column in columns)
    swollen = any(column.num_values > _MAX_VALUES * rows for rows, column in columns)
    too_many = about.num_rows > max(_ROWS_FREE, size // MIN_ROW_BYTES)
    if swollen or too_many or unpacked > max(_TEXT_FREE, _MAX_RATIO * size):
        raise RunError(
            f"{part.path.name} is refused: its {size:,} bytes claim to hold {about.num_rows:,} "
            "rows, as no measurements do."
        )


def _check_content(run: Run) -> None:
    manifest, spec = run.manifest, run.manifest.spec
    table = _with_texts_once(run.parts)
    each = len(spec.models) * len(spec.conditions)
    _expect(run, table.num_rows == run.images * each, "it has rows too few or too many")
    pictures = manifest.dataset.pictures
    _expect(run, run.images + len(run.unreadable) == pictures, "pictures are missing in it")
    size = sum(part.path.stat().st_size for part in run.parts)
    stages = table["stages"].combine_chunks().flatten().field("stage")
    columns = [table[name].combine_chunks() for name in _WORDS]
    length = sum(_length(column) for column in (*columns, stages))
    _expect(run, length <= max(_TEXT_FREE, _MAX_TEXT_RATIO * size), "its texts are too long")
    for word, asked, what in (
        ("model", spec.model_names, "models"),
        ("perturbation", [condition.name for condition in spec.conditions], "perturbations"),
    ):
        there = set(table[word].unique().to_pylist())
        _expect(run, there <= set(asked), f"its rows are of other {what}")
    known = pa.array([condition.id for condition in spec.conditions])
    for part in run.parts:
        ids = read_rows(part, spec, ["condition"])["condition"]
        fine = pc.all(pc.is_in(ids, known)).as_py() is not False
        _expect(run, fine, "its rows are of other conditions")
    _check_classes(run, table)
    _expect(run, content(run.parts) == manifest.content, "its rows are of other pictures")


def _with_texts_once(parts: Sequence[Part]) -> pa.Table:
    """The rows that are checked, each text held once, however often it stands in them."""
    wanted = ["position", *_WORDS, *_CLASS_COLUMNS, "stages"]
    words = [*_WORDS, "stages.list.element.stage"]
    tables = [pq.read_table(part.path, columns=wanted, read_dictionary=words) for part in parts]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _length(column: pa.Array) -> int:
    """Bytes of all texts of ``column``, were each written out."""
    lengths = pc.fill_null(pc.binary_length(column.dictionary), 0)
    return pc.sum(pc.take(lengths, pc.drop_null(column.indices))).as_py() or 0


def _check_classes(run: Run, table: pa.Table) -> None:
    counts = [
        len(models.REGISTRY[name].labels())
        for name in run.manifest.spec.model_names
        if name in models.REGISTRY
    ]
    for name in _CLASS_COLUMNS:
        bounds = pc.min_max(table[name]).as_py()
        low, high = bounds["min"], bounds["max"]
        possible = low is None or (low >= 0 and (not counts or high < max(counts)))
        _expect(run, possible, "it names classes that there are not")
