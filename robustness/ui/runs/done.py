"""What a click on the Runs page did, or why it could not, said when the page is drawn again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from robustness.base.errors import RobustnessError
from robustness.base.text import plain
from robustness.ui.kit.sentences import sentence

_SAID = "runs said"


def say() -> None:
    """What came of the last click."""
    kind, text = st.session_state.pop(_SAID, ("", ""))
    if kind == "done":
        st.success(plain(text), icon=":material/check:")
    elif kind:
        st.error(plain(text), icon=":material/error:")


def do(what: Callable[..., str], *given: Any) -> None:
    """Does what a click asks, and keeps what to say of it for the page to come."""
    try:
        st.session_state[_SAID] = ("done", what(*given))
    except RobustnessError as error:
        st.session_state[_SAID] = ("failed", sentence(error))
