"""Every page and view passes axe-core's rules in both schemes, on a desk and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, FilePayload, Page, expect

from benchmarks.support.page_actions import at_rest, go_on, left_behind_closed, shown, visit
from benchmarks.support.server import until
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs
from tests.models.test_describe import colour_model

RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    "preload": False,
}
COLOURS = {**RULES, "runOnly": ["color-contrast"]}
"""Elements whose colours depend on the scheme."""
STREAMLITS_OWN = [
    # The zone for dropped files has a name beside its role; what a key can reach is its button.
    ("presentation-role-conflict", "[data-testid=stFileUploaderDropzone]"),
]
"""(rule, selector) of what Streamlit draws and offers no setting for."""
FOUND = """([rules, excused]) => axe.run(document, rules).then(({violations}) => violations.flatMap(
    ({id, nodes}) => nodes
        .filter(({target}) => !excused.some(([rule, selector]) =>
            rule === id && document.querySelector(target[0])?.matches(selector)))
        .map(({html, failureSummary}) => `${id}: ${html.slice(0, 200)} ${failureSummary}`)))"""
WATCH = """() => {
    const controls = 'a, button, input, select, textarea, summary, [tabindex], [class*=DataFrame]'
    const ring = at => !at.matches('a, button, summary')
        || getComputedStyle(at).outlineStyle === 'solid'
    const reached = new Set()
    window.stops = []
    window.isRound = false
    window.watcher?.abort()
    window.watcher = new AbortController()
    addEventListener("focusin", ({target: at}) => {
        if (reached.has(at)) return window.isRound = true
        reached.add(at)
        window.stops.push([at.matches(controls) && ring(at), at.outerHTML.slice(0, 200)])
    }, {signal: window.watcher.signal})
}"""
"""Notes each element that gets the focus: whether it is something to use, rather than text that
scrolls, and can be seen to have it; and whether the focus has been everywhere."""
STEPS_AT_ONCE, MOST_STEPS = 20, 2000
FITS = """() => {
  const main = document.querySelector('[data-testid="stMain"]');
  return main.scrollWidth <= main.clientWidth;
}"""
"""That nothing overflows a phone; a table takes a moment to follow the width of the window."""
STILL = "*, ::before, ::after { transition: none !important; animation: none !important }"
DRAWN = 300
"""Milliseconds without a change after which charts, too, are complete."""
SMALL = """() => [...document.querySelectorAll(
    'a, button, input, select, textarea, summary, [role=slider], [tabindex="0"]'
)].flatMap(control => {
    const target = control.type === "range"
        ? control.closest("[role=group]") : control.closest("label") ?? control
    const {width, height, right, left} = (target ?? control).getBoundingClientRect()
    const isShown = right > 0 && left < innerWidth
    const isSeen = isShown && control.checkVisibility({visibilityProperty: true})
    const isInline = getComputedStyle(control).display === "inline" && control.closest("p, li, td")
    return isSeen && !isInline && width && height && (width < 24 || height < 24)
        ? [`${width} x ${height}: ${control.outerHTML.slice(0, 200)}`] : []
})"""
"""Controls too small for a finger, except links within a text."""
GROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


@pytest.fixture(scope="module")
def two_runs(kept_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kept under the names "a" and "b"."""
    source = tmp_path_factory.mktemp("set") / "pictures"
    digests = pictures(source, [f"{number}.png" for number in range(6)])
    made = [
        saved(kept_runs / name, digests, {"SqueezeNet": share}, source=source)
        for name, share in (("a", 0.9), ("b", 0.4))
    ]
    yield
    for run in made:
        runs.delete(run.folder)


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str, two_runs: None) -> Iterator[Page]:
    """A page in which all are opened, one after the other: what Streamlit is made of comes once."""
    with left_behind_closed(browser):
        page = visit(browser, f"{address}/reference?view=methods", charts=True)
        expect(page.locator("body style").first).to_be_attached()  # the pages' own: it comes late
        at_rest(page, DRAWN)
        page.add_style_tag(content=STILL)
        page.evaluate(AXE_SCRIPT)
        yield page


ONE = "models=SqueezeNet"


@pytest.mark.parametrize(
    ("path", "title"),
    [
        (f"?gaussian_blur=0.6&fog=0.2&{ONE}", "One image: Live"),
        ("reference?search=geometric", "Reference"),
        (f"?view=map&sample=coffee&seed=4&perturbation=rotation&{ONE}", "One image: Map"),
        ("evaluations?run=a", "Evaluations"),
        ("reference?view=methods", "Reference"),
        (f"?view=attack&attack=square&steps_square=2&{ONE}", "One image: Attack"),
        ("evaluations?question=release", "Evaluations"),
        ("evaluations?compare=a&compare=b", "Evaluations"),
    ],
)
def test_axe_finds_nothing_wrong(tab: Page, address: str, path: str, title: str) -> None:
    """Views share their conditions with other journeys, so that each is computed once. The family
    of perturbations has every kind of fact that a page tells."""
    page = tab
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})
    go_on(page, f"{address}/{path}")
    title, _, view = title.partition(": ")
    shown(page.get_by_role("heading", level=1, name=title, exact=True))
    if view:
        expect(page.get_by_role("radio", name=view, exact=True)).to_be_checked()
    passes(page)


def test_axe_finds_nothing_wrong_with_a_filled_form(tab: Page, address: str) -> None:
    """The Models page, and on it the form of a model with too few classes."""
    page = tab
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1440, "height": 900})
    go_on(page, f"{address}/models")
    shown(page.get_by_role("heading", level=2, name="Add a model"))
    model = FilePayload(
        name="colours.onnx", mimeType="application/octet-stream", buffer=colour_model()
    )
    page.get_by_test_id("stFileUploader").locator("input").set_input_files(model)
    classes = page.get_by_label("Class names, one per line")
    shown(classes).fill("red\ngreen")
    classes.press("Control+Enter")
    shown(page.get_by_text("you named 2 classes"))
    passes(page)


def passes(page: Page) -> None:
    """``page`` breaks no rule, light on a desk and dark on a phone, nor of contrast in between."""
    at_rest(page, DRAWN)
    assert violations(page) == []
    light = page.evaluate(GROUND)
    page.emulate_media(color_scheme="dark")
    until(page, f"{GROUND} !== '{light}'")
    at_rest(page)
    assert violations(page, COLOURS) == []
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_test_id("stSidebar")).not_to_be_in_viewport()
    until(page, FITS)
    at_rest(page)
    assert violations(page) == []
    assert page.evaluate(SMALL) == []
    reached = stops(page)
    assert [stop for sound, stop in reached if not sound] == []
    assert len(reached) > 10, "the keyboard goes through all of the page"


def violations(page: Page, rules: dict[str, Any] = RULES) -> list[str]:
    """axe-core's findings on ``page``: rule, element and advice."""
    found: list[str] = page.evaluate(FOUND, [rules, STREAMLITS_OWN])
    return found


def stops(page: Page) -> list[tuple[bool, str]]:
    """The elements that the Tab key reaches, in order, as ``WATCH`` records them."""
    page.evaluate(WATCH)
    for step in range(MOST_STEPS):
        if step % STEPS_AT_ONCE == 0 and page.evaluate("isRound"):
            break
        page.keyboard.press("Tab")
    page.evaluate("document.activeElement.blur()")
    reached: list[tuple[bool, str]] = page.evaluate("stops")
    return reached
