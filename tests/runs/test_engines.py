"""A run evaluated again by the other engine: equal within rounding, and both are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.support.image_folders import flat_folder
from robustness import runs
from robustness.measure.request import make_spec, study_conditions
from robustness.runs.comparison import row_changes
from tests.support.saved_runs import evaluate_again, performed


def test_rows_of_both_engines_are_equal_within_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(["SqueezeNet"], study_conditions(["fog", "salt_and_pepper"]), side=64)
    run = performed(flat_folder(tmp_path / "photos", 3), tmp_path / "runs", spec)
    assert run.manifest.versions["inference engine"].startswith("openvino 20")
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")
    again = evaluate_again(run, tmp_path / "again")
    compared = runs.compare(run, again)
    assert compared.rows == runs.RowComparison(6, rounding=True)
    found = list(row_changes(run.table(), again.table()))
    assert max(change.largest or 0 for change in found) < 1e-4
    (note,) = compared.notes
    assert note.startswith("Another inference engine: openvino")
    assert "tensorflow" in note
