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
from typing import Any
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
    limit_messages(int(config.get_option("server.maxWidgetStateSize")) * 2**20)


def limit_time() -> None:
    """Close a connection whose request does not arrive in time."""
    made = H11Protocol.connection_made
    received = H11Protocol.data_received
    lost = H11Protocol.connection_lost
    # Whether it is for the headers, and the timer itself.
    timers: WeakKeyDictionary[H11Protocol, tuple[bool, asyncio.TimerHandle]] = WeakKeyDictionary()

    def stop(connection: H11Protocol) -> None:
        if connection in timers:
            _, timer = timers.pop(connection)
            timer.cancel()

    def expire(connection: H11Protocol) -> None:
        del timers[connection]
        if connection.flow.read_paused:  # we are the slow ones
            start(connection, is_head=False)
        else:
            connection.transport.close()

    def start(connection: H11Protocol, is_head: bool) -> None:
        seconds = HEAD_SECONDS if is_head else BODY_SECONDS
        timers[connection] = is_head, connection.loop.call_later(seconds, expire, connection)

    def watch(connection: H11Protocol) -> None:
        """Start or stop the timer, by what is expected of the visitor next."""
        state = connection.conn.their_state
        is_http = connection in connection.connections  # neither closed nor a WebSocket by now
        if is_http and state is h11.IDLE:
            waits_for_head = connection in timers and timers[connection][0]
            if not waits_for_head:
                stop(connection)
                start(connection, is_head=True)
        else:
            stop(connection)
            if is_http and state is h11.SEND_BODY:
                start(connection, is_head=False)

    def connection_made(self: H11Protocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        watch(self)

    def data_received(self: H11Protocol, data: bytes) -> None:
        received(self, data)
        watch(self)

    def connection_lost(self: H11Protocol, exc: Exception | None) -> None:
        stop(self)
        lost(self, exc)

    H11Protocol.connection_made = connection_made  # type: ignore[method-assign]
    H11Protocol.data_received = data_received  # type: ignore[method-assign]
    H11Protocol.connection_lost = connection_lost  # type: ignore[method-assign]


def limit_count(most: int) -> None:
    """Refuse connections while ``most`` are open."""
    made = H11Protocol.connection_made

    def connection_made(self: H11Protocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        if len(self.connections) > most:
            _LOG.warning("Refused a connection: %s are open, which is the limit.", most)
            transport.abort()

    H11Protocol.connection_made = connection_made  # type: ignore[method-assign]


def limit_messages(most: int) -> None:
    """Refuse a message of a WebSocket beyond ``most`` bytes before it has arrived.

    Streamlit refuses it afterwards, and holds up to ``server.maxMessageSize`` of each until then.
    """
    begin = WebSocketsSansIOProtocol.__init__

    def begin_with_limit(self: WebSocketsSansIOProtocol, *others: Any, **named: Any) -> None:
        begin(self, *others, **named)
        self.conn.max_message_size = most

    WebSocketsSansIOProtocol.__init__ = begin_with_limit  # type: ignore[method-assign]


def _most_connections() -> int:
    """The connections for which this process has descriptors; raises its own limit, if it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = _DESCRIPTORS_WANTED
    elif soft < _DESCRIPTORS_WANTED:
        is_free = hard == resource.RLIM_INFINITY
        soft = _DESCRIPTORS_WANTED if is_free else min(hard, _DESCRIPTORS_WANTED)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(16, (soft - _DESCRIPTORS_OF_OTHERS) // _DESCRIPTORS_OF_A_PAGE)


class RareRecords(logging.Filter):
    """Drops log records of a kind beyond ``RECORDS_A_MINUTE``; the last one kept says so."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: Counter[tuple[object, ...]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        first_line = str(record.msg).partition("\n")[0]
        error = record.exc_info[0] if record.exc_info else None
        kind = (record.name, record.levelno, first_line[:80], error)
        with self._lock:
            minute = int(time.monotonic() / 60)
            if minute != self._minute:
                self._minute = minute
                self._counts.clear()
            self._counts[kind] += 1
            count = self._counts[kind]
        if count == RECORDS_A_MINUTE:
            record.msg = f"{record.msg} (more of these are not logged within this minute)"
        return count <= RECORDS_A_MINUTE


def limit_log() -> None:
    """Limit how often the errors that a visitor can cause are logged."""
    for name in _LIMITED_LOGGERS:
        logging.getLogger(name).addFilter(RareRecords())
