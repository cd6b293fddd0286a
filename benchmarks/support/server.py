"""The dashboard as a process of its own, and a browser to look at it with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Error, Page, expect, sync_playwright

from benchmarks.support.repository import ROOT

CHROMIUM_VARIABLE = "CHROMIUM"
PATIENCE = 240_000
"""Milliseconds that a page may take to show what is expected of it, on a machine that is busy."""
LEFT = "Execution context was destroyed"
"""What Playwright says where a page is left for another while it evaluates something there."""

HOW_TO_GET_ONE = (
    "no Chromium found: install one ('apt-get install chromium' or 'playwright install chromium') "
    f"or name its executable in ${CHROMIUM_VARIABLE}"
)
OF_THE_SYSTEM = ("chromium-headless-shell", "chromium")
"""Debian's, the better one first: without windows it takes a fifth less of the processor."""


def free_port() -> int:
    """A port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dashboard(
    script: str | Path = "app.py",
    port: int | None = None,
    *,
    checkout: Path = ROOT,
    started: Callable[[int], object] = lambda _: None,
    **variables: str,
) -> Iterator[str]:
    """Starts a fresh server of ``script`` with these in its environment; yields its address.

    ``script`` is of ``checkout``, whose code runs. ``started`` is told the id of the process.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(script)]
    options = ["--server.headless=true", f"--server.port={port}"]
    with subprocess.Popen(
        command + options,
        cwd=checkout,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        address = f"http://127.0.0.1:{port}"
        started(process.pid)
        try:
            wait_until_healthy(f"{address}/_stcore/health", process)
            yield address
        finally:
            process.terminate()


def wait_until_healthy(address: str, process: subprocess.Popen[bytes]) -> None:
    """Returns once the server at ``address`` answers; raises an error if it does not."""
    deadline = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the dashboard ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"the dashboard did not come up within {PATIENCE / 1000:.0f} s")


class NoBrowserError(RuntimeError):
    """No Chromium starts on this machine."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium: from the environment variable, the system's, or Playwright's own.

    Raises ``NoBrowserError`` without one.
    """
    expect.set_options(timeout=PATIENCE)
    installed = filter(None, map(shutil.which, OF_THE_SYSTEM))
    executable = os.environ.get(CHROMIUM_VARIABLE) or next(installed, None)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=executable,
                args=[
                    "--no-sandbox",
                    "--disable-background-networking",
                    "--disable-sync",
                    "--use-fake-device-for-media-stream",
                    "--use-fake-ui-for-media-stream",
                ],
            )
        except Error:
            raise NoBrowserError(HOW_TO_GET_ONE) from None
        try:
            yield browser
        finally:
            browser.close()


def until(page: Page, expression: str, arg: object = None) -> None:
    """Waits until ``expression``, of JavaScript, is true on ``page``.

    Playwright's own ``wait_for_function`` evaluates a text in the page, as its policy forbids.
    """
    deadline = time.monotonic() + PATIENCE / 1000
    while not _is_true(page, expression, arg):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{expression} was not true within {PATIENCE / 1000:.0f} s")
        page.wait_for_timeout(50)


def _is_true(page: Page, expression: str, arg: object) -> bool:
    try:
        return bool(page.evaluate(expression, arg))
    except Error as error:
        if LEFT not in str(error):
            raise
        return False


def eventually(page: Page, holds: Callable[[], bool]) -> None:
    """Waits until ``holds()`` is true, for as long as ``until`` would."""
    deadline = time.monotonic() + PATIENCE / 1000
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE / 1000:.0f} s"
        page.wait_for_timeout(50)


def post(address: str, body: bytes) -> int:
    """The status with which ``address`` answers to ``body``."""
    request = urllib.request.Request(address, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
