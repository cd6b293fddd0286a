"""``GET /metrics``: the server's figures, for this machine and for holders of the token."""

from __future__ import annotations

import secrets

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from robustness.base import settings
from robustness.base.access import policy
from robustness.base.errors import RobustnessError
from robustness.ui.server import figures
from robustness.ui.session.access import Connection, is_local

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

PATHS = ("/metrics", "/_stcore/metrics")
"""Ours, and Streamlit's own."""


def refusal(address: str, headers: Headers) -> str:
    """Why a client at ``address`` may not read the figures; "" if it may."""
    try:
        token, contact = settings.text(settings.METRICS_TOKEN), policy().contact
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
        text = await run_in_threadpool(figures.text)
    except RobustnessError as error:
        return Response(str(error), status_code=503, media_type="text/plain")
    return Response(text, media_type=MEDIA_TYPE)


ROUTES = [Route("/metrics", _metrics, methods=["GET"])]
"""Routes that the dashboard serves besides its pages."""
