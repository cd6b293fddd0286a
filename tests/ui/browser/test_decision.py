"""From an upload to the answer, and from two runs to what got worse."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from playwright.sync_api import Browser, expect

from benchmarks.support.page_actions import HEADLINE, at_rest, hand_back, shown, visit
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs
from robustness.images.decoding import sample_bytes

IMAGES = ".st-key-dataset_upload input[type=file]"


def test_an_upload_and_one_click_answer_which_model_and_where_it_fails(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    archive = tmp_path / "mine.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("coffee", "rocket", "motorcycle"):
            packed.writestr(f"espresso/{name}.png", sample_bytes(name))
    models = "models=SqueezeNet&models=EfficientNetLite0"
    suite = "suite=own&dataset_perturbations=gaussian_blur"
    page = visit(browser, f"{address}/evaluations?source=upload&{models}&{suite}")
    at_rest(page).locator(IMAGES).set_input_files(archive)
    shown(page.get_by_text("3 images in 1 class, all matched to ImageNet-1k"))
    page.get_by_role("button", name="Evaluate", exact=True).click()
    expect(page.locator(HEADLINE).first).to_have_text(re.compile("Ship|tie"))
    # The first images have an answer, too. At the end the page is drawn anew, for a moment twice.
    expect(page.get_by_text("So far")).to_have_count(0)
    at_rest(page)
    runs_table = page.locator(".st-key-runs-table")
    expect(runs_table).to_have_count(0)
    page.get_by_role("button", name=re.compile("All .* runs?")).click()
    shown(runs_table)
    page.get_by_role("button", name="Present").click()
    expect(page.locator("[data-testid=stSidebar]")).to_be_hidden()
    expect(page.locator(".st-key-story-strip")).to_have_count(0)  # they are of one image
    expect(at_rest(page).locator(".rb-map")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Escape")
    shown(page.locator("[data-testid=stSidebar]"))
    page.locator(".rb-map tr:has-text('blur') [data-key]").first.click()
    expect(shown(page.locator(".st-key-cell-failures"))).to_be_in_viewport()
    expect(page.locator(".st-key-cell-failures")).to_contain_text("under Gaussian blur 0.6")
    expect(page.locator(".rb-chosen")).to_have_count(1)
    expect(page).to_have_url(re.compile("cell=.*condition"))
    page.go_back()
    expect(page.locator(".st-key-cell-failures")).to_have_count(0)
    expect(page).not_to_have_url(re.compile("view="))
    at_rest(page).go_forward()
    shown(page.locator(".st-key-cell-failures")).get_by_role("link", name="Open").first.click()
    expect(page.get_by_role("heading", level=1)).not_to_have_text("Evaluations")
    expect(page).to_have_url(re.compile("image="))
    hand_back(page)


def test_two_ticks_say_what_got_worse(
    browser: Browser, address: str, kept_runs: Path, tmp_path: Path
) -> None:
    """Two ticks compare; a click on a title opens its run."""
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(12)])
    for name, share in (("before", 0.9), ("after", 0.2)):
        saved(kept_runs / name, digests, {"SqueezeNet": share}, source=tmp_path / "set")
    page = visit(browser, f"{address}/evaluations?search=set")
    table = page.get_by_test_id("stDataFrame")
    box = shown(table).bounding_box()
    assert box is not None
    for row, link in ((1, "run="), (2, "compare=.*compare=")):
        page.mouse.click(box["x"] + 15, box["y"] + 35 * row + 17)
        expect(page).to_have_url(re.compile(link))
        expect(at_rest(page).locator(HEADLINE).first).to_be_visible()
    expect(page.locator(".st-key-comparison")).to_contain_text("got significantly")
    page.wait_for_timeout(500)  # else both clicks are one double click
    page.mouse.click(box["x"] + 55, box["y"] + 35 + 17)
    shown(page.locator(".st-key-decision"))
    expect(page).to_have_url(re.compile("run=(before|after)"))
    hand_back(page)
    for name in ("before", "after"):
        runs.delete(kept_runs / name)
