"""Host names that this server accepts, as a defence against DNS rebinding.

Another site can point its own name at this machine and then call the dashboard as its own origin.
The server refuses requests that use a name that is not its own.
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
    """Why a request for ``host`` is refused; "" if it is accepted."""
    match = _HOST.fullmatch(host)
    name = match[1].strip("[]").lower().rstrip(".") if match else ""
    if _is_address(name) or _is_among(name, (*_own_names(), *_named())):
        return ""
    shown = f" {name!r}" if name else ""
    return (
        f"Expected one of this dashboard's own host names, got{shown or ' none'}. Use the address "
        "that its operator gave you, or ask the operator to add the name to the setting 'hosts'."
    )


def _is_address(name: str) -> bool:
    """Whether ``name`` is an IP address, which no other site can point here."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_among(name: str, patterns: Iterable[str]) -> bool:
    """Whether ``name`` matches one of ``patterns``: itself, ``*``, or ``*.`` and an ending."""
    for pattern in patterns:
        if pattern == "*" or (name and (name == pattern or _ends(name, pattern))):
            return True
    return False


def _ends(name: str, pattern: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:])


def _named() -> tuple[str, ...]:
    """The names in the setting ``hosts``; none while the settings cannot be read."""
    try:
        return tuple(part.lower().rstrip(".") for part in (settings.value(settings.HOSTS) or ()))
    except RobustnessError:
        return ()


@cache
def _own_names() -> tuple[str, ...]:
    """Names that need no setting: the machine's own, and those in Streamlit's configuration."""
    configured = [str(config.get_option(option) or "") for option in _CONFIGURED]
    return tuple(name.lower() for name in ("localhost", socket.gethostname(), *configured) if name)
