"""The view Attack answers where it is seen without scrolling."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, expect

from benchmarks.support.page_actions import hand_back, pixels, settled, shown, visit
from benchmarks.support.server import eventually


def test_a_first_visit_shows_the_answer_and_the_pictures_at_once(
    browser: Browser, address: str
) -> None:
    page = settled(visit(browser, f"{address}/?sample=coffee&models=SqueezeNet"))
    page.get_by_role("radio", name="Attack").click()
    headline = page.locator(".rb-headline")
    shown(headline.filter(has_text="fools SqueezeNet 1.1"))
    expect(headline).to_have_count(1)  # that of Live goes when the view is complete
    shown(page.locator(".st-key-pictures .rb-pair[data-drawn]"))
    pictures = page.locator(".st-key-pictures .rb-pair figure:visible")
    for width, height in ((1440, 900), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        expect(pictures).to_have_count(2)
        for part in (
            headline,
            page.get_by_text("equally large random changes"),
            *pictures.all(),
        ):
            eventually(page, partial(is_in_sight, part, height))
    before, after = (pixels(page, index).astype(int) for index in (0, 1))
    change = after - before
    gain = int(re.sub(r"\D", "", str(page.locator(".rb-difference > figcaption").text_content())))
    assert gain * np.abs(change).max() == pytest.approx(128, abs=gain / 2)
    assert np.array_equal(pixels(page, 2), np.clip(128 + gain * change, 0, 255))
    hand_back(page)


def is_in_sight(part: Locator, height: int) -> bool:
    """Whether all of ``part`` is within the first ``height`` pixels of the page."""
    box = part.bounding_box()
    return box is not None and box["y"] >= 0 and box["y"] + box["height"] <= height
