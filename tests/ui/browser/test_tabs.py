"""What becomes of the tabs of a test that fails: the next one must not look from behind them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.support.journeys import hand_back, left_behind_closed, visit


def test_a_tab_that_was_not_handed_back_is_closed_and_the_others_stay(browser: Browser) -> None:
    other = visit(browser, "about:blank")
    tabs: list[Page] = []

    def fails_with_a_tab_in_hand() -> None:
        with left_behind_closed(browser):
            tabs.extend(visit(browser, "about:blank") for _ in range(2))
            hand_back(tabs[0])
            raise AssertionError

    with pytest.raises(AssertionError):
        fails_with_a_tab_in_hand()
    back, left = tabs
    assert left.is_closed()
    assert not other.is_closed()
    again = visit(browser, "about:blank")
    assert again is back
    assert again.evaluate("document.visibilityState") == "visible"
    hand_back(again)
    hand_back(other)
