"""Controls that mean the same on every page keep their value from page to page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st


def arrive(page: str) -> None:
    """Notes which page this run is of; called first on every page."""
    st.session_state["arrived"] = st.session_state.get("page", page) != page
    st.session_state["page"] = page


def restore(key: str, default: Any) -> None:
    """Gives the control ``key`` the value that it had on the page from which one comes.

    Called right before the control is drawn. Streamlit forgets a control on leaving its page, and
    drops what another page's control had bound to the link. What the link itself says goes first.
    """
    kept = st.session_state.get(_name(key))
    if kept is None or kept == default or key in st.query_params:
        return
    if not st.session_state.get("arrived"):
        return
    st.session_state[key] = kept
    several = isinstance(kept, Sequence) and not isinstance(kept, str)
    st.query_params[key] = list(kept) if several else str(kept)  # not written for a first value


def keep(key: str, value: Any) -> None:
    """Remembers the ``value`` of the control ``key`` for the other pages of this session."""
    st.session_state[_name(key)] = value


def _name(key: str) -> str:
    return f"kept {key}"
