"""The end of a session: what it held is let go of some time after its browser has left.

Streamlit keeps the session of a browser whose connection broke, since it may come back, and then
leaves it in memory, with all that was uploaded, for as long as nobody else comes or goes. Here it
is closed and emptied just before Streamlit would no longer let it come back.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import streamlit as st
from streamlit.runtime import Runtime
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner import get_script_run_ctx

from robustness.models.memory import give_back

_MARGIN = 5.0
"""Seconds before Streamlit forgets a session, after which nobody could close it."""

_SECONDS_TOGETHER = 2.0
"""Sessions that end within so long are taken for one."""

_AFTERWARDS: list[Callable[[], object]] = []

_GIVING_BACK = threading.Lock()


def watch() -> None:
    """Has this session end once its browser has left; to be called whenever a page runs."""
    context = get_script_run_ctx()
    if context is not None:
        _connected(context.session_id)


def afterwards(action: Callable[[], object]) -> Callable[[], object]:
    """Has ``action`` be done, in a thread, whenever a session has ended; as a decorator."""
    _AFTERWARDS.append(action)
    return action


def _disconnected(session_id: str) -> None:
    """A connection of the session is gone, or its caches were cleared."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # by a script of it: its browser is there
        return
    session = Runtime.instance().get_app_session(session_id)
    wait = max(0.0, float(st.get_option("server.disconnectedSessionTTL")) - _MARGIN)
    if session is not None:
        loop.call_later(wait, _end, session)


@st.cache_resource(scope="session", on_release=_disconnected, show_spinner=False)
def _connected(session_id: str) -> str:
    """Kept for as long as one connection of the session's browser lasts."""
    return session_id


def _end(session: AppSession) -> None:
    runtime = Runtime.instance()
    if runtime.is_active_session(session.id):  # its browser has come back
        return
    runtime.close_session(session.id)
    session.session_state.clear()
    for action in _AFTERWARDS:
        threading.Thread(target=action, name="after a session", daemon=True).start()


@afterwards
def _give_back() -> None:
    """What the session held goes back to the system; once for several that end together."""
    if _GIVING_BACK.acquire(blocking=False):
        try:
            time.sleep(_SECONDS_TOGETHER)
            give_back()
        finally:
            _GIVING_BACK.release()
