"""Films in a browser, which plays them alone: on the Live page, and in a report from disk."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, expect

from robustness import report
from robustness.perturbations import REGISTRY, compose
from robustness.pictures.eight_bits import to_uint8
from tests.support.journeys import PIXELS, drawn_on, hand_back, put_on, settled, visit
from tests.support.pages import sample
from tests.support.reports import swept
from tests.support.server import post, until

FILM = ".rb-film[data-ready]"
WATCH = """film => {
  const seen = (window.seen = { frames: new Set(), bars: new Set(), heights: new Set() });
  const bar = film.querySelector(".rb-bar");
  new MutationObserver(() => {
    seen.frames.add(film.dataset.at);
    seen.bars.add(bar.style.getPropertyValue("--share"));
    seen.heights.add(film.getBoundingClientRect().height);
  }).observe(film, { attributes: true, attributeFilter: ["data-at"] });
}"""
"""Notes in ``seen`` the different frames, lengths of the first bar and heights of the film."""


def at(page: Page) -> int:
    return int(page.locator(FILM).get_attribute("data-at") or 0)


def test_a_film_plays_and_scrubs_without_the_server(browser: Browser, address: str) -> None:
    page = visit(browser, "about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda socket: socket.on("framesent", lambda _: asked.append("sent")))
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _: asked.append("got")))
    page.goto(f"{address}/?sample=coffee&models=SqueezeNet&gaussian_noise=0.2&seed=7")
    settled(page)
    page.get_by_role("button", name="Play Random noise from 0 to 1").click()
    film = page.locator(FILM)
    expect(film).to_be_visible()
    expect(page.locator(f"{FILM}[data-playing]")).to_be_visible()  # begins by itself
    film.evaluate(WATCH)
    asked.clear()
    until(page, "() => seen.frames.size > 3 && seen.bars.size > 3")
    assert page.evaluate("seen.heights.size") == 1, "nothing jumps"
    film.get_by_role("button", name="Pause").press(" ")
    stands = at(page)
    slider = film.get_by_role("slider")
    slider.press("ArrowRight")
    assert at(page) == stands + 1
    slider.press(" ")
    page.wait_for_timeout(500)  # the slider tells of a key once more when it rests
    playing = page.locator(f"{FILM}[data-playing]").is_visible()
    assert playing or str(at(page)) == slider.get_attribute("max")
    slider.press("Home")
    slider.press(" ")
    expect(page.locator(f"{FILM}[data-playing]")).to_be_visible()
    slider.press(" ")
    slider.press("Home")
    for _ in range(8):
        slider.press("ArrowRight")
    assert at(page) == 8
    value = REGISTRY["gaussian_noise"].value_text(0.2)
    assert value in (slider.get_attribute("aria-valuetext") or "")
    shown = drawn_on(film.locator("canvas").nth(1))
    picture = sample("coffee")
    noisy = compose(picture.image[None], {"gaussian_noise": 0.2}, seed=7, digests=[picture.digest])
    np.testing.assert_array_equal(shown, to_uint8(noisy[0]))
    card = film.locator(".rb-film-card")
    live = page.locator(".rb-card").first
    assert live.locator(".rb-badge").inner_text() == card.locator(".rb-badge").inner_text()
    breaks = film.get_by_role("button", name=re.compile("SqueezeNet 1.1 becomes incorrect at"))
    breaks.click()
    assert "the model is incorrect" in (slider.get_attribute("aria-valuetext") or "")
    assert not asked, "the browser plays alone"
    put_on(page, "jpg")
    expect(page.get_by_text(re.compile("earlier setting: Random noise"))).to_be_visible()
    ticket = page.evaluate("document.querySelector('.rb-film-bar').parentElement.film.data.ticket")
    assert post(f"{address}/film/{ticket}", b"of something else") == 404
    assert post(f"{address}/film/{ticket}", b" " * 10_000) == 413
    assert post(f"{address}/film/guessed", b"") == 404
    hand_back(page)


def never_wholly_there(page: Page) -> None:
    """Slows the network of ``page`` down, so that a film takes minutes, however fast it is made."""
    slow = {"offline": False, "latency": 0, "downloadThroughput": 10_000, "uploadThroughput": -1}
    page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", slow)


def test_a_film_that_is_cancelled_can_be_played_again(browser: Browser, address: str) -> None:
    page = settled(visit(browser, f"{address}/?sample=rocket&defocus_blur=0.3&models=SqueezeNet"))
    never_wholly_there(page)
    play = page.get_by_role("button", name="Play Defocus blur from 0 to 1")
    play.click()
    expect(page.get_by_text(re.compile(r"Starting …|Filming: \d+%"))).to_be_visible()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()
    expect(play).to_be_focused()
    expect(page.locator(FILM)).to_have_count(0)
    page.close()


def test_a_report_from_disk_plays_its_film(browser: Browser, tmp_path: Path) -> None:
    report.write(swept(), tmp_path / "a.html")
    page = browser.new_context(offline=True, reduced_motion="reduce").new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((tmp_path / "a.html").as_uri())
    film = page.locator(FILM)
    expect(film).to_be_visible()
    assert at(page) == 0, "nothing moves by itself"
    assert film.locator("canvas").nth(0).evaluate(PIXELS) == film.locator("canvas").nth(1).evaluate(
        PIXELS
    )
    film.get_by_role("button", name="Play").click()
    expect(page.locator(f'{FILM}[data-at="2"]:not([data-playing])')).to_be_visible()
    expect(film.locator(".rb-badge").first).to_have_text("≠ changed")
    film.press("ArrowLeft")
    assert at(page) == 1
    assert not wrong
    page.close()
