"""The wheel of this tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.support.repository import ROOT


def requirement_inputs() -> list[Path]:
    return sorted(ROOT.glob("requirements*.in"))


def build_wheel(source: Path) -> Path:
    """Builds the wheel from a copy in the folder ``source``, without the network."""
    for path in (
        *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE")),
        *requirement_inputs(),
    ):
        shutil.copy(path, source)
    shutil.copytree(
        ROOT / "robustness", source / "robustness", ignore=shutil.ignore_patterns("__pycache__")
    )
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=True
    )
    return source / "dist" / done.stdout.splitlines()[-1]
