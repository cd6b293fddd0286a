"""Limits on connections: how long a request may take to arrive, how many are open, what is logged.

Uvicorn waits for ever for the rest of a request. Anybody could hold all descriptors of the server,
and each connection that it then cannot accept is a traceback in the log. This module replaces
methods of its protocol, since Streamlit passes it no settings of ours.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
import time
from collections import Counter
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import h11
from streamlit import config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from robustness.ui.patches import LOGGERS_OF_SESSIONS

CHECKED_WITH = "0.54.0"
"""The version of Uvicorn that every function here was checked with."""

HEAD_SECONDS = 10.0
"""Time for all headers of a request, from its first byte or from the connection."""

BODY_SECONDS = 60.0
"""Time between two parts of a request's body."""

_DESCRIPTORS_WANTED = 8192

_DESCRIPTORS_OF_OTHERS = 640
"""For files, processes, and the sessions that are kept for the return of their browsers."""

_DESCRIPTORS_OF_A_PAGE = 4
"""Its connection, and its session's event loop."""

_FEWEST_CONNECTIONS = 16
"""Connections that are accepted however few descriptors there are."""

RECORDS_A_MINUTE = 10
"""Log records of one kind in a minute, such as of one error."""

_LIMITED_LOGGERS = (__name__, "asyncio", "uvicorn.error", *LOGGERS_OF_SESSIONS)
"""Loggers of what a visitor sends."""

_LOG = logging.getLogger(__name__)


def limit() -> None:
    """Limit the connections of this process's server, and what is logged about them."""
    limit_log()
    limit_time()
    limit_count(_most_connections())
    most_megabytes = int(config.get_option("server.maxWidgetStateSize"))
    limit_messages(most_megabytes * 2**20)


class _Timer(NamedTuple):
    """The timer of a connection, for the headers of a request or else for its body."""

    is_for_headers: bool
    handle: asyncio.TimerHandle


def limit_time() -> None:
    """Close a connection whose request does not arrive in time."""
    original_connection_made = H11Protocol.connection_made
    original_data_received = H11Protocol.data_received
    original_connection_lost = H11Protocol.connection_lost
    timers: WeakKeyDictionary[H11Protocol, _Timer] = WeakKeyDictionary()

    def stop(connection: H11Protocol) -> None:
        timer = timers.pop(connection, None)
        if timer is not None:
            timer.handle.cancel()

    def expire(connection: H11Protocol) -> None:
        del timers[connection]
        if connection.flow.read_paused:  # we are the slow ones
            start(connection, is_for_headers=False)
        else:
            connection.transport.close()

    def start(connection: H11Protocol, *, is_for_headers: bool) -> None:
        seconds = HEAD_SECONDS if is_for_headers else BODY_SECONDS
        handle = connection.loop.call_later(seconds, expire, connection)
        timers[connection] = _Timer(is_for_headers, handle)

    def watch(connection: H11Protocol) -> None:
        """Start or stop the timer, by what is expected of the visitor next."""
        if connection not in connection.connections:  # it is closed or a WebSocket by now
            stop(connection)
            return
        state = connection.conn.their_state
        if state is h11.IDLE:
            # One timer for all headers: it does not start again with each part of them.
            timer = timers.get(connection)
            if timer is None or not timer.is_for_headers:
                stop(connection)
                start(connection, is_for_headers=True)
        else:
            stop(connection)
            if state is h11.SEND_BODY:
                start(connection, is_for_headers=False)

    def connection_made(self: H11Protocol, transport: asyncio.Transport) -> None:
        original_connection_made(self, transport)
        watch(self)

    def data_received(self: H11Protocol, data: bytes) -> None:
        original_data_received(self, data)
        watch(self)

    def connection_lost(self: H11Protocol, exc: Exception | None) -> None:
        stop(self)
        original_connection_lost(self, exc)

    H11Protocol.connection_made = connection_made  # type: ignore[method-assign]
    H11Protocol.data_received = data_received  # type: ignore[method-assign]
    H11Protocol.connection_lost = connection_lost  # type: ignore[method-assign]


def limit_count(most: int) -> None:
    """Refuse connections while ``most`` are open."""
    original_connection_made = H11Protocol.connection_made

    def connection_made(self: H11Protocol, transport: asyncio.Transport) -> None:
        original_connection_made(self, transport)
        if len(self.connections) > most:
            _LOG.warning("Refused a connection: %s are open, which is the limit.", most)
            transport.abort()

    H11Protocol.connection_made = connection_made  # type: ignore[method-assign]


def limit_messages(most: int) -> None:
    """Refuse a message of a WebSocket beyond ``most`` bytes before it has arrived.

    Streamlit refuses it afterwards, and holds up to ``server.maxMessageSize`` of each until then.
    """
    original_init = WebSocketsSansIOProtocol.__init__

    def init_with_limit(self: WebSocketsSansIOProtocol, *args: Any, **kwargs: Any) -> None:
        original_init(self, *args, **kwargs)
        self.conn.max_message_size = most

    WebSocketsSansIOProtocol.__init__ = init_with_limit  # type: ignore[method-assign]


def _most_connections() -> int:
    """The connections for which this process has descriptors; raises its own limit, if it may."""
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft_limit == resource.RLIM_INFINITY:
        descriptors = _DESCRIPTORS_WANTED
    elif soft_limit >= _DESCRIPTORS_WANTED:
        descriptors = soft_limit
    else:
        descriptors = _DESCRIPTORS_WANTED
        if hard_limit != resource.RLIM_INFINITY:
            descriptors = min(hard_limit, _DESCRIPTORS_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard_limit))
    connections = (descriptors - _DESCRIPTORS_OF_OTHERS) // _DESCRIPTORS_OF_A_PAGE
    return max(_FEWEST_CONNECTIONS, connections)


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
