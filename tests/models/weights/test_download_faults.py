"""What goes wrong while fetching weights, each against a real HTTP server on this machine.

After each fault no file lies under its final name that is not whole and right, a sentence says
what happened, and the next try succeeds.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from robustness import models
from robustness.base.errors import DownloadError
from robustness.models.weights.fetch import download
from tests.support.download_server import (
    CONTENT,
    FIRST,
    Answer,
    Server,
    assert_sentence,
    files_left,
    final_path,
    sends,
    sends_in_pieces,
    sends_up_to,
    server,
    status,
    unreachable,
    waits,
)

__all__ = ["server"]

# A connection that fails midway is closed when its exception is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

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


# --- the host -------------------------------------------------------------------------------------

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


# --- this machine ---------------------------------------------------------------------------------


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
