"""A report in a browser: the file stands by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.support.server import eventually
from robustness import report
from robustness.report import maps
from robustness.report.maps import BandMap, MapRow, Strip, Tile
from tests.support.reports import live


def test_the_file_opens_offline_and_draws_every_chart(browser: Browser, tmp_path: Path) -> None:
    """In the dark, where charts that kept their own colours could not be read."""
    long_name = "a_name_without_a_break_" * 4
    report.write(replace(live(), cautions=[f"Unsure of {long_name}."]), tmp_path / "a.html")
    wrong: list[str] = []
    asked: list[str] = []
    page = browser.new_context(
        color_scheme="dark", viewport={"width": 390, "height": 800}, offline=True
    ).new_page()
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "a.html").as_uri())
    charts = page.locator("figure.chart > div")
    drawn = "plots => plots.length && plots.every(plot => plot.querySelector('.main-svg'))"
    eventually(page, lambda: charts.evaluate_all(drawn))
    assert not wrong
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [page.url]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    tick = page.locator(".xtick text").first
    assert tick.evaluate("text => getComputedStyle(text).fill") == "rgb(230, 237, 243)"
    page.close()


def test_the_policy_of_the_file_stops_scripts_that_are_not_its_own(
    browser: Browser, tmp_path: Path
) -> None:
    """Even where an escape were missing."""
    (file,) = report.write(live(), tmp_path / "a.html")
    title = "document.title = 'ran'"
    odd = f"""<body><script>{title}</script><img src="x" onerror="{title}">"""
    file.write_text(file.read_text().replace("<body>", odd))
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.locator('img[src="x"]').count() == 1
    assert page.title() != "ran"
    page.close()


MARKED = (75, "✓"), (100, "✗"), (8, "?")
WIDTH = "part.getBoundingClientRect().width"
CUT = f"""cells => cells.filter(cell => {{
    const [whole, figure] = [cell, cell.querySelector("b")].map(part => {WIDTH})
    return figure > whole
}}).length"""


@pytest.mark.parametrize("models", [2, 4, 10])
def test_every_figure_of_a_map_is_whole_on_screen_and_on_paper(
    browser: Browser, models: int
) -> None:
    """Half of -100 is another figure. A4 with its margins is 178 mm wide, 673 pixels."""
    page = browser.new_page()
    for texts in (
        ["75", "100", "8"] * 2,
        ["+14", "-100", "0"] * 2,
        [f"{n}\N{THIN SPACE}{sign}" for n, sign in MARKED] * 2,
    ):
        strip = Strip([Tile(0.5, text, text=text) for text in texts], "")
        drawn = BandMap("Hardest first", ["model"] * models, [MapRow("Fog", [strip] * models)])
        page.set_content(f"<style>{maps.style()} body {{margin: 0}}</style>{drawn.html}")
        page.emulate_media(media="screen")
        page.set_viewport_size({"width": 1100, "height": 600})
        assert page.locator(".rb-band > i:has(b)").evaluate_all(CUT) == 0, texts
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 673, "height": 600})
        assert page.locator(".rb-band > i:has(b)").evaluate_all(CUT) == 0, texts
        assert page.evaluate("document.documentElement.scrollWidth") <= 673, texts
    page.close()
