"""The signed cookie by which this installation knows a browser again.

What a browser makes is its own, and has limits of its own. So the server signs the cookie, and
drops one that a visitor invented: who sends that is a new visitor.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.base.files_and_locks import file_lock, put_whole, read_regular
from robustness.ui.session.access import COOKIE

FILE = "browser.key"
"""The secret in the state folder, which all servers of an installation share."""

_KEY_BYTES = 32

Header = tuple[bytes, bytes]
"""Name, in lower case, and value of a header of a request."""


@dataclass(frozen=True)
class _Key:
    """The ``secret`` that signs, and the ``name`` of the cookies that it signed.

    Browsers send the cookies of all servers of one host to each of them. With a name of its own,
    an installation does not replace another one's.
    """

    secret: bytes
    name: str


_OF_THIS_PROCESS = _Key(secrets.token_bytes(_KEY_BYTES), COOKIE)
"""Used where none can be stored; browsers are then new visitors after a restart."""


def issue() -> str:
    """A new cookie as text: its name, "=" and its signed value."""
    key = _key()
    value = secrets.token_urlsafe(24)
    return f"{key.name}={value}.{_signature(key, value)}"


def replace_in(headers: Sequence[Header]) -> tuple[list[Header], bool]:
    """``headers`` with the signed cookie under the name ``COOKIE``, and whether there is one.

    An invented cookie is left out, others stay.
    """
    key = _key()
    replaced: list[Header] = []
    is_known = False
    for name, header in headers:
        if name != b"cookie":
            replaced.append((name, header))
            continue
        kept = []
        for part in header.decode("latin-1").split(";"):
            cookie, _, value = part.partition("=")
            cookie, value = cookie.strip(), value.strip()
            if cookie == key.name and _is_signed(key, value):
                kept.append(f"{COOKIE}={value}")
                is_known = True
            elif cookie != COOKIE:
                kept.append(part.strip())
        replaced.append((name, "; ".join(kept).encode("latin-1")))
    return replaced, is_known


def _is_signed(key: _Key, text: str) -> bool:
    value, _, signature = text.rpartition(".")
    return hmac.compare_digest(signature.encode(), _signature(key, value).encode())


def _signature(key: _Key, value: str) -> str:
    return hmac.new(key.secret, value.encode(), hashlib.sha256).hexdigest()


def _key() -> _Key:
    with suppress(RobustnessError):  # every page shows the error
        return _key_in(settings.state_folder())
    return _OF_THIS_PROCESS


@lru_cache(maxsize=4)
def _key_in(folder: Path) -> _Key:
    """The key stored in ``folder``, made if there is none."""
    path = folder / FILE
    try:
        secret = _stored(path)
        if len(secret) != _KEY_BYTES:
            folder.mkdir(parents=True, exist_ok=True)
            with file_lock(path):
                secret = _stored(path)  # another server may have made it meanwhile
                if len(secret) != _KEY_BYTES:
                    secret = secrets.token_bytes(_KEY_BYTES)
                    put_whole(path, lambda temporary: _write_for_owner(temporary, secret))
    except OSError as error:
        logging.getLogger(__name__).warning(
            "Browsers are new visitors after a restart, as %s cannot be stored: %s.",
            path,
            error.strerror,
        )
        return _OF_THIS_PROCESS
    return _Key(secret, f"{COOKIE}_{hashlib.sha256(secret).hexdigest()[:8]}")


def _stored(path: Path) -> bytes:
    """The content of the file ``path``; nothing if there is none."""
    with suppress(FileNotFoundError):
        return read_regular(path, _KEY_BYTES)
    return b""


def _write_for_owner(path: Path, data: bytes) -> None:
    """Write ``data`` to the new file ``path``, which no other account may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
