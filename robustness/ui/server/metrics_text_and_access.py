"""Figures about this server for its operator, without user data, and ``GET /metrics``."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.base.files_and_locks import stored_bytes
from robustness.base.permission_policy_and_check import policy
from robustness.evaluation.provenance import versions
from robustness.models.loaded_models import LOADED, budget
from robustness.runs import deleted, jobs, listing
from robustness.ui.computation.shared_results import RESULT_CACHE, cached
from robustness.ui.server.counters import REGISTRY
from robustness.ui.server.streamlit_patches_and_internals import open_sessions
from robustness.ui.session.access import Connection, is_local
from robustness.ui.session.runs_folder_and_links import runs_folder

PREFIX = "robustness_"

FRESH_SECONDS = 15.0
"""Time before the disk is examined again."""

_BEGAN = time.time()


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", meaning, value)


class _ServerGauges(Collector):
    """All figures but those that are counted."""

    def collect(self) -> Iterator[Metric]:
        named = {re.sub(r"\W", "_", name): text for name, text in versions().items()}
        info = GaugeMetricFamily(f"{PREFIX}info", "Versions, and the engine.", labels=[*named])
        info.add_metric([*named.values()], 1)
        yield info
        yield _gauge("up_seconds", "Time since the server started.", time.time() - _BEGAN)
        yield _gauge("memory_bytes", "Memory of the server's process.", resident())
        yield _gauge("sessions", "Browsers with a page open.", open_sessions())
        queue, folder = jobs.read_queue(runs_folder()), runs_folder()
        saved, binned, taken = _folder_figures(folder)
        working = sum(job.progress is not None for job in queue)
        yield _gauge("models_loaded", "Models in memory.", len(LOADED.names()))
        yield _gauge("models_bytes", "Memory of these models, estimated.", LOADED.bytes())
        yield _gauge("models_budget_bytes", "Memory budget of models.", budget())
        yield _gauge("results_bytes", "Cached results.", RESULT_CACHE.bytes)
        yield _gauge("runs", "Saved runs.", saved)
        yield _gauge("runs_deleted", "Runs in the bin.", binned)
        yield _gauge("runs_bytes", "Disk space of the folder of runs.", taken)
        with suppress(OSError):
            free = shutil.disk_usage(folder if folder.exists() else folder.parent).free
            yield _gauge("disk_free_bytes", "Free disk space where runs are saved.", free)
        yield _gauge("jobs_working", "Running jobs.", working)
        yield _gauge("jobs_waiting", "Queued jobs.", len(queue) - working)


REGISTRY.register(_ServerGauges())


def text() -> str:
    """All metrics in Prometheus's text format 0.0.4."""
    return generate_latest(REGISTRY).decode()


def resident() -> int:
    """Resident bytes of this process; 0 if the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


@cached(4, seconds=FRESH_SECONDS)
def _folder_figures(folder: Path) -> tuple[int, int, int]:
    """Number of runs in ``folder``, number in its bin, and total bytes."""
    runs = sum(entry.manifest is not None for entry in listing(folder))
    return runs, len(deleted(folder)), stored_bytes(folder)


MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PATHS = ("/metrics", "/_stcore/metrics")
"""Ours, and Streamlit's own."""


def refusal(address: str, headers: Headers) -> str:
    """Why a client at ``address`` may not read the figures; "" if it may."""
    try:
        token, contact = settings.value(settings.METRICS_TOKEN), policy().contact
    except RobustnessError as error:
        return str(error)
    said = headers.get("authorization", "")
    if token and secrets.compare_digest(said.encode(), f"Bearer {token}".encode()):
        return ""
    if is_local(Connection(address, dict(headers), {})):
        return ""
    return (
        "Expected a request from the dashboard's own machine, or the token of the setting "
        f"'metrics_token'. Ask {contact}."
    )


async def _metrics(request: Request) -> Response:
    try:
        body = await run_in_threadpool(text)
    except RobustnessError as error:
        return Response(str(error), status_code=503, media_type="text/plain")
    return Response(body, media_type=MEDIA_TYPE)


ROUTES = [Route("/metrics", _metrics, methods=["GET"])]
"""Routes that the dashboard serves besides its pages."""
