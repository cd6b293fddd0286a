"""Names that cannot be guessed: what a session's browser may ask for beside the page's script."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from typing import Generic, TypeVar

import streamlit as st

from robustness.base.access import Action, Who, check, policy
from robustness.ui.kit import access

MOST_TICKETS = 128
"""How many sessions may hold one; a session whose ticket has gone gets another from its page."""

What = TypeVar("What")


class Tickets(Generic[What]):
    """What each session may ask for, by its ticket; safe between threads."""

    def __init__(self, name: str) -> None:
        """``name`` tells several tickets of a session apart."""
        self._name = f"ticket {name}"
        self._lock = threading.Lock()
        self._held: OrderedDict[str, tuple[Who, What]] = OrderedDict()

    def give(self, what: What) -> str:
        """This session's ticket, which stands for ``what`` from now on.

        Raises ``AccessError`` where the session may not measure.
        """
        ticket = str(st.session_state.setdefault(self._name, secrets.token_urlsafe(24)))
        access.require(Action.MEASURE)
        with self._lock:
            self._held[ticket] = access.who(), what
            self._held.move_to_end(ticket)
            while len(self._held) > MOST_TICKETS:
                self._held.popitem(last=False)
        return ticket

    def get(self, ticket: str, action: Action = Action.MEASURE) -> What | None:
        """What ``ticket`` stands for; None if it is none.

        Raises ``AccessError`` where whoever it was given to may not have ``action`` done by now.
        """
        with self._lock:
            who, what = self._held.get(ticket, (None, None))
        if who is not None:
            check(action, who, None, policy())
        return what
