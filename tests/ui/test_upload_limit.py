"""Uploads in the server's memory have a limit in all, whoever sends them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from robustness.ui.kit import upload_limit

UPLOAD = "/_stcore/upload_file/session/file"


def status(path: str, method: str = "PUT", length: int | None = None) -> int:
    """What a server with the limit answers, that takes everything without it."""
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    sent: list[Message] = []

    async def receive() -> Message:
        pytest.fail("nothing of it is read")

    async def send(message: Message) -> None:
        sent.append(message)

    limited = upload_limit.UploadLimit(PlainTextResponse("taken"))
    asyncio.run(limited(scope, receive, send))
    found: int = sent[0]["status"]
    return found


def test_a_file_that_exceeds_the_room_of_all_is_refused_unread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = MemoryUploadedFileManager("/upload")

    class Server:
        uploaded_file_mgr = files

        @classmethod
        def exists(cls) -> bool:
            return True

        @classmethod
        def instance(cls) -> Any:
            return cls

    monkeypatch.setattr(upload_limit, "Runtime", Server)
    monkeypatch.setattr(upload_limit.st, "get_option", {"server.maxUploadSize": 64}.get)
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", "100MB")
    assert status(UPLOAD, length=10**6) == status(UPLOAD) == 200
    files.add_file("one", UploadedFileRec("1", "a.png", "image/png", bytes(60 * 10**6)))
    files.add_file("other", UploadedFileRec("2", "a.png", "image/png", bytes(10 * 10**6)))
    assert status(UPLOAD, length=30 * 10**6) == 200
    assert status(UPLOAD, length=30 * 10**6 + 1) == 413
    assert status(UPLOAD) == 413, "it may be as large as any"
    assert status(UPLOAD, "DELETE") == status("/", "GET") == status("/live/x", "PUT") == 200
    files.remove_session_files("one")
    assert status(UPLOAD, length=30 * 10**6 + 1) == 200
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", "much")
    assert status(UPLOAD) == 200
