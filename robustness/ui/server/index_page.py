"""The HTML of a page before its script runs.

The style is in it, so that what the script draws has its place at once: a style that comes with the
first elements moves all that is there.
"""

from __future__ import annotations

import re
from functools import cache

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from robustness.ui.browser.html import html
from robustness.ui.page import PAGES, style
from robustness.ui.server.streamlit_internals import index_page

_BODY = re.compile("(?<=[<]body>)")
"""Where the style is: after Streamlit's own in the head, it wins."""


@cache
def _styled() -> str:
    ours = html("style", css=style())
    return _BODY.sub(lambda _: ours, index_page(), count=1)


async def _index(_request: Request) -> Response:
    return HTMLResponse(_styled(), headers={"Cache-Control": "no-cache"})


def _path(script: str) -> str:
    return "/" + script.removeprefix("pages/").removesuffix(".py").removeprefix("app")


ROUTES = [Route(_path(script), _index, methods=["GET"]) for script, *_ in PAGES]
"""Routes of the pages."""
