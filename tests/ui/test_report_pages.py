"""The Report button: nothing is made before it is asked for, and the file is the command's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from streamlit.testing.v1 import AppTest

from robustness import report
from robustness.commands import main
from robustness.report import pdf_fonts
from tests.report.test_files import live
from tests.support.made_up_saved_runs import pictures, saved
from tests.support.server import ROOT, chromium, dashboard

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
    return AppTest.from_file(str(script), default_timeout=120).run()


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


def test_a_pdf_that_cannot_be_made_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf_fonts, "find_spec", lambda name: None)
    app = shown(tmp_path)
    off = [b.proto.label for b in app.get("download_button") if b.proto.disabled]
    assert off == ["PDF"]
    assert any("pip install -r requirements-pdf.txt" in caption.value for caption in app.caption)


@pytest.mark.parametrize("page", ["app.py", "pages/scorecard.py", "pages/breaking_point.py"])
def test_the_pages_have_the_button(page: str) -> None:
    app = AppTest.from_file(str(ROOT / page), default_timeout=120)
    app.query_params["models"] = "SqueezeNet"
    app.run()
    assert not app.exception
    assert len(app.get("download_button")) == len(report.FORMATS) + 1


@pytest.mark.browser
def test_the_page_gives_the_file_that_the_command_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(8)])
    run = saved(
        tmp_path / "runs" / "made-up", digests, {"SqueezeNet": 0.5}, source=tmp_path / "set"
    )
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    with chromium() as browser, dashboard() as address:
        page = browser.new_context(accept_downloads=True).new_page()
        page.set_default_timeout(90_000)
        page.goto(f"{address}/dataset?run={run.id}")
        page.get_by_role("button", name="Report").click()
        for label, suffix in (("HTML", ".html"), ("JSON", ".json")):
            with page.expect_download() as download:
                page.get_by_role("button", name=label, exact=True).click()
            assert download.value.suggested_filename == f"made-up{suffix}"
            target = tmp_path / f"command{suffix}"
            assert main.main(["report", str(run.folder), "--to", str(target)]) == 0
            assert undated(download.value.path()) == undated(target)


def undated(path: Path) -> str:
    stamp = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d\+00:00)?"
    return re.sub(stamp, "", path.read_text(encoding="utf-8"))


@pytest.mark.browser
@pytest.mark.parametrize(
    ("scheme", "ink"), [("light", "rgb(27, 39, 51)"), ("dark", "rgb(230, 237, 243)")]
)
def test_the_file_opens_offline_and_draws_every_chart(
    scheme: Literal["light", "dark"], ink: str, tmp_path: Path
) -> None:
    report.write(live(), tmp_path / "a.html")
    wrong: list[str] = []
    asked: list[str] = []
    with chromium() as browser:
        size = {"width": 390, "height": 800}
        page = browser.new_context(color_scheme=scheme, viewport=size, offline=True).new_page()  # type: ignore[arg-type]
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "a.html").as_uri())
        page.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached")
        assert not wrong
        assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [page.url]
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        drawn = "plots => plots.map(plot => plot.querySelectorAll('.main-svg').length)"
        counts = page.locator("figure.chart > div").evaluate_all(drawn)
        assert counts
        assert all(counts)
        tick = page.locator(".xtick text").first
        assert tick.evaluate("text => getComputedStyle(text).fill") == ink
