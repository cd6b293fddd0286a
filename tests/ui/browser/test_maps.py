"""Where the models look: in a browser the maps come by themselves, and then it is quiet."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.support.journeys import hand_back, visit
from tests.support.server import AT_REST

MAPS = "[class*=st-key-attention-] img"
LOOKS = 1500
"""Milliseconds in which a page that waits for maps looks for them at least once."""


@pytest.mark.slow
def test_maps_come_by_themselves_and_then_it_is_quiet(browser: Browser, address: str) -> None:
    page = visit(browser, "about:blank")
    sent: list[str | bytes] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    page.goto(f"{address}/?sample=coffee&models=SqueezeNet&show_in_detail=true")
    switch = page.get_by_text("Where does the model look?")
    expect(switch).to_be_visible()
    expect(page.locator(MAPS)).to_have_count(0)
    switch.click()
    expect(page.locator(MAPS)).to_have_count(2)
    assert "attention=true" in page.url
    expect(page.locator(AT_REST)).to_be_visible()
    page.wait_for_timeout(LOOKS)  # the script runs once more when the last map has come
    expect(page.locator(AT_REST)).to_be_visible()
    assert sent
    sent.clear()
    page.wait_for_timeout(LOOKS)
    assert not sent, "the page goes on looking for maps that have come"
    hand_back(page)
