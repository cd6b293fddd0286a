"""What a server for others is made of: the image's steps in an empty folder, and its proxy."""

from __future__ import annotations

import http.client
import os
import re
import shlex
import shutil
import socket
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from benchmarks.support.repository import ROOT
from tests.support.bill_of_materials import pins
from tests.support.image import COMPOSE, STEPS, Image, Outside, environment, files, said
from tests.support.proxy import CONFIGURATION, HOST, Proxy, before

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "c29tZSByYW5kb20ga2V5IQ==",
}
"""The handshake of a page's WebSocket."""
CONFIG = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with Outside() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="module")
def image(outside: Outside, caches: Path) -> Iterator[Image]:
    """The image as its steps make it, read-only."""
    with tempfile.TemporaryDirectory() as folder:
        made = Image(Path(folder), outside)
        for instruction, rest in STEPS:
            if instruction == "WORKDIR":
                Path(made.inside(rest)).mkdir()
            elif instruction == "COPY":
                *sources, to = shlex.split(rest)
                made.copy(sources, to)
            elif instruction == "RUN":
                step(made, shlex.split(rest), caches)
        made.seal(writable=False)
        yield made
        made.seal(writable=True)


def step(image: Image, command: list[str], caches: Path) -> None:
    if command[:2] == ["pip", "install"]:
        assert command[-2:] == ["-r", "requirements.txt"]
        assert unmet() == []
    elif command[0] == "install":  # whom the folders belong to, root alone can say
        nameless = re.sub(r" -[og] \d+", "", shlex.join(command))
        assert image.run(*shlex.split(nameless)).returncode == 0
    elif command[-3:] == [
        "models",
        "check",
        "--no-timing",
    ]:  # into what all tests share: it takes long
        done = image.run(*command, ROBUSTNESS_CACHE=str(caches / "robustness"))
        assert done.returncode == 0, done.stderr
        place = Path(image.inside(environment()["ROBUSTNESS_CACHE"]))
        for name in ("openvino", "digests"):
            shutil.copytree(caches / "robustness" / name, place / name)
    else:
        assert image.run(*command).returncode == 0


def unmet() -> list[str]:
    """The run-time pins that are not what is installed where this runs."""
    here = (pin for pin in pins() if not pin.marker or pin.marker.evaluate())
    return [str(pin) for pin in here if not installed(pin)]


def installed(pin: Requirement) -> bool:
    try:
        return pin.specifier.contains(version(pin.name), prereleases=True)
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def running(image: Image) -> Iterator[list[str]]:
    """The output of the running dashboard of the image."""
    with image.started() as printed:
        yield printed


# --- the image ------------------------------------------------------------------------------------


def test_what_the_image_is_made_of_is_exact() -> None:
    assert said("FROM") == ["${PYTHON_IMAGE}"]
    ((name, _, base),) = (text.partition("=") for text in said("ARG"))
    assert name == "PYTHON_IMAGE"
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)
    copied = {source for text in said("COPY") for source in shlex.split(text)[:-1]}
    listed = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in listed if line and not line.startswith("#")]
    assert rules == ["*", *rules[1:-1], "**/__pycache__"]
    assert {rule.removeprefix("!") for rule in rules[1:-1]} == copied
    assert all(rule.startswith("!") for rule in rules[1:-1])


def test_it_is_not_root_who_runs_it() -> None:
    names = [name for name, _ in STEPS]
    (user,) = said("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert names.index("USER") < names.index("CMD")
    after = [rest for name, rest in STEPS[names.index("USER") :] if name in ("RUN", "COPY")]
    assert after == ["python -m robustness models check --no-timing"]


def test_nothing_of_the_image_can_be_written(image: Image) -> None:
    write = "import sys; open(sys.argv[1], 'w')"
    for path in ("/app/new", "/app/app.py", "/data/runs/new", "/data/models/new"):
        with image.confined("python", "-c", write, path) as tried:
            said, _ = tried.communicate()
        assert "PermissionError" in said


def test_its_first_start_needs_no_place_to_write_and_no_network(
    image: Image, running: list[str], outside: Outside
) -> None:
    before = files(image.folder / "app") | files(image.folder / "data")
    with image.confined(
        *("python", "-X", "importtime", "-m", "robustness"),
        *("predict", "sample:chelsea", "--models", "SqueezeNet"),
    ) as asked:
        answer, _ = asked.communicate()
    assert "Egyptian cat" in answer
    assert not re.search(r"\| +tensorflow$", answer, re.MULTILINE), "the model was converted again"
    assert "Traceback" not in "".join(running)
    assert files(image.folder / "app") | files(image.folder / "data") == before
    assert outside.asked == [], "neither then nor while the image was built"


# --- who is let in --------------------------------------------------------------------------------


def test_the_run_command_listens_on_this_machine_only() -> None:
    assert CONFIG["server"]["address"] == "127.0.0.1"
    assert environment()["STREAMLIT_SERVER_ADDRESS"] == "0.0.0.0"
    assert CONFIG["browser"]["serverAddress"], "else it asks a public host for its own address"


def default(text: str) -> str:
    """The default in compose.yaml."""
    match = re.fullmatch(r"\$\{[A-Z_]+:-(.+)\}", text)
    assert match
    return match[1]


def test_the_containers_are_confined_and_only_the_proxy_is_reached() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "cpus", "pids_limit", "tmpfs"} <= service.keys()
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    proxy = default(services["proxy"]["image"])
    assert re.fullmatch(r"nginx:\d+\.\d+\.\d+-alpine@sha256:[0-9a-f]{64}", proxy)
    arguments = services["dashboard"]["build"]["args"]
    assert [f"{name}={default(text)}" for name, text in arguments.items()] == said("ARG")
    assert services["dashboard"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    mounted = {place.split(":")[1] for place in services["dashboard"]["volumes"]}
    (volumes,) = said("VOLUME")
    assert mounted == set(re.findall(r'"(.+?)"', volumes))
    for place in services["proxy"]["volumes"]:
        assert place.endswith(":ro")


def test_whoever_comes_from_another_site_is_refused_without_asking_anybody(
    image: Image, running: list[str], outside: Outside
) -> None:
    for origin, status in (("https://evil.example", 403), (f"http://127.0.0.1:{image.port}", 101)):
        connection = http.client.HTTPConnection("127.0.0.1", int(image.port))
        connection.request("GET", "/_stcore/stream", headers={**HANDSHAKE, "Origin": origin})
        assert connection.getresponse().status == status
        connection.close()
    assert outside.asked == []


# --- what strangers leave behind ------------------------------------------------------------------


def descriptors(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


def test_what_is_abandoned_leaves_no_descriptors(image: Image, running: list[str]) -> None:
    before = descriptors(image.process)
    with ExitStack() as stack:
        connections = []
        for _ in range(400):
            connection = http.client.HTTPConnection("127.0.0.1", int(image.port))
            connection.request("GET", "/_stcore/stream", headers=HANDSHAKE)
            assert connection.getresponse().status == 101
            connections.append(connection)
            half = stack.enter_context(connected(image))
            half.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-")
        assert descriptors(image.process) >= before + 400
        for connection in connections:
            connection.close()
        deadline = time.monotonic() + 60
        while descriptors(image.process) > before + 20:
            assert time.monotonic() < deadline, f"{descriptors(image.process)} from {before}"
            time.sleep(0.1)


def connected(image: Image) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(image.port)), timeout=60)


def test_garbage_does_not_fill_the_log(image: Image, running: list[str]) -> None:
    printed = len(running)
    with connected(image) as last:
        for _ in range(100):
            connection = http.client.HTTPConnection("127.0.0.1", int(image.port))
            connection.request("GET", "/_stcore/stream", headers=HANDSHAKE)
            assert connection.getresponse().status == 101
            connection.sock.sendall(b"\x81\x81\0\0\0\0a")  # a frame of text: pages send none
            connection.close()
        assert last.recv(1) == b"", "the server has ended it, and is done with the others"
    said = "".join(running[printed:])
    assert 0 < said.count("Traceback") < 30


# --- the proxy ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def proxy(image: Image, running: list[str]) -> Iterator[Proxy]:
    with before(image.port) as made:
        yield made


def test_the_proxy_encrypts(proxy: Proxy) -> None:
    plain = http.client.HTTPConnection("127.0.0.1", int(proxy.plain))
    plain.request("GET", "/reference?sample=coffee", headers={"Host": HOST})
    answer = plain.getresponse()
    expected = f"https://{HOST}/reference?sample=coffee"
    assert (answer.status, answer.getheader("location")) == (308, expected)
    plain.close()
    assert proxy.ask("/") == 200
    assert proxy.answered["strict-transport-security"].startswith("max-age=")


def test_the_proxy_passes_on_what_pages_talk_over(proxy: Proxy) -> None:
    assert proxy.ask("/_stcore/health") == 200
    no_body = {"Content-Length": "0"}
    assert proxy.ask("/live/no-ticket", "POST", **no_body) == 404, "the dashboard's own answer"
    assert proxy.ask("/_stcore/stream", **HANDSHAKE, Origin=f"https://{HOST}") == 101


def test_the_proxy_turns_away_what_is_too_large_or_meant_for_another(proxy: Proxy) -> None:
    (limit,) = re.findall(r"client_max_body_size (\d+)m;", CONFIGURATION)
    large = {"Content-Length": str((int(limit) << 20) + 1)}
    assert proxy.ask("/live/x", "POST", **large) == 413
    with pytest.raises(http.client.RemoteDisconnected):
        proxy.ask("/", host="evil.example")
