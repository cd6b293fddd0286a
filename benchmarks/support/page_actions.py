"""Ways to use the pages in a browser, and what stands on them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit
from weakref import WeakKeyDictionary

import numpy as np
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from benchmarks.support.server import PATIENCE, until

DONE = re.compile(r"^Updated in [\d.]+ m?s")
HEADLINE = ".rb-headline"
PAIR = ".st-key-pictures .rb-pair"
LAYERS = (".rb-of-before", ".rb-of-after", ".rb-of-difference")
PIXELS = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
    let bytes = ""
    for (let at = 0; at < data.length; at += 8192)
        bytes += String.fromCharCode(...data.subarray(at, at + 8192))
    return btoa(bytes)
}"""

QUIET = 100
"""Milliseconds without a change after which a page is at rest."""
_WATCH = """{
    const lately = (window.lately = {asked: 0, changed: performance.now()})
    const send = WebSocket.prototype.send
    WebSocket.prototype.send = function (data) {
        const RERUN = 0x5a // the first byte of a message that asks for a run of the script
        if (data[0] === RERUN) lately.asked = performance.now()
        return send.call(this, data)
    }
    new MutationObserver(changes => {
        for (const {type, target} of changes) {
            if (type !== "attributes") lately.changed = performance.now()
            else if (target.dataset.testScriptState === "running") lately.asked = 0
        }
    }).observe(document, {
        attributeFilter: ["data-test-script-state"],
        characterData: true, childList: true, subtree: true,
    })
}"""
"""Notes when a page has last asked for a run that has not begun, and when it has last changed."""
_IS_AT_REST = """([quiet, patience]) => {
    const app = document.querySelector("[data-testid=stApp]")
    if (app?.dataset.testScriptState !== "notRunning") return false
    if (document.querySelector("[data-testid=stSkeleton], [data-rb-asking]")) return false
    const {asked, changed} = window.lately
    const now = performance.now()
    return now - changed >= quiet && (!asked || now - asked > patience)
}"""
_BEGINS = 2000
"""Milliseconds in which a run begins that a page asks for. Of one that was over before the page
could show it, nothing is seen."""

CHARTS = "*/PlotlyChart.*.js"
"""Scripts with which Streamlit draws charts: half of the time of a visit."""
NO_CHART = base64.b64encode(b"export default () => null").decode()


_GO_ON = """address => {
    history.pushState(null, "", address)
    dispatchEvent(new PopStateEvent("popstate"))
}"""


class _Tabs:
    """The context of one browser that all visits share, and its tabs."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.idle: list[Page] = []
        self.charts: dict[Page, bool] = {}
        """Whether a tab draws them."""


_TABS: WeakKeyDictionary[Browser, _Tabs] = WeakKeyDictionary()


def without_charts(page: Page) -> Page:
    """``page``, from now on with nothing where a chart would be: for who looks at none."""
    session = page.context.new_cdp_session(page)

    def fulfil(paused: dict[str, str]) -> None:
        answer = {"requestId": paused["requestId"], "responseCode": 200, "body": NO_CHART}
        kind = {"name": "Content-Type", "value": "text/javascript"}
        session.send("Fetch.fulfillRequest", {**answer, "responseHeaders": [kind]})

    session.on("Fetch.requestPaused", fulfil)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": CHARTS}]})
    return page


def new_tab(opener: Browser | BrowserContext, **options: Any) -> Page:
    """A new page of ``opener`` that ``at_rest`` can wait for."""
    page = opener.new_page(**options)
    page.set_default_timeout(PATIENCE)
    page.add_init_script(_WATCH)
    return page


def at_rest(page: Page, quiet: int = QUIET) -> Page:
    """``page`` once all that was asked of it stands there, to be clicked on or looked at.

    No script runs or is about to, no element waits for its code, the sliders for no answer, and
    nothing has changed for ``quiet`` milliseconds: Streamlit says that a script has ended before it
    has drawn what came last and removed what that replaces.
    """
    until(page, _IS_AT_REST, arg=[quiet, _BEGINS])
    return page


def shown(locator: Locator) -> Locator:
    """``locator`` once it is in sight on a page at rest: before, what it replaces may stand beside
    it, and a click on it may be lost."""
    expect(locator.filter(visible=True)).not_to_have_count(0)
    at_rest(locator.page)
    expect(locator).to_be_visible()
    return locator


def visit(browser: Browser, address: str, *, charts: bool = False) -> Page:
    """A page at ``address``, in the context that all visits share: what one has fetched of a
    server, the others need not fetch again. Without ``charts`` these stay empty.

    It is in a tab that was handed back, if there is one: a new one takes a third of a visit.
    """
    if browser not in _TABS:
        _TABS[browser] = _Tabs(browser.new_context())
    tabs = _TABS[browser]
    page = next((page for page in tabs.idle if tabs.charts[page] is charts), None)
    if page is not None:
        tabs.idle.remove(page)
    else:
        page = new_tab(tabs.context)
        if not charts:
            without_charts(page)
        tabs.charts[page] = charts
    page.set_viewport_size({"width": 1440, "height": 900})
    page.bring_to_front()
    page.goto(address)
    return page


def go_on(page: Page, address: str) -> Page:
    """``page`` at ``address``, of the same server, in the same session, once it is at rest.

    As the browser's Forward does it: what was fetched and compiled stays, which is most of a visit.
    """
    page.bring_to_front()
    at_rest(page)
    page.evaluate(_GO_ON, address)
    return at_rest(page)


def hand_back(page: Page) -> None:
    """For the next ``visit``; a page that others would not find as a new one is closed instead."""
    browser = page.context.browser
    assert browser is not None
    _TABS[browser].idle.append(page)


@contextmanager
def visiting(browser: Browser, address: str, *, charts: bool = False) -> Iterator[Page]:
    """``visit``, for fixtures: the tab is handed back at the end, or closed after an error."""
    with left_behind_closed(browser):
        page = visit(browser, address, charts=charts)
        yield page
        page.mouse.up()
        hand_back(page)


@contextmanager
def left_behind_closed(browser: Browser) -> Iterator[None]:
    """Closes at the end the tabs opened within and not handed back, as a failing test leaves them.

    They may hold a mouse button down or a network in failure, and are in front of others.
    """
    before = _open_tabs(browser)
    try:
        yield
    finally:
        for page in _open_tabs(browser) - before:
            page.close()


def _open_tabs(browser: Browser) -> set[Page]:
    idle = _TABS[browser].idle if browser in _TABS else []
    return {page for context in browser.contexts for page in context.pages} - set(idle)


def settled(page: Page) -> Page:
    """The Live page once it shows what was asked for last."""
    until(page, "() => window.robustness?.shown")
    at_rest(page)
    expect(page.get_by_text(DONE)).to_have_count(1)
    expect(page.locator(".rb-card table").first).to_be_visible()
    drawn_again(page, 0)  # the answers may stand before the first image does
    return page


def asked(address: str) -> dict[str, list[str]]:
    """The parameters of a link."""
    return parse_qs(urlsplit(address).query)


def headline(page: Page) -> str:
    return page.locator(HEADLINE).inner_text()


def cards(page: Page) -> list[str]:
    return page.locator(".rb-card").all_inner_texts()


def pixels(page: Page, index: int) -> np.ndarray:
    """The image at ``index`` (0 original, 1 perturbed, 2 difference) as it is drawn."""
    return drawn_on(page.locator(f"{PAIR} {LAYERS[index]} canvas"))


def drawn_on(canvas: Locator) -> np.ndarray:
    """The square image on ``canvas``, 8-bit RGB."""
    flat = np.frombuffer(base64.b64decode(canvas.evaluate(PIXELS)), np.uint8)
    side = round((len(flat) / 4) ** 0.5)
    return flat.reshape(side, side, 4)[..., :3]


def drawn(page: Page) -> int:
    """How often the pair of images was drawn."""
    return int(page.locator(PAIR).get_attribute("data-drawn") or 0)


def drawn_again(page: Page, before: int) -> None:
    """Waits until the images were drawn after ``before``."""
    until(
        page,
        "([pair, before]) => Number(document.querySelector(pair)?.dataset.drawn) > before",
        arg=[PAIR, before],
    )


def put_on(page: Page, label: str) -> None:
    """Adds the perturbation ``label`` by the search, and waits for the answers."""
    before = drawn(page)
    steps = page.locator(".rb-step")
    there = steps.count()
    page.keyboard.press("/")
    page.keyboard.type(label)
    page.keyboard.press("Enter")
    expect(steps).to_have_count(there + 1)  # the search itself has the images drawn again, too
    drawn_again(page, before)
    settled(page)


def move(page: Page, label: str, steps: int) -> None:
    """Moves a slider by the keyboard and waits until the page has settled on it."""
    before = drawn(page)
    slider = page.get_by_role("slider", name=label)
    slider.focus()
    for _ in range(abs(steps)):
        slider.press("ArrowRight" if steps > 0 else "ArrowLeft")
    drawn_again(page, before)
    settled(page)
