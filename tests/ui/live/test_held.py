"""Requests beside the page's script: what a stranger can send costs no memory and no time."""

from __future__ import annotations

import asyncio
import io
import json
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

from robustness.base.turns import SupersededError
from robustness.measure.condition import Condition
from robustness.ui import session
from robustness.ui.components import unpack
from robustness.ui.live import held as live_held
from robustness.ui.live.request import LiveRequest
from robustness.ui.session import Connection
from tests.support.bands import complete_band
from tests.support.pages import sample

MEGABYTE = 10**6
ELSEWHERE = Connection("192.0.2.7", {"host": "dashboard.example"}, {session.COOKIE: "secret"})


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=live_held.ROUTES), cookies=dict(ELSEWHERE.cookies))


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path for a visitor from another machine and a sample."""
    monkeypatch.setattr(session, "connection", lambda: ELSEWHERE)
    request = LiveRequest(sample("coffee"), Condition.of({}), (), 0)
    return f"/live/{live_held.TICKETS.give(request)}"


@pytest.fixture
def viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_ANONYMOUS_ROLE", "viewer")


def message(sizes: object, images: bytes = b"", **header: Any) -> bytes:
    head = json.dumps({"want": "picture", "steps": [], **header, "sizes": sizes}).encode()
    return struct.pack(">I", len(head)) + head + images


def test_a_picture_comes_back(client: TestClient, path: str, viewer: None) -> None:
    reply = client.post(path, content=message([]))
    assert reply.status_code == 200
    header, (before, after) = unpack(reply.content)
    assert header["texts"] == {}
    assert not before
    assert after.startswith(b"\x89PNG")


@pytest.mark.parametrize("cookies", [{}, {session.COOKIE: ""}, {session.COOKIE: "another"}])
def test_a_ticket_is_of_no_use_in_another_browser(
    client: TestClient, path: str, cookies: dict[str, str]
) -> None:
    stranger = TestClient(Starlette(routes=live_held.ROUTES), cookies=cookies)
    assert stranger.post(path, content=message([])).status_code == 404
    assert stranger.get(f"{path}/perturbations?words=dark").status_code == 404
    assert client.get(f"{path}/perturbations?words=dark").status_code == 200


def test_without_cookies_no_ticket_is_of_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every browser without cookies would be the same one."""
    monkeypatch.setattr(session, "connection", lambda: Connection("192.0.2.7", {}, {}))
    ticket = live_held.TICKETS.give(LiveRequest(sample("coffee"), Condition.of({}), (), 0))
    stranger = TestClient(Starlette(routes=live_held.ROUTES))
    assert stranger.post(f"/live/{ticket}", content=message([])).status_code == 404


@pytest.fixture
def foggy(monkeypatch: pytest.MonkeyPatch) -> str:
    """The path for a visitor with a model and a true class."""
    monkeypatch.setattr(session, "connection", lambda: ELSEWHERE)
    live = LiveRequest(sample("chelsea"), Condition.of({}), ("SqueezeNet",), 0, "Egyptian cat")
    return f"/live/{live_held.TICKETS.give(live)}"


def bands(client: TestClient, path: str, **values: Any) -> Any:
    """The answer of the server to a request for bands."""
    values = {"of": "fog", "count": 5, "steps": [{"name": "fog", "strength": 0.3}], **values}
    return client.post(path, content=message([], want="bands", **values))


def test_a_band_is_refined_and_says_where_its_model_breaks(client: TestClient, foggy: str) -> None:
    for count in (5, 9, 21):
        reply = bands(client, foggy, count=count)
        assert reply.status_code == 200
        answer = reply.json()["bands"]["SqueezeNet"]
        assert answer["html"].count("<i") == count
    complete = complete_band(sample("chelsea"), "fog")
    assert answer["breaksAt"] == complete.labelled("Egyptian cat").breaks_at


def test_a_band_stands_beside_the_other_perturbations(client: TestClient, foggy: str) -> None:
    alone = bands(client, foggy).json()["bands"]
    other = {"name": "vertical_flip", "strength": 1.0}
    beside = bands(client, foggy, steps=[{"name": "fog", "strength": 0.3}, other]).json()["bands"]
    assert alone != beside
    moved = bands(client, foggy, steps=[{"name": "fog", "strength": 0.9}]).json()["bands"]
    assert alone == moved, "a band does not depend on where its own slider stands"


@pytest.mark.parametrize(
    "odd",
    [
        {"of": "no such"},
        {"of": "vertical_flip"},
        {"of": 3},
        {"count": "5"},
        {"count": None},
        {"count": 26},
    ],
)
def test_a_band_of_what_has_none_is_refused(
    client: TestClient, foggy: str, odd: dict[str, Any]
) -> None:
    assert bands(client, foggy, **odd).status_code == 400


HOSTILE = {
    "negative sizes": message([600_000, -600_000] * 1000, bytes(700_000)),
    "a negative size": message([-1], b"x"),
    "many sizes of nothing": message([0] * 200_000),
    "two images": message([1, 1], b"xy"),
    "less than there is": message([1], b"xy"),
    "more than there is": message([3], b"xy"),
    "far more than there is": message([10**18], b"xy"),
    "no whole number": message([1.0], b"x"),
    "a truth value": message([True], b"x"),
    "not a number": message([float("nan")], b"x"),
    "no list": message({"0": 1}, b"x"),
    "a text": message("1", b"x"),
    "nothing": message(None, b"x"),
    "a longer header than the message": struct.pack(">I", 2**32 - 1) + b'{"sizes": []}',
    "no header": b"abc",
    "empty": b"",
    "a header that is a list": struct.pack(">I", 2) + b"[]",
    "a header that is nested deeply": struct.pack(">I", 30_000) + b"[" * 30_000,
    "a number of many digits": message([]).replace(b"[]", b"9" * 5000),
}


@pytest.fixture
def limited(client: TestClient, path: str) -> Iterator[None]:
    """Check that allocations within stay below 16 MB."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * MEGABYTE


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE.keys())
def test_sizes_are_checked_before_anything_is_copied(
    client: TestClient, path: str, sent: bytes
) -> None:
    assert client.post(path, content=sent).status_code == 400


@pytest.mark.usefixtures("limited", "viewer")
def test_who_may_not_upload_sends_no_more_than_steps(client: TestClient, path: str) -> None:
    assert client.post(path, content=bytes(live_held.MOST_BYTES_OF_STEPS + 1)).status_code == 403
    assert client.post(path, content=HOSTILE["negative sizes"]).status_code == 403
    assert client.post(path, content=message([3], b"png", want="camera")).status_code == 403
    assert client.post(path, content=message([3], b"png")).status_code == 403


@pytest.mark.parametrize("way", ["picture", "search"])
def test_of_a_hundred_requests_of_a_ticket_two_are_worked_on(
    path: str, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    work = threading.Event()

    def held(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            work.wait(240)
            return function(*given)

        return call

    monkeypatch.setattr(LiveRequest, "change", held(LiveRequest.change))
    monkeypatch.setattr(live_held, "find", held(live_held.find))

    async def ask() -> list[int]:
        app = httpx.ASGITransport(Starlette(routes=live_held.ROUTES))
        async with httpx.AsyncClient(
            transport=app, base_url="http://localhost", cookies=dict(ELSEWHERE.cookies)
        ) as client:

            async def request(number: int) -> int:
                if way == "picture":
                    return (await client.post(path, content=message([]))).status_code
                search = {"words": f"dark {number}"}
                return (await client.get(f"{path}/perturbations", params=search)).status_code

            tasks = [asyncio.create_task(request(number)) for number in range(100)]
            while sum(task.done() for task in tasks) < 98:
                await asyncio.sleep(0.01)
            work.set()
            found = [await task for task in tasks]
            assert await request(0) == 200, "two have ended"
            return found

    assert sorted(asyncio.run(ask())) == [200] * 2 + [429] * 98


def test_overlapping_requests_without_pause_are_few(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on = 0

    def superseded(*_: Any) -> Any:
        nonlocal worked_on
        worked_on += 1
        raise SupersededError

    monkeypatch.setitem(live_held._MAKERS, "answers", superseded)

    async def ask() -> list[int]:
        app = httpx.ASGITransport(Starlette(routes=live_held.ROUTES))
        async with httpx.AsyncClient(
            transport=app, base_url="http://localhost", cookies=dict(ELSEWHERE.cookies)
        ) as client:
            until, statuses = (
                time.monotonic() + 0.8 * live_held.SECONDS_OVERLAPPING,
                [],
            )

            async def post_without_pause() -> None:
                while time.monotonic() < until:
                    asked = message([], want="answers")
                    statuses.append((await client.post(path, content=asked)).status_code)

            await asyncio.gather(*(post_without_pause() for _ in range(4)))
            return sorted(statuses)

    assert asyncio.run(ask()) == [409, 409, 429, 429]
    assert worked_on == 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_a_frame_is_counted_before_it_is_decoded(client: TestClient, path: str, kind: str) -> None:
    def frame(width: int) -> bytes:
        data = io.BytesIO()
        options = {"compression": "tiff_deflate"} if kind == "TIFF" else {}
        Image.new("L", (width, 1000)).save(data, kind, **options)
        return message([len(data.getvalue())], data.getvalue(), want="camera")

    assert client.post(path, content=frame(1000)).status_code == 200
    assert client.post(path, content=frame(1001)).status_code == 422
    huge = frame(16_000)
    started = time.process_time()
    assert [client.post(path, content=huge).status_code for _ in range(5)] == [422] * 5
    assert time.process_time() - started < 2


def test_a_body_without_end_is_read_no_further_than_its_limit() -> None:
    taken = 0

    async def receive() -> dict[str, object]:
        nonlocal taken
        taken += 1000
        return {"type": "http.request", "body": bytes(1000), "more_body": True}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    assert asyncio.run(live_held.body(request, 10_000)) is None
    assert taken == 11_000
