"""Frees a session's memory and descriptors some time after its browser has left.

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
    report_departures,
)

_MARGIN = 5.0
"""Seconds before Streamlit forgets a session and it could no longer be closed."""

_MOST_LEFT = 128
"""Sessions that Streamlit keeps for the return of their browsers; it forgets the oldest first."""

_BATCH_SECONDS = 2.0
"""Sessions that end within this time are handled together."""

AFTERWARDS: list[Callable[[], object]] = []
"""What to do in the background after sessions have ended."""

_LEFT: dict[str, tuple[AppSession, asyncio.TimerHandle]] = {}
"""Sessions whose browsers have left, each with its scheduled end; the first to leave first."""


def watch() -> None:
    """Arrange for every session of this server to end after its browser leaves."""
    report_departures(_left)


def _left(session: AppSession, has_run: bool) -> None:
    """End ``session`` later; at once if no script has run in it, as there is nothing to keep."""
    if not has_run:
        Runtime.instance().close_session(session.id)
        return
    _forget(session)  # it may have left before, and come back
    wait = max(0.0, float(st.get_option("server.disconnectedSessionTTL")) - _MARGIN)
    end = asyncio.get_running_loop().call_later(wait, _end, session)
    _LEFT[session.id] = session, end
    if len(_LEFT) > _MOST_LEFT:
        oldest, _ = next(iter(_LEFT.values()))
        _end(oldest)


def _forget(session: AppSession) -> None:
    """Take ``session`` from those that end later."""
    if session.id in _LEFT:
        _, end = _LEFT.pop(session.id)
        end.cancel()


def _end(session: AppSession) -> None:
    _forget(session)
    runtime = Runtime.instance()
    if runtime.is_active_session(session.id):  # its browser has come back
        return
    runtime.close_session(session.id)
    session.shutdown()  # also of a session that Streamlit has forgotten
    session.session_state.clear()
    begin("after sessions", _clean)


def _clean() -> None:
    """Clean up once for several sessions that end together, and return their memory."""
    time.sleep(_BATCH_SECONDS)
    for action in AFTERWARDS:
        action()
    give_back()
