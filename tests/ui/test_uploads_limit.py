"""Uploads lie in the server's memory: only who may upload sends some, and each session so much."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import config
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.web.server.starlette.starlette_routes import create_upload_routes

from robustness.runs import audit
from robustness.ui import session as ui_session
from robustness.ui import uploads
from robustness.ui.uploads import UploadLimit
from tests.support.streamlit_runtime import Browser, started

MEGABYTE = 10**6
EVALUATOR = {"is_logged_in": True, "email": "ada@lab.example", "email_verified": True}
VIEWER = {**EVALUATOR, "email": "eve@lab.example"}
STRANGER = {**EVALUATOR, "email": "who@elsewhere.example"}


class Context:
    """The connection of a session's browser on another machine."""

    remote_ip = "192.0.2.7"
    headers = (("host", "dashboard.example"),)
    cookies = MappingProxyType({ui_session.COOKIE: "mine"})


class Visitor(Browser):
    client_context: Any = Context()


class Server:
    """A server in this process: its uploads, and sessions of whoever a login vouches for."""

    def __init__(self, runtime: Runtime, files: MemoryUploadedFileManager) -> None:
        self.runtime, self.files = runtime, files
        app = UploadLimit(Starlette(routes=create_upload_routes(runtime, files, "")))
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://dashboard.example",
            headers={"cookie": f"{ui_session.COOKIE}=mine"},
        )

    def session(self, **said: Any) -> str:
        return self.runtime.connect_session(Visitor(), said)

    async def put(self, session: str, size: int, name: str = "1", *, chunked: bool = False) -> int:
        """The status of an upload of ``size`` bytes; a chunked one does not tell its length."""
        path = f"/_stcore/upload_file/{session}/{name}"
        request = self.http.build_request("PUT", path, files={"file": ("a.png", bytes(size))})
        if chunked:
            whole = request.read()
            parts = (whole[at : at + MEGABYTE] for at in range(0, len(whole), MEGABYTE))
            headers = {"content-type": request.headers["content-type"]}
            request = self.http.build_request("PUT", path, content=later(parts), headers=headers)
        return (await self.http.send(request)).status_code

    def held(self) -> int:
        stats = self.files.get_stats().values()
        return sum(stat.byte_length for found in stats for stat in found)


async def later(parts: Any) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    async with started(Path(__file__)) as (runtime, files):
        yield Server(runtime, files)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Files of at most 20 MB, and of all sessions 80 MB."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path))
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", "80MB")
    options = {"server.maxUploadSize": 20, "server.enableXsrfProtection": False}
    before = {option: config.get_option(option) for option in options}
    for option, value in options.items():
        config.set_option(option, value)
    yield
    for option, value in before.items():
        config.set_option(option, value)


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_LOGIN", "on")
    monkeypatch.setenv("ROBUSTNESS_EVALUATORS", "ada@lab.example")
    monkeypatch.setenv("ROBUSTNESS_VIEWERS", "*@lab.example")


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(
    "said", [{}, STRANGER, VIEWER, {**EVALUATOR, "email_verified": False}], ids=str
)
def test_who_may_not_upload_stores_nothing(said: dict[str, Any], tmp_path: Path) -> None:
    async def life() -> None:
        async with server() as there:
            session = there.session(**said)
            assert await there.put(session, 1000) == 403
            assert await there.put(session, 1000, chunked=True) == 403
            assert there.held() == 0
            mine = there.session(**EVALUATOR)
            assert await there.put(mine, 1000) == 204
            assert there.held() == 1000
            there.runtime.disconnect_session(mine)
            assert await there.put(mine, 1000, "2") == 403
            assert await there.put("guessed", 1000) == 403

    asyncio.run(life())
    lines = [json.loads(line) for line in (tmp_path / audit.FILE).read_text().splitlines()]
    assert [(line["action"], line["allowed"]) for line in lines] == [("upload", False)] * 2


@pytest.mark.usefixtures("login")
@pytest.mark.parametrize("cookie", ["other=1", f"{ui_session.COOKIE}=another", ""])
def test_nobody_uploads_in_the_name_of_another_browsers_session(cookie: str) -> None:
    async def life() -> None:
        async with server() as there:
            session = there.session(**EVALUATOR)
            there.http.headers["cookie"] = cookie
            assert await there.put(session, 1000) == 403
            assert there.held() == 0

    asyncio.run(life())


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("evaluator", 204), ("nobody", 403)])
def test_the_role_is_asked_at_every_upload(
    role: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def life() -> None:
        async with server() as there:
            session = there.session()
            assert await there.put(session, 1000) == 204
            monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", role)
            assert await there.put(session, 1000, "2") == status

    asyncio.run(life())


def test_a_session_has_half_of_the_room_and_all_together_no_more_than_it() -> None:
    async def life() -> None:
        async with server() as there:
            mine, yours, theirs = (there.session() for _ in range(3))
            assert await there.put(mine, 15 * MEGABYTE, "1") == 204
            assert await there.put(mine, 15 * MEGABYTE, "2") == 204
            assert await there.put(mine, 15 * MEGABYTE, "3") == 413
            assert await there.put(mine, 5 * MEGABYTE, "4", chunked=True) == 413, "of any size"
            assert await there.put(mine, 5 * MEGABYTE, "4") == 204
            assert await there.put(yours, 19 * MEGABYTE, "1", chunked=True) == 204
            assert await there.put(yours, 15 * MEGABYTE, "2") == 204
            assert await there.put(theirs, 15 * MEGABYTE) == 413
            assert await there.put(theirs, 5 * MEGABYTE) == 204
            assert there.held() == 74 * MEGABYTE
            there.files.remove_session_files(mine)
            assert await there.put(theirs, 15 * MEGABYTE, "2") == 204

    asyncio.run(life())


def test_what_a_reload_keeps_counts_once_while_it_is_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    browser = ui_session.Connection("192.0.2.7", {}, {ui_session.COOKIE: "mine"})
    monkeypatch.setattr(ui_session, "connection", lambda: browser)
    monkeypatch.setattr(ui_session, "me", lambda: "ada")

    async def life() -> None:
        async with server() as there:
            before, after, yours = (there.session() for _ in range(3))
            for name in "12":
                assert await there.put(before, 19 * MEGABYTE, name) == 204
            files = there.files.file_storage[before].values()
            uploads.keep([(file.file_id, file.data) for file in files])
            assert await there.put(after, 19 * MEGABYTE) == 204, "once: 57 MB so far"
            there.files.remove_session_files(before)
            assert await there.put(yours, 19 * MEGABYTE, "1") == 204
            assert await there.put(yours, 19 * MEGABYTE, "2") == 413, "38 MB are kept"
            del files
            uploads.forget()
            gc.collect()
            assert await there.put(yours, 19 * MEGABYTE, "2") == 204

    asyncio.run(life())


def test_files_that_are_under_way_count() -> None:
    async def life() -> None:
        async with server() as there:
            arrived = asyncio.Event()
            taken: list[str] = []

            async def slow(scope: Scope, receive: Receive, send: Send) -> None:
                taken.append(scope["path"])
                await arrived.wait()

            limited = UploadLimit(slow)

            def begun(session: str) -> asyncio.Task[int]:
                return asyncio.create_task(_status(limited, session, 18 * MEGABYTE))

            mine, yours, theirs = (there.session() for _ in range(3))
            tasks = [begun(session) for session in [mine] * 10 + [yours] * 10 + [theirs] * 10]
            while sum(task.done() for task in tasks) < 26:
                await asyncio.sleep(0.001)
            assert len(taken) == 4, "two of each of the first, and none of the last has room"
            arrived.set()
            found = [await task for task in tasks]
            assert sorted(found) == [0] * 4 + [413] * 26
            assert await begun(theirs) == 0, "they are not under way any more"

    asyncio.run(life())


def test_a_chunked_file_counts_in_full_whatever_length_is_announced() -> None:
    async def life() -> None:
        async with server() as there:
            arrived = asyncio.Event()

            async def slow(scope: Scope, receive: Receive, send: Send) -> None:
                await arrived.wait()

            limited, session = UploadLimit(slow), there.session()
            chunked = (b"transfer-encoding", b"chunked")
            tasks = [asyncio.create_task(_status(limited, session, 10, chunked)) for _ in range(10)]
            while sum(task.done() for task in tasks) < 9:
                await asyncio.sleep(0.001)
            arrived.set()
            assert sorted([await task for task in tasks]) == [0] + [413] * 9

    asyncio.run(life())


async def _status(app: ASGIApp, of: str, size: int, *more: tuple[bytes, bytes]) -> int:
    """The status of an upload; 0 where the server behind takes it."""
    cookie = (b"cookie", f"{ui_session.COOKIE}=mine".encode())
    headers = [cookie, (b"content-length", str(size).encode()), *more]
    path = f"/_stcore/upload_file/{of}/1"
    scope = {"type": "http", "method": "PUT", "path": path, "headers": headers}
    found = [0]

    async def receive() -> Any:
        pytest.fail("nothing of it is read")

    async def send(message: Any) -> None:
        found.append(message.get("status", found[-1]))

    await app(scope, receive, send)
    return found[-1]
