"""What the server does for every request: the check of its host, headers, limits and caches."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import streamlit as st
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket
from streamlit import config
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.sync.client import connect

from benchmarks.support.repository import ROOT
from robustness.base import secret, settings
from robustness.ui import connections, server
from robustness.ui.server import Guard
from robustness.ui.session import COOKIE


async def _page(request: object) -> HTMLResponse:
    return HTMLResponse("page")


async def _cookies(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(request.cookies)))


async def _browser(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.cookies.get(COOKIE, "a new visitor"))


async def _text(request: object) -> PlainTextResponse:
    return PlainTextResponse("text", headers={"Referrer-Policy": "no-referrer"})


async def _stream(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.send_text(websocket.cookies.get(COOKIE, "a new visitor"))
    await websocket.close()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> TestClient:
    monkeypatch.setenv("ROBUSTNESS_HOSTS", "dashboard.example, *.lab.example")
    routes: list[BaseRoute] = [
        Route("/", _page),
        Route("/text", _text, methods=["GET", "PUT"]),
        Route("/cookies", _cookies),
        Route("/browser", _browser),
        WebSocketRoute("/stream", _stream),
    ]
    return TestClient(Guard(Starlette(routes=routes)), base_url="http://localhost:8501")


@pytest.mark.parametrize(
    ("host", "answered"),
    [
        ("localhost", True),
        ("LOCALHOST.:8501", True),
        ("127.0.0.1:8501", True),
        ("[::1]:8501", True),
        ("192.0.2.7", True),
        ("dashboard.example", True),
        ("a.lab.example:443", True),
        ("evil.example", False),
        ("lab.example", False),
        ("evil-lab.example", False),
        ("dashboard.example.evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evil.example:80@localhost", False),
        ("localhost/evil.example", False),
        ("", False),
    ],
)
def test_a_request_by_another_name_is_refused(
    client: TestClient, host: str, answered: bool
) -> None:
    reply = client.get("/", headers={"host": host, "origin": f"http://{host}"})
    assert reply.status_code == (200 if answered else 400)
    if not answered:
        assert "the setting 'hosts'" in reply.text
        assert reply.text.count(".") >= 1
        assert "page" not in reply.text
    assert bool(server.host_refusal(host)) != answered


def test_a_web_socket_by_another_name_is_refused(client: TestClient) -> None:
    with client.websocket_connect("/stream", headers={"host": "dashboard.example"}) as stream:
        assert stream.receive_text() == "hello"
    evil = {"host": "evil.example", "origin": "http://evil.example"}
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/stream", headers=evil),
    ):
        pass
    assert refused.value.status_code == 400


def test_every_answer_has_the_headers_and_keeps_its_own(client: TestClient) -> None:
    page, text, missing = (client.get(path) for path in ("/", "/text", "/nothing"))
    for reply in (page, text, missing):
        policy = dict(
            part.split(" ", 1) for part in reply.headers["content-security-policy"].split("; ")
        )
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert "unsafe-inline" not in policy["script-src"]
        assert "'unsafe-eval'" not in policy["script-src"]
        assert "'sha256-" in policy["script-src"]
        assert reply.headers["x-frame-options"] == "DENY"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "camera=(self)" in reply.headers["permissions-policy"]
    assert page.headers["referrer-policy"] == "same-origin"
    assert text.headers["referrer-policy"] == "no-referrer"


def test_a_browser_gets_one_cookie_that_no_script_reads(client: TestClient) -> None:
    first = client.get("/", headers={"x-forwarded-proto": "https"})
    cookie = first.headers["set-cookie"]
    name, _, value = cookie.partition(";")[0].partition("=")
    assert name.startswith(COOKIE)
    assert {"HttpOnly", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
    assert "Secure" not in client.get("/").headers["set-cookie"].split("; ")
    assert "set-cookie" not in client.get("/text").headers
    again = client.get("/", headers={"cookie": f"other=1; {name}={value}"})
    assert "set-cookie" not in again.headers


def test_a_cookie_that_the_server_did_not_sign_is_a_new_visitors(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, value = client.get("/").headers["set-cookie"].partition(";")[0].partition("=")
    client.cookies.clear()
    text, _, signature = value.rpartition(".")
    invented = [
        f"{COOKIE}=made-up",
        f"{COOKIE}={value}",
        f"{name}=made-up",
        f"{name}={text}x.{signature}",
        f"{name}={text}.{signature[::-1]}",
        f"{name}=.",
        f"{name}={text}",
        f" {COOKIE} =made-up",
        f"{name}=made-up; {COOKIE}=made-up",
    ]
    known = {
        f"{name}={value}",
        f"{COOKIE}=made-up; {name}={value}; {COOKIE}=made-up",
        f"{name}={value}; {name}=made-up",
    }
    for cookie in (*invented, *known):
        expected = value if cookie in known else "a new visitor"
        headers = {"cookie": cookie, "host": "localhost:8501"}
        assert client.get("/browser", headers=headers).text == expected, cookie
        with client.websocket_connect("/stream", headers=headers) as stream:
            stream.receive_text()
            assert stream.receive_text() == expected, cookie
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path / "elsewhere"))
    mine = {"cookie": f"{name}={value}"}
    other = client.get("/", headers=mine)
    assert client.get("/browser", headers=mine).text == "a new visitor"
    elsewhere = other.headers["set-cookie"].partition(";")[0]
    assert not elsewhere.startswith(f"{name}="), "an installation replaces no other one's cookie"
    assert (tmp_path / "elsewhere" / secret.FILE).stat().st_mode & 0o077 == 0
    monkeypatch.undo()
    both = {"cookie": f"{elsewhere}; {name}={value}", "host": "localhost"}
    assert client.get("/browser", headers=both).text == value


@pytest.mark.parametrize(
    ("origin", "more", "answered"),
    [
        ("http://localhost:8501", {}, True),
        ("https://localhost:8501", {}, True),  # a proxy ends TLS
        ("https://localhost:8501", {"x-forwarded-proto": "http"}, False),
        ("http://localhost:8501", {"x-forwarded-proto": "https"}, False),
        ("https://dashboard.example", {"host": "dashboard.example"}, True),
        ("http://dashboard.example:80", {"host": "dashboard.example"}, True),
        ("https://dashboard.example:8443", {"host": "dashboard.example"}, False),
        ("http://localhost:9999", {}, False),
        ("http://localhost", {}, False),
        ("http://127.0.0.1:8501", {}, False),
        ("http://evil.example:8501", {}, False),
        ("null", {}, False),
        ("http://[", {}, False),
        ("", {}, False),
    ],
)
def test_a_page_of_another_origin_is_refused(
    client: TestClient, origin: str, more: dict[str, str], answered: bool
) -> None:
    headers = {"host": "localhost:8501", "origin": origin, **more}
    assert client.put("/text", headers=headers).status_code == (200 if answered else 403)
    assert client.get("/text", headers=headers).status_code == 200
    if answered:
        with client.websocket_connect("/stream", headers=headers) as stream:
            assert stream.receive_text() == "hello"
    else:
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            client.websocket_connect("/stream", headers=headers),
        ):
            pass
        assert refused.value.status_code == 403


@pytest.mark.parametrize("value", ["\\" * 60_000, '\\"' * 30_000, "\\0" * 30_000])
def test_cookies_that_take_long_to_read_are_refused_unread(client: TestClient, value: str) -> None:
    started = time.process_time()
    headers = {"cookie": f'a="{value}"'}
    assert client.get("/cookies", headers=headers).status_code == 400
    with (
        pytest.raises(WebSocketDenialResponse),
        client.websocket_connect("/stream", headers=headers),
    ):
        pass
    usual = {"cookie": 'a="' + "\\054" * 100 + "x" * 30_000 + '"'}
    assert client.get("/cookies", headers=usual).text == "1"
    assert time.process_time() - started < 2


def test_one_session_clears_its_own_state_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    @st.cache_resource
    def shared() -> int:
        calls.append(1)
        return len(calls)

    original = AppSession._handle_clear_cache_request
    monkeypatch.setattr(AppSession, "_handle_clear_cache_request", original)
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)
    monkeypatch.setattr(connections, "limit", lambda: None)
    disconnect = WebsocketSessionManager.disconnect_session
    monkeypatch.setattr(WebsocketSessionManager, "disconnect_session", disconnect)
    server.settle()
    cleared: list[str] = []
    session: Any = SimpleNamespace(
        _session_state=SimpleNamespace(clear=lambda: cleared.append("own"))
    )
    assert shared() == 1
    AppSession._handle_clear_cache_request(session)
    assert cleared == ["own"]
    assert shared() == 1, "what all sessions share is still there"
    original(session)
    assert shared() == 2, "what Streamlit does by itself, else there is nothing to prevent"


def test_nothing_is_sent_for_a_place_that_an_interrupted_fragment_has_not_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sent() -> list[list[int]]:
        block, reference, within = ForwardMsg(), ForwardMsg(), ForwardMsg()
        block.delta.add_block.vertical.border = True
        block.delta.fragment_id = "around"
        reference.ref_hash = "what the browser has"
        within.delta.new_element.text.body = "a text"
        within.delta.fragment_id = "within"
        queue = ForwardMsgQueue()
        for message, path in ((block, [0, 8]), (reference, [0, 8, 0]), (within, [0, 8, 1])):
            message.metadata.delta_path.extend(path)
            queue.enqueue(message)
        queue.clear(retain_lifecycle_msgs=True, fragment_ids_this_run=["around"])
        return [[*message.metadata.delta_path] for message in queue.flush()]

    monkeypatch.setattr(AppSession, "_handle_clear_cache_request", lambda _: None)
    monkeypatch.setattr(ForwardMsgQueue, "clear", ForwardMsgQueue.clear)
    monkeypatch.setattr(connections, "limit", lambda: None)
    disconnect = WebsocketSessionManager.disconnect_session
    monkeypatch.setattr(WebsocketSessionManager, "disconnect_session", disconnect)
    assert [0, 8] not in sent()
    assert sent() != [], "what Streamlit does by itself, else there is nothing to prevent"
    server.settle()
    assert sent() == [[0, 8], [0, 8, 0], [0, 8, 1]]


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server of Uvicorn with short patience."""
    made = H11Protocol.connection_made
    monkeypatch.setattr(H11Protocol, "connection_made", made)  # put back afterwards
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    connections.limit_time()
    app = Starlette(routes=[Route("/", _length, methods=["POST"]), WebSocketRoute("/ws", _echo)])
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="websockets-sansio", lifespan="off"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(100)
        thread = threading.Thread(target=server.run, args=([taken],))
        thread.start()
        yield taken.getsockname()[1]
        server.should_exit = True
        thread.join()


async def _length(request: Request) -> PlainTextResponse:
    length = len(await request.body())
    await asyncio.sleep(0.8)
    return PlainTextResponse(str(length))


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n"
WHOLE = HEAD + b"\r\n" + bytes(40)


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def _read_to(end: bytes, visitor: socket.socket) -> None:
    """Read an answer that ends so."""
    answer = b""
    while not answer.endswith(end):
        part = visitor.recv(1000)
        assert part
        answer += part


@pytest.mark.parametrize(
    ("is_first", "sent"), [(True, b""), (True, HEAD), (False, HEAD[:1]), (False, HEAD)]
)
def test_a_request_that_does_not_arrive_is_ended(
    listening: int, is_first: bool, sent: bytes
) -> None:
    with _connected(listening) as visitor:
        if not is_first:
            visitor.sendall(WHOLE)
            _read_to(b"\r\n\r\n40", visitor)
        visitor.sendall(sent)
        assert visitor.recv(1000) == b""


def test_a_request_in_tiny_parts_is_ended(listening: int) -> None:
    with _connected(listening) as visitor, suppress(ConnectionError):
        visitor.settimeout(0.1)
        for place in range(len(HEAD)):
            visitor.sendall(HEAD[place : place + 1])
            with suppress(TimeoutError):
                assert visitor.recv(1000) == b""
                return
        pytest.fail("all parts were taken")


def test_the_rest_of_a_refused_request_is_not_waited_for(listening: int) -> None:
    with _connected(listening) as visitor:
        visitor.sendall(WHOLE.replace(b"/", b"/no/such/page", 1)[:-20])
        _read_to(b"Not Found", visitor)
        visitor.sendall(b"0")
        with suppress(ConnectionError):
            assert visitor.recv(1000) == b""


def test_whoever_is_served_or_may_ask_again_is_not_ended(listening: int) -> None:
    with _connected(listening) as visitor, connect(f"ws://127.0.0.1:{listening}/ws") as page:
        for _ in range(2):
            visitor.sendall(WHOLE[:9])
            time.sleep(0.1)
            visitor.sendall(WHOLE[9:-20])
            time.sleep(0.8)  # while the body arrives
            visitor.sendall(WHOLE[-20:])
            _read_to(b"\r\n\r\n40", visitor)
            time.sleep(0.8)  # between two requests Uvicorn has a timer of its own
        page.send("still here")
        assert page.recv() == "still here"


LOW_LIMIT = """
import resource
from robustness.ui import connections
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
connections.limit()
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_more_descriptors_are_asked_for_than_a_system_gives_by_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOW_LIMIT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) >= 4 * 400, "those of 400 pages"


@pytest.mark.parametrize(("wanted", "holds"), [("20MB", 19), ("1GB", 64), ("3KB", 1), ("", 64)])
def test_the_lower_limit_of_uploads_holds(
    monkeypatch: pytest.MonkeyPatch, wanted: str, holds: int
) -> None:
    monkeypatch.setenv("ROBUSTNESS_UPLOAD_LIMIT", wanted)
    before = config.get_option("server.maxUploadSize")
    try:
        config.set_option("server.maxUploadSize", 64)
        server.lower_upload_limit()
        assert config.get_option("server.maxUploadSize") == holds
    finally:
        config.set_option("server.maxUploadSize", before)


def test_the_start_says_who_is_an_owner_by_place_where_others_are_expected(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server.note_local_role()
    assert not caplog.records
    monkeypatch.setenv("ROBUSTNESS_HOSTS", "dashboard.example")
    server.note_local_role()
    monkeypatch.setenv("ROBUSTNESS_LOCAL_OWNER", "on")
    server.note_local_role()
    assert all(settings.LOCAL_OWNER.name in message for message in caplog.messages)
    assert ["evaluator" in message for message in caplog.messages] == [True, False]
