"""Where the models look: in a browser the maps come by themselves, and then it is quiet."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.support.journeys import hand_back, visit
from tests.support.server import AT_REST

MAPS = "[class*=st-key-attention-] img"
LOOKS = 1500
"""Milliseconds in which a page that waits for maps looks for them at least once."""


def test_maps_come_by_themselves_and_then_it_is_quiet(browser: Browser, address: str) -> None:
    page = visit(browser, f"{address}/?sample=coffee&models=SqueezeNet")
    switch = page.get_by_text("Where does the model look?")
    expect(switch).to_be_visible()
    expect(page.locator(MAPS)).to_have_count(0)
    switch.click()
    expect(page.locator(MAPS)).to_have_count(2)
    assert "attention=true" in page.url
    sent: list[str | bytes] = []
    quiet = visit(browser, "about:blank")
    quiet.on(
        "websocket",
        lambda socket: socket.on("framesent", lambda payload: sent.append(payload)),
    )
    quiet.goto(page.url)  # all of it is there already
    expect(quiet.locator(MAPS)).to_have_count(2)
    expect(quiet.locator(AT_REST)).to_be_visible()
    sent.clear()
    quiet.wait_for_timeout(LOOKS)
    assert not sent, "the page goes on looking for maps that have come"
    hand_back(page)
    hand_back(quiet)
