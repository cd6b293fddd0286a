"""deploy/nginx.conf at work on this machine, where there is an nginx."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.support.repository import ROOT
from tests.support.image import free_port

HOST = "dashboard.example"
CONFIGURATION = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")


class Proxy:
    """deploy/nginx.conf at work before a running dashboard, on other ports."""

    def __init__(self, folder: Path, dashboard: str) -> None:
        self.plain, self.port = free_port(), free_port()
        moved = {
            "/tmp/": f"{folder}/",
            "/etc/nginx/tls/": f"{folder}/",
            " 8080 ": f" 127.0.0.1:{self.plain} ",
            " 8443 ": f" 127.0.0.1:{self.port} ",
            "http://dashboard:8501": f"http://127.0.0.1:{dashboard}",
        }
        text = CONFIGURATION
        for there, here in moved.items():
            assert there in text
            text = text.replace(there, here)
        self.file = folder / "nginx.conf"
        self.file.write_text(text, encoding="utf-8")
        self.answered: dict[str, str] = {}

    def ask(self, path: str, method: str = "GET", host: str = HOST, **headers: str) -> int:
        """The status of the answer, whose headers are then in ``answered``."""
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection("127.0.0.1", int(self.port), context=context)
        connection.request(method, path, headers={"Host": host, **headers})
        answer = connection.getresponse()
        self.answered = {name.lower(): value for name, value in answer.getheaders()}
        connection.close()
        return answer.status


@contextmanager
def before(dashboard: str) -> Iterator[Proxy]:
    """The proxy of the dashboard at the port ``dashboard``; skips where there is no nginx."""
    if not shutil.which("nginx") or not shutil.which("openssl"):
        pytest.skip("no nginx found: install one ('apt-get install nginx-light openssl')")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = Proxy(folder, dashboard)
        names = ("-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem")
        certificate = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt")
        curve = ("ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={HOST}")
        subprocess.run([*certificate, *curve, *names], capture_output=True, check=True)
        files = ["nginx", "-c", str(made.file), "-p", place, "-e", "stderr"]
        with subprocess.Popen(
            [*files, "-g", "daemon off;"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as server:
            try:
                _wait_for(int(made.port), server)
                yield made
            finally:
                server.terminate()


def _wait_for(port: int, server: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        assert server.poll() is None, server.stderr and server.stderr.read()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
            return
        time.sleep(0.05)
    raise TimeoutError("nginx did not come up")
