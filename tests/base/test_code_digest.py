"""The digest of the code that computes what is stored, also of a package that was rearranged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import robustness
from robustness.base.code_digest import code_digest, imported_modules

FIGURES = "robustness.runs.run"
HEADLINES = "robustness.runs.folder"
CONVERSIONS = "robustness.models"
EMULATORS = "robustness.matching.reference"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the product's code that may be changed."""
    folder = tmp_path / "robustness"
    kinds = shutil.ignore_patterns("*.npz", "*.jpg", "*.png", "*.js", "*.css", "__pycache__")
    shutil.copytree(Path(robustness.__file__).parent, folder, ignore=kinds)
    return folder


def digests(package: Path, *modules: str) -> list[str]:
    """The digests of ``modules`` in a new process that imports the copy."""
    code = (
        "import sys; from robustness.base.code_digest import code_digest\n"
        "for name in sys.argv[1:]: print(code_digest(name))"
    )
    environment = {**os.environ, "PYTHONPATH": str(package.parent), "PYTHONSAFEPATH": "1"}
    python = [sys.executable, "-c", code, *modules]
    done = subprocess.run(python, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


def change(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("# Changed.\n")


def test_figures_rest_on_all_code_on_their_way(package: Path) -> None:
    seen = digests(package, FIGURES)
    for module in ("statistics/means", "measure/loop", "metrics/record"):
        change(package / f"{module}.py")
        seen += digests(package, FIGURES)
    assert len(set(seen)) == 4
    change(package / "ui" / "frame.py")
    assert digests(package, FIGURES) == seen[-1:], "pages compute no figures"


def test_code_counts_wherever_it_is_moved(package: Path) -> None:
    """A room with another name, and one of its modules in a folder within, are still found."""
    for file in package.rglob("*.py"):
        text = file.read_text()
        moved = text.replace("robustness.statistics", "robustness.tables")
        moved = moved.replace("robustness.tables.means", "robustness.tables.intervals.means")
        file.write_text(
            moved.replace("from robustness import statistics", "from robustness import tables")
        )
    room = (package / "statistics").rename(package / "tables")
    (room / "intervals").mkdir()
    (room / "intervals" / "__init__.py").touch()
    means = (room / "means.py").rename(room / "intervals" / "means.py")
    before = digests(package, FIGURES, HEADLINES)
    change(means)
    after = digests(package, FIGURES, HEADLINES)
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_module_that_is_missing_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"robustness\.runs\.figures"):
        code_digest("robustness.runs.figures")


def test_everything_that_is_imported_counts() -> None:
    """Python itself is the oracle: what importing loads, but for the package's own first file."""
    code = (
        "import importlib, sys; importlib.import_module(sys.argv[1])\n"
        "print(*(name for name in sys.modules if name.startswith('robustness')))"
    )
    for module in (FIGURES, CONVERSIONS):
        python = [sys.executable, "-c", code, module]
        done = subprocess.run(python, capture_output=True, text=True, check=True)
        loaded = set(done.stdout.split())
        assert module in loaded
        assert not loaded - imported_modules(module)


def test_processes_and_modules_that_are_named_by_strings_count() -> None:
    conversions = imported_modules(CONVERSIONS)
    assert "robustness.models.conversion_process" in conversions
    assert "robustness.perturbations.digital" in imported_modules(EMULATORS)
    assert not [name for name in imported_modules(FIGURES) if name.startswith("robustness.ui")]
