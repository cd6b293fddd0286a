"""Middleware for every request: checks host, origin and cookies, and sets security headers.

Another site can point its own name at this machine and then call the dashboard as its own origin
(DNS rebinding). The server refuses requests that use a name that is not its own.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import cache

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config

from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.ui.server import metrics_text_and_access
from robustness.ui.server.counters import note_error
from robustness.ui.server.streamlit_patches_and_internals import index_page
from robustness.ui.session import browser_cookie
from robustness.ui.session.access import is_own_origin

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_CONFIGURED = ("server.address", "browser.serverAddress")


def refusal(host: str) -> str:
    """Why a request for ``host`` is refused; "" if it is accepted."""
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower().rstrip(".") if match else ""
    with suppress(ValueError):
        ipaddress.ip_address(name)
        return ""  # which no other site can point here
    hosts: Iterable[str] = ()
    with suppress(RobustnessError):  # while the settings cannot be read, there are none
        hosts = settings.value(settings.HOSTS) or ()
    for pattern in (*_own_names(), *(part.lower().rstrip(".") for part in hosts)):
        is_ending = pattern.startswith("*.") and name.endswith(pattern[1:])
        if pattern == "*" or (name and (name == pattern or is_ending)):
            return ""
    quoted = f" {name!r}" if name else ""
    return (
        f"Expected one of this dashboard's own host names, got{quoted or ' none'}. Use the address "
        "that its operator gave you, or ask the operator to add the name to the setting 'hosts'."
    )


@cache
def _own_names() -> tuple[str, ...]:
    """Names that need no setting: the machine's own, and those in Streamlit's configuration."""
    configured = [str(config.get_option(option) or "") for option in _CONFIGURED]
    return tuple(name.lower() for name in ("localhost", socket.gethostname(), *configured) if name)


COOKIE_SECONDS = 180 * 24 * 3600

MOST_ESCAPES = 200
"""Backslashes in a request's cookies: Python's parser takes seconds for thousands."""

_READS = ("GET", "HEAD", "OPTIONS")
_TLS = ("https", "wss")
_INLINE = re.compile(r"[<]script>(.*?)[<]/script>", re.DOTALL)


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
        if refused := refusal(headers.get("host", "")) or _refused_cookies(headers):
            await _refuse(refused, 400, scope, receive, send)
        elif refused := _refused_origin(scope, headers) or (
            metrics_text_and_access.refusal((scope.get("client") or ("",))[0], headers)
            if scope["path"].rstrip("/").endswith(metrics_text_and_access.PATHS)
            else ""
        ):
            await _refuse(refused, 403, scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request or WebSocket that is not refused, without a cookie that was invented."""
        replaced, is_known = browser_cookie.replace_in(scope["headers"])
        scope = {**scope, "headers": replaced}
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        cookie = ""
        if not is_known:
            is_encrypted = "https" in (
                scope["scheme"],
                Headers(scope=scope).get("x-forwarded-proto"),
            )
            # Hidden from scripts and other sites.
            cookie = (
                f"{browser_cookie.issue()}; Path=/; Max-Age={COOKIE_SECONDS}; "
                f"HttpOnly; SameSite=Lax{'; Secure' if is_encrypted else ''}"
            )

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                for name, value in _fixed_headers().items():
                    answered.setdefault(name, value)
                if cookie and answered.get("content-type", "").startswith("text/html"):
                    answered.append("set-cookie", cookie)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:
            note_error(error)
            raise


def _refused_cookies(headers: Headers) -> str:
    """Why a request's cookies are refused; "" if they are accepted."""
    if sum(cookies.count("\\") for cookies in headers.getlist("cookie")) <= MOST_ESCAPES:
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
    if origin is None or scope.get("method") in _READS:
        return ""
    schemes: tuple[str, ...] = ("http", "https")
    if said := headers.get("x-forwarded-proto"):
        schemes = (said,)
    elif scope["scheme"] in _TLS:
        schemes = ("https",)
    if is_own_origin(origin, headers.get("host", ""), schemes):
        return ""
    return (
        f"Expected a page of this dashboard, got one of {origin[:100]!r}. Open the dashboard at "
        "its own address."
    )


async def _refuse(sentence: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await PlainTextResponse(sentence, status_code=status)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


@cache
def _fixed_headers() -> dict[str, str]:
    """Headers of every answer, with the strictest content policy that the pages work under.

    Streamlit loads modules from blobs, fonts from data URLs and inline styles. Its index page has
    an inline script, allowed by its hash; its 64-bit integers use WebAssembly.
    """
    scripts = _INLINE.findall(index_page())
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    inline = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    parts = {
        "default-src": "'none'",
        "script-src": f"'self' blob: 'wasm-unsafe-eval' {inline}",
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
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in parts.items()),
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
