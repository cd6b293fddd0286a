"""What a server for others is made of: the image's steps in an empty folder, and its proxy."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
import threading
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.support.image import STEPS, Image, Outside, environment, files, said
from tests.support.places import ROOT

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
        file = image.workdir / command[command.index("-r") + 1]
        assert unmet(file.read_text(encoding="utf-8")) == []
    elif command[0] == "install":  # whom the folders belong to, root alone can say
        nameless = re.sub(r" -[og] \d+", "", shlex.join(command))
        assert image.run(*shlex.split(nameless)).returncode == 0
    elif command[-2:] == ["models", "convert"]:  # into what all tests share: it takes long
        done = image.run(*command, ROBUSTNESS_CACHE=str(caches / "robustness"))
        assert done.returncode == 0, done.stderr
        shutil.copytree(
            caches / "robustness",
            image.inside(environment()["ROBUSTNESS_CACHE"]),
            dirs_exist_ok=True,
        )
    else:
        assert image.run(*command).returncode == 0


def unmet(requirements: str) -> list[str]:
    """The pins that are not what is installed where this runs."""
    lines = (line.removesuffix(" \\") for line in requirements.splitlines())
    pins = [Requirement(line) for line in lines if re.match(r"\w", line)]
    assert len(pins) > 50
    return [str(p) for p in pins if not p.marker or p.marker.evaluate() if not installed(p)]


def installed(pin: Requirement) -> bool:
    try:
        return pin.specifier.contains(version(pin.name), prereleases=True)
    except PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def running(image: Image) -> Iterator[list[str]]:
    """What the dashboard of the image prints, which is up."""
    with image.started() as printed:
        yield printed


# --- the image ------------------------------------------------------------------------------------


def test_what_the_image_is_made_of_is_exact() -> None:
    (base,) = said("FROM")
    assert re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", base)
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
    assert after == ["python -m robustness models convert"]


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


def test_the_containers_are_confined_and_only_the_proxy_is_reached() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert {"mem_limit", "cpus", "pids_limit", "tmpfs"} <= service.keys()
    assert {name for name, service in services.items() if "ports" in service} == {"proxy"}
    assert re.fullmatch(r"nginx:\d+\.\d+\.\d+-alpine", services["proxy"]["image"])
    assert services["dashboard"]["networks"] == ["inside"]
    assert compose["networks"]["inside"] == {"internal": True}
    mounted = {place.split(":")[1] for place in services["dashboard"]["volumes"]}
    (volumes,) = said("VOLUME")
    assert mounted == set(re.findall(r'"(.+?)"', volumes))
    for place in services["proxy"]["volumes"]:
        assert place.endswith(":ro")
