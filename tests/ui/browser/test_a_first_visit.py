"""A first visit: nothing is kept in the browser, and nobody has asked the dashboard for anything.

That is so as long as this file is the first of its folder."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.support.page_actions import (
    HEADLINE,
    at_rest,
    left_behind_closed,
    new_tab,
    settled,
    shown,
)

REFUSED = """addEventListener("securitypolicyviolation", event => {
    (window.refused ??= []).push(`${event.violatedDirective} ${event.blockedURI}`)
})"""
ATTACK = """() => new Promise(done => {
    const script = document.createElement("script")
    script.textContent = "window.ran = true"
    const image = new Image()
    image.onload = image.onerror = () => done([window.ran ?? false, window.refused])
    document.head.append(script)
    image.src = "http://192.0.2.7/secret.png"
})"""


@pytest.fixture(scope="module")
def newcomer(browser: Browser, address: str) -> Iterator[tuple[Page, set[str]]]:
    """The Live page of somebody who came by another, and the hosts that were asked for it."""
    with left_behind_closed(browser):
        page = new_tab(browser, viewport={"width": 1440, "height": 900})
        page.add_init_script(REFUSED)
        hosts: set[str] = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(f"{address}/reference?view=methods")
        shown(page.get_by_role("heading", level=1, name="Reference"))
        shown(page.get_by_role("heading", name="Glossary"))
        assert "Traceback" not in page.inner_text("body")
        shown(page.get_by_role("link", name="One image")).click()
        yield settled(page), hosts


def test_a_first_visit_shows_a_result_without_a_click(
    newcomer: tuple[Page, set[str]],
) -> None:
    page, hosts = newcomer
    expect(page.locator(HEADLINE)).to_have_text(re.compile(r"Gaussian blur: . of 4 correct"))
    expect(page.locator(".rb-card table")).to_have_count(4)
    expect(page.locator("[data-testid=stPlotlyChart]")).to_have_count(1)
    assert {host.split(":")[0] for host in hosts} == {"127.0.0.1"}


def test_under_its_policy_charts_work_and_a_foreign_script_does_not(
    newcomer: tuple[Page, set[str]],
) -> None:
    """Content-Security-Policy."""
    page, _ = newcomer
    expect(page.locator(".js-plotly-plot")).to_have_count(1)
    at_rest(page)
    assert page.evaluate("window.refused ?? []") == []
    ran, refused = page.evaluate(ATTACK)
    assert not ran
    assert [text.partition(" ")[0] for text in refused] == ["script-src-elem", "img-src"]


def test_other_machines_are_not_answered(address: str) -> None:
    another_address_of_this_machine = ("127.0.0.2", int(address.rpartition(":")[2]))
    with pytest.raises(OSError, match=r"refused|timed out"):
        socket.create_connection(another_address_of_this_machine, timeout=5)
