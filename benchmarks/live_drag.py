"""Counts what follows a slider that is held, in a headless Chromium on the same cores.

The slider of random noise is dragged to and fro for some seconds, by a mouse on a desk and by a
finger on a phone, while images and verdicts are counted as they are drawn. The reference is the
same page where the way past its script is cut, so that each move reruns the fragment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser, Page

from benchmarks.offline_models import NAMES
from benchmarks.support.page_actions import new_tab, settled
from benchmarks.support.server import chromium, dashboard
from benchmarks.support.slider_drag import sweep_back_and_forth, watched

SECONDS = 5.0
SLIDER = ".rb-step .rb-slider"
_LINK = urlencode({"sample": "chelsea", "gaussian_noise": 0.2, "models": NAMES}, doseq=True)


def measure(seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Images and verdicts a second, and the layout shift while the slider is held.

    ``ratio`` is that of the images to those that the page's script alone draws.
    """
    rows = []
    with dashboard() as address, chromium() as browser:
        for what, width, height in (("mouse, 1440 px", 1440, 900), ("finger, 390 px", 390, 844)):
            found = [_held(browser, address, width, height, seconds, cut) for cut in (False, True)]
            rates = [{name: found[k][name] / seconds for name in _COUNTED} for k in range(2)]
            rows.append(
                {
                    "what": what,
                    **rates[0],
                    "shift": found[0]["shift"],
                    "ratio": rates[0]["pictures"] / rates[1]["pictures"],
                }
            )
    return rows


_COUNTED = ("pictures", "verdicts")


def _held(
    browser: Browser, address: str, width: int, height: int, seconds: float, cut: bool
) -> dict[str, float]:
    context = browser.new_context(
        viewport={"width": width, "height": height}, has_touch=width < height
    )
    page = new_tab(context)
    if cut:
        page.route("**/live/*", lambda route: route.abort())
    page.goto(f"{address}/?{_LINK}")
    settled(page)
    box = page.locator(SLIDER).bounding_box()
    if box is None:
        raise RuntimeError("the slider is not in sight")
    y = box["y"] + box["height"] / 2
    to, end = (_mouse if width > height else _finger)(page)

    def move(place: float) -> None:
        to(box["x"] + place * box["width"], y)

    move(0.2)
    with watched(page) as found:
        sweep_back_and_forth(move, seconds)
    end()
    context.close()
    return found


Move = Callable[[float, float], None]


def _mouse(page: Page) -> tuple[Move, Callable[[], None]]:
    down = False

    def move(x: float, y: float) -> None:
        nonlocal down
        page.mouse.move(x, y)
        if not down:
            page.mouse.down()
            down = True

    return move, page.mouse.up


def _finger(page: Page) -> tuple[Move, Callable[[], None]]:
    session = page.context.new_cdp_session(page)
    kinds = iter(["touchStart"])

    def touch(kind: str, points: list[dict[str, float]]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return (
        lambda x, y: touch(next(kinds, "touchMove"), [{"x": x, "y": y}]),
        lambda: touch("touchEnd", []),
    )


def main() -> None:
    """Prints the table."""
    print("| held by | images a second | verdicts a second | layout shift | to the script's |")
    print("|---|---|---|---|---|")
    for row in measure():
        print(
            f"| {row['what']} | {row['pictures']:.1f} | {row['verdicts']:.1f} | "
            f"{row['shift']:.4f} | {row['ratio']:.1f} |"
        )


if __name__ == "__main__":
    main()
