"""What strangers call things stays text: never a link, an image or markup."""

from __future__ import annotations

from playwright.sync_api import Browser

from benchmarks.support.page_actions import at_rest, new_tab
from benchmarks.support.server import dashboard
from robustness.base.text import visible
from tests.support.hostile_texts import TEXTS

LIVE = "a, img, b, em, del, code, h1, ol, .katex, [data-testid=stIconMaterial], [style*=color]"


def test_a_text_of_a_stranger_stays_text(browser: Browser) -> None:
    with dashboard("tests/support/hostile_texts.py", PYTHONPATH=".") as address:
        page = new_tab(browser)
        page.goto(address)
        page.locator(f".st-key-text-{len(TEXTS) - 1} [role=radiogroup]").wait_for()
        at_rest(page)
        for number, text in enumerate(TEXTS):
            drawn = page.locator(f".st-key-text-{number} [data-testid=stMarkdownContainer]")
            # Streamlit fetches the code of its elements while it draws: each appears when it can.
            drawn.nth(7).wait_for()
            for said in drawn.all_inner_texts():
                assert visible(text) in said.replace("\u2060", ""), text
            live = drawn.locator(LIVE)
            assert live.count() == 0, [text, *live.evaluate_all("all => all.map(e => e.outerHTML)")]
