"""The package holds all that its code opens and asks for, and every install checks its hashes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import urllib.request
import venv
from email import message_from_string
from email.message import Message
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import robustness
from benchmarks.support.repository import ROOT
from benchmarks.support.server import free_port, wait_until_healthy
from tests.support.bill_of_materials import (
    COPYLEFT_LIBRARIES,
    bill,
    copyleft_libraries,
    licence,
    may_be_used,
    stated_nowhere,
)
from tests.support.bill_of_materials import pins as pinned

COMPILED = (
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-hub.txt",
    "requirements-ray.txt",
)
OVERRIDES = "requirements-overrides.txt"
"""Not compiled and never installed: it tells the compiler what to leave out."""

DISTRIBUTION = "robustness-dashboard"


def metadata(wheel: ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_string(wheel.read(name).decode())


def asked(name: str) -> list[str]:
    """The requirements of a file, without its comments."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return [bare for line in lines if (bare := line.partition("#")[0].strip())]


# --- the package ----------------------------------------------------------------------------------


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: ZipFile) -> None:
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "robustness").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {Path(name).suffix for name in package} >= {".py", ".css", ".js", ".png"}
    pages = [path.relative_to(ROOT).as_posix() for path in (ROOT / "pages").glob("*.py")]
    dashboard = {
        f"robustness/dashboard/{name}" for name in ("app.py", ".streamlit/config.toml", *pages)
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == package | dashboard


def test_the_text_of_the_package_has_no_links_that_lead_nowhere(wheel: ZipFile) -> None:
    said = metadata(wheel)
    text = str(said.get_payload())
    assert "Will this image classifier still be right" in text
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert [link for link in links if not link.startswith(("http", "#"))] == []
    assert said["Author"]
    assert said["Keywords"]
    assert f"Programming Language :: Python :: 3.{sys.version_info.minor}" in said.get_all(
        "Classifier", []
    )


def test_the_wheel_asks_for_what_the_requirements_ask_for(wheel: ZipFile) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == (DISTRIBUTION, robustness.__version__)
    wanted = asked("requirements.in")
    extras = ["hub", "mlflow", "ray", "torch"]
    for extra in extras:
        wanted += [f'{line}; extra == "{extra}"' for line in asked(f"requirements-{extra}.in")]
    assert said.get_all("Requires-Dist") == wanted
    assert said.get_all("Provides-Extra") == extras
    assert said["License-Expression"] == "MIT"


def test_the_command_of_the_package_works_from_another_folder(
    wheel: ZipFile, installed: dict[str, str], tmp_path: Path
) -> None:
    (scripts,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "robustness = robustness.cli.main:main" in wheel.read(scripts).decode()
    call = "import sys; from robustness.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", call, "--version"]
    done = subprocess.run(command, cwd=tmp_path, env=installed, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{robustness.__version__}\n", "")


def test_the_installed_command_alone_starts_the_dashboard_from_any_folder(
    wheel: ZipFile, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps"]
    subprocess.run([*install, "--no-index", str(wheel.filename)], check=True)
    # The packages that it asks for are those of these tests; the working tree is not among them.
    (packages,) = (environment / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    port = free_port()
    command = [str(environment / "bin" / "robustness")]
    variables = os.environ | {
        "STREAMLIT_SERVER_HEADLESS": "true",  # opens no browser
        "STREAMLIT_SERVER_PORT": str(port),
        "ROBUSTNESS_RUNS": str(tmp_path / "runs"),
        "ROBUSTNESS_CACHE": str(tmp_path / "cache"),
    }
    with subprocess.Popen(
        command, cwd="/", env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_healthy(f"{address}/_stcore/health", process)
            for page in ("", "evaluations", "models", "reference"):
                with urllib.request.urlopen(f"{address}/{page}", timeout=60) as answer:
                    assert answer.status == 200
        finally:
            process.terminate()


# --- the pins -------------------------------------------------------------------------------------


@cache
def pins(name: str) -> dict[str, frozenset[str]]:
    """The hashes of each pin (``package==version``) of a compiled file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    entries = re.findall(r"^(\S+==\S+)(.*(?:\n    --hash.*)*)", text, re.MULTILINE)
    return {
        pin: frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", rest)) for pin, rest in entries
    }


def test_every_requirement_is_a_pin_with_hashes_of_something_built() -> None:
    """One with a hash makes pip ask for all; without sources there is nothing to build or run."""
    assert {path.name for path in ROOT.glob("requirements*.txt")} == {*COMPILED, OVERRIDES}
    for name in COMPILED:
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
        option, *lines = [line for line in text.splitlines() if re.match(r"[^#\s]", line)]
        assert option == "--only-binary :all:", name
        assert len(lines) > 20
        pin = r"[\w.-]+==\S+( ; .+?)?(\s+--hash=sha256:[0-9a-f]{64})+"
        assert [line for line in lines if not re.fullmatch(pin, line)] == [], name


def test_one_pin_has_the_same_hashes_in_every_file() -> None:
    development = pins("requirements-dev.txt")
    for name in COMPILED:
        assert pins(name).items() <= development.items(), name


# --- the terms ------------------------------------------------------------------------------------


def test_every_package_that_is_run_has_terms_that_are_allowed() -> None:
    here = [pin.name for pin in pinned() if not pin.marker or pin.marker.evaluate()]
    assert len(here) > 60
    assert {name: licence(name) for name in here if not may_be_used(licence(name))} == {}


def test_the_docs_name_the_licences_that_wheels_carry() -> None:
    text = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8")
    section = text.partition("## Licences of packages")[2]
    assert "docs/sources.md#licences-of-packages" in (ROOT / "README.md").read_text("utf-8")
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    here = [pin.name for pin in pinned() if not pin.marker or pin.marker.evaluate()]
    carrying = 0
    for package in here:
        for library in copyleft_libraries(package):
            carrying += 1
            (row,) = [line for line in rows if f"`{package}`" in line and library in line]
            assert COPYLEFT_LIBRARIES[library] in row
            assert COPYLEFT_LIBRARIES[library] in (licence(package) or "")
    assert carrying > 4
    assert {name for name in stated_nowhere() if f"`{name}`" not in section} == set()


def test_the_bill_of_materials_has_every_pin_once() -> None:
    components = bill()["components"]
    listed = [entry["purl"] for entry in components if entry["type"] == "library"]
    assert listed == [f"pkg:pypi/{pin.name}@{str(pin.specifier)[2:]}" for pin in pinned()]
    assert len(listed) == len(set(listed)) > 60
    for entry in components[len(listed) :]:
        assert (ROOT / entry["description"].removeprefix("terms: ")).is_file()
