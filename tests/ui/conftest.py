"""Where the dashboard of the tests has its runs, and a model of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from robustness.models import own
from robustness.ui.live import map
from tests.support import onnx_files
from tests.support.user_models import describe


@pytest.fixture
def runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The dashboard's folder of runs, which nobody has made yet."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map computes a few cells and waits for a click."""
    monkeypatch.setattr(map, "AT_ONCE_SECONDS", 0)


@pytest.fixture
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with an untrained model of digits and its description."""
    monkeypatch.setenv("ROBUSTNESS_MODELS", str(tmp_path / "models.toml"))
    (tmp_path / "digits.onnx").write_bytes(onnx_files.small_model())
    describe(tmp_path, path="digits.onnx", output="logits", title="My digits")
    yield tmp_path
    monkeypatch.delenv("ROBUSTNESS_MODELS")
    own.refresh()
