"""The figures of a server: what they say, who reads them, and that nobody's data is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from robustness.ui import server
from robustness.ui.server import Guard
from robustness.ui.session import ERRORS, UPDATES, note_error
from robustness.ui.shared import ResultCache

LINE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]\w*="(\\[\\n"]|[^"\\\n])*",?)+\})? -?[0-9.e+-]+'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def fresh() -> None:
    """A server that nobody has used yet."""
    for counted in (UPDATES, ERRORS):
        counted.clear()


def values() -> dict[str, float]:
    """The lines of the text by their name and labels; each must be one that Prometheus reads."""
    found = {}
    for line in server.text().splitlines():
        if not line.startswith("#"):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found, "no line twice"
            found[name] = float(value)
    return found


def test_the_text_is_what_prometheus_reads(
    folder: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "RESULT_CACHE", ResultCache(10**6))
    server.RESULT_CACHE.put("of a test", [bytes(1000)])
    for seconds in (0.02, 0.02, 0.3, 99.0):
        UPDATES.labels("page").observe(seconds)
    note_error(ValueError("secret.jpg"))
    found = values()
    assert found['robustness_update_seconds_bucket{kind="page",le="0.025"}'] == 2
    assert found['robustness_update_seconds_bucket{kind="page",le="0.5"}'] == 3
    assert found['robustness_update_seconds_bucket{kind="page",le="10.0"}'] == 3
    assert found['robustness_update_seconds_bucket{kind="page",le="+Inf"}'] == 4
    assert found['robustness_update_seconds_count{kind="page"}'] == 4
    assert found['robustness_update_seconds_sum{kind="page"}'] == pytest.approx(99.34)
    assert found['robustness_errors_total{type="ValueError"}'] == 1
    assert "secret" not in server.text()
    assert found["robustness_memory_bytes"] > 10**7
    assert found["robustness_results_bytes"] >= 1000
    assert found["robustness_disk_free_bytes"] > 0
    assert found["robustness_runs"] == 0
    assert found["robustness_jobs_waiting"] == 0


# --- who reads them -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "headers", "answered"),
    [
        ("127.0.0.1", {}, True),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.7"}, False),
        ("192.0.2.7", {}, False),
        ("192.0.2.7", {"authorization": "Bearer right"}, True),
        ("192.0.2.7", {"authorization": "Bearer wrong"}, False),
        ("192.0.2.7", {"authorization": "Bearer "}, False),
        ("192.0.2.7", {"authorization": "right"}, False),
    ],
)
def test_the_figures_are_for_this_machine_and_who_knows_the_token(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    headers: dict[str, str],
    answered: bool,
) -> None:
    app = Guard(Starlette(routes=server.ROUTES))
    client = TestClient(app, base_url="http://localhost", client=(address, 5000))
    if "authorization" in headers:
        assert client.get("/metrics", headers=headers).status_code == 403, "no token is set"
    monkeypatch.setenv("ROBUSTNESS_METRICS_TOKEN", "right")
    reply = client.get("/metrics", headers=headers)
    assert reply.status_code == (200 if answered else 403)
    assert ("robustness_memory_bytes" in reply.text) == answered
    assert ("metrics_token" in reply.text) != answered
    streamlits = client.get("/_stcore/metrics", headers=headers)
    assert streamlits.status_code == (404 if answered else 403)
