"""What the disk holds while others write on it, and the digest of this package's sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import robustness
from robustness.base.files import code_digest, stored_bytes


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


_ASK_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from robustness.base.files import code_digest

reads = []

def note(event, arguments):
    if event == "open" and str(arguments[0]).endswith("frame.py"):
        reads.append(arguments[0])

def ask(_):
    together.wait()
    return code_digest()

sys.addaudithook(note)
together = Barrier(4)
with ThreadPoolExecutor(4) as pool:
    digests = {*pool.map(ask, range(4))}
assert len(reads) == 1, reads
print(*digests)
"""
"""Prints the digest that four threads ask for at once, of which one reads the sources."""


def test_the_digest_is_of_all_sources_wherever_they_lie(tmp_path: Path) -> None:
    package = tmp_path / "robustness"
    sources = shutil.ignore_patterns("*.npz", "*.jpg", "*.png", "*.js", "*.css", "__pycache__")
    shutil.copytree(Path(robustness.__file__).parent, package, ignore=sources)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"}

    def digest() -> str:
        python = [sys.executable, "-c", _ASK_AT_ONCE]
        done = subprocess.run(python, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert digest() == code_digest()
    seen = {code_digest()}
    with (package / "ui" / "frame.py").open("a") as changed:
        changed.write("# Changed.\n")
    seen.add(digest())
    (package / "statistics" / "means.py").rename(package / "statistics" / "averages.py")
    seen.add(digest())
    assert len(seen) == 3
