"""Who opens a picture of a run on the Live page and goes Back finds what was left behind."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from playwright.sync_api import Browser, Page, expect

from robustness import runs
from tests.support.journeys import hand_back, settled, visit
from tests.support.made_up_saved_runs import pictures, saved
from tests.support.server import AT_REST, until

LINKS = "[data-testid=stMain] a[href*='image=']"
TOP = "link => link.getBoundingClientRect().top"


def asked(address: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(address).query)


def at_rest(page: Page, cases: int) -> None:
    expect(page.locator(LINKS)).to_have_count(cases)
    expect(page.locator(AT_REST)).to_be_visible()


def test_back_from_the_live_page_keeps_filter_cell_number_and_place(
    browser: Browser, address: str, kept_runs: Path, tmp_path: Path
) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(10)])
    run = saved(kept_runs / "looked-at", digests, {"SqueezeNet": 0.5}, source=tmp_path / "set")
    dataset = f"{address}/dataset?run={run.id}&models=SqueezeNet+1.1"
    page = visit(browser, dataset, charts=True)
    page.get_by_text("Survivors").click()
    heatmap = page.locator("[data-testid=stPlotlyChart]:has(.heatmaplayer .hm)")
    heatmap.locator(".scatterlayer .point").first.click(force=True)
    at_rest(page, 3 + 6)
    page.get_by_role("button", name="Show 4 more").click()
    at_rest(page, 3 + 10)
    link = page.locator(LINKS).last
    link.scroll_into_view_if_needed()
    before, before_at = link.evaluate(TOP), page.url
    link.click()
    settled(page)
    page.go_back()
    at_rest(page, 3 + 10)
    assert asked(page.url) == asked(before_at)
    assert asked(page.url)["cases"] == ["Survivors"]
    until(
        page,
        f"([links, y]) => Math.abs(({TOP})([...document.querySelectorAll(links)].at(-1)) - y) < 3",
        arg=[LINKS, before],
    )
    hand_back(page)
    runs.delete(run.folder)
