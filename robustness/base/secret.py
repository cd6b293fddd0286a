"""The secret of this installation, with which it recognises what it wrote itself."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from robustness.base import settings
from robustness.base.errors import RobustnessError
from robustness.base.files import file_lock, put_whole, read_regular

FILE = "secret.key"
"""The file in the state folder. All servers of an installation share it; no copy of runs has it."""

_BYTES = 32
_OF_THIS_PROCESS = secrets.token_bytes(_BYTES)


def signature(purpose: str, text: str) -> str:
    """The signature (64 hexadecimal digits) of ``text`` by this installation.

    A signature for one ``purpose``, such as "cookie", is none for another.
    """
    return hmac.new(_secret(), f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()


def is_signed(purpose: str, text: str, signed: str) -> bool:
    """Whether ``signed`` is the ``signature`` of ``text``, compared in constant time."""
    return hmac.compare_digest(signed.encode(), signature(purpose, text).encode())


def _secret() -> bytes:
    with suppress(RobustnessError):  # invalid settings: every page and command shows the error
        return _secret_in(settings.state_folder())
    return _OF_THIS_PROCESS


@lru_cache(maxsize=4)
def _secret_in(folder: Path) -> bytes:
    """The secret stored in ``folder``, made if there is none."""
    path = folder / FILE
    try:
        secret = _stored(path)
        if len(secret) != _BYTES:
            folder.mkdir(parents=True, exist_ok=True)
            with file_lock(path):
                secret = _stored(path)  # another process may have made it meanwhile
                if len(secret) != _BYTES:
                    secret = secrets.token_bytes(_BYTES)
                    put_whole(path, lambda temporary: _write_for_owner(temporary, secret))
    except OSError as error:
        logging.getLogger(__name__).warning(
            "%s cannot be stored (%s): after a restart, browsers are new visitors, and figures of "
            "saved runs are computed again.",
            path,
            error.strerror,
        )
        return _OF_THIS_PROCESS
    return secret


def _stored(path: Path) -> bytes:
    """The content of the file ``path``; nothing if there is none."""
    with suppress(FileNotFoundError):
        return read_regular(path, _BYTES)
    return b""


def _write_for_owner(path: Path, data: bytes) -> None:
    """Write ``data`` to the new file ``path``, which no other account may read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)
