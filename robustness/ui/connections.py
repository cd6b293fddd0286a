"""What connections leave behind: descriptors of requests that never arrive, and records in the log.

A WebSocket that falls silent is ended by Uvicorn's pings. For a request that does not arrive it has
no time limit, and Streamlit passes it no settings of ours. What else strangers may do is limited by
the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
import time
from collections import Counter

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from robustness.ui.patches import LOGGERS_OF_SESSIONS

CHECKED_WITH = "0.54.0"
"""The version of Uvicorn that every function here was checked with."""

REQUEST_SECONDS = 10.0
"""Time for the headers of a connection's first request; later ones may take twice as long."""

_DESCRIPTORS_WANTED = 8192
"""A page takes four: its connection, and its session's event loop."""

RECORDS_A_MINUTE = 10
"""Log records of one kind in a minute, such as of one error."""

_LIMITED_LOGGERS = ("asyncio", "uvicorn.error", *LOGGERS_OF_SESSIONS)
"""Loggers of what a visitor sends."""


def limit() -> None:
    """Limit what the connections of this process's server leave behind."""
    limit_log()
    limit_time()
    _raise_descriptor_limit()


def limit_time() -> None:
    """Close a connection whose request does not arrive in time."""
    original_connection_made = H11Protocol.connection_made

    def check(
        connection: H11Protocol, was_waiting: bool, last_request: RequestResponseCycle | None
    ) -> None:
        """Close a connection that has waited since the last check; else check again later."""
        if connection not in connection.connections:  # it is closed or a WebSocket by now
            return
        is_waiting = _is_waiting(connection)
        if is_waiting and was_waiting and connection.cycle is last_request:
            connection.transport.close()
        else:
            check_later(connection, is_waiting)

    def check_later(connection: H11Protocol, is_waiting: bool) -> None:
        connection.loop.call_later(REQUEST_SECONDS, check, connection, is_waiting, connection.cycle)

    def connection_made(self: H11Protocol, transport: asyncio.Transport) -> None:
        original_connection_made(self, transport)
        check_later(self, is_waiting=True)

    H11Protocol.connection_made = connection_made  # type: ignore[method-assign]


def _is_waiting(connection: H11Protocol) -> bool:
    """Whether a connection has no request to answer, nor Uvicorn's own timer between two."""
    is_answered = connection.cycle is None or connection.cycle.response_complete
    return is_answered and connection.timeout_keep_alive_task is None


def _raise_descriptor_limit() -> None:
    """Raise this process's own limit on descriptors, if it may."""
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_WANTED
    if hard_limit != resource.RLIM_INFINITY:
        wanted = min(hard_limit, wanted)
    if soft_limit != resource.RLIM_INFINITY and soft_limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard_limit))


class RareRecords(logging.Filter):
    """Drops log records of a kind beyond ``RECORDS_A_MINUTE``; the last one kept says so."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: Counter[tuple[object, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is logged."""
        kind = _kind(record)
        with self._lock:
            minute = int(time.monotonic() / 60)  # here: one that is late would clear the counts
            if minute != self._minute:
                self._minute = minute
                self._counts.clear()
            self._counts[kind] += 1
            count = self._counts[kind]
        if count == RECORDS_A_MINUTE:
            record.msg = f"{record.msg} (more of these are not logged within this minute)"
        return count <= RECORDS_A_MINUTE


def _kind(record: logging.LogRecord) -> tuple[object, ...]:
    """What records have in common that count together: the message without what is filled in."""
    first_line = str(record.msg).partition("\n")[0]
    error_type = record.exc_info[0] if record.exc_info else None
    return (record.name, record.levelno, first_line[:80], error_type)


def limit_log() -> None:
    """Limit how often the errors that a visitor can cause are logged."""
    for name in _LIMITED_LOGGERS:
        logging.getLogger(name).addFilter(RareRecords())
