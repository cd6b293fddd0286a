"""Redirects from the addresses that pages had in earlier versions."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route

MOVED = {
    "/dataset": "/evaluations",
    "/runs": "/evaluations",
    "/scorecard": "/?view=scorecard",
    "/breaking_point": "/?view=breaking",
    "/adversarial": "/?view=attack&attack=pgd&epsilon=8",  # what links named only if it was another
    "/catalogue": "/reference",
    "/methods": "/reference?view=methods",
}
"""The former address of each page, and its present one; the query of a link is added."""


def _redirect(request: Request) -> RedirectResponse:
    address, query = MOVED[request.url.path], request.url.query
    mark = "&" if "?" in address else "?"
    # Relative, as a proxy may serve the dashboard below a path of its own.
    return RedirectResponse(f".{address}{mark}{query}" if query else f".{address}")


ROUTES = [Route(path, _redirect, methods=["GET"]) for path in MOVED]
