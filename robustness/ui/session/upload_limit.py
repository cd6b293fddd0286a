"""Uploaded files lie in the server's memory: who may send them, and how much they may take."""

from __future__ import annotations

import re
from collections import Counter

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from robustness.base import settings
from robustness.base.access import Action
from robustness.base.errors import AccessError, ParameterError
from robustness.ui.server.streamlit_internals import uploaded_bytes
from robustness.ui.session import access
from robustness.ui.session.sentences import sentence

DEFAULT_ROOM = 2 * 10**9
"""Bytes of the setting ``uploads``."""

SHARE_OF_A_SESSION = 0.5
"""Of that room, for the files of one session."""

_PATH = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+/?$")
_LENGTH = re.compile(r"[0-9]{1,15}")


def room() -> int:
    """Bytes that uploads may take in all: in memory, and once more on the disk.

    Raises ``ParameterError`` for a setting that is no size.
    """
    return settings.value(settings.UPLOADS) or DEFAULT_ROOM


class UploadLimit:
    """Refuses, unread, a file from a session that may not upload, or one that exceeds the room.

    Files that are still under way count as if they were here.
    """

    def __init__(self, app: ASGIApp) -> None:
        """``app`` answers what is not refused."""
        self._app = app
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or WebSocket."""
        found = _PATH.search(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        session = found[1]
        if refused := await run_in_threadpool(_refusal, session):
            await PlainTextResponse(refused, 403)(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        largest = int(st.get_option("server.maxUploadSize")) * 2**20
        wanted = int(length) if _LENGTH.fullmatch(length) else largest
        if not self._has_room(session, wanted, largest):
            refusal = PlainTextResponse("There is no room for more uploads now.", 413)
            await refusal(scope, receive, send)
            return
        self._under_way[session] += wanted
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[session] -= wanted
            self._under_way += Counter()  # without those at 0

    def _has_room(self, session: str, wanted: int, largest: int) -> bool:
        """Whether so many bytes more, of a file of at most ``largest``, fit into both limits."""
        held, total = Counter(uploaded_bytes()), _room_or_default()
        own = held[session] + self._under_way[session] + wanted
        everybody = held.total() + self._under_way.total() + wanted
        return everybody <= total and own <= max(largest, int(SHARE_OF_A_SESSION * total))


def _refusal(session: str) -> str:
    """Why ``session`` may not upload anything; "" where it may."""
    who = access.who_of(session)
    if who is None:
        return "This session has ended: reload the page."
    try:
        access.require(Action.UPLOAD, by=who)
    except (AccessError, ParameterError) as error:
        return sentence(error)
    return ""


def _room_or_default() -> int:
    try:
        return room()
    except ParameterError:  # every page says so
        return DEFAULT_ROOM
