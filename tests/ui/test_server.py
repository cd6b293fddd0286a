"""What the server does for every request: the check of its host, headers, limits and caches."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
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
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect

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
    """The port of a server of Uvicorn with short patience, for at most eight connections."""
    for name in ("connection_made", "data_received", "connection_lost"):
        monkeypatch.setattr(H11Protocol, name, getattr(H11Protocol, name))  # put back afterwards
    begin = WebSocketsSansIOProtocol.__init__
    monkeypatch.setattr(WebSocketsSansIOProtocol, "__init__", begin)
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(connections, "BODY_SECONDS", 0.5)
    connections.limit_time()
    connections.limit_count(8)
    connections.limit_messages(1000)
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
    return PlainTextResponse(str(len(await request.body())))


async def _echo(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 40\r\n"


def _sent(port: int, *parts: bytes, seconds: float = 0.1) -> bytes:
    """The answer to ``parts``, one every ``seconds``; nothing if the server ends the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as visitor:
        with suppress(OSError):
            for part in parts:
                visitor.sendall(part)
                visitor.settimeout(seconds)
                with suppress(TimeoutError):
                    return visitor.recv(1000)
            visitor.settimeout(60)
            return visitor.recv(1000)
        return b""


def test_a_request_that_does_not_arrive_in_time_is_ended(listening: int) -> None:
    dripped = [HEAD[place : place + 2] for place in range(0, len(HEAD), 2)]
    for parts in ([], [HEAD], dripped, [HEAD + b"\r\n"], [HEAD + b"\r\n", b"half of it"]):
        started = time.monotonic()
        assert _sent(listening, *parts) == b""
        assert time.monotonic() - started < 30, "by the server, before this test gives up"
    whole = HEAD + b"\r\n"
    body = [b"0123456789"] * 4
    assert _sent(listening, whole[:9], whole[9:] + b"".join(body)).startswith(b"HTTP/1.1 200")
    answer = _sent(listening, whole, *body, seconds=0.3)
    assert answer.startswith(b"HTTP/1.1 200"), "a body may take longer in all, part by part"
    with connect(f"ws://127.0.0.1:{listening}/ws") as page:
        time.sleep(1.2)
        page.send("still here")
        assert page.recv() == "still here"


def test_a_message_beyond_the_limit_is_refused_before_it_has_arrived(listening: int) -> None:
    with connect(f"ws://127.0.0.1:{listening}/ws") as page:
        page.send("a" * 1000)
        assert page.recv() == "a" * 1000
    with connect(f"ws://127.0.0.1:{listening}/ws") as page:
        page.socket.sendall(b"\x81\xff" + (10**6).to_bytes(8, "big"))  # the head of a frame
        with pytest.raises(ConnectionClosedError, match="1009"):
            page.recv()


def test_connections_beyond_the_limit_are_refused_and_those_within_are_served(
    listening: int,
) -> None:
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(socket.create_connection(("127.0.0.1", listening), timeout=60))
        assert _sent(listening, HEAD) == b""
    whole = HEAD + b"\r\n" + bytes(40)
    deadline = time.monotonic() + 60
    while not _sent(listening, whole):
        assert time.monotonic() < deadline


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
