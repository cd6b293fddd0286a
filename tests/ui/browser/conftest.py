"""One browser and one dashboard, which all journeys share: a server takes long to warm up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.support.page_actions import left_behind_closed
from benchmarks.support.repository import ROOT
from benchmarks.support.server import NoBrowserError, chromium, dashboard

HERE = Path(__file__).parent
HELD_FILES = ROOT / "tests" / "support" / "held_files"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Without Chromium the tests are skipped with a sentence; with ``CI=true`` they fail."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(chromium())
        except NoBrowserError as error:
            if os.environ.get("CI") == "true":
                raise
            pytest.skip(str(error))
        yield started


@pytest.fixture(autouse=True)
def tabs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever becomes of a test, none of its tabs is in the way of the next one."""
    if "browser" not in request.fixturenames:
        yield
        return
    with left_behind_closed(request.getfixturevalue("browser")):
        yield


@pytest.fixture(scope="package")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of runs of the shared dashboard."""
    return tmp_path_factory.mktemp("dashboard") / "runs"


@pytest.fixture(scope="package")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of datasets of the shared dashboard."""
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="package")
def address(kept_runs: Path, datasets: Path) -> Iterator[str]:
    """The address of the shared dashboard; its jobs need cores that other tests want, too."""
    with dashboard(
        ROBUSTNESS_RUNS=str(kept_runs),
        ROBUSTNESS_DATASETS=str(datasets),
        ROBUSTNESS_JOB_PRIORITY="normal",
        PYTHONPATH=str(HELD_FILES),
    ) as running:
        yield running
