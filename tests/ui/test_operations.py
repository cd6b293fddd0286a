"""The figures of a server: what they say, who reads them, and that nobody's data is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from benchmarks.support.repository import ROOT
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.server import counters, metrics
from robustness.ui.server.counters import ERRORS, FAULTS, UPDATES, note_error
from robustness.ui.server.request_security import Guard
from robustness.ui.session import access
from tests.support.pages import html, run

PAGE = ROOT / "pages" / "operations.py"
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
    for counted in (UPDATES, ERRORS, FAULTS):
        counted.clear()


def values() -> dict[str, float]:
    """The lines of the text by their name and labels; each must be one that Prometheus reads."""
    found = {}
    for line in metrics.text().splitlines():
        if not line.startswith("#"):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found, "no line twice"
            found[name] = float(value)
    return found


def test_the_text_is_what_prometheus_reads(folder: Path, fresh: None) -> None:
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
    assert found["robustness_memory_bytes"] > 10**7
    assert found["robustness_disk_free_bytes"] > 0
    assert found["robustness_runs"] == 0
    assert found["robustness_jobs_waiting"] == 0


def test_an_error_tells_its_place_and_nothing_that_it_said(fresh: None) -> None:
    try:
        [].pop()
    except IndexError as error:
        note_error(error)
    try:
        counters._place(None)  # type: ignore[arg-type]
    except AttributeError as error:
        note_error(error)
    note_error(OSError("/secret/file.jpg"))
    assert "secret" not in repr(FAULTS)
    unraised, own, test = FAULTS
    assert (unraised.kind, unraised.place) == ("OSError", "")
    assert re.fullmatch(r"ui/server/counters\.py:\d+", own.place)
    assert re.fullmatch(r"test_operations\.py:\d+", test.place)
    for _ in range(3 * counters.MOST):
        note_error(ValueError())
    assert len(FAULTS) == counters.MOST
    assert values()['robustness_errors_total{type="ValueError"}'] == 3 * counters.MOST


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
    app = Guard(Starlette(routes=metrics.ROUTES))
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


def test_an_error_on_the_way_is_noted(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr(metrics, "COLLECTORS", [lambda: 1 / 0])
    app = Guard(Starlette(routes=metrics.ROUTES))
    client = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000))
    with pytest.raises(ZeroDivisionError):
        client.get("/metrics")
    assert FAULTS[0].kind == "ZeroDivisionError"


def test_the_page_says_how_the_server_does(folder: Path, fresh: None) -> None:
    app = run(PAGE)
    assert "no unexpected error" in html(app)
    assert "openvino" in html(app)
    UPDATES.labels("camera").observe(0.2)
    note_error(OSError("/secret/file.jpg"))
    app.run()
    assert "1 unexpected error." in html(app)
    assert "≤ 250 ms" in html(app)
    assert "secret" not in html(app)
    before = values()["robustness_results_bytes"]
    RESULT_CACHE.put("of a test", [bytes(1000)])
    assert values()["robustness_results_bytes"] >= before + 1000
    app.button(key="clear caches").click().run()
    assert not app.exception
    assert RESULT_CACHE.get("of a test") is None
    assert '"action": "clear_caches"' in (folder / ".audit.jsonl").read_text()
    assert "robustness_errors_total" in app.code[0].value


def test_nobody_but_an_owner_sees_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = access.Connection("192.0.2.7", {}, {})
    monkeypatch.setattr(access, "connection", lambda: elsewhere)
    app = run(PAGE)
    assert "may not see" in app.error[0].value
    assert not app.button
    assert not app.code
