"""What the README promises is so, and it stays a page for newcomers."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustness.perturbations import REGISTRY, apply, record
from robustness.perturbations.record import find
from robustness.ui.frame import PAGES
from tests.support.documents import DOCUMENTS, README, blocks, first_column


def test_it_is_short_and_leads_to_every_other_document() -> None:
    assert len(README) <= 9_000
    assert all(f"]({name}" in README for name in DOCUMENTS if name != "README.md")


def test_the_first_screen_has_exactly_the_two_commands_each_one_line() -> None:
    run, test = blocks("bash", README)[:2]
    assert "-r requirements.txt" in run
    assert run.strip().endswith("streamlit run app.py")
    assert "-r requirements-dev.txt" in test
    assert test.strip().endswith("pytest")
    assert all(len(command.strip().splitlines()) == 1 for command in (run, test))


def test_every_page_is_in_its_table() -> None:
    assert {title for _, title, _ in PAGES} <= set(first_column(README))


def test_the_first_result_is_what_the_command_prints(
    tmp_path: Path, installed: dict[str, str]
) -> None:
    (line,) = (block for block in blocks("bash", README) if "robustness study" in block)
    command = [sys.executable, *shlex.split(line)[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    printed = done.stdout
    (shown,) = blocks("text", README)
    similarity = r"0\.\d{3}"
    assert re.sub(similarity, "", printed) == re.sub(similarity, "", shown)
    # The last digit of a similarity may be another on another processor.
    got, expected = ([*map(float, re.findall(similarity, text))] for text in (printed, shown))
    assert got == pytest.approx(expected, abs=0.0011)


def test_the_short_perturbation_works_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks("python", README)
    monkeypatch.setattr(REGISTRY, "_records", dict(REGISTRY._records))
    exec(code, {**vars(record), "np": np})
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    assert REGISTRY["dimming"].value_text(0.5) == "60% of the light"
    assert REGISTRY["dimming"] in find("Lamp").records
    dimmed = apply(REGISTRY["dimming"], images, 0.5)
    np.testing.assert_allclose(dimmed, 0.3, rtol=1e-6)
    assert dimmed.dtype == np.float32
