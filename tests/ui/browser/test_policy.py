"""The pages' Content-Security-Policy: they work under it, and what it is to stop is stopped."""

from __future__ import annotations

from playwright.sync_api import Browser, expect

from tests.support.journeys import visit
from tests.support.server import AT_REST

NOTED = """addEventListener("securitypolicyviolation", event => {
    (window.refused ??= []).push(`${event.violatedDirective} ${event.blockedURI}`)
})"""
ATTACK = """() => new Promise(done => {
    const script = document.createElement("script")
    script.textContent = "window.ran = true"
    const picture = new Image()
    picture.onload = picture.onerror = () => done([window.ran ?? false, window.refused])
    document.head.append(script)
    picture.src = "http://192.0.2.7/secret.png"
})"""


def test_a_chart_works_and_a_foreign_script_does_not(browser: Browser, address: str) -> None:
    page = visit(browser, "about:blank", charts=True)
    page.add_init_script(NOTED)
    page.goto(f"{address}/breaking_point?models=SqueezeNet+1.1")
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    expect(page.locator(AT_REST)).to_be_visible()
    assert page.evaluate("window.refused ?? []") == []
    ran, refused = page.evaluate(ATTACK)
    assert not ran
    assert [text.partition(" ")[0] for text in refused] == ["script-src-elem", "img-src"]
    page.close()
