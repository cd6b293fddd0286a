"""Fetching presets: folders of files whose hashes only the host knows."""

from __future__ import annotations

import base64
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
from robustness.models.weights.fetch import download
from robustness.models.weights.sources import preset
from robustness.models.weights.weight_files import SUMS, fault, find_whole, sums
from tests.conftest import register
from tests.support.download_server import (
    CONTENT,
    Answer,
    Handler,
    Server,
    assert_sentence,
    other_machine,
    running,
    sends,
    sends_in_pieces,
    sends_up_to,
    server,
    status,
)

__all__ = ["server"]

# A connection that fails midway is closed when its exception is forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

NAME, HANDLE = "SmallPreset", "keras/small/keras/small_preset/1"
FILES = {"model.weights.h5": CONTENT, "config.json": b"{}", "task.json": b"[1]", "head.h5": b"head"}
ORDER = ["config.json", "task.json", "model.weights.h5", "head.h5"]


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


def part() -> Path:
    return folder().with_name(".small_preset.part")


def assert_whole(path: Path) -> None:
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != SUMS} == FILES
    assert sums(path) == {
        name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in FILES.items()
    }


def google(content: bytes) -> str:
    md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
    return f"crc32c=n03x6A==,md5={md5}"


def with_hash(answer: Answer, **headers: str) -> Answer:
    """``answer`` with the host's hash of what is asked for, or other ``headers``."""

    def hashed(request: Handler) -> None:
        usual = request.server.headers
        assert request.body is not None
        request.server.headers = headers or {"x-goog-hash": google(request.body)}
        try:
            answer(request)
        finally:
            request.server.headers = usual

    return hashed


def skip(count: int) -> list[Answer]:
    """The right answer to the first files."""
    return [sends_up_to(1)] * count


def test_a_preset_arrives_whole_with_its_sums_small_files_first(
    server: Server, weights: models.Weights
) -> None:
    seen: list[tuple[int, int]] = []
    assert download(NAME, lambda done, total: seen.append((done, total))) == folder()
    assert_whole(folder())
    assert sorted(folder().parent.iterdir()) == [folder()]
    assert server.paths == [f"/hub/{name}" for name in ORDER]
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
        server.faults = [status(404)]
        with pytest.raises(DownloadError):
            download(NAME)
        assert not folder().exists()
        assert folder().with_name("small_preset.damaged").exists()
        download(NAME)
        assert_whole(folder())
        assert sorted(folder().parent.iterdir()) == [folder()]


def test_an_interrupted_preset_keeps_its_finished_files(
    server: Server, weights: models.Weights
) -> None:
    server.faults = [*skip(3), status(404)]
    with pytest.raises(DownloadError, match="Finished files are kept") as caught:
        download(NAME)
    assert_sentence(caught.value)
    assert not folder().exists()
    assert download(NAME) == folder()
    assert server.paths[4:] == ["/hub/head.h5"]
    assert_whole(folder())


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
    server.faults = [*skip(2), with_hash(sends(changed), **headers)]
    with pytest.raises(DownloadError, match=r"its (MD5|SHA256) differs"):
        download(NAME)
    assert not folder().exists()
    assert not (part() / "model.weights.h5").exists()
    server.faults = [with_hash(sends(CONTENT), **headers)]
    download(NAME)
    assert_whole(folder())


def test_the_hash_on_a_redirect_counts_as_well(server: Server, weights: models.Weights) -> None:
    server.files["/cdn"] = b"?" + CONTENT[1:]
    redirect = status(302, Location=f"{server.url}/cdn", **linked(CONTENT))
    server.faults = [*skip(2), redirect]
    with pytest.raises(DownloadError, match="its SHA256 differs"):
        download(NAME)
    server.files["/cdn"] = CONTENT
    server.faults = [redirect]
    download(NAME)
    assert_whole(folder())


def endless(request: Handler) -> None:
    """Neither a length nor a frame: its end could be a break."""
    request.head(200, None)
    request.send(CONTENT)


def test_without_a_hash_the_end_must_be_known(server: Server, weights: models.Weights) -> None:
    server.faults = [*skip(2), endless]
    with pytest.raises(DownloadError, match="announced neither a hash nor a length"):
        download(NAME)
    server.faults = [sends_in_pieces(CONTENT)]
    download(NAME)
    assert_whole(folder())


# --- mirrors and folders --------------------------------------------------------------------------


def test_a_preset_that_the_mirror_lacks_comes_from_the_host(
    server: Server, weights: models.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROBUSTNESS_WEIGHTS_MIRROR", f"{server.url}/mirror")
    download(NAME)
    assert_whole(folder())
    assert server.paths[:2] == [f"/mirror/small_preset/{SUMS}", "/mirror/small_preset/config.json"]
    assert server.paths[2:] == [f"/hub/{name}" for name in ORDER], "the mirror is not asked again"


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
        download(NAME)
    assert_whole(folder())
    assert server.paths[asked:] == ["/hub/head.h5"]


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
