"""A column that came after a run was written is null in it, wherever its rows are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import flat_folder
from robustness import runs
from robustness.base.errors import RunError
from robustness.evaluation.row_schema import COLUMNS, SCHEMA
from robustness.runs.row_files import KEY
from robustness.statistics import Figures
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    use_stand_ins(monkeypatch)
    return performed(flat_folder(tmp_path / "photos", 4), tmp_path / "runs", spec())


def without(run: runs.Run, *names: str) -> None:
    """Write the files of ``run`` without the columns ``names``, as before there were any."""
    for part in run.parts:
        table = pq.read_table(part.path)
        assert KEY in table.schema.metadata
        pq.write_table(table.drop_columns(names), part.path)
    sizes = {name: (run.folder / name).stat().st_size for name in run.manifest.parts}
    run.manifest.updated(parts=sizes).write(run.folder)


def test_a_newer_column_of_an_older_run_is_null(run: runs.Run, tmp_path: Path) -> None:
    before, newer = run.table(), ["psnr", "correct5", "ssim"]
    without(run, *newer)
    older = runs.load(run.folder)
    assert older.table().schema.equals(SCHEMA)
    assert older.table().drop_columns(newer) == before.drop_columns(newer)
    assert older.frame(newer).isna().all(axis=None)
    assert older.rows.ask("SELECT count(ssim), count(cosine) FROM rows") == [(0, len(before))]
    assert older.figures().summary == Figures(older.frame()).summary
    runs.export_run(older, tmp_path / "run.zip")
    there = runs.import_run(tmp_path / "run.zip", tmp_path / "there")
    assert there.table().equals(older.table())


def test_only_metrics_and_columns_that_may_be_null_may_be_missing(run: runs.Run) -> None:
    assert {"label", "psnr"} < {column.name for column in COLUMNS if column.null}
    without(run, "probability")
    with pytest.raises(RunError, match="damaged"):
        runs.load(run.folder)
