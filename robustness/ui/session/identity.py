"""Id of the current session."""

from __future__ import annotations

import secrets

import streamlit as st

_KEY = "takes turns as"


def session() -> str:
    """Random id of the current session; its turns and its runs carry it."""
    return str(st.session_state.setdefault(_KEY, secrets.token_hex(8)))
