"""What a session held goes once its browser has left for good."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit import config
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.runtime import Runtime
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.runtime.websocket_session_manager import WebsocketSessionManager

from robustness.images.framing import Picture
from robustness.measure.condition import Condition
from robustness.ui import jobs, session
from robustness.ui.live.held import Tickets
from robustness.ui.live.request import LiveRequest
from tests.support.pages import sample
from tests.support.streamlit_runtime import Browser, started

TTL = "server.disconnectedSessionTTL"

SCRIPT = """
from tests.ui import test_jobs_sessions as test_cleanup

test_cleanup.hold()
"""


HELD: list[weakref.ref[Picture]] = []
TICKETS = Tickets()
ASKED: list[str] = []


def hold() -> None:
    picture = sample("coffee")
    HELD.append(weakref.ref(picture))
    ASKED.append(TICKETS.give(LiveRequest(picture, Condition.of({}), (), 0)))


def held() -> int:
    """The number of images that sessions hold."""
    return sum(each() is not None for each in HELD)


COOKIES = {session.COOKIE: "mine"}


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Grows whenever a session has ended."""
    found: list[str] = []
    monkeypatch.setattr(session, "connection", lambda: session.Connection("127.0.0.1", {}, COOKIES))
    monkeypatch.setattr(jobs, "_MARGIN", 0.0)
    monkeypatch.setattr(jobs, "_BATCH_SECONDS", 0.0)
    monkeypatch.setattr(jobs, "AFTERWARDS", [lambda: found.append("ended")])
    disconnect = WebsocketSessionManager.disconnect_session
    monkeypatch.setattr(WebsocketSessionManager, "disconnect_session", disconnect)  # put back
    jobs.watch()
    lasted = config.get_option(TTL)
    yield found
    config.set_option(TTL, lasted)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def visit(runtime: Runtime, session_id: str | None = None) -> str:
    """A browser has opened the page, and seen it; of the session that it had before, if any."""
    browser = Browser()
    opened = runtime.connect_session(browser, {}, existing_session_id=session_id)
    session = runtime.get_app_session(opened)
    assert session is not None
    asked = BackMsg()
    asked.rerun_script.query_string = ""
    runtime.handle_backmsg(opened, asked)
    # Streamlit counts a run when it tells the browser of its end, which may be later than the end.
    await until(lambda: browser.has_seen_page and session._scriptrunner is None)
    return opened


def test_what_a_session_holds_goes_when_it_has_left_and_not_before(
    ended: list[str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    async def life() -> None:
        async with started(script) as (runtime, files):
            staying, leaves = await visit(runtime), await visit(runtime)
            files.add_file(leaves, UploadedFileRec("1", "a.png", "image/png", b"bytes"))
            assert held() == 2

            config.set_option(TTL, 1)
            runtime.disconnect_session(leaves)  # for a moment
            assert await visit(runtime, leaves) == leaves
            await asyncio.sleep(1.1)
            assert not ended
            assert held() == 2
            assert files.get_files(leaves, ["1"])

            config.set_option(TTL, 0)
            runtime.disconnect_session(leaves)
            await until(lambda: ended)
            assert not files.get_files(leaves, ["1"])
            assert held() == 1, "freed with the session that held it"
            known = [TICKETS.get(ticket, COOKIES) is not None for ticket in ASKED]
            assert known == [True, False, False]
            assert runtime.is_active_session(staying)
            assert ended == ["ended"]

    asyncio.run(life())
