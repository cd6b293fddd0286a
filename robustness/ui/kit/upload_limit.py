"""Files that are uploaded lie in the server's memory: how much of it they may take in all."""

from __future__ import annotations

import streamlit as st
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.runtime import Runtime
from streamlit.runtime.stats import CacheStat

from robustness.base import settings
from robustness.base.errors import ParameterError

DEFAULT_ROOM = 2 * 10**9
"""Bytes of the setting ``uploads``."""

_PATH = "/_stcore/upload_file/"


def room() -> int:
    """Bytes that uploads may take in all: in memory, and once more on the disk.

    Raises ``ParameterError`` for a setting that is no size.
    """
    return settings.size(settings.UPLOADS) or DEFAULT_ROOM


class UploadLimit:
    """Refuses a file that would exceed the room of uploads in memory, before it is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and scope["method"] == "PUT" and _PATH in scope["path"]:
            length = Headers(scope=scope).get("content-length", "")
            largest = int(st.get_option("server.maxUploadSize")) * 2**20
            if _held() + (int(length) if length.isdecimal() else largest) > _room_or_default():
                app = PlainTextResponse("There is no room for more uploads now.", 413)
        await app(scope, receive, send)


def _room_or_default() -> int:
    try:
        return room()
    except ParameterError:  # every page says so
        return DEFAULT_ROOM


def _held() -> int:
    """Bytes of the files that all sessions have uploaded."""
    if not Runtime.exists():
        return 0
    found = Runtime.instance().uploaded_file_mgr.get_stats()
    every = (stat for stats in found.values() for stat in stats)
    return sum(stat.byte_length for stat in every if isinstance(stat, CacheStat))
