"""Journeys through the dashboard in a real browser."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from benchmarks.support.image_folders import flat_folder
from benchmarks.support.page_actions import (
    HEADLINE,
    asked,
    at_rest,
    cards,
    go_on,
    hand_back,
    headline,
    new_tab,
    pixels,
    settled,
    shown,
    visit,
    visiting,
)
from benchmarks.support.server import eventually
from robustness import runs
from robustness.images.decoding import sample_bytes
from robustness.images.framing import study_image
from robustness.images.pixels import to_uint8
from robustness.perturbations import REGISTRY, apply
from tests.support.jobs import worked_off

UPLOAD = ".st-key-picker input[type=file]"
DRAG = """kind => {
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File(["a"], "a.png", {type: "image/png"}))
    document.body.dispatchEvent(new DragEvent(kind, {dataTransfer, bubbles: true}))
}"""
"""A file comes over the page, or leaves it."""


@pytest.fixture(scope="module")
def live(browser: Browser, address: str) -> Iterator[Page]:
    """The Live page for the three tests below, the last of which changes what it shows."""
    with visiting(browser, address) as page:
        yield settled(page)


def test_a_link_opened_elsewhere_shows_the_same(live: Page, browser: Browser, address: str) -> None:
    page = live
    page.get_by_role("button", name="Rocket", exact=True).click()
    expect(page).to_have_url(re.compile("sample=rocket"))
    settled(page)
    page.get_by_role("button", name="Increased contrast: on or off").click()
    expect(page).to_have_url(re.compile("increased_contrast="))
    settled(page)
    other = settled(visit(browser, page.url))
    expect(page.locator(HEADLINE)).to_have_text(headline(other), use_inner_text=True)
    eventually(page, lambda: cards(page) == cards(other))
    eventually(page, lambda: np.array_equal(pixels(page, 1), pixels(other, 1)))
    slider = other.get_by_role("slider", name="Increased contrast")
    expect(slider).to_have_value(f"{REGISTRY['increased_contrast'].study_strength:g}")
    hand_back(other)


def test_a_file_above_the_limit_says_so_where_it_is_seen(live: Page, tmp_path: Path) -> None:
    page = live
    with (tmp_path / "large.jpg").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    page.locator(UPLOAD).set_input_files(tmp_path / "large.jpg")
    reason = page.get_by_test_id("stFileUploader").get_by_role("alert")
    expect(reason).to_contain_text("64")
    box = shown(reason).bounding_box()
    assert box is not None
    assert box["width"] > 150
    assert box["height"] > 15
    page.get_by_role("button", name="Remove large.jpg").click()
    expect(reason).to_have_count(0)
    at_rest(page)
    (tmp_path / "notes.txt").write_text("no image")
    page.locator(UPLOAD).set_input_files(tmp_path / "notes.txt")
    expect(reason).to_contain_text(re.compile("JPG, PNG.* 64 MB"))
    at_rest(page).get_by_role("button", name="Remove notes.txt").click()
    expect(reason).to_have_count(0)
    at_rest(page)
    zone = page.get_by_test_id("stFileUploaderDropzone")
    room = "zone => zone.getBoundingClientRect().width"
    assert zone.evaluate(room) < 150, "a button"
    page.evaluate(DRAG, "dragenter")
    eventually(page, lambda: zone.evaluate(room) == 1440)
    page.evaluate(DRAG, "dragleave")
    eventually(page, lambda: zone.evaluate(room) < 150)


def test_a_lost_connection_says_so_until_it_is_back(browser: Browser, address: str) -> None:
    page = new_tab(browser)
    connections: list[WebSocketRoute] = []

    def forward(connection: WebSocketRoute) -> None:
        connection.connect_to_server()
        connections.append(connection)

    page.route_web_socket("**/_stcore/stream", forward)
    page.goto(f"{address}/reference?view=methods")
    shown(page.get_by_role("heading", name="Glossary"))
    page.route("**/_stcore/**", lambda route: route.abort())
    connections[-1].close()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Connection lost. Reconnecting")
    assert "Streamlit" not in dialog.inner_text()
    page.unroute("**/_stcore/**")
    expect(dialog).to_have_count(0)
    page.close()


def test_an_upload_is_used_and_stays_out_of_the_link(live: Page, tmp_path: Path) -> None:
    page = live
    before = cards(page)
    photo = tmp_path / "my *secret* photo.jpg"
    Image.open(io.BytesIO(sample_bytes("motorcycle"))).convert("RGB").save(photo, quality=95)
    page.locator(UPLOAD).set_input_files(photo)
    shown(page.get_by_text("Showing my *secret* photo.jpg"))
    shown(page.get_by_text("Links do not include uploads"))
    settled(page)
    expect(page.locator(".rb-card").filter(has_text="SqueezeNet 1.1")).to_contain_text("moped")
    assert cards(page) != before
    assert "secret" not in page.url
    page.get_by_role("button", name="Clear all perturbations").click()
    expect(page.locator(".rb-step")).to_have_count(0)
    settled(page)
    for count, chip in enumerate(("Fog effect", "Rotation", "Random noise"), start=1):
        page.get_by_role("button", name=f"{chip}: on or off").click()
        expect(page.locator(".rb-step")).to_have_count(count)
    settled(page)
    page.get_by_test_id("stMain").evaluate("main => main.scrollTo({top: 0, behavior: 'instant'})")
    expect(page.locator(".rb-step .rb-slider").last).to_be_in_viewport(ratio=1)
    own = to_uint8(study_image(photo.read_bytes()))
    eventually(page, lambda: np.array_equal(pixels(page, 0), own))
    page.reload()
    settled(page)
    shown(page.get_by_text("Showing my *secret* photo.jpg"))
    eventually(page, lambda: np.array_equal(pixels(page, 0), own))


@pytest.fixture(scope="module")
def image_map(browser: Browser, address: str) -> Iterator[Page]:
    """The map of a photograph."""
    link = f"{address}/?view=map&sample=coffee&models=SqueezeNet&fog=0.2"
    with visiting(browser, link) as page:
        shown(page.get_by_role("heading", name="The study"))
        fill = page.get_by_role("button", name="Fill the map")
        if fill.count():  # a slow machine waits for a click
            fill.click()
            expect(fill).to_have_count(0)
            at_rest(page)
        yield page


def test_a_cell_opens_in_live_and_back_undoes_it(image_map: Page) -> None:
    page = image_map
    row = page.locator(".rb-map tr").filter(has_text="Rotation")
    row.locator("i").nth(7).click()
    expect(page).to_have_url(re.compile(r"^(?!.*(view|fog)=).*rotation=0\.35"))
    settled(page)
    expect(page.get_by_role("slider", name="Rotation")).to_have_value("0.35")
    coffee = study_image(sample_bytes("coffee"))
    turned = to_uint8(apply(REGISTRY["rotation"], coffee[None], 0.35)[0])
    eventually(page, lambda: np.array_equal(pixels(page, 1), turned))
    page.go_back()
    expect(page).to_have_url(re.compile("view=map.*fog=0.2|fog=0.2.*view=map"))
    expect(page.locator(".rb-map")).not_to_have_count(0)
    at_rest(page)


def test_the_keyboard_chooses_a_cell_of_a_band(image_map: Page) -> None:
    page = image_map
    band = page.locator(".rb-map tr").filter(has_text="Gaussian blur").locator(".rb-band")
    named = "SqueezeNet 1.1, Gaussian blur.*: correct (up to|always)"
    assert re.match(named, band.get_attribute("aria-label") or "")
    ground = page.locator(".rb-map tbody th").first.evaluate(
        "n => getComputedStyle(n).backgroundColor"
    )
    assert ground != "rgba(0, 0, 0, 0)", "bands that scroll sideways would show through"
    band.focus()
    for _ in range(4):
        band.press("ArrowRight")
    assert (band.get_attribute("aria-label") or "").startswith("0.15: ")
    band.press("Enter")
    expect(page).to_have_url(re.compile(r"gaussian_blur=0\.15"))
    settled(page)
    page.go_back()
    expect(page.locator(".rb-map")).not_to_have_count(0)
    at_rest(page)


CANCEL_SOON = """before => {
    const timer = setInterval(() => {
        const isCancel = button => button.innerText === "Cancel"
        const cancel = [...document.querySelectorAll("button")].find(isCancel)
        const said = document.body.textContent
        const saysHowFar = said.includes("Filling the map") && /bands a model.*left/.test(said)
        const hasMore = document.querySelectorAll(".rb-map i").length > before
        if (!cancel || !saysHowFar || !hasMore) return
        clearInterval(timer)
        cancel.click()
    }, 10)
}"""
"""Presses Cancel in the browser once the map says how far it is, and has more cells: a fast machine
would be done by then."""


def test_a_map_of_everything_can_be_cancelled_and_gone_on_with(image_map: Page) -> None:
    page = image_map
    before = page.locator(".rb-map i").count()
    page.get_by_role("radio", name=f"All {len(REGISTRY)}").click()
    fill = page.get_by_role("button", name="Fill the map")
    shown(fill)
    page.evaluate(CANCEL_SOON, before)
    fill.click()
    shown(page.get_by_text("Cancelled; what is computed stays"))
    expect(fill).to_be_visible()
    some = page.locator(".rb-map i").count()
    assert before < some < len(REGISTRY) * 21


def test_another_view_is_one_click_away_with_the_same_picture_and_models(
    image_map: Page, address: str, tmp_path: Path
) -> None:
    """And the way back is one step, to the same again."""
    page = settled(go_on(image_map, f"{address}/?sample=coffee&models=SqueezeNet&seed=4"))
    left = page.url
    page.get_by_role("radio", name="Map").click()
    shown(page.locator(HEADLINE).filter(has_text="On this image"))
    expect(page).to_have_url(re.compile(r"view=map"))
    at_rest(page)
    for part in ("sample=coffee", "models=SqueezeNet", "seed=4"):
        assert part in page.url
    page.get_by_role("radio", name=f"All {len(REGISTRY)}").click()
    expect(page).to_have_url(re.compile("rows=all"))
    at_rest(page)
    reached = page.url
    page.go_back()
    shown(page.locator(HEADLINE).filter(has_text="Original: "))
    settled(page)
    assert asked(page.url) == asked(left)
    page.go_forward()
    shown(page.get_by_role("button", name="Fill the map"))
    assert asked(page.url) == asked(reached)
    photo = tmp_path / "mine.png"
    photo.write_bytes(sample_bytes("astronaut"))
    page.locator(UPLOAD).set_input_files(photo)
    shown(page.get_by_text("Showing mine"))
    page.get_by_role("radio", name="Live").click()
    settled(page)
    shown(page.get_by_text("Showing mine"))
    own = to_uint8(study_image(photo.read_bytes()))
    eventually(page, lambda: np.array_equal(pixels(page, 0), own))


@pytest.fixture
def held(datasets: Path) -> Iterator[Path]:
    """The one dataset on the server, five images; no run gets beyond the last while this file is
    there."""
    folder = flat_folder(datasets / "five", 5)
    held = folder / "00004.jpg.held"
    held.touch()
    yield held
    shutil.rmtree(folder)


def test_a_dataset_run_can_be_cancelled_and_gone_on_with(
    browser: Browser, address: str, kept_runs: Path, held: Path
) -> None:
    page = visit(browser, f"{address}/evaluations?models=SqueezeNet&question=compare")
    at_rest(page).get_by_text("On the server").click()
    shown(page.get_by_text("Folder, archive or table"))
    page.get_by_role("button", name="Evaluate", exact=True).click()
    under_way = page.locator(".st-key-under-way")
    expect(under_way.get_by_text(re.compile(r"\d of 5 images"))).not_to_have_count(0)
    shown(under_way.get_by_role("button", name="Cancel")).click()
    expect(page.get_by_text("This run is not finished")).not_to_have_count(0)
    # At once, while it may have yet to stop; and by another page, as whoever has the link may.
    again = visit(browser, page.url)
    shown(again.get_by_text("This run is not finished"))
    again.get_by_role("button", name="Continue").click()
    expect(again.locator(".st-key-under-way")).not_to_have_count(0)
    held.unlink()
    hand_back(page)
    expect(again.locator(HEADLINE).filter(has_text="SqueezeNet 1.1: ")).not_to_have_count(0)
    worked_off(kept_runs)
    (name,) = re.findall(r"run=([^&]+)", again.url)
    begun = [entry.folder.name for entry in runs.listing(kept_runs)]
    assert [each for each in begun if each.startswith("five-")] == [name], "one, gone on with"
    assert runs.load(kept_runs / name).images == 5
    hand_back(again)
