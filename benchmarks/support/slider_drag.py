"""A slider that is held and moved, and what changes on the Live page meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from playwright.sync_api import Page

from benchmarks.support.server import PATIENCE

WATCH = """() => {
  const seen = (window.watched = { pictures: 0, verdicts: 0, empty: 0, shift: 0, runs: 0 });
  const pair = document.querySelector(".rb-pair");
  new MutationObserver((changes) => (seen.pictures += changes.length))
    .observe(pair, { attributes: true, attributeFilter: ["data-drawn"] });
  let before = null;
  const below = document.querySelector(".rb-below");
  new MutationObserver(() => {
    const now = below.innerText;
    if (!now) seen.empty += 1;
    if (now !== before) seen.verdicts += 1;
    before = now;
  }).observe(below, { childList: true, subtree: true, characterData: true });
  const app = document.querySelector("[data-testid=stApp]");
  new MutationObserver(() => (seen.runs += app.dataset.testScriptState === "running"))
    .observe(app, { attributes: true, attributeFilter: ["data-test-script-state"] });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) seen.shift += entry.value;
  }).observe({ type: "layout-shift" });
}"""


@contextmanager
def watched(page: Page) -> Iterator[dict[str, float]]:
    """The changes of the page until the context ends."""
    found: dict[str, float] = {}
    page.evaluate(WATCH)
    yield found
    found.update(page.evaluate("window.watched"))


def following(page: Page) -> bool:
    """Whether a third image and a second verdict have come since the page is ``watched``."""
    return bool(page.evaluate("watched.pictures > 2 && watched.verdicts > 1"))


def sweep_back_and_forth(
    move: Callable[[float], None], seconds: float, until: Callable[[], bool] = lambda: True
) -> None:
    """Calls ``move`` with places between 0.1 and 0.9 for so many ``seconds``, and ``until`` then.

    Raises ``TimeoutError`` where that does not become true.
    """
    end = time.monotonic() + seconds
    place = 0.2
    step = 0.013
    while time.monotonic() < end or not until():
        if time.monotonic() > end + PATIENCE / 1000:
            raise TimeoutError("not what was waited for while the slider was held")
        place += step
        if not 0.1 < place < 0.9:
            step = -step
        move(place)
        time.sleep(0.02)
