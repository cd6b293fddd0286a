"""Streamlit's runtime in this process, with the files that sessions upload."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from streamlit.runtime import Runtime, RuntimeConfig
from streamlit.runtime.caching.storage.dummy_cache_storage import MemoryCacheStorageManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.runtime.memory_session_storage import MemorySessionStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.session_manager import SessionClient


class Browser(SessionClient):
    """One that is there, and looks at nothing but whether a script has ended."""

    def __init__(self) -> None:
        self.has_seen_page = False

    def write_forward_msg(self, msg: Any) -> None:
        if msg.WhichOneof("type") == "script_finished":
            self.has_seen_page = True


@asynccontextmanager
async def started(script: Path) -> AsyncIterator[tuple[Runtime, MemoryUploadedFileManager]]:
    """A runtime of ``script`` that has started, and its uploads."""
    files = MemoryUploadedFileManager("/_stcore/upload_file")
    runtime = Runtime(
        RuntimeConfig(
            script_path=str(script),
            media_file_storage=MemoryMediaFileStorage("/media"),
            uploaded_file_manager=files,
            cache_storage_manager=MemoryCacheStorageManager(),
            session_storage=MemorySessionStorage(ttl_seconds=600),
            is_hello=False,
        )
    )
    try:
        await runtime.start()
        yield runtime, files
        runtime.stop()
        await runtime.stopped
    finally:
        Runtime._instance = None
