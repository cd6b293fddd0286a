"""The Live page under a hand: what moves while a slider is held, and what must not."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, CDPSession, Page, expect

from benchmarks.support.page_actions import (
    HEADLINE,
    asked,
    drawn,
    go_on,
    hand_back,
    left_behind_closed,
    pixels,
    put_on,
    settled,
    visit,
    visiting,
)
from benchmarks.support.server import eventually, post, until
from benchmarks.support.slider_drag import following, sweep_back_and_forth, watched
from robustness.images.pixels import to_uint8
from robustness.measure.strength import STEPS
from robustness.perturbations import REGISTRY, compose
from robustness.perturbations.record import find
from robustness.ui.components import pack
from tests.support.bands import complete_band
from tests.support.pages import sample

SLIDER = ".rb-step .rb-slider"
HELD = 2.0
"""Seconds that a slider is held, or longer where it takes that until images and verdicts follow:
how many do in a time is measured in ``benchmarks/``."""


def assert_steady(found: dict[str, float]) -> None:
    """Nothing else moves."""
    assert found["shift"] < 0.02
    assert found["empty"] == 0


def assert_shows(page: Page, strength: str, noise: float) -> None:
    """The link, the box, the image and the session all say ``strength``."""
    expect(page).to_have_url(re.compile(rf"gaussian_noise={re.escape(strength)}(&|$)"))
    expect(page.locator(".rb-number")).to_have_value(strength)
    expected = compose(sample("coffee").image[None], {"gaussian_noise": noise}, seed=0)[0]
    eventually(page, lambda: np.array_equal(pixels(page, 1), to_uint8(expected)))


@pytest.fixture(scope="module")
def noisy(browser: Browser, address: str) -> Iterator[Page]:
    """The Live page on a desk, which the tests below go on with."""
    link = f"{address}/?sample=coffee&gaussian_noise=0.2&models=SqueezeNet"
    with visiting(browser, link) as page:
        yield settled(page)


def test_the_stack_is_reached_by_a_few_keys(noisy: Page) -> None:
    for _ in range(12):
        noisy.keyboard.press("Tab")
        if noisy.evaluate("document.activeElement.matches('.rb-skip')"):
            noisy.keyboard.press("Enter")
            noisy.keyboard.press("Tab")
        if noisy.evaluate("!!document.activeElement.closest('.rb-stack')"):
            break
    else:
        pytest.fail("the stack is further away than 12 keys")


def test_only_who_has_a_ticket_is_answered_and_only_to_what_makes_sense(
    noisy: Page, address: str
) -> None:
    ticket = noisy.evaluate("document.querySelector('.rb-stack').parentElement.stack.data.ticket")
    steps: list[Any] = [{"name": record.name, "strength": 1.0} for record in REGISTRY]

    def sent(body: bytes, to: str = ticket) -> int:
        return noisy.request.post(f"{address}/live/{to}", data=body).status

    def asked(**body: Any) -> int:
        return sent(pack(body, []))

    assert asked(want="picture", steps=steps) == 200
    assert asked(want="answers", steps=[{"name": "no such", "strength": 7}, 3]) == 200
    assert asked(want="everything", steps=[]) == 400
    assert asked(steps=[]) == 400
    assert sent(b"[" * 30_000) == 400
    assert sent(b"\xff") == 400
    assert asked(want="camera", steps=[]) == 422
    assert sent(pack({"want": "camera", "steps": []}, [b"no"])) == 422
    assert sent(b" " * 2_000_000) == 413
    assert sent(b"{}", "guessed") == 404
    assert post(f"{address}/live/{ticket}", pack({"want": "picture", "steps": []}, [])) == 404
    assert noisy.request.get(f"{address}/live/guessed/perturbations?words=dark").status == 404


def test_the_search_offers_what_is_found_by_these_words(noisy: Page) -> None:
    typed = "old phone"
    found = find(typed)
    options = noisy.locator(".rb-found [role=option]:visible")
    noisy.keyboard.press("/")
    noisy.keyboard.type(typed)
    labels = [re.compile(f"^{re.escape(record.label)}") for record in found.records]
    expect(options).to_have_text(labels)
    noisy.keyboard.press("Escape")
    expect(options).to_have_count(0)
    until(noisy, "document.querySelector('.rb-found')?.style.getPropertyValue('--thumbs')")


def test_picture_and_verdicts_follow_a_slider_that_is_held(noisy: Page) -> None:
    page = settled(noisy)
    box = page.locator(SLIDER).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.2 * box["width"], y)
    with watched(page) as found:
        page.mouse.down()
        sweep_back_and_forth(
            lambda place: page.mouse.move(box["x"] + place * box["width"], y),
            HELD,
            until=lambda: following(page),
        )
    assert_steady(found)
    assert found["runs"] == 0, "the script of the page does not run"
    assert "gaussian_noise=0.2" in page.url, "not before it is let go"
    page.mouse.up()
    settled(page)
    strength = page.locator(".rb-number").input_value()
    assert_shows(page, strength, float(strength))
    page.get_by_role("button", name="Undo").click()
    settled(page)
    assert_shows(page, "0.2", 0.2)


def cells(page: Page) -> list[int]:
    """The number of cells of each model's band."""
    counts: list[int] = page.locator(".rb-slot").evaluate_all(
        "slots => slots.map((slot) => slot.querySelectorAll('i').length)"
    )
    return counts


def test_a_band_shows_where_its_model_breaks_and_leads_there(noisy: Page) -> None:
    page = settled(noisy)
    band = complete_band(sample("coffee"), "gaussian_noise").labelled("espresso")
    assert band.breaks_at is not None
    eventually(page, lambda: cells(page) == [STEPS])
    drawing = page.locator(".rb-slot .rb-band")
    assert band.text in str(drawing.get_attribute("aria-label"))
    tiles = drawing.locator("i")
    bad = tiles.evaluate_all("all => all.map((one) => one.classList.contains('rb-bad'))")
    assert bad == [not band.good(cell) for cell in band.cells]
    tiles.nth(STEPS - 1).click()
    expect(page.locator(".rb-number")).to_have_value("1")
    settled(page)
    assert cells(page) == [STEPS], "its own slider changes nothing of a band"
    page.get_by_role("button", name="Play Random noise").click()
    expect(page.locator(".rb-number")).to_have_value(f"{band.breaks_at:g}")
    settled(page)
    expect(page.locator(".rb-rows .rb-badge")).to_contain_text("incorrect")
    page.get_by_role("button", name="Play Random noise").click()
    expect(page.locator(".rb-number")).to_have_value("1")
    settled(page)
    put_on(page, "frost")
    eventually(page, lambda: cells(page) == [STEPS])
    expect(page.locator(".rb-axis")).to_contain_text(REGISTRY["frost"].label)
    for _ in range(2):
        page.get_by_role("button", name="Undo").click()
        settled(page)
    assert_shows(page, "0.2", 0.2)


CAPTION = """node => {
    const before = getComputedStyle(node, "::before").content.replaceAll('"', "")
    return before + node.textContent
}"""


def test_the_views_of_the_pair_show_the_same_pixels_and_are_in_the_link(
    noisy: Page, browser: Browser
) -> None:
    page = noisy
    before, after = pixels(page, 0), pixels(page, 1)
    difference = np.minimum(3 * np.abs(before.astype(int) - after.astype(int)), 255)
    eventually(page, lambda: np.array_equal(pixels(page, 2), difference))
    page.get_by_role("button", name="Wipe").click()
    assert page.locator(".rb-after figcaption").evaluate(CAPTION) == "Original | Perturbed"
    wipe = page.get_by_role("slider", name=re.compile("^Wipe"))
    box = page.locator(".rb-after .rb-box").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.up()
    assert float(wipe.input_value()) == pytest.approx(25, abs=1)
    wipe.press("ArrowRight")
    at = wipe.input_value()
    assert float(at) == pytest.approx(26, abs=1)
    page.get_by_role("slider", name="Random noise").press("ArrowRight")
    expect(page).to_have_url(re.compile("gaussian_noise=0.21"))
    settled(page)
    page.get_by_role("slider", name="Random noise").press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"gaussian_noise=0\.2(&|$)"))
    settled(page)
    link = asked(page.url)
    assert (link["pair"], link["wipe"]) == (["wipe"], [at]), "the server leaves them in it"
    other = settled(visit(browser, page.url))
    expect(other.get_by_role("button", name="Wipe")).to_have_attribute("aria-pressed", "true")
    expect(other.get_by_role("slider", name=re.compile("^Wipe"))).to_have_value(at)
    other.get_by_role("button", name="Side by side").click()
    eventually(other, lambda: not {"pair", "wipe"} & set(asked(other.url)))  # as at first
    hand_back(other)
    shown = page.locator(".rb-after .rb-of-before").evaluate("x => getComputedStyle(x).clipPath")
    assert shown.startswith("inset(0")
    page.get_by_role("button", name="Larger").click()
    scale = page.locator(".rb-of-after canvas").evaluate("x => getComputedStyle(x).scale")
    both = page.locator(".rb-of-before canvas").evaluate("x => getComputedStyle(x).scale")
    assert scale == both == "2"
    page.get_by_role("button", name="Blink").click()
    expect(page.locator(".rb-pair.rb-first")).to_be_attached()
    expect(page.locator(".rb-pair:not(.rb-first)")).to_be_attached()
    np.testing.assert_array_equal(pixels(page, 0), before)


@pytest.fixture(scope="module")
def phone(browser: Browser, address: str) -> Iterator[tuple[Page, CDPSession]]:
    """The Live page on a phone, and the fingers on it."""
    with left_behind_closed(browser):
        page = visit(browser, "about:blank")
        page.set_viewport_size({"width": 390, "height": 844})
        fingers = page.context.new_cdp_session(page)
        fingers.send("Emulation.setTouchEmulationEnabled", {"enabled": True})
        page.goto(f"{address}/?sample=coffee&gaussian_noise=0.2")
        yield settled(page), fingers


def touch(fingers: CDPSession, kind: str, x: float = 0.0, y: float = 0.0) -> None:
    points = [] if kind == "touchEnd" else [{"x": x, "y": y}]
    fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_swipe_scrolls_and_changes_nothing(phone: tuple[Page, CDPSession]) -> None:
    page, fingers = phone
    before, times = page.url, drawn(page)
    box = page.locator(SLIDER).bounding_box()
    assert box is not None
    x, y = box["x"] + 0.7 * box["width"], box["y"] + 20
    touch(fingers, "touchStart", x, y)
    for moved in range(10, 300, 10):
        touch(fingers, "touchMove", x + moved / 20, y - moved)
        time.sleep(0.016)
    touch(fingers, "touchEnd")
    until(page, "document.querySelector('[data-testid=stMain]').scrollTop > 100")
    page.wait_for_timeout(500)
    assert page.locator(".rb-number").input_value() == "0.2"
    assert page.url == before
    assert drawn(page) == times
    for further in (0, 300):  # to the answers of the last models
        page.get_by_test_id("stMain").evaluate("(main, by) => { main.scrollTop += by }", further)
        original, picture, sheet = (
            page.locator(part).bounding_box()
            for part in (".rb-before .rb-box", ".rb-after .rb-box", ".st-key-stack")
        )
        assert original is not None
        assert picture is not None
        assert sheet is not None
        assert 0 < picture["y"] < sheet["y"] < 844, "both stay in sight"
        assert original["y"] == picture["y"], "and stand side by side"
        assert original["x"] + original["width"] < picture["x"] < 390 - picture["width"]
        free = sheet["y"] - picture["y"] - picture["height"]
    assert free > 0.4 * 844, "the answers have room"


def test_a_finger_drags_the_slider(phone: tuple[Page, CDPSession]) -> None:
    page, fingers = phone
    page.get_by_test_id("stMain").evaluate("main => main.scrollTo({top: 0, behavior: 'instant'})")
    box = page.locator(SLIDER).bounding_box()
    assert box is not None
    assert box["height"] >= 44
    y = box["y"] + box["height"] / 2
    touch(fingers, "touchStart", box["x"] + 0.2 * box["width"], y)
    with watched(page) as found:
        sweep_back_and_forth(
            lambda place: touch(fingers, "touchMove", box["x"] + place * box["width"], y),
            HELD,
            until=lambda: following(page),
        )
    assert_steady(found)
    touch(fingers, "touchEnd")
    settled(page)
    strength = page.locator(".rb-number").input_value()
    assert strength != "0.2"
    assert_shows(page, strength, float(strength))


def expect_on(page: Page, *names: str) -> None:
    """That these are the perturbations of the stack, in order."""
    steps = page.locator(".rb-step")
    expect(steps).to_have_count(len(names))
    for place, name in enumerate(names):
        expect(steps.nth(place)).to_have_attribute("data-name", name)


def expect_headline(page: Page, start: str) -> None:
    expect(page.locator(HEADLINE)).to_have_text(re.compile(f"^{start}: "))


def test_perturbations_are_found_put_on_hidden_undone_and_gone_back_to(
    noisy: Page, address: str
) -> None:
    page = settled(go_on(noisy, f"{address}/?sample=coffee&models=SqueezeNet"))
    expect_headline(page, "Original")
    put_on(page, "jpg")
    expect_on(page, "jpeg_compression")
    expect(page.get_by_role("slider", name="JPEG compression")).to_be_focused()
    put_on(page, "night")
    expect(page.locator(".rb-step").nth(1)).to_have_attribute("data-name", "jpeg_compression")
    dark = page.locator(".rb-step").first
    expect(dark.get_by_role("slider")).to_be_focused()
    dark.get_by_role("button", name=re.compile("^Hide")).click()
    expect(page.locator(".rb-count")).to_have_text("1 active")
    settled(page)  # the address and the way back come with the answers
    expect_headline(page, "JPEG compression")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".rb-count")).to_have_text("2 active")
    settled(page)
    page.go_back()
    expect(page.locator(".rb-count")).to_have_text("1 active")
    settled(page)
    expect_headline(page, "JPEG compression")  # what was on, without what was hidden
    page.get_by_role("button", name="Clear all perturbations").click()
    expect(page.locator(".rb-count")).to_have_text("0 active")
    settled(page)
    expect_on(page)
    page.go_back()
    expect(page.locator(".rb-count")).to_have_text("1 active")
    settled(page)
    expect_on(page, "jpeg_compression")


def without_that_way(page: Page) -> list[str]:
    """The addresses that ``page``, from now on, asks in vain.

    Playwright's own way to do this has the browser fetch and compile all anew.
    """
    session = page.context.new_cdp_session(page)
    in_vain: list[str] = []

    def fail(paused: dict[str, Any]) -> None:
        in_vain.append(paused["request"]["url"])
        refused = {"requestId": paused["requestId"], "errorReason": "ConnectionRefused"}
        session.send("Fetch.failRequest", refused)

    session.on("Fetch.requestPaused", fail)
    session.send("Fetch.enable", {"patterns": [{"urlPattern": "*/live/*"}]})
    return in_vain


def test_without_that_way_the_page_itself_answers(browser: Browser, address: str) -> None:
    page = visit(browser, "about:blank")
    in_vain = without_that_way(page)
    page.goto(f"{address}/?sample=coffee&gaussian_noise=0.2&models=SqueezeNet")
    settled(page)
    box = page.locator(SLIDER).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    times = drawn(page)
    page.mouse.move(box["x"] + 0.3 * box["width"], y)
    page.mouse.down()
    for place in cycle((0.4, 0.5, 0.6, 0.7)):  # a busy page may pass over a value
        page.mouse.move(box["x"] + place * box["width"], y)
        page.wait_for_timeout(250)
        if drawn(page) > times and len(in_vain) > 1:
            break
    page.mouse.up()
    settled(page)
    strength = page.locator(".rb-number").input_value()
    assert_shows(page, strength, float(strength))
    page.close()


STOP_SOON = """() => {
    const timer = setInterval(() => {
        const stop = document.querySelector("[aria-label^='Stop Random noise']")
        if (!stop || Number(document.querySelector(".rb-number").value) <= 0.1) return
        clearInterval(timer)
        stop.click()
        window.isStopped = true
    }, 10)
}"""
"""Presses Stop in the browser as soon as the slider is past 0.1: a slow test would be late."""


def test_a_slider_plays_and_stops_where_it_is_stopped(noisy: Page, address: str) -> None:
    link = f"{address}/?sample=coffee&gaussian_noise=0.1&models=SqueezeNet"
    page = settled(go_on(noisy, link))
    number = page.locator(".rb-number")
    play = page.get_by_role("button", name="Play Random noise from 0 to 1")
    before = drawn(page)
    eventually(page, lambda: cells(page) == [STEPS])
    page.evaluate(STOP_SOON)
    play.click()
    until(page, "() => window.isStopped")
    settled(page)
    assert drawn(page) > before + 2, "images follow"
    assert 0.1 < float(number.input_value()) < 0.35
    assert_shows(page, number.input_value(), float(number.input_value()))
    page.get_by_role("button", name="Undo").click()
    assert_shows(page, "0.1", 0.1)
