"""The Report button: nothing is made before it is asked for, and the file is the command's."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from robustness import report
from tests.support.pages import run
from tests.support.places import ROOT
from tests.support.reports import live

ASKED: list[str] = []

SCRIPT = """
from robustness.ui.kit.report_button import report_button
from tests.ui import test_report_pages
report_button(test_report_pages.build, "a <b>/name")
"""


def build() -> report.Report:
    ASKED.append("built")
    return live()


def shown(tmp_path: Path) -> AppTest:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT)
    return run(script)


def test_every_format_is_offered_and_none_is_made_before_the_click(tmp_path: Path) -> None:
    ASKED.clear()
    app = shown(tmp_path)
    assert not app.exception
    buttons = [button.proto for button in app.get("download_button")]
    labels = [button.label for button in buttons]
    assert set(labels) == {*(f.label for f in report.FORMATS.values()), "Columns of the CSV"}
    assert all(button.deferred_file_id for button in buttons)
    assert not any(button.disabled for button in buttons)
    assert not ASKED


@pytest.mark.parametrize("page", ["app.py", "pages/scorecard.py", "pages/breaking_point.py"])
def test_the_pages_have_the_button(page: str) -> None:
    app = run(ROOT / page, models="SqueezeNet")
    assert not app.exception
    assert len(app.get("download_button")) == len(report.FORMATS) + 1
