"""Reports in a browser: the page hands out the command's file, and the file stands by itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser

from robustness import report, runs
from robustness.commands import main
from tests.support.journeys import hand_back, visit
from tests.support.made_up_saved_runs import pictures, saved
from tests.support.reports import live


def test_the_page_gives_the_file_that_the_command_writes(
    browser: Browser, address: str, kept_runs: Path, tmp_path: Path
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(8)])
    run = saved(kept_runs / "made-up", digests, {"SqueezeNet": 0.5}, source=tmp_path / "set")
    page = visit(browser, f"{address}/dataset?run={run.id}")
    page.get_by_role("button", name="Report").click()
    for label, suffix in (("HTML", ".html"), ("JSON", ".json")):
        with page.expect_download() as download:
            page.get_by_role("button", name=label, exact=True).click()
        assert download.value.suggested_filename == f"made-up{suffix}"
        target = tmp_path / f"command{suffix}"
        assert main.main(["report", str(run.folder), "--to", str(target)]) == 0
        assert undated(download.value.path()) == undated(target)
    hand_back(page)
    runs.delete(run.folder)


def undated(path: Path) -> str:
    stamp = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d\+00:00)?"
    return re.sub(stamp, "", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("scheme", "ink"), [("light", "rgb(27, 39, 51)"), ("dark", "rgb(230, 237, 243)")]
)
def test_the_file_opens_offline_and_draws_every_chart(
    browser: Browser, scheme: Literal["light", "dark"], ink: str, tmp_path: Path
) -> None:
    report.write(live(), tmp_path / "a.html")
    wrong: list[str] = []
    asked: list[str] = []
    page = browser.new_context(
        color_scheme=scheme, viewport={"width": 390, "height": 800}, offline=True
    ).new_page()
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
    page.close()
