"""What the disk holds while others write on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from robustness.base.files import stored_bytes


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
    assert stored_bytes(folder) == 2010
    assert stored_bytes(folder / "note") == 10
    assert stored_bytes(folder / "gone") == stored_bytes(folder / "pipe") == 0
