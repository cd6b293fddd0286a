"""What is on a page stays in its place while the rest comes, and nothing covers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.support.page_actions import at_rest, left_behind_closed, new_tab
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs

SHIFTS = """window.shift = 0;
new PerformanceObserver(list => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value
}).observe({type: "layout-shift", buffered: true})"""
STILL = 0.1
"""The most that a page may move while it loads, or after a click: good by web.dev/cls."""
ONE = "models=SqueezeNet"
PAGES = {
    f"?{ONE}": (".rb-card table", "view"),
    f"?view=attack&{ONE}": (".st-key-attack-sizes table", ""),
    "models": ("[data-testid=stDataFrame]", "view"),
    "reference": (".rb-strip", "view"),
    f"evaluations?question=compare&{ONE}": (".st-key-new-evaluation button", "question"),
    "evaluations?run=views": (".st-key-results h2", "view"),
}
"""By page: what comes last, and the key of the control of its views."""
DRAWN = 300
"""Milliseconds without a change after which charts, too, are complete."""
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
    page = new_tab(browser, viewport={"width": 390, "height": 844})
    page.add_init_script(SHIFTS)
    for path, last in (
        ("?view=map&sample=chelsea&models=SqueezeNet", ".st-key-report-HTML"),
        ("evaluations?run=still", ".st-key-results h2"),
    ):
        page.goto(f"{address}/{path}")
        expect(page.locator(last).first).to_be_visible()
        assert shifted(page) <= STILL, path
        box = page.locator(".st-key-present p").filter(visible=True).bounding_box()
        assert box is not None
        assert box["width"] > 20, "what the button does is said in words"
    box = page.locator(".rb-map").bounding_box()
    assert box is not None
    assert box["height"] < 844, "many models scroll in place, above the views"
    runs.delete(kept_runs / "still")


@pytest.fixture(scope="module")
def run_of_views(kept_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A run of one model, under the name "views"."""
    source = tmp_path_factory.mktemp("views") / "set"
    digests = pictures(source, [f"{number}.png" for number in range(12)])
    saved(kept_runs / "views", digests, {"SqueezeNet": 0.5}, source=source)
    yield
    runs.delete(kept_runs / "views")


@pytest.fixture(scope="module")
def tab(browser: Browser) -> Iterator[Page]:
    """A page in which all are loaded, one after the other: what Streamlit is made of is fetched and
    compiled once."""
    with left_behind_closed(browser):
        page = new_tab(browser)
        page.add_init_script(SHIFTS)
        yield page


@pytest.mark.parametrize("path", PAGES)
def test_nothing_moves_while_a_page_loads_or_another_view_comes(
    tab: Page, address: str, run_of_views: None, path: str
) -> None:
    """Every page loads at both widths, and each of its views comes at one of them."""
    page = tab
    last, views = PAGES[path]
    for first, width, height in ((1, 1440, 900), (2, 390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto(f"{address}/{path}")
        expect(page.locator(last).first).to_be_visible()
        assert shifted(page) <= STILL, f"{path} loads at {width} px"
        if width == 390 and not path.startswith("?"):  # One image has no title in sight
            assert page.evaluate(TITLE) >= 0, "the header does not cover the title of a phone"
        others = page.locator(f".st-key-{views} [role=radio]") if views else None
        for number in range(first, others.count() if others else 1, 2):
            assert others is not None
            others.nth(number).click()
            assert shifted(page) <= STILL, f"view {number} of {path} at {width} px"


@pytest.mark.parametrize(
    ("path", "row", "chip", "count"),
    [
        (
            "evaluations?question=compare",
            ".st-key-models [data-testid=stMultiSelectTagsContainer]",
            "[data-tag]",
            4,
        ),
        (
            f"?fog=0.6&rotation=0.2&gaussian_blur=0.4&jpeg_compression=0.3&{ONE}",
            ".rb-tabs",
            "button",
            4,
        ),
    ],
)
def test_no_chip_is_cut_on_a_phone(
    tab: Page, address: str, path: str, row: str, chip: str, count: int
) -> None:
    """Neither of the models of the form nor of the perturbations of Live."""
    page = tab
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{address}/{path}")
    chips = page.locator(row).locator(chip)
    expect(chips).to_have_count(count)
    at_rest(page, DRAWN)
    seen = page.locator(row).bounding_box()
    assert seen is not None
    for box in (each.bounding_box() for each in chips.all()):
        assert box is not None
        assert seen["x"] <= box["x"]
        assert box["x"] + box["width"] <= seen["x"] + seen["width"]
        assert seen["y"] <= box["y"]
        assert box["y"] + box["height"] <= seen["y"] + seen["height"] + 1


def shifted(page: Page) -> float:
    """How much ``page`` has moved since it was asked last, once it is at rest."""
    at_rest(page, DRAWN)
    moved: float = page.evaluate("window.shift")
    page.evaluate("window.shift = 0")
    return moved
