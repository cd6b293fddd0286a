"""An amount of something that many threads share, in the order in which they ask."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class NoTurnError(Exception):
    """Others were at it until it was too late."""


class Turns:
    """Shares out ``total``; who asks for more than is free waits, and so do all who come after."""

    def __init__(self, total: int) -> None:
        self._free = total
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, amount: int, deadline: float | None) -> Iterator[None]:
        """Holds ``amount``, at most the total.

        Raises ``NoTurnError`` where it is not to be had until ``deadline`` (of ``time.monotonic``;
        None for ever).
        """
        ticket = object()
        with self._changed:
            self._waiting.append(ticket)
            try:
                mine = self._changed.wait_for(
                    lambda: self._waiting[0] is ticket and self._free >= amount,
                    seconds_until(deadline),
                )
                if not mine:
                    raise NoTurnError
                self._free -= amount
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()  # the next may find enough as well
        try:
            yield
        finally:
            with self._changed:
                self._free += amount
                self._changed.notify_all()


def seconds_until(deadline: float | None) -> float | None:
    """Seconds until ``deadline``, of ``time.monotonic``: a moment at least; None for ever."""
    return None if deadline is None else max(1e-3, deadline - time.monotonic())
