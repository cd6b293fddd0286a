"""What the server does besides its pages: its figures, the guard of every request, and its start.

The figures are for the operator, in Prometheus's text format and without user data.

The guard checks host, origin and cookies of every request, and sets security headers. Another site
can point its own name at this machine and then call the dashboard as its own origin (DNS
rebinding). The server refuses requests that use a name that is not its own.

The start makes settings once, loads the default models, and runs the queue of jobs.
"""

from __future__ import annotations

import base64
import gc
import hashlib
import ipaddress
import logging
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

import numpy as np
from prometheus_client import generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.starlette import App

from robustness import models
from robustness.base import memory, settings
from robustness.base.errors import RobustnessError
from robustness.base.files import stored_bytes
from robustness.base.roles import Who, policy
from robustness.measure import loop
from robustness.measure.rows import versions
from robustness.models.conversion import KERAS_WORKERS
from robustness.models.loaded import LOADED, budget, run_parallel
from robustness.runs import deleted, listing
from robustness.runs import jobs as run_jobs
from robustness.ui import connections
from robustness.ui import cookie as ui_cookie
from robustness.ui import jobs as ui_jobs
from robustness.ui.jobs import begin
from robustness.ui.patches import (
    forget_locks_of_values,
    index_page,
    keep_kernels,
    keep_shared_caches,
    open_sessions,
    report_ignored_values,
    send_all_of_fragments,
    stay_off_the_network,
    take_values_in_turn,
)
from robustness.ui.session import (
    REGISTRY,
    Connection,
    is_local,
    is_own_origin,
    link_number,
    note_error,
    runs_folder,
    warn_of_link,
)
from robustness.ui.shared import RESULT_CACHE, cached
from robustness.ui.uploads import tend

# --- figures --------------------------------------------------------------------------------------


PREFIX = "robustness_"

FRESH_SECONDS = 15.0
"""Time before the disk is examined again."""

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PATHS = ("/metrics", "/_stcore/metrics")
"""Ours, and Streamlit's own."""

_START = time.time()


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}{name}", meaning, value)


class _ServerGauges(Collector):
    """All figures but those that are counted."""

    def collect(self) -> Iterator[Metric]:
        yield _info()
        yield _gauge("up_seconds", "Time since the server started.", time.time() - _START)
        yield _gauge("memory_bytes", "Memory of the server's process.", resident())
        yield _gauge("sessions", "Browsers with a page open.", open_sessions())
        folder = runs_folder()
        queue = run_jobs.read_queue(folder)
        run_count, deleted_count, byte_count = _folder_figures(folder)
        working_count = sum(job.progress is not None for job in queue)
        yield _gauge("models_loaded", "Models in memory.", len(LOADED.names()))
        yield _gauge("models_bytes", "Memory of these models, estimated.", LOADED.bytes())
        yield _gauge("models_budget_bytes", "Memory budget of models.", budget())
        yield _gauge("results_bytes", "Cached results.", RESULT_CACHE.bytes)
        yield _gauge("runs", "Saved runs.", run_count)
        yield _gauge("runs_deleted", "Runs in the bin.", deleted_count)
        yield _gauge("runs_bytes", "Disk space of the folder of runs.", byte_count)
        with suppress(OSError):
            existing_folder = folder if folder.exists() else folder.parent  # before the first run
            free = shutil.disk_usage(existing_folder).free
            yield _gauge("disk_free_bytes", "Free disk space where runs are saved.", free)
        yield _gauge("jobs_working", "Running jobs.", working_count)
        yield _gauge("jobs_waiting", "Queued jobs.", len(queue) - working_count)


def _info() -> Metric:
    """The versions as labels, whose names may not have other characters than those of words."""
    labels = {re.sub(r"\W", "_", name): version for name, version in versions().items()}
    info = GaugeMetricFamily(f"{PREFIX}info", "Versions, and the engine.", labels=list(labels))
    info.add_metric(list(labels.values()), 1)
    return info


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
    run_count = sum(entry.manifest is not None for entry in listing(folder))
    return run_count, len(deleted(folder)), stored_bytes(folder)


def metrics_refusal(address: str, headers: Headers) -> str:
    """Why a client at ``address`` may not read the figures; "" if it may."""
    try:
        token = settings.value(settings.METRICS_TOKEN)
        contact = policy().contact
    except RobustnessError as error:
        return str(error)
    authorization = headers.get("authorization", "").encode()
    if token and secrets.compare_digest(authorization, f"Bearer {token}".encode()):
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


# --- the guard of every request -------------------------------------------------------------------


COOKIE_SECONDS = 180 * 24 * 3600

MOST_ESCAPES = 200
"""Backslashes in a request's cookies: Python's parser takes seconds for thousands."""

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
"""A host name or address, the latter of version 6 in brackets, and a port."""

_CONFIGURED = ("server.address", "browser.serverAddress")
"""Options of Streamlit that name the server."""

_METHODS_THAT_READ = ("GET", "HEAD", "OPTIONS")
_ENCRYPTED_SCHEMES = ("https", "wss")
_INLINE_SCRIPT = re.compile(r"[<]script>(.*?)[<]/script>", re.DOTALL)


def host_refusal(host: str) -> str:
    """Why a request for ``host`` is refused; "" if it is accepted."""
    name = ""
    match = _HOST.fullmatch(host)
    if match:
        name = match[1].strip("[]").lower().rstrip(".")
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return ""  # which no other site can point here
    accepted_hosts = list(_own_names())
    with suppress(RobustnessError):  # while the settings cannot be read, there are none
        configured = settings.value(settings.HOSTS) or ()
        accepted_hosts += [pattern.lower().rstrip(".") for pattern in configured]
    if any(_is_host(name, pattern) for pattern in accepted_hosts):
        return ""
    quoted = repr(name) if name else "none"
    return (
        f"Expected one of this dashboard's own host names, got {quoted}. Use the address "
        "that its operator gave you, or ask the operator to add the name to the setting 'hosts'."
    )


def _is_host(name: str, pattern: str) -> bool:
    """Whether a host ``name`` is accepted by "*", by its ending such as "*.example", or itself."""
    if pattern == "*":
        return True
    if not name:
        return False
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return name == pattern


@cache
def _own_names() -> tuple[str, ...]:
    """Names that need no setting: the machine's own, and those in Streamlit's configuration."""
    names = ["localhost", socket.gethostname()]
    names += [str(config.get_option(option) or "") for option in _CONFIGURED]
    return tuple(name.lower() for name in names if name)


class Guard:
    """Refuses requests with a foreign host or origin; sets headers and the browser's cookie."""

    def __init__(self, app: ASGIApp) -> None:
        """``app`` handles the requests that pass."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = host_refusal(headers.get("host", "")) or _refused_cookies(headers)
        if refusal:
            await _refuse(refusal, 400, scope, receive, send)
            return
        refusal = _refused_origin(scope, headers)
        if not refusal and scope["path"].rstrip("/").endswith(PATHS):
            address, *_ = scope.get("client") or ("",)
            refusal = metrics_refusal(address, headers)
        if refusal:
            await _refuse(refusal, 403, scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or WebSocket that is not refused, without a cookie that was invented."""
        replaced_headers, has_cookie = ui_cookie.replace_in(scope["headers"])
        scope = {**scope, "headers": replaced_headers}
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        new_cookie = "" if has_cookie else _new_cookie(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _fixed_headers().items():
                    headers.setdefault(name, value)
                if new_cookie and headers.get("content-type", "").startswith("text/html"):
                    headers.append("set-cookie", new_cookie)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception as error:
            note_error(error)
            raise


def _new_cookie(scope: Scope) -> str:
    """The header that gives a browser its cookie, which scripts and other sites cannot read."""
    schemes = (scope["scheme"], Headers(scope=scope).get("x-forwarded-proto"))
    secure = "; Secure" if "https" in schemes else ""
    return f"{ui_cookie.issue()}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; SameSite=Lax{secure}"


def _refused_cookies(headers: Headers) -> str:
    """Why a request's cookies are refused; "" if they are accepted."""
    escape_count = sum(cookies.count("\\") for cookies in headers.getlist("cookie"))
    if escape_count <= MOST_ESCAPES:
        return ""
    return (
        f"Expected cookies with at most {MOST_ESCAPES} escaped characters, got more. Delete your "
        "browser's cookies for this site."
    )


def _refused_origin(scope: Scope, headers: Headers) -> str:
    """Why a connection or a message from another origin is refused; "" if it is accepted.

    A proxy that ends TLS may not announce it: then both http and https origins are accepted.
    """
    origin = headers.get("origin")
    if origin is None or scope.get("method") in _METHODS_THAT_READ:
        return ""
    schemes: tuple[str, ...]
    forwarded_scheme = headers.get("x-forwarded-proto")
    if forwarded_scheme:
        schemes = (forwarded_scheme,)
    elif scope["scheme"] in _ENCRYPTED_SCHEMES:
        schemes = ("https",)
    else:
        schemes = ("http", "https")
    if is_own_origin(origin, headers.get("host", ""), schemes):
        return ""
    return (
        f"Expected a page of this dashboard, got one of {origin[:100]!r}. Open the dashboard at "
        "its own address."
    )


async def _refuse(sentence: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    can_answer = "websocket.http.response" in scope.get("extensions", {})
    if scope["type"] == "http" or can_answer:
        await PlainTextResponse(sentence, status_code=status)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


@cache
def _fixed_headers() -> dict[str, str]:
    """Headers of every answer, with the strictest content policy that the pages work under.

    Streamlit loads modules from blobs, fonts from data URLs and inline styles. Its index page has
    an inline script, allowed by its hash; its 64-bit integers use WebAssembly.
    """
    hashes = []
    for script in _INLINE_SCRIPT.findall(index_page()):
        digest = hashlib.sha256(script.encode()).digest()
        hashes.append(f"'sha256-{base64.b64encode(digest).decode()}'")
    policy_parts = {
        "default-src": "'none'",
        "script-src": f"'self' blob: 'wasm-unsafe-eval' {' '.join(hashes)}",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "media-src": "'self' blob:",
        "font-src": "'self' data:",
        "connect-src": "'self'",
        "worker-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
    }
    content_policy = "; ".join(f"{name} {value}" for name, value in policy_parts.items())
    return {
        "Content-Security-Policy": content_policy,
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


# --- the start ------------------------------------------------------------------------------------


_MEGABYTE = 2**20


def settle() -> None:
    """Lower Streamlit's limit on uploads to ours, and replace what of it does not suit us."""
    memory.share_with_arrow()
    keep_shared_caches()
    forget_locks_of_values()
    keep_kernels()
    send_all_of_fragments()
    take_values_in_turn()
    report_ignored_values(warn_of_link, link_number)
    ui_jobs.watch()
    connections.limit()
    with suppress(RobustnessError):  # every page shows the error
        lower_upload_limit()


def note_local_role() -> None:
    """Log who users of this machine are if others use the dashboard, too.

    Raises ``ParameterError``.
    """
    expects_others = settings.value(settings.HOSTS) or settings.value(settings.LOGIN)
    if not expects_others:
        return
    rules = policy()
    if rules.local_owner:
        state = "on"
        advice = "visitors through a forwarded port have that role, too"
    else:
        state = "off"
        advice = "turn it on if no port is forwarded to this server"
    logging.getLogger(__name__).warning(
        "Users of this machine have the role %s. The setting %r is %s: %s.",
        rules.role(Who(local=True)).name.lower(),
        settings.LOCAL_OWNER.name,
        state,
        advice,
    )


def lower_upload_limit() -> None:
    """Apply the smaller of both limits, in megabytes; raises ``ParameterError``."""
    byte_limit = settings.value(settings.UPLOAD_LIMIT)
    if byte_limit is None:
        return
    streamlit_megabytes = int(config.get_option("server.maxUploadSize"))
    megabytes = max(1, byte_limit // _MEGABYTE)
    config.set_option("server.maxUploadSize", min(streamlit_megabytes, megabytes))


@asynccontextmanager
async def warm_up(_app: App) -> AsyncIterator[None]:
    """Load the default models in the background and run the queue of jobs."""
    stay_off_the_network()
    with suppress(RobustnessError):  # every page shows the error
        note_local_role()
    begin("warm-up", _load_defaults)
    with suppress(RobustnessError):  # every page shows the error
        run_jobs.supervise(runs_folder())
    begin("uploads", tend)
    yield
    KERAS_WORKERS.stop()
    run_jobs.end_all()


def _load_defaults() -> None:
    # Modules stay, so garbage collection, at the end of sessions, can skip them. Networks load
    # later: those of TensorFlow's engine become garbage when released.
    gc.freeze()
    with suppress(RobustnessError):  # shown to those who request these models
        for _ in run_parallel(models.default_names(), _prepare):
            pass


def _prepare(name: str) -> None:
    """Load a model and run it once, which compiles it."""
    classifier = models.load(name, side=models.REGISTRY[name].framing.side)
    loop.floors(classifier)
    classifier(np.zeros((1, classifier.side, classifier.side, 3), np.float32))
