"""The page that every script draws in: title, style, links to the others, and its boundary.

The boundary is where an error for the user becomes its sentence, whatever part of a page meets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import ParamSpec

import streamlit as st

from robustness.base import access, settings
from robustness.base.access import Action
from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.text import plain
from robustness.charts import film
from robustness.models import user_models
from robustness.ui.kit import components, entrance
from robustness.ui.kit.access import is_owner, require
from robustness.ui.kit.html import html
from robustness.ui.kit.inputs import arrive
from robustness.ui.kit.run_link import IMAGE, RUN, linked_run, page_link

RUN_PAGE = "Dataset"
"""Title of the page that shows a run."""

PAGES = (
    ("app.py", "Live check", ":material/tune:"),
    ("pages/scorecard.py", "Scorecard", ":material/leaderboard:"),
    ("pages/breaking_point.py", "Breaking point", ":material/trending_down:"),
    ("pages/dataset.py", "Dataset", ":material/photo_library:"),
    ("pages/runs.py", "Runs", ":material/inventory_2:"),
    ("pages/adversarial.py", "Adversarial", ":material/bug_report:"),
    ("pages/catalogue.py", "Catalogue", ":material/grid_view:"),
    ("pages/models.py", "Models", ":material/model_training:"),
    ("pages/methods.py", "Methods", ":material/menu_book:"),
)

OPERATORS_PAGE = ("pages/operations.py", "Operations", ":material/monitor_heart:")
"""One more, for owners alone."""

CARRIED = ("sample", RUN, IMAGE)
"""What a click on another page takes along in the link; ``inputs`` keeps the rest."""

CONTENT = "content"
"""The id of where the page itself begins, behind the links to the others."""

_ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from the web
_SETTINGS_ICON = ":material/settings:"
_STYLE = Path(__file__).with_name("style.css")


Given = ParamSpec("Given")


@contextmanager
def boundary(icon: str = ":material/error:") -> Iterator[None]:
    """Ends what is drawn within at the first ``RobustnessError``, and says what that says.

    What Streamlit raises to stop or rerun a script passes through.
    """
    try:
        yield
    except RobustnessError as error:
        st.error(plain(str(error)), icon=icon)


def fragment(
    draw: Callable[Given, None], *, run_every: float | None = None
) -> Callable[Given, None]:
    """``draw`` as a part of a page that reruns alone: outside of the page's own boundary."""

    @wraps(draw)
    def entered(*given: Given.args, **named: Given.kwargs) -> None:
        require(Action.LOOK)
        draw(*given, **named)

    return st.fragment(boundary()(entered), run_every=run_every)


@contextmanager
def page(title: str, introduction: str, skips_to: str = CONTENT) -> Iterator[None]:
    """Draws the frame of a page, and says the sentence of any ``RobustnessError`` within.

    ``skips_to`` is the id of the element to which the first link leads who uses the keyboard.
    Every page's script draws all of itself within, so that each works when opened cold.
    """
    st.set_page_config(page_title=f"{title} · Robustness", page_icon=_ICON, layout="wide")
    st.html(html("style", css=film.style() + components.style()))
    st.html(_STYLE)
    arrive(title)
    with st.sidebar:
        st.html(html("skip", target=skips_to))
        st.markdown("### Robustness")
        st.caption("Is the classifier still right when the picture is not perfect?")
        carried = {name: st.query_params[name] for name in CARRIED if name in st.query_params}
        for path, label, icon in (*PAGES, *([OPERATORS_PAGE] if is_owner() else [])):
            page_link(path, label, icon, carried)
    st.html(html("target", name=CONTENT))
    st.title(title, anchor=False)
    st.markdown(introduction)
    if title != RUN_PAGE:
        linked_run()
    try:
        settings.check_usable()
        access.policy()
    except ParameterError as error:
        st.error(plain(str(error)), icon=_SETTINGS_ICON)
        st.stop()
    entrance.enter()
    with boundary(_SETTINGS_ICON):  # the built-in models go on working
        user_models.refresh()
    with boundary():
        yield
