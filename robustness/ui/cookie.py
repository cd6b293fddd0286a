"""The signed cookie by which this installation knows a browser again.

What a browser makes is its own, and has limits of its own. So the server signs the cookie, and
drops one that a visitor invented: who sends that is a new visitor.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from robustness.base import secret
from robustness.ui.session import COOKIE

_PURPOSE = "browser cookie"

Header = tuple[bytes, bytes]
"""Name, in lower case, and value of a header of a request."""


def issue() -> str:
    """A new cookie as text: its name, "=" and its signed value."""
    value = secrets.token_urlsafe(24)
    signature = secret.signature(_PURPOSE, value)
    return f"{_name()}={value}.{signature}"


def replace_in(headers: Sequence[Header]) -> tuple[list[Header], bool]:
    """``headers`` with the signed cookie under the name ``COOKIE``, and whether there is one.

    An invented cookie is left out, others stay.
    """
    replaced: list[Header] = []
    has_signed_cookie = False
    for header_name, header in headers:
        if header_name != b"cookie":
            replaced.append((header_name, header))
            continue
        cookies, is_signed = _replace_in_cookies(header.decode("latin-1"))
        has_signed_cookie = has_signed_cookie or is_signed
        replaced.append((header_name, cookies.encode("latin-1")))
    return replaced, has_signed_cookie


def _replace_in_cookies(header: str) -> tuple[str, bool]:
    """As ``replace_in``, in the value of one header."""
    signed_name = _name()
    cookies = []
    has_signed_cookie = False
    for cookie in header.split(";"):
        name, _, value = cookie.partition("=")
        name = name.strip()
        value = value.strip()
        if name == signed_name and _is_signed(value):
            cookies.append(f"{COOKIE}={value}")
            has_signed_cookie = True
        elif name != COOKIE:
            cookies.append(cookie.strip())
    return "; ".join(cookies), has_signed_cookie


def _is_signed(text: str) -> bool:
    value, _, signature = text.rpartition(".")
    return secret.is_signed(_PURPOSE, value, signature)


def _name() -> str:
    """The name of the cookie in the browser.

    Browsers send the cookies of all servers of one host to each of them. With a name of its own,
    an installation does not replace another one's.
    """
    suffix = secret.signature("name of the cookie", COOKIE)[:8]
    return f"{COOKIE}_{suffix}"
