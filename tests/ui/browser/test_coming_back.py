"""Who opens a picture of a run on the Live page and goes Back finds what was left behind."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from robustness import runs
from tests.support.journeys import settled, visit
from tests.support.made_up_saved_runs import pictures, saved
from tests.support.server import AT_REST

LINKS = "[data-testid=stMain] a[href*='image=']"
TOP = "link => link.getBoundingClientRect().top"


def at_rest(page: Page, cases: int) -> None:
    expect(page.locator(LINKS)).to_have_count(cases)
    expect(page.locator(AT_REST)).to_be_visible()


def test_back_from_the_live_page_keeps_filter_cell_number_and_place(
    browser: Browser, address: str, kept_runs: Path, tmp_path: Path
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(10)])
    run = saved(kept_runs / "looked-at", digests, {"SqueezeNet": 0.5}, source=tmp_path / "set")
    page = visit(browser, f"{address}/dataset?run={run.id}&models=SqueezeNet+1.1")
    page.get_by_text("Survivors").click()
    heatmap = page.locator("[data-testid=stPlotlyChart]:has(.heatmaplayer .hm)")
    heatmap.locator(".scatterlayer .point").first.click(force=True)
    at_rest(page, 3 + 6)
    page.get_by_role("button", name="Show 4 more").click()
    at_rest(page, 3 + 10)
    link = page.locator(LINKS).last
    link.scroll_into_view_if_needed()
    before, address_before = link.evaluate(TOP), page.url
    link.click()
    settled(page)
    page.go_back()
    at_rest(page, 3 + 10)
    assert page.url == address_before
    assert "cases=Survivors" in page.url
    page.wait_for_function(
        f"([links, y]) => Math.abs(({TOP})([...document.querySelectorAll(links)].at(-1)) - y) < 3",
        arg=[LINKS, before],
    )
    page.close()
    runs.delete(run.folder)
