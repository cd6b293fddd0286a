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
    files = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "app.py")
    for path in (*(ROOT / name for name in files), *requirement_inputs()):
        shutil.copy(path, source)
    for folder in ("robustness", "pages", ".streamlit"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "secrets*")
        )
    build = "from setuptools import build_meta; print(build_meta.build_wheel('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=True
    )
    return source / "dist" / done.stdout.splitlines()[-1]
