"""The steps of the Dockerfile, done in an empty folder where there is no engine to do them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import socketserver
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from benchmarks.support.repository import ROOT

PLACES = ("app", "data", "tmp")
"""Folders at the root of the image that its steps make or that are mounted."""
PORT = "8501"
PATIENCE_SECONDS = 240


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, the rest) of each step of a Dockerfile."""
    bare = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    steps = (line.partition(" ") for line in bare.splitlines() if line.strip())
    return [(name, rest.strip()) for name, _, rest in steps]


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
STEPS = instructions((ROOT / "Dockerfile").read_text(encoding="utf-8"))


def said(name: str) -> list[str]:
    """The arguments of each instruction ``name`` of the Dockerfile."""
    return [rest for instruction, rest in STEPS if instruction == name]


def environment() -> dict[str, str]:
    return dict(part.split("=", 1) for text in said("ENV") for part in shlex.split(text))


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def files(folder: Path) -> dict[str, int]:
    """Every file and folder below ``folder`` with when it was changed."""
    return {str(path.relative_to(folder)): path.lstat().st_mtime_ns for path in folder.rglob("*")}


class _Asked(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server = self.server
        assert isinstance(server, Outside)
        server.asked.append(self.request.recv(200).decode(errors="replace"))


class Outside(socketserver.ThreadingTCPServer):
    """A proxy for requests to other machines, which records them and never answers."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Asked)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@dataclass
class Image:
    """The built image in ``folder``; it runs like a container and reaches no other machine."""

    folder: Path
    outside: Outside
    port: str = field(init=False)
    process: int = field(init=False)
    """The id of the dashboard's process once it has started."""
    _held: socket.socket = field(init=False, repr=False)
    """Holds the port until the dashboard starts: the steps before take long."""

    def __post_init__(self) -> None:
        self._held = socket.socket()
        self._held.bind(("127.0.0.1", 0))
        self.port = str(self._held.getsockname()[1])
        (self.folder / "tmp").mkdir()

    def inside(self, text: str) -> str:
        """``text`` with the image's paths and port as they are here."""
        text = re.sub(rf"(?<![\w.])/(?=({'|'.join(PLACES)})\b)", f"{self.folder}/", text)
        return re.sub(rf"\b{PORT}\b", self.port, text)

    @property
    def workdir(self) -> Path:
        (workdir,) = said("WORKDIR")
        return Path(self.inside(workdir))

    def variables(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), self.outside.url)
        asked = {name: self.inside(value) for name, value in environment().items()}
        return {"PATH": path, **proxies, **asked, **COMPOSE["services"]["dashboard"]["environment"]}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """``command`` while the image is built."""
        return subprocess.run(
            [self.inside(part) for part in command],
            cwd=self.workdir,
            env=self.variables() | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def confined(self, *command: str) -> subprocess.Popen[str]:
        """``command`` as a container runs it: no rights beyond those that the files give."""
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        return subprocess.Popen(
            [*(drop if os.geteuid() == 0 else []), *(self.inside(part) for part in command)],
            cwd=self.workdir,
            env=self.variables(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def copy(self, sources: list[str], to: str) -> None:
        """A step COPY: a folder's content goes into ``to``, a file into the folder ``to``."""
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(path, self.workdir / to, ignore=ignored)
            else:
                (self.workdir / to).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.workdir / to)

    def seal(self, *, writable: bool) -> None:
        """Makes all but the folder for what is passing read-only, or undoes it."""
        for place in (self.folder / "app", self.folder / "data"):
            for path in (place, *place.rglob("*")):
                mode = stat.S_IMODE(path.stat().st_mode)
                path.chmod(mode | stat.S_IWUSR if writable else mode & ~0o222)

    def listens(self) -> bool:
        """Whether the port is open: before that, HEALTHCHECK is a process for nothing."""
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", int(self.port))) == 0

    @contextmanager
    def started(self) -> Iterator[list[str]]:
        """The dashboard by CMD, once HEALTHCHECK finds it well; yields what it prints."""
        (command,) = said("CMD")
        (check,) = (text.partition(" CMD ")[2] for text in said("HEALTHCHECK"))
        printed: list[str] = []
        self._held.close()
        with self.confined(*json.loads(command)) as server:
            assert server.stdout is not None
            self.process = server.pid
            reader = threading.Thread(target=lambda out: printed.extend(out), args=(server.stdout,))
            reader.start()
            try:
                deadline = time.monotonic() + PATIENCE_SECONDS
                while not self.listens() or self.run(*json.loads(check)).returncode:
                    assert server.poll() is None, "".join(printed)
                    assert time.monotonic() < deadline, "".join(printed)
                    time.sleep(0.3)
                yield printed
            finally:
                server.terminate()
                server.wait()
                reader.join()
