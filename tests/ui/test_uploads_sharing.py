"""Links made while an upload is shown: one's own after a reload, and others' where it is shared."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from robustness.base.errors import AccessError, ParameterError
from robustness.images.decoding import sample_bytes
from robustness.runs import listing
from robustness.ui import session, uploads
from robustness.ui.session import Connection
from tests.support.pages import changes, run, sample, texts

ADA = Connection("192.0.2.7", {"host": "dashboard.example"}, {session.COOKIE: "ada"})
BOB = Connection("192.0.2.8", {"host": "dashboard.example"}, {session.COOKIE: "bob"})
HERE = Connection("127.0.0.1", {"host": "localhost"}, {session.COOKIE: "here"})
A_SAMPLE = "this is a sample"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of copies; images can be shared for a day, and Ada visits over the network."""
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUSTNESS_SHARED_DAYS", "1")
    monkeypatch.setattr(session, "connection", lambda: ADA)
    return tmp_path / "runs" / uploads.FOLDER


def comes(monkeypatch: pytest.MonkeyPatch, connection: Connection) -> None:
    monkeypatch.setattr(session, "connection", lambda: connection)


def uploading(data: bytes = sample_bytes("astronaut")) -> AppTest:
    app = run(models="SqueezeNet")
    return app.file_uploader[0].upload("mine.png", data, "image/png").run()


def shared_one() -> str:
    """The id of an image that who is there has shared."""
    return uploads.share("mine.png", sample_bytes("astronaut"))


def opened(id_: str, **link: Any) -> AppTest:
    """The Live page of another session that follows the link."""
    return run(models="SqueezeNet", upload=id_, **link)


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


# --- without sharing ------------------------------------------------------------------------------


def test_a_link_made_with_an_upload_says_that_it_shows_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("ROBUSTNESS_SHARED_DAYS")
    sender = uploading()
    assert "Share this image" not in labels(sender), "off by default"
    assert A_SAMPLE not in texts(sender)
    comes(monkeypatch, BOB)
    receiver = run(**dict(sender.query_params.items()))
    assert A_SAMPLE in texts(receiver)
    receiver.button(key="choose_coffee").click().run()
    assert A_SAMPLE not in texts(receiver)
    comes(monkeypatch, ADA)
    sender.button(key="choose_coffee").click().run()
    assert "upload" not in sender.query_params


# --- shared ---------------------------------------------------------------------------------------


def test_a_shared_image_is_what_others_see(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    sender = uploading()
    sender.button(key="share").click().run()
    assert "Links include it" in texts(sender)
    seen = changes(monkeypatch)
    comes(monkeypatch, BOB)
    receiver = opened(str(sender.query_params["upload"]), fog="0.5")
    assert seen[-1][0] == sample("astronaut").digest
    assert "Showing mine.png, shared until" in texts(receiver)
    assert "Delete" not in labels(receiver), "it is not Bob's"
    assert not [entry for entry in listing(folder.parent) if entry.manifest is None]


def test_a_copy_is_gone_when_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    id_ = shared_one()
    later = time.time() + 86_500
    monkeypatch.setattr(time, "time", lambda: later)
    assert uploads.shared(id_) is None
    assert "has expired or was deleted" in texts(opened(id_))
    uploads.forget_expired()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("connection", [ADA, HERE], ids=["who shared it", "an owner"])
def test_a_copy_is_deleted_by_whose_it_is_or_an_owner(
    monkeypatch: pytest.MonkeyPatch, folder: Path, connection: Connection
) -> None:
    id_ = shared_one()
    comes(monkeypatch, connection)
    app = opened(id_)
    app.button(key=f"unshare {id_}").click().run()
    assert not list(folder.iterdir())
    assert A_SAMPLE in texts(app)


def test_a_click_that_is_forged_deletes_nothing(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    app = opened(id_ := shared_one())
    comes(monkeypatch, BOB)
    app.button(key=f"unshare {id_}").click().run()
    assert [path.name for path in folder.iterdir()] == [id_]


@pytest.mark.parametrize(("setting", "value"), [("READ_ONLY", "on"), ("ANONYMOUS_ROLE", "viewer")])
def test_who_may_not_share_does_not(
    monkeypatch: pytest.MonkeyPatch, folder: Path, setting: str, value: str
) -> None:
    app = opened(id_ := shared_one())
    monkeypatch.setenv(f"ROBUSTNESS_{setting}", value)
    with pytest.raises(AccessError, match="You may not share images"):
        uploads.share("other.png", b"data")
    app.button(key=f"unshare {id_}").click().run()
    assert [path.name for path in folder.iterdir()] == [id_], "nor delete"
    assert "Showing mine.png" in texts(opened(id_)), "but looks"


def test_what_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    with pytest.raises(ParameterError, match=r"at most 20\.0 MB"):
        uploads.share("large.png", bytes(uploads.MOST_BYTES + 1))
    monkeypatch.setenv("ROBUSTNESS_UPLOADS", "1MB")
    uploads.share("small.png", bytes(600_000))
    with pytest.raises(ParameterError, match=r"at most 0\.4 MB"):
        uploads.share("small.png", bytes(600_000))
    assert len(list(folder.iterdir())) == 1


def test_an_id_that_is_none_shows_a_sample() -> None:
    for id_ in ("../../app.py", "a" * 22, "own\0"):
        assert uploads.shared(id_) is None
    app = opened("../../app.py")
    assert not app.exception
    assert "has expired or was deleted" in texts(app)


@pytest.mark.parametrize("content", [b"", b"{}\nx", b"[" * 100_000, b'{"name": 1}\n', b"\xff\n"])
def test_a_file_that_is_no_copy_is_none(folder: Path, content: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / ("a" * 22)).write_bytes(content)
    assert uploads.shared("a" * 22) is None
    uploads.forget_expired()
    assert not list(folder.iterdir())


def test_a_hostile_image_that_is_shared_ends_in_a_sentence(folder: Path) -> None:
    app = opened(uploads.share("<b>bad</b>.png", b"\x89PNG\r\n\x1a\n" + bytes(100)))
    assert not app.exception
    assert "bad" in app.error[0].value
    assert any(folder.iterdir())


# --- reloads --------------------------------------------------------------------------------------


def reloaded(before: AppTest) -> AppTest:
    """Another session by the link of ``before``, as a reload begins one."""
    return run(**dict(before.query_params.items()))


def end(app: AppTest) -> None:
    """As ``cleanup`` does when the browser has left, for what matters here."""
    del app.session_state[uploads.KEY]
    gc.collect()


def test_a_reload_keeps_the_upload_while_any_session_shows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = uploading()
    seen = changes(monkeypatch)
    second = reloaded(first)
    assert {digest for digest, *_ in seen} == {sample("astronaut").digest}
    assert "Showing mine.png" in texts(second)
    assert first.query_params["upload"] == second.query_params["upload"], "no entry of history"
    end(first)
    third = reloaded(second)
    assert "Showing mine.png" in texts(third)
    for app in (second, third):
        end(app)
    assert not uploads.contents(), "the memory is free"
    last = reloaded(third)
    assert "Your upload has ended" in texts(last)
    assert not last.file_uploader[0].disabled, "it can be chosen again"


def test_nobody_else_sees_the_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = uploading()
    seen = changes(monkeypatch)
    for stranger in (BOB, Connection("192.0.2.9", {}, {})):
        comes(monkeypatch, stranger)
        receiver = reloaded(sender)
        assert "The sender used their own image" in texts(receiver)
    assert sample("astronaut").digest not in {digest for digest, *_ in seen}


def test_another_user_of_the_browser_does_not_see_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = uploading()
    monkeypatch.setattr(session, "me", lambda: "bob@example.org")
    assert not uploads.uploads(str(sender.query_params["upload"]))


def test_a_sample_replaces_the_upload_and_frees_it() -> None:
    app = uploading()
    assert uploads.contents()
    app.button(key="choose_coffee").click().run()
    gc.collect()
    assert not uploads.contents()
    assert "upload" not in app.query_params


@pytest.mark.parametrize("link", ["own", "own-", "own-x", "own-" + 22 * "a" + "-" + 16 * "0", "é"])
def test_an_invented_link_is_nobodys(link: str) -> None:
    assert not uploads.uploads(link)
    assert not uploads.is_mine(link)
