"""The frame of every page: title, style, navigation and error boundary.

The style is in the HTML before the script runs, so that what the script draws has its place at
once: a style that comes with the first elements moves all that is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import streamlit as st
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from streamlit.delta_generator import DeltaGenerator

from robustness import plugins
from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.base.roles import policy
from robustness.base.text import plain
from robustness.models import own
from robustness.report.image import TRUE_CLASS
from robustness.ui import components, jobs, session
from robustness.ui.html import Html, html
from robustness.ui.patches import index_page
from robustness.ui.session import (
    IMAGE,
    RUN,
    UPLOAD,
    arrive,
    boundary,
    fragment,
    link_warnings,
    linked_run,
    page_link,
    say,
    sentence,
)

__all__ = [
    "boundary",
    "fragment",
    "page",
]

RUN_PAGE = "Evaluations"
"""Title of the page for runs."""

PAGES = (
    ("app.py", "One image", ":material/tune:"),
    ("pages/evaluations.py", "Evaluations", ":material/photo_library:"),
    ("pages/models.py", "Models", ":material/model_training:"),
    ("pages/reference.py", "Reference", ":material/menu_book:"),
)

CARRIED = ("sample", RUN, IMAGE, UPLOAD, TRUE_CLASS)
"""Link parameters that a click on another page keeps; ``inputs`` restores the rest."""

CONTENT = "content"
"""Id of the page's content, after the navigation."""

_ICON = Path(__file__).with_name("icon.png")  # Streamlit would fetch a named icon from the web
_STYLE = Path(__file__).with_name("style.css")
_SETTINGS_ICON = ":material/settings:"

_SIDEBAR_WIDTH = 232
"""In pixels; the style reserves the same."""

_START_OF_BODY = re.compile("(?<=[<]body>)")
"""Where the style is: after Streamlit's own in the head, it wins."""


def _style() -> Html:
    css = f"{components.style()}\n{_STYLE.read_text('utf-8')}"
    return html("style", css=css)


@cache
def _index() -> str:
    """The HTML of every page before its script runs, with the style."""
    style = _style()
    # By a function, as backslashes of a text to insert have a meaning.
    return _START_OF_BODY.sub(lambda _: style, index_page(), count=1)


async def _answer_index(_request: Request) -> Response:
    return HTMLResponse(_index(), headers={"Cache-Control": "no-cache"})


def _path(script: str) -> str:
    """The path of a page in its address."""
    if script == "app.py":
        return "/"
    return f"/{Path(script).stem}"


ROUTES = [Route(_path(script), _answer_index, methods=["GET"]) for script, _, _ in PAGES]
"""Routes of the pages' HTML before their scripts run."""


@contextmanager
def page(title: str, introduction: str, skips_to: str = CONTENT) -> Iterator[None]:
    """Draw the frame of a page and show the sentence of a ``RobustnessError`` inside it.

    ``skips_to`` is the id of the element that the first link, for keyboard users, jumps to.
    Every page's script draws all of itself inside, so that each works when opened first.
    """
    st.set_page_config(
        page_title=f"{title} · Robustness",
        page_icon=_ICON,
        layout="wide",
        initial_sidebar_state=_SIDEBAR_WIDTH,
    )
    st.html(_style())  # again, for a script that runs without our server
    arrive(title)
    jobs_place = _show_navigation(skips_to)
    st.html(html("target", name=CONTENT))
    st.title(title, anchor=False)
    if introduction:
        st.markdown(introduction)
    else:
        st.empty()  # holds the place, so that the elements below keep theirs
    link_warnings()
    if title != RUN_PAGE:
        linked_run()
    try:
        settings.check_usable()
        policy()
    except ParameterError as error:
        st.error(plain(sentence(error)), icon=_SETTINGS_ICON)
        st.stop()
    session.enter()
    say()
    with jobs_place, boundary():
        jobs.sidebar(st.query_params.get(RUN) if title == RUN_PAGE else None)
    with boundary(_SETTINGS_ICON):  # what is built in keeps working
        plugins.load()
    with boundary(_SETTINGS_ICON):
        own.refresh()
    with boundary():
        yield


def _show_navigation(skips_to: str) -> DeltaGenerator:
    """Draw the sidebar; return the container in it for the jobs under way."""
    with st.sidebar:
        st.html(html("skip", target=skips_to))
        st.markdown("### Robustness")
        st.caption("Are image classifiers still correct when the image is not perfect?")
        carried = {name: st.query_params[name] for name in CARRIED if name in st.query_params}
        for script, label, icon in PAGES:
            page_link(script, label, icon, carried)
        jobs_place = st.container()
        components.history("history")
    return jobs_place
