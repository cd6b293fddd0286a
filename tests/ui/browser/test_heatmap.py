"""A click on a cell of the heatmap, in a real browser: Plotly itself has to report it."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.server import dashboard

SCRIPT = """
import streamlit as st
from robustness.ui.dataset import results
from tests.support.made_up_results import made_up
st.set_page_config(layout="wide")
results.show(made_up())
"""

DOUBLE_CLICK = 500
"""Milliseconds after which Plotly, which allows 300, no longer takes two clicks for a double one:
that would let go of the cell."""


def test_a_click_anywhere_in_a_cell_shows_its_pictures(browser: Browser, tmp_path: Path) -> None:
    script = tmp_path / "results.py"
    script.write_text(SCRIPT)
    with dashboard(script) as address:
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.goto(address)
        cells = page.locator(".heatmaplayer image").first
        cells.wait_for()
        cells.scroll_into_view_if_needed()
        chart = page.locator(".js-plotly-plot").filter(has=page.locator(".heatmaplayer image"))
        _, first_row = min(
            (tick.evaluate("label => label.getBoundingClientRect().top"), tick.text_content())
            for tick in chart.locator(".ytick text").all()
        )
        for share, model in ((0.02, "SqueezeNet 1.1"), (0.98, "EfficientNet-Lite1")):
            box = cells.bounding_box()
            assert box is not None
            at = box["x"] + share * box["width"], box["y"] + 4
            page.mouse.move(*at)
            # The chart is drawn anew after a click; it has this one once it says what lies there.
            chart.locator(".hovertext", has_text=model).wait_for()
            page.mouse.click(*at)
            heading = page.get_by_role("heading", name=f"{model} under {first_row}")
            expect(heading).to_be_visible()
            page.wait_for_timeout(DOUBLE_CLICK)
