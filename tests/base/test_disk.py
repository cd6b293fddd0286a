"""What the disk holds while others write on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from robustness.base.disk import occupied


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two folders with a file of 1,000 bytes each, a file of 10, and what is no file."""
    made = tmp_path / "runs"
    for name in ("a", "b"):
        (made / name).mkdir(parents=True)
        (made / name / "rows").write_bytes(bytes(1000))
    (made / "note").write_bytes(bytes(10))
    os.mkfifo(made / "pipe")
    (made / "nowhere").symlink_to(made / "gone")
    return made


def test_what_a_folder_takes_is_that_of_all_files_in_it(folder: Path) -> None:
    assert occupied(folder) == 2010
    assert occupied(folder / "note") == 10
    assert occupied(folder / "gone") == occupied(folder / "pipe") == 0


@pytest.mark.parametrize("going", ["a", "b"])
def test_what_goes_meanwhile_leaves_the_rest_counted(
    folder: Path, going: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = os.scandir

    def too_late(path: Any) -> Any:
        if Path(path) == folder / going:
            (folder / going).rename(folder.parent / going)
        return look(path)

    monkeypatch.setattr(os, "scandir", too_late)
    assert occupied(folder) == 1010
    assert not (folder / going).exists()
