"""The result or error of a click on the Runs page, shown when the page is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.ui.session.sentences import sentence

_SAID = "runs said"


def say() -> None:
    """Show the result of the last click."""
    kind, text = st.session_state.pop(_SAID, ("", ""))
    if kind == "done":
        st.success(plain(text), icon=":material/check:")
    elif kind:
        st.error(plain(text), icon=":material/error:")


def do(what: Callable[..., str], *arguments: Any) -> None:
    """Perform a click's action and keep its message for the next page."""
    try:
        st.session_state[_SAID] = ("done", what(*arguments))
    except RobustnessError as error:
        st.session_state[_SAID] = ("failed", sentence(error))
