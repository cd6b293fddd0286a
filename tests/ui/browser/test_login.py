"""Logging in with an OpenID Connect provider, and what each may do then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.support.page_actions import new_tab, shown
from benchmarks.support.server import dashboard, free_port
from tests.support.oidc_server import Provider, provider

ADA = {"email": "Ada@example.org", "email_verified": True}
EVE = {"email": "eve@elsewhere.example", "email_verified": True}


def test_who_logs_in_has_the_role_of_their_address(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    with provider() as asked:
        address = f"http://localhost:{port}"
        (tmp_path / "secrets.toml").write_text(asked.secrets(address), encoding="utf-8")
        settings: dict[str, Any] = {
            "ROBUSTNESS_LOGIN": "on",
            "ROBUSTNESS_EVALUATORS": "*@example.org",
            "ROBUSTNESS_OPERATOR_CONTACT": "op@example.org",
            "ROBUSTNESS_RUNS": str(tmp_path / "runs"),
            "STREAMLIT_SECRETS_FILES": str(tmp_path / "secrets.toml"),
        }
        # A page with nothing to measure is the whole of it.
        with dashboard("pages/reference.py", port, **settings):
            context = browser.new_context()
            page = new_tab(context)
            page.goto(address)
            shown(page.get_by_text("Log in to use this dashboard."))
            expect(page.get_by_role("textbox", name="Search")).to_have_count(0)
            _log_in(page, asked, EVE)
            shown(page.get_by_text("you have none here; ask op@\u2060example.org"))
            _log_out(page)
            _log_in(page, asked, ADA)
            shown(page.get_by_text("ada@\u2060example.org (evaluator)"))
            shown(page.get_by_role("textbox", name="Search"))
            context.close()  # before the server ends, which waits for who is still answered


def test_a_browser_cannot_fill_the_memory_with_values_of_controls(address: str) -> None:
    said = BackMsg()
    widget = said.rerun_script.widget_states.widgets.add()
    widget.id, widget.string_value = "invented", "a" * 6_000_000
    stream = f"{address.replace('http', 'ws', 1)}/_stcore/stream"
    with (
        connect(stream, subprotocols=[Subprotocol("streamlit")], max_size=None) as connection,
        pytest.raises(ConnectionClosed) as closed,
    ):
        _exchange(connection, said.SerializeToString())
    # The server refuses it by its length, so it may hang up before all of it has been sent.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009, "too big"


def _exchange(connection: ClientConnection, message: bytes) -> list[object]:
    connection.send(message)
    return list(connection)


def _log_in(page: Page, asked: Provider, claims: dict[str, object]) -> None:
    asked.claims = claims
    shown(page.get_by_role("button", name="Log in")).click()
    shown(page.get_by_role("button", name="Log out"))


def _log_out(page: Page) -> None:
    shown(page.get_by_role("button", name="Log out")).click()
    shown(page.get_by_role("button", name="Log in"))
