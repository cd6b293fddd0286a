"""The Report button: nothing is made before it is asked for, and the file is the command's."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from robustness import api, report
from robustness.ui.live import map, page
from tests.support.pages import run
from tests.support.reports import live

ASKED: list[str] = []

SCRIPT = """
from robustness.ui.draw import report_button
from tests.ui import test_draw_reports as test_report_pages
report_button(test_report_pages.build, "a <b>/name")
"""


def build() -> report.Report:
    ASKED.append("built")
    return live()


def shown(tmp_path: Path) -> AppTest:
    script = tmp_path / "app.py"
    script.write_text(SCRIPT)
    return run(script)


def test_every_format_of_the_server_is_offered_and_made_after_the_click(
    tmp_path: Path,
) -> None:
    ASKED.clear()
    app = shown(tmp_path)
    assert not app.exception
    buttons = [button.proto for button in app.get("download_button")]
    labels = [button.label for button in buttons]
    written = {f.label for f in report.FORMATS.values() if not f.needs_browser}
    assert set(labels) == written - {"HTML"} | {"Report", "Columns of the CSV"}
    assert all(button.deferred_file_id for button in buttons)
    assert not any(button.disabled for button in buttons)
    assert not ASKED


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[report.Report]:
    """The reports that a page's buttons would download."""
    found = []
    for module in (page, map):
        monkeypatch.setattr(module, "report_button", lambda build, _: found.append(build()))
    return found


def fits(made: report.Report) -> set[str]:
    return {own["fit"] for own in made.manifest["spec"]["framings"].values()}


@pytest.mark.usefixtures("few_cells")
def test_its_rows_say_how_the_picture_became_square(reported: list[report.Report]) -> None:
    run(view="map", perturbation="rotation", models="SqueezeNet", fit="letterbox")
    (made,) = reported
    assert fits(made) == {"letterbox"}
    assert made.data.read is not None
    assert set(pa.concat_tables(made.data.read())["fit"].to_pylist()) == {"letterbox"}


def test_a_picture_of_a_run_is_as_square_as_it_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: list[report.Report]
) -> None:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path))
    spec = api.make_spec(["SqueezeNet"], perturbations=["fog"], fit="letterbox")
    made = api.evaluate("samples", spec, out=tmp_path)
    app = run(models="SqueezeNet", run=made.id, image="chelsea", fog="0.6")
    assert fits(reported[-1]) == {"letterbox"}
    link, command, *_ = (element.value for element in app.code)
    assert "sample=chelsea" in link
    assert "fit=letterbox" in link
    assert "--fit letterbox" in command
    shows = app.selectbox(key="shows").value
    assert run(models="SqueezeNet", sample="chelsea").selectbox(key="shows").value == shows
    assert shows is not None
