"""The results of a run on the Evaluations page: the way back from one of its images, and the files
that it hands out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.support.page_actions import asked, at_rest, settled, shown, visiting
from benchmarks.support.server import until
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import runs
from robustness.cli import main

LINKS = "[data-testid=stMain] a[href*='image=']"
TOP = "link => link.getBoundingClientRect().top"


@pytest.fixture(scope="module")
def results(
    browser: Browser, address: str, kept_runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Page, runs.Run]]:
    """The page of a run of two models, and the run."""
    source = tmp_path_factory.mktemp("looked-at") / "set"
    digests = pictures(source, [f"{number}.png" for number in range(10)])
    shares = {"SqueezeNet": 0.5, "EfficientNetLite1": 0.8}
    run = saved(kept_runs / "looked-at", digests, shares, source=source)
    link = f"{address}/evaluations?run={run.id}&models=SqueezeNet&view=failures"
    link += "&cell=model%3DEfficientNetLite1%26condition%3Dhorizontal_flip%3D1.0"
    with visiting(browser, link, charts=True) as page:
        yield page, run
    runs.delete(run.folder)


def test_the_page_gives_the_file_that_the_command_writes(
    results: tuple[Page, runs.Run], tmp_path: Path
) -> None:
    page, run = results
    for label, suffix in (("Report", ".html"), ("JSON", ".json")):
        if suffix != ".html":
            shown(page.get_by_role("button", name="Other formats")).click()
        button = shown(page.get_by_role("button", name=label))
        with page.expect_download() as download:
            button.click()
        assert download.value.suggested_filename == f"{run.id}{suffix}"
        target = tmp_path / f"command{suffix}"
        assert main.main(["report", str(run.folder), "--to", str(target)]) == 0
        assert undated(download.value.path()) == undated(target)


def undated(path: Path) -> str:
    stamp = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d\+00:00)?"
    return re.sub(stamp, "", path.read_text(encoding="utf-8"))


def test_back_from_the_live_page_keeps_view_selection_number_and_place(
    results: tuple[Page, runs.Run],
) -> None:
    """The cell in the link filters the images."""
    page, _ = results
    shown(page.get_by_role("button", name="All 10 images")).click()
    shown(page.get_by_role("button", name="Show 4 more")).click()
    expect(page.locator(".rb-case")).to_have_count(10)
    at_rest(page)
    until(page, "() => [...document.images].every(image => image.complete)")  # they take up room
    link = page.locator(LINKS).last
    link.scroll_into_view_if_needed()
    before, before_at = link.evaluate(TOP), page.url
    link.click()
    settled(page)
    page.go_back()
    expect(page.locator(".rb-case")).to_have_count(10)
    at_rest(page)
    assert asked(page.url) == asked(before_at)
    assert asked(page.url)["view"] == ["images"]
    assert asked(page.url)["cell"] == ["model=EfficientNetLite1&condition=horizontal_flip=1.0"]
    until(
        page,
        f"([links, y]) => Math.abs(({TOP})([...document.querySelectorAll(links)].at(-1)) - y) < 3",
        arg=[LINKS, before],
    )
