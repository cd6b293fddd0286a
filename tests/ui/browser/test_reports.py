"""A report in a browser: the file stands by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from playwright.sync_api import Browser

from robustness import report
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
    page.locator(".js-plotly-plot .main-svg").first.wait_for(state="attached")
    assert not wrong
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == [page.url]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    drawn = "plots => plots.map(plot => plot.querySelectorAll('.main-svg').length)"
    counts = page.locator("figure.chart > div").evaluate_all(drawn)
    assert counts
    assert all(counts)
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
