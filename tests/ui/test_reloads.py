"""A reload keeps an own photo, in the browser that sent it and while a session holds it."""

from __future__ import annotations

import gc

import pytest
from streamlit.testing.v1 import AppTest

from robustness.pictures.samples import sample_bytes
from robustness.ui.session import access, reloads
from robustness.ui.session.access import Connection
from tests.support.pages import changes, run, sample, texts

ADA, BOB = (
    Connection(f"192.0.2.{n}", {"host": "dashboard.example"}, {access.COOKIE: name})
    for n, name in enumerate(("ada", "bob"))
)


@pytest.fixture(autouse=True)
def ada(monkeypatch: pytest.MonkeyPatch) -> None:
    comes(monkeypatch, ADA)


def comes(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    monkeypatch.setattr(access, "connection", lambda: connection)


def uploading() -> AppTest:
    app = run(models="SqueezeNet")
    return app.file_uploader[0].upload("mine.png", sample_bytes("astronaut"), "image/png").run()


def opened(before: AppTest) -> AppTest:
    """Another session by the link of ``before``, as a reload begins one."""
    return run(**dict(before.query_params.items()))


def end(app: AppTest) -> None:
    """As ``cleanup`` does when the browser has left, for what matters here."""
    del app.session_state[reloads.KEY]
    gc.collect()


def test_a_reload_keeps_the_upload_while_any_session_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = uploading()
    seen = changes(monkeypatch)
    second = opened(first)
    assert {digest for digest, *_ in seen} == {sample("astronaut").digest}
    assert "Showing mine.png" in texts(second)
    assert first.query_params["upload"] == second.query_params["upload"], "no entry of history"
    end(first)
    third = opened(second)
    assert "Showing mine.png" in texts(third)
    for app in (second, third):
        end(app)
    assert not reloads.contents(), "the memory is free"
    last = opened(third)
    assert "Your upload has ended" in texts(last)
    assert not last.file_uploader[0].disabled, "it can be chosen again"


def test_nobody_else_sees_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = uploading()
    seen = changes(monkeypatch)
    for stranger in (BOB, Connection("192.0.2.9", {}, {})):
        comes(monkeypatch, stranger)
        receiver = opened(sender)
        assert "The sender used their own image" in texts(receiver)
    assert sample("astronaut").digest not in {digest for digest, *_ in seen}


def test_another_user_of_the_browser_does_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = uploading()
    monkeypatch.setattr(access, "me", lambda: "bob@example.org")
    assert not reloads.uploads(str(sender.query_params["upload"]))


def test_a_sample_replaces_the_upload_and_frees_it() -> None:
    app = uploading()
    assert reloads.contents()
    app.button(key="choose_coffee").click().run()
    gc.collect()
    assert not reloads.contents()
    assert "upload" not in app.query_params


@pytest.mark.parametrize("link", ["own", "own-", "own-x", "own-" + 22 * "a" + "-" + 16 * "0", "é"])
def test_an_invented_link_is_nobodys(link: str) -> None:
    assert not reloads.uploads(link)
    assert not reloads.is_mine(link)
