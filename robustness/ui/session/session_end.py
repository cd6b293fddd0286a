"""Frees a session's memory some time after its browser has left.

Streamlit keeps a disconnected session, uploads included, in case its browser returns, and removes
it only when another session comes or goes. This module closes and empties the session just before
Streamlit would stop accepting its return.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import streamlit as st

from robustness.models.loaded_models import give_back
from robustness.ui.computation.background_work_and_cache import begin
from robustness.ui.server.streamlit_patches_and_internals import (
    AppSession,
    Runtime,
    get_script_run_ctx,
)

_MARGIN = 5.0
"""Seconds before Streamlit forgets a session and it could no longer be closed."""

_BATCH_SECONDS = 2.0
"""Sessions that end within this time are handled together."""

AFTERWARDS: list[Callable[[], object]] = []
"""What to do in the background after sessions have ended."""


def watch() -> None:
    """Arrange for this session to end after its browser leaves; call it whenever a page runs."""
    context = get_script_run_ctx()
    if context is not None:
        _connected(context.session_id)


def _disconnected(session_id: str) -> None:
    """Schedule the end of a session that lost its connection or whose caches were cleared."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # called from its script: the browser is there
        return
    session = Runtime.instance().get_app_session(session_id)
    wait = max(0.0, float(st.get_option("server.disconnectedSessionTTL")) - _MARGIN)
    if session is not None:
        loop.call_later(wait, _end, session)


@st.cache_resource(scope="session", on_release=_disconnected, show_spinner=False)
def _connected(session_id: str) -> str:
    """Cached value that lives as long as one connection of the session's browser."""
    return session_id


def _end(session: AppSession) -> None:
    runtime = Runtime.instance()
    if runtime.is_active_session(session.id):  # its browser has come back
        return
    runtime.close_session(session.id)
    session.session_state.clear()
    begin("after sessions", _clean)


def _clean() -> None:
    """Clean up once for several sessions that end together, and return their memory."""
    time.sleep(_BATCH_SECONDS)
    for action in AFTERWARDS:
        action()
    give_back()
