"""What every page starts with: title, style, and the links to the other pages."""

from __future__ import annotations

import contextlib
from pathlib import Path

import streamlit as st
from streamlit.errors import StreamlitAPIException

from robustness.base import settings
from robustness.base.errors import ParameterError
from robustness.models import user_models
from robustness.ui.kit.run_link import IMAGE, RUN, linked_run
from robustness.ui.kit.state import arrive
from robustness.ui.kit.text import plain

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

CARRIED = ("sample", RUN, IMAGE)

_ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from the web
_STYLE = Path(__file__).with_name("style.css")


def _carried() -> dict[str, str]:
    """What a click on another page takes along in the link; ``state`` keeps the rest."""
    return {name: st.query_params[name] for name in CARRIED if name in st.query_params}


def frame(title: str, introduction: str) -> None:
    """Sets up the page; every page calls it first, so that each works when opened cold."""
    st.set_page_config(page_title=f"{title} · Robustness", page_icon=_ICON, layout="wide")
    st.html(_STYLE)
    arrive(title)
    with st.sidebar:
        st.markdown("### Robustness")
        st.caption("Is the classifier still right when the picture is not perfect?")
        # A page that is itself the main script ("streamlit run pages/methods.py") has no siblings.
        with contextlib.suppress(StreamlitAPIException):
            for path, label, icon in PAGES:
                st.page_link(path, label=label, icon=icon, query_params=_carried())
    st.title(title, anchor=False)
    st.markdown(introduction)
    if title != RUN_PAGE:
        linked_run()
    try:
        settings.check()
    except ParameterError as error:
        st.error(plain(str(error)), icon=":material/settings:")
        st.stop()
    try:
        user_models.refresh()
    except ParameterError as error:  # the built-in models go on working
        st.error(plain(str(error)), icon=":material/settings:")
