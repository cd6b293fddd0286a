"""What is on a page stays in its place while the rest comes, and nothing covers it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from benchmarks.support.page_actions import left_behind_closed
from benchmarks.support.server import AT_REST, PATIENCE
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs

SHIFTS = """window.shift = 0;
new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value
}).observe({type: "layout-shift", buffered: true})"""
LAST = {
    "": ".rb-card table",
    "models": "[data-testid=stDataFrame]",
    "evaluations": ".st-key-new-evaluation button",
}
"""By page, what comes last."""
TITLE = """() => {
    const text = document.createRange(), title = document.querySelector("h1")
    text.selectNodeContents(title)
    const size = Number.parseFloat(getComputedStyle(title).fontSize)
    const header = document.querySelector("[data-testid=stHeader]").getBoundingClientRect()
    const {top, height} = text.getBoundingClientRect()
    return top + (height - size) / 2 - header.bottom
}"""


def test_nothing_moves_on_a_phone_while_a_map_loads(
    browser: Browser, address: str, kept_runs: Path, tmp_path: Path
) -> None:
    """Of an image, and of a run, whose buttons and text begin below the title."""
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(12)])
    shares = dict.fromkeys(("VGG16", "ResNet50", "ViTB16", "SqueezeNet", "DeiTTiny"), 0.9)
    saved(kept_runs / "still", digests, shares, source=tmp_path / "set")
    for path, last in (
        ("?view=map&sample=chelsea&models=SqueezeNet", ".st-key-report-HTML"),
        ("evaluations?run=still", ".st-key-results h2"),
    ):
        with left_behind_closed(browser):
            page = browser.new_page(viewport={"width": 390, "height": 844})
            page.set_default_timeout(PATIENCE)
            page.add_init_script(SHIFTS)
            page.goto(f"{address}/{path}")
            expect(page.locator(last).first).to_be_visible()
            expect(page.locator(AT_REST)).to_be_visible()
            assert page.evaluate("window.shift") <= 0.1, path
            if "run=" in path:
                box = page.locator(".rb-map").bounding_box()
                assert box is not None
                assert box["height"] < 844, "many models scroll in place, above the views"
    runs.delete(kept_runs / "still")


@pytest.mark.parametrize("path", LAST)
def test_nothing_moves_while_a_page_loads(browser: Browser, address: str, path: str) -> None:
    """Below 0.1 counts as good (web.dev/cls)."""
    with left_behind_closed(browser):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE)
        page.add_init_script(SHIFTS)
        page.goto(f"{address}/{path}")
        expect(page.locator(LAST[path]).first).to_be_visible()
        expect(page.locator(AT_REST)).to_be_visible()
        assert page.evaluate("window.shift") <= 0.1
        page.set_viewport_size({"width": 390, "height": 844})
        if path:  # One image has none in sight
            assert page.evaluate(TITLE) >= 0, "the header does not cover the title of a phone"
