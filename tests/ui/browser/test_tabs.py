"""What becomes of the tabs of a test that fails: the next one must not look from behind them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.support.journeys import hand_back, left_behind_closed, visit


def test_a_tab_that_was_not_handed_back_is_closed_and_the_others_stay(browser: Browser) -> None:
    other = visit(browser, "about:blank")
    with pytest.raises(AssertionError), left_behind_closed(browser):
        back, left = visit(browser, "about:blank"), visit(browser, "about:blank")
        hand_back(back)
        raise AssertionError
    assert left.is_closed()
    assert not other.is_closed()
    again = visit(browser, "about:blank")
    assert again is back
    assert again.evaluate("document.visibilityState") == "visible"
    hand_back(again)
    hand_back(other)
