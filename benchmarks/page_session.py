"""A session of any page without a browser: a client that speaks the server's protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Subprotocol

PATIENCE = 1800
"""Seconds that an answer may take."""


_HEADLINE = 'class="rb-headline"'


@dataclass(frozen=True)
class Answered:
    """Seconds until the page's headline (None without one) and until the script ended.

    ``charts`` counts the charts that it drew.
    """

    headline: float | None
    end: float
    charts: int


class PageSession:
    """The page ``name`` opened by the link ``query``; a context manager."""

    def __init__(self, address: str, name: str, query: str = "") -> None:
        self._name = name
        self._query = query
        self._lists: dict[str, tuple[Any, str]] = {}
        self._server = connect(
            f"{address.replace('http', 'ws')}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
            open_timeout=PATIENCE,
        )

    def __enter__(self) -> PageSession:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.close()

    def open(self) -> Answered:
        """Runs the whole page."""
        return self._ask(lambda _asked: None)

    def choose(self, key: str, option: int = -1) -> Answered:
        """Chooses another ``option`` of the list called ``key``."""
        if key not in self._lists:
            raise RuntimeError(f"expected a list {key!r} on the page, got {sorted(self._lists)}")
        found, fragment = self._lists[key]

        def change(asked: Any) -> None:
            asked.fragment_id = fragment
            state = asked.widget_states.widgets.add()
            state.id = found.id
            state.string_value = found.options[option]

        return self._ask(change)

    def _ask(self, change: Callable[[Any], None]) -> Answered:
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_name = self._name
        change(message.rerun_script)
        start = time.perf_counter()
        headline = None
        charts = 0
        self._server.send(message.SerializeToString())
        while True:
            answer = ForwardMsg()
            data = self._server.recv(timeout=PATIENCE)
            answer.ParseFromString(data if isinstance(data, bytes) else data.encode())
            element = answer.delta.new_element
            if element.selectbox.id:
                box = element.selectbox
                self._lists[box.id.rpartition("-")[2]] = (box, answer.delta.fragment_id)
            if headline is None and _HEADLINE in element.html.body:
                headline = time.perf_counter() - start
            charts += bool(element.plotly_chart.id or element.plotly_chart.spec)
            if answer.HasField("script_finished"):
                return Answered(headline, time.perf_counter() - start, charts)
