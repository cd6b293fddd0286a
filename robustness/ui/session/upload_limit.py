"""Limits on uploads, which are held in the server's memory: who may send them, and how much."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from robustness.base import settings
from robustness.base.errors import AccessError, ParameterError
from robustness.base.permission_policy_and_check import Action
from robustness.ui.server.streamlit_patches_and_internals import uploaded_files
from robustness.ui.session import access, uploads_after_reload
from robustness.ui.session.error_boundary import sentence

DEFAULT_ROOM = 2 * 10**9
"""Bytes of the setting ``uploads``."""

SHARE_OF_A_SESSION = 0.5
"""One session's share of it."""

_PATH = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+/?$")
_LENGTH = re.compile(r"[0-9]{1,15}")


def room() -> int:
    """Bytes for all uploads together: in memory, and as much again on disk.

    Raises ``ParameterError`` if the setting is not a size.
    """
    return settings.value(settings.UPLOADS) or DEFAULT_ROOM


class UploadLimit:
    """Refuses, unread, a file from a session that may not upload, or one that does not fit.

    Files still in transfer count in full.
    """

    def __init__(self, app: ASGIApp) -> None:
        """``app`` handles every request that is not refused."""
        self._app = app
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        match = _PATH.search(scope["path"]) if scope["type"] == "http" else None
        if match is None or scope["method"] != "PUT":
            await self._app(scope, receive, send)
            return
        session = match[1]
        if refused := await run_in_threadpool(_refusal, session, HTTPConnection(scope).cookies):
            await PlainTextResponse(refused, 403)(scope, receive, send)
            return
        largest = int(st.get_option("server.maxUploadSize")) * 2**20
        headers = Headers(scope=scope)
        length = headers.get("content-length", "")
        # With a transfer encoding, a content length means nothing (RFC 9112, section 6.3).
        has_length = "transfer-encoding" not in headers and _LENGTH.fullmatch(length)
        size = int(length) if has_length else largest  # until it is read
        if not self._has_room(session, size, largest):
            refusal = PlainTextResponse(
                "No room for more uploads now. Try again later, or send a smaller file.", 413
            )
            await refusal(scope, receive, send)
            return
        self._under_way[session] += size
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[session] -= size
            self._under_way += Counter()  # drops the zeros

    def _has_room(self, session: str, size: int, largest: int) -> bool:
        """Whether ``size`` more bytes, of a file of at most ``largest``, fit both limits."""
        uploads, total = uploaded_files(), DEFAULT_ROOM
        with suppress(ParameterError):  # every page shows the error
            total = room()
        held = [data for files in uploads.values() for data in files]
        # What is kept after a reload is in memory once, here or there.
        sizes = {id(data): len(data) for data in (*held, *uploads_after_reload.contents())}
        own = sum(map(len, uploads.get(session, []))) + self._under_way[session] + size
        everybody = sum(sizes.values()) + self._under_way.total() + size
        return everybody <= total and own <= max(largest, int(SHARE_OF_A_SESSION * total))


def _refusal(session: str, cookies: Mapping[str, str]) -> str:
    """Why the browser with these ``cookies`` may not upload to ``session``; "" if it may."""
    who = access.who_of(session, cookies)
    if who is None:
        return "This session has ended, or is another browser's: reload the page."
    try:
        access.require(Action.UPLOAD, by=who)
    except (AccessError, ParameterError) as error:
        return sentence(error)
    return ""
