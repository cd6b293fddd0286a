"""Middleware for every request: checks host, origin and cookies, and sets security headers."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from functools import cache
from pathlib import Path

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from robustness.ui.server import hosts, metrics
from robustness.ui.server.faults import FAULTS
from robustness.ui.session.access import COOKIE, is_own_origin

COOKIE_SECONDS = 180 * 24 * 3600

MOST_ESCAPES = 200
"""Backslashes in a request's cookies: Python's parser takes seconds for thousands."""

_READS = ("GET", "HEAD", "OPTIONS")
_TLS = ("https", "wss")
_COOKIE = re.compile(rf"(?:^|;)\s*{COOKIE}=")
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
        if refused := hosts.refusal(headers.get("host", "")) or _refused_cookies(headers):
            await _refuse(refused, 400, scope, receive, send)
        elif refused := _refused_origin(scope, headers) or _refused_figures(scope, headers):
            await _refuse(refused, 403, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            known = _COOKIE.search(headers.get("cookie", ""))
            cookie = "" if known else _new_cookie(scope, headers)

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _add_headers(MutableHeaders(scope=message), cookie)
                await send(message)

            try:
                await self._app(scope, receive, answer)
            except Exception as error:
                FAULTS.note(error)
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
    said = headers.get("x-forwarded-proto")
    schemes = (said,) if said else ("https",) if scope["scheme"] in _TLS else ("http", "https")
    if is_own_origin(origin, headers.get("host", ""), schemes):
        return ""
    return (
        f"Expected a page of this dashboard, got one of {origin[:100]!r}. Open the dashboard at "
        "its own address."
    )


def _refused_figures(scope: Scope, headers: Headers) -> str:
    if not scope["path"].rstrip("/").endswith(metrics.PATHS):
        return ""
    return metrics.refusal((scope.get("client") or ("",))[0], headers)


async def _refuse(sentence: str, status: int, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {}):
        await PlainTextResponse(sentence, status_code=status)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1008})


def _add_headers(headers: MutableHeaders, cookie: str) -> None:
    for name, value in _fixed().items():
        headers.setdefault(name, value)
    if cookie and headers.get("content-type", "").startswith("text/html"):
        headers.append("set-cookie", cookie)


@cache
def _fixed() -> dict[str, str]:
    return {
        "Content-Security-Policy": _policy(),
        "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
    }


def _policy() -> str:
    """The strictest content security policy that the pages work under.

    Streamlit loads modules from blobs, fonts from data URLs and inline styles. Its index page has
    an inline script, allowed by its hash; its 64-bit integers use WebAssembly.
    """
    index = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    digests = [hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(index)]
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
    return "; ".join(f"{name} {value}" for name, value in parts.items())


def _new_cookie(scope: Scope, headers: Headers) -> str:
    """The cookie that identifies a browser; hidden from scripts and other sites."""
    encrypted = scope["scheme"] == "https" or headers.get("x-forwarded-proto") == "https"
    return (
        f"{COOKIE}={secrets.token_urlsafe(24)}; Path=/; Max-Age={COOKIE_SECONDS}; HttpOnly; "
        f"SameSite=Lax{'; Secure' if encrypted else ''}"
    )
