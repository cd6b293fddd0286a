"""The figures of a server: what they say, who reads them, and that nobody's data is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from robustness.ui import operations
from robustness.ui.computation.cache import RESULT_CACHE
from robustness.ui.server import counters, metrics
from robustness.ui.server.counters import Faults, Latency
from robustness.ui.server.request_security import Guard
from robustness.ui.session import access
from tests.support.pages import html, run
from tests.support.places import ROOT

PAGE = ROOT / "pages" / "operations.py"
LINE = re.compile(
    r'[a-zA-Z_:][a-zA-Z0-9_:]*(\{([a-zA-Z_]\w*="(\\[\\n"]|[^"\\\n])*",?)+\})? -?[0-9.e+-]+'
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> tuple[Latency, Faults]:
    """A server that nobody has used yet."""
    updates, errors = Latency(), Faults()
    for module in (metrics, operations):
        monkeypatch.setattr(module, "UPDATES", updates)
        monkeypatch.setattr(module, "FAULTS", errors)
    return updates, errors


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


def test_the_text_is_what_prometheus_reads(folder: Path, fresh: tuple[Latency, Faults]) -> None:
    updates, errors = fresh
    for seconds in (0.02, 0.02, 0.3, 99.0):
        updates.note("page", seconds)
    errors.note(ValueError("secret.jpg"))
    found = values()
    assert found['robustness_update_seconds_bucket{kind="page",le="0.025"}'] == 2
    assert found['robustness_update_seconds_bucket{kind="page",le="0.5"}'] == 3
    assert found['robustness_update_seconds_bucket{kind="page",le="10"}'] == 3
    assert found['robustness_update_seconds_bucket{kind="page",le="+Inf"}'] == 4
    assert found['robustness_update_seconds_count{kind="page"}'] == 4
    assert found['robustness_update_seconds_sum{kind="page"}'] == pytest.approx(99.34)
    assert found['robustness_errors_total{type="ValueError"}'] == 1
    assert found["robustness_memory_bytes"] > 10**7
    assert found["robustness_disk_free_bytes"] > 0
    assert found["robustness_runs"] == 0
    assert found["robustness_jobs_waiting"] == 0


@pytest.mark.parametrize(
    ("seconds", "median", "slowest"),
    [((0.06,), 0.075, 0.075), ((0.06,) * 4, 0.06875, 0.09375), ((0.06, 99.0), 0.075, 10.0)],
)
def test_quantiles_are_those_of_evenly_spread_buckets(
    seconds: tuple[float, ...], median: float, slowest: float
) -> None:
    updates = Latency()
    for each in seconds:
        updates.note("page", each)
    spread = updates.spreads()["page"]
    assert spread.quantile(0.5) == pytest.approx(median)
    assert spread.quantile(0.95) == pytest.approx(slowest)


def test_what_fails_is_no_update() -> None:
    updates = counters.Latency()
    with pytest.raises(KeyError), updates.timed("page"):
        raise KeyError
    assert not updates.spreads()


def test_an_error_tells_its_place_and_nothing_that_it_said() -> None:
    found = Faults()
    try:
        [].pop()
    except IndexError as error:
        found.note(error)
    try:
        counters._place(None)  # type: ignore[arg-type]
    except AttributeError as error:
        found.note(error)
    found.note(OSError("/secret/file.jpg"))
    assert "secret" not in repr(found.last())
    unraised, own, test = found.last()
    assert (unraised.kind, unraised.place) == ("OSError", "")
    assert re.fullmatch(r"ui/server/counters\.py:\d+", own.place)
    assert re.fullmatch(r"test_operations\.py:\d+", test.place)
    for _ in range(3 * counters.MOST):
        found.note(ValueError())
    assert len(found.last()) == counters.MOST
    assert found.counts() == {"AttributeError": 1, "IndexError": 1, "OSError": 1, "ValueError": 60}


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
    noted = Faults()
    monkeypatch.setattr("robustness.ui.server.request_security.FAULTS", noted)
    monkeypatch.setattr(metrics, "COLLECTORS", [lambda: 1 / 0])
    app = Guard(Starlette(routes=metrics.ROUTES))
    client = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 5000))
    with pytest.raises(ZeroDivisionError):
        client.get("/metrics")
    assert noted.counts() == {"ZeroDivisionError": 1}


def test_the_page_says_how_the_server_does(folder: Path, fresh: tuple[Latency, Faults]) -> None:
    updates, errors = fresh
    app = run(PAGE)
    assert "no unexpected error" in html(app)
    assert "openvino" in html(app)
    updates.note("camera", 0.2)
    errors.note(OSError("/secret/file.jpg"))
    app.run()
    assert "1 unexpected error." in html(app)
    assert "Camera frame" in html(app)
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
