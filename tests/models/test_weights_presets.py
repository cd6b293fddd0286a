"""Fetching presets: folders of files whose hashes only the host knows."""

from __future__ import annotations

import hashlib
import http.server
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from robustness import models
from robustness.base import settings
from robustness.base.errors import DownloadError
from robustness.models.sources import preset
from robustness.models.weights import SUMS, download, fault, find_whole, sums, sums_text
from tests.conftest import register
from tests.support.download_server import (
    CONTENT,
    Answer,
    Handler,
    Server,
    google,
    other_machine,
    right,
    running,
    sends,
    server,
    status,
)

__all__ = ["server"]

# A connection that fails midway is closed when its exception is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

NAME, HANDLE = "SmallPreset", "keras/small/keras/small_preset/1"
FILES = {"model.weights.h5": CONTENT, "config.json": b"{}", "task.json": b"[1]", "head.h5": b"head"}


def unused(*_: Any) -> None:
    raise AssertionError("nothing is loaded here")


@pytest.fixture
def weights(server: Server, monkeypatch: pytest.MonkeyPatch) -> models.Weights:
    """A preset on the server; the package that would run it is not installed."""
    requires = ("not_installed_anywhere", "requirements-hub.txt")
    small = replace(preset(HANDLE, tuple(FILES), unused, requires), url=f"{server.url}/hub/")
    for name, content in FILES.items():
        server.files[f"/hub/{name}"] = content
    record = replace(models.REGISTRY["VGG16"], name=NAME, parameters=90_000, weights=small)
    register(monkeypatch, record)
    return small


def folder() -> Path:
    return settings.cache_folder() / "weights" / "small_preset"


def skip(count: int) -> list[Answer]:
    """The right answer to the first files."""
    return [right] * count


def with_headers(body: bytes, **headers: str) -> Answer:
    """``body`` with the host's hash in ``headers``."""

    def answer(request: Handler) -> None:
        request.head(200, len(body), **headers)
        request.send(body)

    return answer


def assert_whole(path: Path) -> None:
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != SUMS} == FILES
    assert sums(path) == {
        name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in FILES.items()
    }


def test_a_preset_arrives_whole_with_its_sums(server: Server, weights: models.Weights) -> None:
    seen: list[tuple[int, int]] = []
    assert download(NAME, lambda done, total: seen.append((done, total))) == folder()
    assert_whole(folder())
    assert sorted(folder().parent.iterdir()) == [folder()]
    assert server.paths == [f"/hub/{name}" for name in FILES]
    size = sum(map(len, FILES.values()))
    assert seen[-1] == (size, size)
    assert seen[0][1] == 360_000, "estimated from its parameters"
    assert find_whole(weights) == folder()
    assert download(NAME) == folder()
    assert len(server.paths) == len(FILES)


def test_a_preset_of_which_a_file_changed_is_replaced(
    server: Server, weights: models.Weights
) -> None:
    download(NAME)
    for damage in (
        lambda: (folder() / "head.h5").write_bytes(b"hear"),
        lambda: (folder() / "head.h5").unlink(),
        lambda: (folder() / SUMS).write_text("what\n\xe9"),
    ):
        damage()
        assert fault(weights, folder())
        server.faults = [status(404)] * 3
        with pytest.raises(DownloadError):
            download(NAME)
        assert fault(weights, folder())
        download(NAME)
        assert_whole(folder())
        assert sorted(folder().parent.iterdir()) == [folder()]


# --- the host's own hash --------------------------------------------------------------------------


def linked(content: bytes) -> dict[str, str]:
    return {"X-Linked-ETag": f'"{hashlib.sha256(content).hexdigest()}"'}


@pytest.mark.parametrize(
    "headers",
    [{"x-goog-hash": google(CONTENT)}, linked(CONTENT)],
    ids=["Google Storage", "Hugging Face"],
)
def test_the_hosts_hash_is_checked(
    server: Server, weights: models.Weights, headers: dict[str, str]
) -> None:
    changed = b"?" + CONTENT[1:]
    server.faults = [with_headers(changed, **headers)] * 3
    with pytest.raises(DownloadError, match=r"its (MD5|SHA256) differs"):
        download(NAME)
    assert not folder().exists()
    server.faults = [with_headers(CONTENT, **headers)]
    download(NAME)
    assert_whole(folder())


def test_the_hash_on_a_redirect_counts_as_well(server: Server, weights: models.Weights) -> None:
    server.files["/cdn"] = b"?" + CONTENT[1:]
    redirect = status(302, Location=f"{server.url}/cdn", **linked(CONTENT))
    server.faults = [redirect, right] * 3
    with pytest.raises(DownloadError, match="its SHA256 differs"):
        download(NAME)
    server.files["/cdn"] = CONTENT
    server.faults = [redirect]
    download(NAME)
    assert_whole(folder())


def test_a_file_without_a_hash_is_refused(server: Server, weights: models.Weights) -> None:
    server.faults = [sends(CONTENT)]
    with pytest.raises(DownloadError, match="gives no hash, and lists none in a file SHA256SUMS"):
        download(NAME)
    assert not folder().exists()


# --- mirrors and folders --------------------------------------------------------------------------


def test_a_mirror_lists_the_hashes_or_sends_them(
    server: Server, weights: models.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in FILES.items():
        server.files[f"/mirror/small_preset/{name}"] = content
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{server.url}/mirror")
    with pytest.raises(DownloadError, match=r"/mirror .it gives no hash"):
        download(NAME)
    listed = {name: f"sha256:{hashlib.sha256(text).hexdigest()}" for name, text in FILES.items()}
    wrong = {**listed, "head.h5": f"sha256:{'0' * 64}"}
    server.files[f"/mirror/small_preset/{SUMS}"] = sums_text(wrong).encode()
    with pytest.raises(DownloadError, match="its SHA256 differs"):
        download(NAME)
    server.files[f"/mirror/small_preset/{SUMS}"] = sums_text(listed).encode()
    download(NAME)
    assert_whole(folder())
    other_machine(monkeypatch, folder().parents[3] / "second")
    del server.files[f"/mirror/small_preset/{SUMS}"]
    server.hashed = "/mirror/"
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{server.url}/mirror")
    download(NAME)
    assert_whole(folder())
    assert all(path.startswith("/mirror/") for path in server.paths)


def test_a_folder_for_another_machine_serves_it_by_disk_and_by_http(
    server: Server, weights: models.Weights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usb = tmp_path / "usb"
    assert download(NAME, to=usb) == usb / "small_preset"
    assert_whole(usb / "small_preset")
    asked = len(server.paths)
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_DIR", str(usb))
    assert download(NAME) == usb / "small_preset"
    assert download(NAME, to=tmp_path / "copy") == tmp_path / "copy" / "small_preset"
    assert_whole(tmp_path / "copy" / "small_preset")
    other_machine(monkeypatch, tmp_path / "second")
    plain = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(usb)))
    with running(plain):
        url = f"http://127.0.0.1:{plain.server_port}"
        monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", url)
        assert download(NAME) == folder()
        assert_whole(folder())
        assert len(server.paths) == asked
        (usb / "small_preset" / "head.h5").write_bytes(b"hear")  # the list of sums tells
        other_machine(monkeypatch, tmp_path / "third")
        monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", url)
        with pytest.raises(DownloadError, match="its SHA256 differs"):
            download(NAME)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """The tests' output stays clean."""


def test_what_keras_hub_fetched_is_used_and_copied(
    server: Server, weights: models.Weights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "hub"))
    theirs = tmp_path / "hub" / "models" / HANDLE
    theirs.mkdir(parents=True)
    for name, content in FILES.items():
        (theirs / name).write_bytes(content)
    assert download(NAME) == theirs
    assert_whole(download(NAME, to=tmp_path / "usb"))
    assert server.paths == []
