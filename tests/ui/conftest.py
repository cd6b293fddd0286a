"""Where the dashboard of the tests keeps its runs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dashboard's folder of runs, which nobody has made yet."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
