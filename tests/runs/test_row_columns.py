"""Files of rows have every column, or the run is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import flat_folder
from robustness import runs
from robustness.base.errors import RunError
from robustness.runs.row_files import KEY
from tests.support.saved_runs import performed, spec, use_stand_ins


@pytest.mark.parametrize("name", ["probability", "label", "psnr", "remedy"])
def test_a_run_without_a_column_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    run = performed(flat_folder(tmp_path / "photos", 4), tmp_path / "runs", spec())
    for part in run.parts:
        table = pq.read_table(part.path)
        assert KEY in table.schema.metadata
        pq.write_table(table.drop_columns([name]), part.path)
    sizes = {file: (run.folder / file).stat().st_size for file in run.manifest.parts}
    run.manifest.updated(parts=sizes).write(run.folder)
    with pytest.raises(RunError, match="damaged or of another kind"):
        runs.load(run.folder)
