"""Unguessable names for what a session's browser may request besides the page's script."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

import streamlit as st
from starlette.requests import Request

from robustness.base.permissions import Action, Who, check, policy
from robustness.ui.session import access

What = TypeVar("What")

MOST_AT_ONCE = 2
"""Requests of one kind and ticket that may be open at once: an image and its predictions."""


@dataclass(eq=False)
class _TicketState(Generic[What]):
    """The part of a session's state that ends with the session."""

    ticket: str
    browser: str
    value: tuple[Who, What]
    outstanding: Counter[str] = field(default_factory=Counter)


class Tickets(Generic[What]):
    """What each session may request, by its ticket; thread-safe."""

    def __init__(self, name: str) -> None:
        """``name`` distinguishes the tickets of one session."""
        self._name = f"ticket {name}"
        self._states: WeakValueDictionary[str, _TicketState[What]] = WeakValueDictionary()

    def give(self, what: What) -> str:
        """Return this session's ticket, which stands for ``what`` from now on.

        Raises ``AccessError`` if the session may not measure.
        """
        access.require(Action.MEASURE)
        connection = access.connection()
        browser = connection.cookies.get(access.COOKIE, "") if connection else ""
        value = access.who(), what
        state: _TicketState[What] | None = st.session_state.get(self._name)
        if state is None:
            state = _TicketState(secrets.token_urlsafe(24), browser, value)
            st.session_state[self._name] = state
        state.browser, state.value = browser, value
        self._states[state.ticket] = state
        return state.ticket

    def get(
        self, ticket: str, cookies: Mapping[str, str], action: Action = Action.MEASURE
    ) -> What | None:
        """Return what ``ticket`` stands for; None if it is unknown or its session has ended.

        It is unknown, too, without the ``cookies`` of the browser of its session. Raises
        ``AccessError`` if its holder may no longer do ``action``.
        """
        state = self._states.get(ticket)
        if state is None or not state.browser or cookies.get(access.COOKIE) != state.browser:
            return None
        who, what = state.value
        check(action, who, None, policy())
        return what

    @contextmanager
    def place(self, ticket: str, kind: str = "") -> Iterator[bool]:
        """Count one open request of ``kind`` and ``ticket``; yield whether it is allowed.

        Only for the server's event loop.
        """
        state = self._states.get(ticket)
        if state is None or state.outstanding[kind] >= MOST_AT_ONCE:
            yield False
            return
        state.outstanding[kind] += 1
        try:
            yield True
        finally:
            state.outstanding[kind] -= 1


async def body(request: Request, most: int) -> bytes | None:
    """Read the body of ``request``; stop and return None once it exceeds ``most`` bytes."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > most:
            return None
    return bytes(data)
