"""A session of the Live page without a browser: a client that speaks the server's protocol."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from robustness.ui.components import pack, unpack

TIMINGS = re.compile(r"Updated in [\d.]+ m?s, (?:(\d+) ms of it forward passes|mostly loading)")
TICKET = re.compile(r'"ticket": ?"([^"]+)"')

PATIENCE = 300
"""Seconds that an answer may take."""


class LiveSession:
    """The Live page opened by the link ``query``; a context manager, answered once it is entered.

    ``shown`` counts the updates that came to their end, and ``failed`` those that did not.
    """

    def __init__(self, address: str, query: str) -> None:
        self._address = address
        self._query = query
        with urllib.request.urlopen(address, timeout=PATIENCE) as page:
            given = page.headers["Set-Cookie"].partition(";")[0]
        self._cookie = {"Cookie": given}
        self._server = connect(
            f"{address.replace('http', 'ws')}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            additional_headers=self._cookie,
            max_size=None,
            open_timeout=PATIENCE,
        )
        self._stack = {"id": "", "fragment": "", "ticket": ""}
        self._moves = 0

    def __enter__(self) -> LiveSession:
        first = BackMsg()
        first.rerun_script.query_string = self._query
        self._ask(first)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.close()

    def update(self) -> tuple[float, float]:
        """Moves the slider by a step; (ms to the end of the answer, ms of its forward passes)."""
        self._moves += 1
        move = BackMsg()
        move.rerun_script.query_string = self._query
        move.rerun_script.fragment_id = self._stack["fragment"]
        state = move.rerun_script.widget_states.widgets.add()
        state.id = self._stack["id"]
        asked = {"n": self._moves, "held": False, "steps": self._steps}
        state.json_value = json.dumps({"stack": asked})
        return self._ask(move)

    def held(self, want: str, pictures: Sequence[bytes] = ()) -> tuple[int, dict[str, Any]]:
        """Asks past the script, as a browser does while a slider is held; (status, answer)."""
        self._moves += 1
        request = urllib.request.Request(
            f"{self._address}/live/{self._stack['ticket']}",
            data=pack({"want": want, "steps": self._steps}, pictures),
            headers=self._cookie,
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, unpack(response.read())[0]
        except urllib.error.HTTPError as error:
            return error.code, {"said": error.read().decode(errors="replace")}

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return [{"name": "brightness", "strength": round(0.1 + 0.001 * (self._moves % 800), 3)}]

    def _ask(self, message: BackMsg) -> tuple[float, float]:
        start = time.perf_counter()
        self._server.send(message.SerializeToString())
        forward = None
        while True:
            answer = ForwardMsg()
            data = self._server.recv(timeout=PATIENCE)
            answer.ParseFromString(data if isinstance(data, bytes) else data.encode())
            component = answer.delta.new_element.bidi_component
            if component.component_name == "robustness_stack":
                ticket = TICKET.search(component.json)
                self._stack = {
                    "id": component.id,
                    "fragment": answer.delta.fragment_id,
                    "ticket": ticket[1] if ticket else "",
                }
            found = TIMINGS.search(component.json)
            if found:
                forward = float(found[1] or "nan")  # the first may load models
            if answer.HasField("script_finished"):
                break
        total = 1000 * (time.perf_counter() - start)
        if forward is None:
            raise RuntimeError("the page did not come to its end: see the server's log")
        return total, forward
