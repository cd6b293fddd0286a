"""The names by which this server lets itself be called.

A page of another site may have its own name lead to this machine, and then talk to the dashboard as
if it were its own: DNS rebinding. Whoever is called by a name that is not theirs does not answer.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import cache

from streamlit import config

from robustness.base import settings
from robustness.base.errors import RobustnessError

_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_CONFIGURED = ("server.address", "browser.serverAddress")


def refusal(host: str) -> str:
    """Why a request that calls this server ``host`` is not answered; "" where it is."""
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower().rstrip(".") if match else ""
    if _is_address(name) or _is_among(name, (*_own_names(), *_named())):
        return ""
    shown = f" {name!r}" if name else ""
    return (
        f"This dashboard does not go by the name{shown} that your browser called it: use the "
        "address that its operator gave you, or have the operator add the name to the setting "
        "'hosts'."
    )


def _is_address(name: str) -> bool:
    """Whether ``name`` is an IP address, which nobody else can make lead here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` is one of ``patterns``, or ends as one that begins with ``*.`` does."""
    for pattern in patterns:
        if pattern == "*" or (name and (name == pattern or _ends(name, pattern))):
            return True
    return False


def _ends(name: str, pattern: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:])


def _named() -> tuple[str, ...]:
    """What the setting ``hosts`` names; nothing while the settings cannot be read."""
    try:
        return tuple(part.lower().rstrip(".") for part in (settings.value(settings.HOSTS) or ()))
    except RobustnessError:
        return ()


@cache
def _own_names() -> tuple[str, ...]:
    """The names that need not be set: the machine's, and those of Streamlit's configuration."""
    configured = [str(config.get_option(option) or "") for option in _CONFIGURED]
    return tuple(name.lower() for name in ("localhost", socket.gethostname(), *configured) if name)
