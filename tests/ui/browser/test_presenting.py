"""The Live page before others: the presenter's view, stories, and a running camera."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.support.page_actions import (
    HEADLINE,
    PAIR,
    drawn,
    pixels,
    put_on,
    settled,
    visit,
    visiting,
)
from benchmarks.support.server import eventually, until
from robustness.ui.one_image.stories_and_present import OFFLINE, STORIES

END = "(shown => document.querySelector(shown).getBoundingClientRect().bottom)"
TOP = "node => node.getBoundingClientRect().top"
SIZE = "node => parseFloat(getComputedStyle(node).fontSize)"


def leave(page: Page) -> None:
    """Presses Escape until that is heard: what listens comes after what is seen."""
    while not page.get_by_test_id("stSidebar").is_visible():
        page.keyboard.press("Escape")
        page.wait_for_timeout(1000)


def stands_still(page: Page) -> bool:
    """Whether no image is drawn in the time of several frames of the camera."""
    times = drawn(page)
    page.wait_for_timeout(600)
    return drawn(page) == times


@pytest.fixture(scope="module")
def live(browser: Browser, address: str) -> Iterator[Page]:
    """The Live page for the two tests below, the last of which changes what it shows."""
    models = "models=SqueezeNet&models=EfficientNetLite0"
    link = f"{address}/?sample=coffee&gaussian_noise=0.2&remedy=median&{models}"
    with visiting(browser, link) as page:
        yield settled(page)


def test_the_presenters_view_is_large_in_the_link_and_left_by_escape(live: Page) -> None:
    page = live
    small = page.locator(HEADLINE).evaluate(SIZE)
    page.get_by_role("button", name="Present").click()
    expect(page).to_have_url(re.compile("present=true"))
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    expect(page.get_by_test_id("stFileUploader")).to_be_hidden()
    expect(page.locator(".st-key-live-details")).to_be_hidden()
    expect(page.locator(".st-key-live-helping")).to_be_hidden()
    expect(page.locator(".rb-stack")).to_be_visible()
    left, right = (page.locator(f".rb-frames .rb-{which}") for which in ("before", "remedied"))
    eventually(page, lambda: left.evaluate(TOP) == right.evaluate(TOP))
    eventually(page, lambda: page.locator(HEADLINE).evaluate(SIZE) > 1.7 * small)
    eventually(page, lambda: page.locator(".rb-rows li").first.evaluate(SIZE) >= 20)
    page.set_viewport_size({"width": 1440, "height": 640})
    until(page, f"() => {END}('.rb-rows li:last-child') <= innerHeight")  # all on one screen
    page.set_viewport_size({"width": 390, "height": 844})
    until(page, f"() => {END}('.st-key-stack') === innerHeight")  # a sheet at the lower edge
    page.set_viewport_size({"width": 1440, "height": 900})
    page.reload()
    settled_in_view = page.locator(PAIR)
    expect(settled_in_view).to_be_visible()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    leave(page)
    expect(page.get_by_test_id("stSidebar")).to_be_visible()
    expect(page).not_to_have_url(re.compile("present"))


def test_a_story_is_a_link_that_says_what_to_watch_while_it_is_shown(
    live: Page, address: str
) -> None:
    page = live
    page.goto(f"{address}/?sample=coffee&gaussian_noise=0.2&models=SqueezeNet")
    settled(page)
    story = next(story for story in STORIES if "view" not in story.query)
    page.get_by_role("button", name="Stories").click()
    page.get_by_role("link", name=story.title).click()
    expect(page.get_by_text(story.watch)).to_be_visible()
    expect(page).to_have_url(re.compile(f"story={story.name}"))
    settled(page)
    expect(page.get_by_test_id("stPopoverBody")).to_have_count(0)  # nor does it cover that
    page.get_by_role("button", name="Present").click()
    expect(page.get_by_test_id("stSidebar")).to_be_hidden()
    verdicts = page.locator(".rb-rows li")
    expect(verdicts).to_have_count(len(OFFLINE))
    leave(page)
    settled(page)
    expect(verdicts).to_have_count(len(OFFLINE))
    put_on(page, "frost")
    expect(page.get_by_text(story.watch)).to_be_hidden()


def test_arrow_keys_lead_from_story_to_story_in_present_mode(
    browser: Browser, address: str
) -> None:
    first, second, *_, last = STORIES
    link = urlencode({**first.link, "present": "true"}, doseq=True)
    with visiting(browser, f"{address}/?{link}") as page:
        strip = page.locator(".st-key-story-strip a")
        expect(strip).to_have_count(len(STORIES))
        expect(page.locator(f"html[data-rb-story={first.name}]")).to_be_attached()
        for key, story in (("ArrowRight", second), ("ArrowLeft", first), ("ArrowLeft", last)):
            page.keyboard.press(key)
            expect(page.locator(f"html[data-rb-story={story.name}]")).to_be_attached()
            expect(page.get_by_text(story.watch)).to_be_visible()
            expect(page).to_have_url(re.compile(f"story={story.name}&present=true"))
        slider = page.get_by_role("slider", name=re.compile("Slanted"))
        at = slider.input_value()
        slider.press("ArrowRight")  # a control has the focus: it moves
        assert slider.input_value() != at
        assert f"story={last.name}" in page.url


def test_a_running_camera_goes_through_the_stack_until_it_is_frozen(
    browser: Browser, address: str
) -> None:
    page = visit(browser, "about:blank")
    page.context.grant_permissions(["camera"])
    page.goto(f"{address}/?sample=coffee&gaussian_blur=0.6&models=SqueezeNet")
    settled(page)
    still = pixels(page, 0)
    camera = page.locator(".rb-camera")
    camera.get_by_role("button", name="Camera").click()
    until(page, "() => document.querySelector('.rb-camera')?.dataset.frames > 2")
    eventually(page, lambda: not np.array_equal(pixels(page, 0), still))
    eventually(page, lambda: not np.array_equal(pixels(page, 1), pixels(page, 0)))
    camera.get_by_role("button", name="Stop").click()
    eventually(page, lambda: np.array_equal(pixels(page, 0), still))  # it is there again
    camera.get_by_role("button", name="Camera").click()
    until(page, "() => document.querySelector('.rb-camera')?.dataset.frames > 4")
    camera.get_by_role("button", name="Freeze").click()
    expect(page.get_by_text("Showing camera.png")).to_be_visible()
    settled(page)
    expect(page.locator(".rb-step")).to_have_attribute("data-name", "gaussian_blur")
    eventually(page, lambda: not np.array_equal(pixels(page, 0), still))
    eventually(page, lambda: stands_still(page))
    page.context.clear_permissions()
    page.close()
