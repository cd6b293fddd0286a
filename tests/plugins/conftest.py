"""A working folder with a plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from robustness import plugins
from robustness.perturbations import REGISTRY as PERTURBATIONS
from tests.support.documents import DOCUMENTS, blocks

PLUGIN, CHECK = blocks("python", DOCUMENTS["docs/plugins.md"])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder whose robustness.toml names one plugin, which is loaded."""
    (tmp_path / "hot.py").write_text(PLUGIN)
    (tmp_path / "robustness.toml").write_text('plugins = ["hot.py"]')
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        plugins.load()
        yield tmp_path
    plugins.load()
    assert "hot_pixels" not in PERTURBATIONS, "a plugin that is no longer named is gone"
