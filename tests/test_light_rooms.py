"""Tests of the rooms at the bottom start at once."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.support.repository import ROOT

ROOMS = ("base", "images", "metrics", "perturbations", "remedies")
HEAVY = ("tensorflow", "keras", "streamlit", "openvino")


def test_tests_of_the_rooms_at_the_bottom_import_nothing_heavy() -> None:
    """They are collected, with the fixtures of all tests, and one is run."""
    folders = [f"tests/{room}" for room in ROOMS]
    code = (
        "import sys, pytest\n"
        f"status = pytest.main(['-n', '0', '-k', 'test_registry', *{folders}])\n"
        f"print('heavy:', *[name for name in {HEAVY} if name in sys.modules])\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
