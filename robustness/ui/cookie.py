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
    return f"{_name()}={value}.{secret.signature(_PURPOSE, value)}"


def replace_in(headers: Sequence[Header]) -> tuple[list[Header], bool]:
    """``headers`` with the signed cookie under the name ``COOKIE``, and whether there is one.

    An invented cookie is left out, others stay.
    """
    own_name = _name()
    replaced: list[Header] = []
    is_known = False
    for name, header in headers:
        if name != b"cookie":
            replaced.append((name, header))
            continue
        kept = []
        for part in header.decode("latin-1").split(";"):
            cookie, _, value = part.partition("=")
            cookie = cookie.strip()
            value = value.strip()
            if cookie == own_name and _is_signed(value):
                kept.append(f"{COOKIE}={value}")
                is_known = True
            elif cookie != COOKIE:
                kept.append(part.strip())
        replaced.append((name, "; ".join(kept).encode("latin-1")))
    return replaced, is_known


def _is_signed(text: str) -> bool:
    value, _, signature = text.rpartition(".")
    return secret.is_signed(_PURPOSE, value, signature)


def _name() -> str:
    """The name of the cookie.

    Browsers send the cookies of all servers of one host to each of them. With a name of its own,
    an installation does not replace another one's.
    """
    return f"{COOKIE}_{secret.signature('name of the cookie', COOKIE)[:8]}"
