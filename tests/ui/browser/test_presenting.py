"""The Live page before others: the presenter's view, stories, and a running camera."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import TypeAdapter

from benchmarks.support.page_actions import (
    HEADLINE,
    PAIR,
    at_rest,
    drawn,
    go_on,
    pixels,
    put_on,
    settled,
    shown,
    visit,
    visiting,
)
from benchmarks.support.server import eventually, until
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs
from robustness.images.decoding import sample_bytes
from robustness.matching import (
    AccuracyEstimate,
    ExpectedAccuracy,
    Match,
    MatchedPerturbation,
    MatchSettings,
)
from robustness.measure.condition import Condition
from robustness.runs import MatchRequest
from robustness.runs.task import ANSWER
from robustness.ui.live.stories import OFFLINE, STORIES

END = "(shown => document.querySelector(shown).getBoundingClientRect().bottom)"
TOP = "node => node.getBoundingClientRect().top"
SIZE = "node => parseFloat(getComputedStyle(node).fontSize)"

TEXTS = """() => {
    const seen = []
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
        const node = walker.currentNode
        const options = {opacityProperty: true, visibilityProperty: true}
        if (!node.data.trim() || !node.parentElement.checkVisibility(options)) continue
        const range = document.createRange()
        range.selectNodeContents(node)
        const badge = node.parentElement.closest(".rb-badge")
        for (const rect of (badge ?? range).getClientRects()) {
            const box = {left: rect.left, right: rect.right, top: rect.top, bottom: rect.bottom}
            for (let at = node.parentElement; at; at = at.parentElement) {
                const style = getComputedStyle(at)
                if (style.clipPath !== "none") box.right = box.left
                if (style.overflow === "visible") continue
                const frame = at.getBoundingClientRect()
                if (frame.left <= 0 && frame.right >= innerWidth) continue // the window itself
                for (const edge of ["left", "top"]) box[edge] = Math.max(box[edge], frame[edge])
                for (const edge of ["right", "bottom"]) box[edge] = Math.min(box[edge], frame[edge])
            }
            if (box.right - box.left > 2 && box.bottom - box.top > 2)
                seen.push({text: node.data.trim(), node, ...box})
        }
    }
    const outside = seen.filter(one => one.left < -1 || one.right > innerWidth + 1)
    const over = []
    for (const [place, one] of seen.entries())
        for (const other of seen.slice(place + 1)) {
            const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left)
            const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top)
            if (one.node !== other.node && wide > 2 && high > 4) over.push([one.text, other.text])
        }
    const labels = [...document.querySelectorAll(".rb-map th")]
    const cut = labels.filter(label => label.scrollWidth > label.clientWidth)
    const below = [...document.querySelectorAll(".rb-map th img")].filter(image => {
        const edge = image.getBoundingClientRect().right
        return [...image.nextElementSibling.getClientRects()].some(line => line.left < edge)
    })
    for (const label of [...cut, ...below]) outside.push({text: label.closest("th").innerText})
    return {over, outside: outside.map(one => one.text), count: seen.length}
}"""
"""Pairs of texts in sight whose boxes overlap, those that leave the window, a map's column or the
place beside their image, and the number of lines in sight. The box of a badge is its frame."""
SCROLLS = "document.querySelector('[data-testid=stMain]').scrollHeight - innerHeight"
CONDITIONS = [
    Condition.of({name: strength}) for name in ("frost", "darkness") for strength in (0.2, 0.6, 1.0)
]
MODELS = {"SqueezeNet": 0.2, "EfficientNetLite0": 0.6}
CHOSEN = "&".join(f"models={name}" for name in MODELS)


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
    """The Live page for the three tests below, which change what it shows."""
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
    shown(page.locator(".rb-stack"))
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
    shown(page.locator(PAIR))
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
    shown(page.get_by_role("link", name=story.title)).click()
    shown(page.get_by_text(story.watch))
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


def test_arrow_keys_lead_from_story_to_story_in_present_mode(live: Page, address: str) -> None:
    page = live
    first, second, *_, last = STORIES
    page.goto(f"{address}/?{urlencode({**first.link, 'present': 'true'}, doseq=True)}")
    strip = page.locator(".st-key-story-strip a")
    expect(strip).to_have_count(len(STORIES))
    expect(page.locator(f"html[data-rb-story={first.name}]")).to_be_attached()
    for key, story in (("ArrowRight", second), ("ArrowLeft", first), ("ArrowLeft", last)):
        page.keyboard.press(key)
        expect(page.locator(f"html[data-rb-story={story.name}]")).to_be_attached()
        shown(page.get_by_text(story.watch))
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
    shown(page.get_by_text("Showing camera.png"))
    settled(page)
    expect(page.locator(".rb-step")).to_have_attribute("data-name", "gaussian_blur")
    eventually(page, lambda: not np.array_equal(pixels(page, 0), still))
    eventually(page, lambda: stands_still(page))
    page.context.clear_permissions()
    page.close()


@pytest.fixture(scope="module")
def evaluated(kept_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two runs of the same images, "staged" and "restaged", and a match of theirs, "matched"."""
    source = tmp_path_factory.mktemp("staged") / "set"
    digests = pictures(source, [f"{number}.png" for number in range(40)])
    for name, shares in (("staged", MODELS), ("restaged", {**MODELS, "SqueezeNet": 0.8})):
        saved(kept_runs / name, digests, shares, source=source, conditions=CONDITIONS)
    match(kept_runs / "matched", str(source))
    yield "staged"
    for name in ("staged", "restaged", "matched"):
        runs.delete(kept_runs / name)


def match(folder: Path, source: str) -> None:
    """Write a match in ``folder`` whose camera is too dark."""
    settings = MatchSettings(models=tuple(MODELS))
    accuracies = [
        ExpectedAccuracy(name, 0.9, AccuracyEstimate(0.8, 0.6, 0.9, 0.1)) for name in MODELS
    ]
    answer = Match(
        images=40,
        reference_images=40,
        settings=settings,
        framing=settings.framing,
        different=True,
        matched=True,
        perturbations=(MatchedPerturbation("darkness", 0.6, 0.5, 0.7, 1.0, {}),),
        expected_accuracy=tuple(accuracies),
        conditions=(CONDITIONS[4],),
        pairs=2 * ((sample_bytes("coffee"), sample_bytes("rocket")),),
    )
    saved = MatchRequest(
        title="Match", production=source, reference=source, images=80, settings=settings
    )
    folder.mkdir()
    (folder / runs.MANIFEST_FILE).write_text(saved.model_dump_json())
    (folder / ANSWER).write_bytes(TypeAdapter(Match).dump_json(answer))


def test_no_texts_overlap_or_leave_the_window_in_present_of_any_view(
    browser: Browser, address: str, evaluated: str
) -> None:
    """On one screen at both sizes of a projector, beside its controls; and on a phone."""
    sample = f"{address}/?sample=coffee&{CHOSEN}&present=true"
    longest = max(STORIES, key=lambda story: len(story.watch))
    story = urlencode({**longest.link, "present": "true"}, doseq=True)
    evaluations = f"{address}/evaluations?present=true"
    attack = "view=attack&attack=square&steps_square=20&epsilon=8"  # asks for no gradients
    views = {
        f"{address}/?{story}": ".rb-rows .rb-band",
        f"{sample}&fog=0.6&gaussian_noise=0.2": ".rb-rows .rb-band",
        f"{sample}&view=map&models=SqueezeNet": ".rb-map tr:nth-child(10) [data-key]",
        f"{address}/?sample=coffee&present=true&{attack}": ".rb-verdicts",
        f"{evaluations}&run={evaluated}": ".rb-map",
        f"{evaluations}&run={evaluated}&slide=2": ".rb-said",
        f"{evaluations}&run={evaluated}&slide=4": ".st-key-closing .rb-map",
        f"{evaluations}&compare={evaluated}&compare=restaged": "[class*=st-key-map-note] p",
        f"{evaluations}&run=matched": ".rb-slide",
        f"{evaluations}&run=matched&slide=2": ".rb-expected",
        f"{evaluations}&run=matched&slide=3": ".rb-slide",
    }
    with visiting(browser, f"{address}/reference?view=methods") as page:
        for link, content in views.items():
            page.set_viewport_size({"width": 1440, "height": 900})
            go_on(page, link)
            shown = page.locator(content).first
            fill = page.get_by_role("button", name="Fill the map")
            expect(shown.or_(fill).first).to_be_visible()
            if fill.count():  # a slow machine waits for a click
                fill.click()
            expect(shown).to_be_visible()
            expect(page.locator(HEADLINE)).not_to_have_count(0)
            for width, height in ((1440, 900), (1920, 1080)):
                resize(page, width, height)
                texts = page.evaluate(TEXTS)
                assert not texts["over"], (link, width)
                assert not texts["outside"], (link, width)
                assert texts["count"] > 2, (link, width)
                assert page.locator(HEADLINE).first.evaluate(SIZE) <= 0.026 * width + 0.1
                assert page.evaluate(SCROLLS) <= 1, (link, width)
            resize(page, 390, 844)
            assert not page.evaluate(TEXTS)["outside"], link
        expect(page.locator(".st-key-leave")).to_have_css("opacity", "0")


def resize(page: Page, width: int, height: int) -> None:
    """The window, in which what controls ``page`` is then in sight: it fades after a while."""
    page.set_viewport_size({"width": width, "height": height})
    at_rest(page)
    page.mouse.move(width / 2, height / 2)
    page.mouse.move(width / 2 + 1, height / 2)
    expect(page.locator(".st-key-leave")).to_have_css("opacity", "1")


def test_a_run_plays_its_worst_images_by_keys(
    browser: Browser, address: str, evaluated: str
) -> None:
    with visiting(browser, f"{address}/evaluations?run={evaluated}&present=true") as page:
        said = page.locator(".rb-said li")
        shown(page.locator(".st-key-decision .rb-map"))
        for key, slide in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
            page.keyboard.press(key)
            expect(page).to_have_url(re.compile(f"slide={slide}"))
            shown(page.get_by_text(f"{slide} / 4"))
            expect(said).to_have_count(len(MODELS))
            expect(page.locator(".rb-slide img")).to_have_count(2)
        page.keyboard.press("p")
        expect(page).to_have_url(re.compile("slide=4"))  # it plays to the last word
        shown(page.locator(".st-key-closing"))
        expect(page.locator(HEADLINE)).to_have_text(re.compile(r"drops from \d+% to \d+%\."))
        page.keyboard.press("Escape")
        expect(page.get_by_test_id("stSidebar")).to_be_visible()
        assert "slide" not in page.url
