"""A real HTTP server with weight files, which fails as it is told to."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustness import models
from robustness.base import settings
from robustness.models.sources import keras_cache, published_file
from tests.conftest import register

CONTENT = hashlib.sha256(b"weights").digest() * 10_000 + b"end"  # ten chunks, the last one short
FIRST, SECOND = "VGG16", "ResNet50"

Answer = Callable[["Handler"], None]


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path; ``faults`` are the answers to the first requests.

    Right answers to a path with ``hashed`` have its hash, as those of Google Storage.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.hashed = "/hub/"
        self.faults: list[Answer] = []
        self.paths: list[str] = []
        self.sent = 0
        self.go_on = threading.Event()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no error here."""


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.close_connection = True
        with self.server.lock:
            self.server.paths.append(self.path)
            fault = self.server.faults.pop(0) if self.server.faults else None
        (fault or right)(self)

    @property
    def body(self) -> bytes | None:
        return self.server.files.get(self.path)

    def head(self, status: int, length: int | None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Connection", "close")  # lest the next request meet one about to close
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def send(self, data: bytes) -> None:
        self.wfile.write(data)
        self.wfile.flush()
        with self.server.lock:
            self.server.sent += len(data)

    def log_message(self, *_: Any) -> None:
        """The tests' output stays clean."""


def right(request: Handler) -> None:
    """The whole file."""
    sends_up_to(1.0)(request)


def sends_up_to(share: float, then: Callable[[Handler], None] = lambda _: None) -> Answer:
    """The beginning of the file, up to ``share`` of it; then ``then``."""

    def answer(request: Handler) -> None:
        body = request.body
        if body is None:
            request.head(404, 0)
            return
        hashed = request.server.hashed in request.path
        request.head(200, len(body), **({"x_goog_hash": google(body)} if hashed else {}))
        request.send(body[: int(share * len(body))])
        then(request)

    return answer


def google(content: bytes) -> str:
    """The header ``x-goog-hash`` of ``content``."""
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return f"crc32c=n03x6A==,md5={md5}"


def waits(request: Handler) -> None:
    """Until the test lets it go on; then the connection ends."""
    request.server.go_on.wait(240)


def status(code: int, **headers: str) -> Answer:
    """No file at all."""
    return lambda request: request.head(code, 0, **headers)


def sends(body: bytes, *, claim: int | None = None) -> Answer:
    """``body`` whatever is asked for, announced as ``claim`` bytes (default: its length)."""

    def answer(request: Handler) -> None:
        request.head(200, len(body) if claim is None else claim)
        request.send(body)

    return answer


def sends_in_pieces(body: bytes) -> Answer:
    """``body`` in many small chunks, its length never announced."""

    def answer(request: Handler) -> None:
        request.head(200, None, Transfer_Encoding="chunked")
        for start in range(0, len(body), 5_000):
            piece = body[start : start + 5_000]
            request.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        request.send(b"0\r\n\r\n")

    return answer


@contextmanager
def running(server: ThreadingHTTPServer) -> Iterator[None]:
    """Run ``server`` within the context."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Serves small files in place of two models' weights; every cache is empty."""
    other_machine(monkeypatch, tmp_path / "caches")
    monkeypatch.setattr("pooch.core.time", SimpleNamespace(sleep=lambda _: time.sleep(0.01)))
    server = Server()
    for name in (FIRST, SECOND):
        serve_published(monkeypatch, server, name, CONTENT)
    with running(server):
        yield server
        server.go_on.set()


def other_machine(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Empty caches, as on another machine."""
    patch.setenv("KERAS_HOME", str(folder / "keras"))
    patch.setenv("ROBUSTNESS_CACHE", str(folder / "robustness"))
    patch.setenv("KAGGLEHUB_CACHE", str(folder / "kagglehub"))
    for name in ("WEIGHTS_DIR", "WEIGHTS_MIRROR", "DOWNLOAD_TIMEOUT", "CONFIG"):
        patch.delenv(f"ROBUSTNESS_{name}", raising=False)


def serve_published(
    patch: pytest.MonkeyPatch, server: Server, name: str, content: bytes, **changes: Any
) -> models.ModelRecord:
    """Serve ``content`` as the published file of the model ``name``."""
    record = models.REGISTRY[name]
    filename = record.weights.name
    server.files[f"/official/{filename}"] = content
    file = published_file(
        url=f"{server.url}/official/{filename}",
        size=len(content),
        digest=f"md5:{hashlib.md5(content).hexdigest()}",
    )
    return register(patch, replace(record, weights=replace(file, **changes)))


def final_path(name: str = FIRST) -> Path:
    return keras_cache() / models.REGISTRY[name].weights.name


def files_left() -> list[str]:
    """The names of all files in the caches."""
    folders = (keras_cache(), settings.cache_folder())
    return sorted(p.name for folder in folders for p in folder.rglob("*") if p.is_file())


def assert_sentence(error: BaseException) -> None:
    """``error`` says what happened as a message to a person."""
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert "Traceback" not in text
    assert len(text) < 400


@contextmanager
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A mirror that refuses every connection; yields its address."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening
        mirror = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", mirror)
        yield mirror
