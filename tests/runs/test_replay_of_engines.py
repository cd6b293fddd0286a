"""A run replayed by the other engine: within rounding, and both are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.support.image_folders import flat_folder
from robustness import runs
from robustness.evaluation.request import make_spec
from robustness.evaluation.suites import study_conditions
from tests.support.saved_runs import performed


def test_a_run_of_one_engine_is_replayed_by_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(["SqueezeNet"], study_conditions(["fog", "salt_and_pepper"]), side=64)
    run = performed(flat_folder(tmp_path / "photos", 3), tmp_path / "runs", spec)
    assert run.manifest.versions["inference engine"].startswith("openvino 20")
    monkeypatch.setenv("ROBUSTNESS_ENGINE", "tensorflow")
    found = runs.replay(run, tmp_path / "again")
    assert found.verdict == runs.ROUNDED
    (note,) = found.versions
    assert note.startswith("Another inference engine: openvino")
    assert "tensorflow" in note
    assert max(change.largest or 0 for change in found.changes) < 1e-4
