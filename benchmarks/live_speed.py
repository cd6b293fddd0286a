"""Times a Live update end to end on the server: a slider moves, and the whole page answers.

The server is a process of its own, as in use: once with the study's four networks, and for each
engine one with the four offline models. A client without a browser speaks its protocol, so that
nothing else needs the processor meanwhile. What is not forward pass covers perturbing, comparing,
encoding the pictures, tables, charts, and Streamlit.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from benchmarks.offline_models import NAMES, run_by
from robustness.models import label
from robustness.models.inference.choice import OPENVINO, TENSORFLOW
from tests.support.places import ROOT
from tests.support.server import dashboard

TIMINGS = re.compile(r"forward passes (\d+) ms, this update (\d+) ms in all")

Update = Callable[[], tuple[float, float]]
"""Moves the slider by a step; (ms to the end of the page's answer, ms of forward passes)."""


def measure(repeats: int = 10) -> dict[str, Any]:
    """Median milliseconds of an update, of its forward passes, and the share of the rest.

    The update counts from the slider's message to the last message of the page's answer. Of the
    study's networks.
    """
    with _page("benchmarks/live_app.py", "sample=chelsea") as update:
        total, forward_ms = _medians([update() for _ in range(repeats + 2)][2:])
    return {"total_ms": total, "forward_ms": forward_ms, "rest": 1 - forward_ms / total}


def measure_engines(turns: int = 6, updates: int = 4) -> dict[str, Any]:
    """Median milliseconds of an update of the offline models; ``ratio`` is to TensorFlow's.

    The two servers have turns of so many ``updates``, of which the first is not counted: that of
    TensorFlow is still busy for a while after its last one.
    """
    labels = [label(name) for name in NAMES]  # a link with names is rewritten first
    query = urlencode({"sample": "chelsea", "models": labels}, doseq=True)
    with ExitStack() as servers:
        pages = []
        for engine in (OPENVINO, TENSORFLOW):
            with run_by(engine):
                pages.append(servers.enter_context(_page("app.py", query)))
        counted: list[list[tuple[float, float]]] = [[] for _ in pages]
        for turn in range(1 + turns):
            for update, times in zip(pages, counted, strict=True):
                found = [update() for _ in range(updates)]
                times += found[1:] if turn else []
    (total, forward_ms), (reference, reference_forward) = map(_medians, counted)
    return {
        "total_ms": total,
        "forward_ms": forward_ms,
        "reference_ms": reference,
        "reference_forward_ms": reference_forward,
        "ratio": total / reference,
    }


def _medians(times: list[tuple[float, float]]) -> tuple[float, float]:
    total, forward = zip(*times, strict=True)
    return statistics.median(total), statistics.median(forward)


@contextmanager
def _page(script: str, query: str) -> Iterator[Update]:
    """The Live page of a fresh server, answered once, and what updates it."""
    with (
        dashboard(script, PYTHONPATH=str(ROOT)) as address,
        connect(
            f"{address.replace('http', 'ws')}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
        ) as server,
    ):
        first = BackMsg()
        first.rerun_script.query_string = query
        _, _, stack = _ask(server, first)
        step = 0

        def update() -> tuple[float, float]:
            nonlocal step
            step += 1
            move = BackMsg()
            move.rerun_script.query_string = query
            move.rerun_script.fragment_id = stack["fragment"]
            state = move.rerun_script.widget_states.widgets.add()
            state.id = stack["id"]
            steps = [{"name": "brightness", "strength": round(0.2 + 0.01 * step, 2)}]
            state.json_value = json.dumps({"stack": {"n": step, "held": False, "steps": steps}})
            total, forward, _ = _ask(server, move)
            return total, forward

        yield update


def _ask(server: ClientConnection, message: BackMsg) -> tuple[float, float, dict[str, str]]:
    """Sends ``message``; (ms to the end of the answer, ms of forward passes, the stack)."""
    start = time.perf_counter()
    server.send(message.SerializeToString())
    forward, stack = None, {"id": "", "fragment": ""}
    while True:
        answer = ForwardMsg()
        data = server.recv(timeout=300)
        answer.ParseFromString(data if isinstance(data, bytes) else data.encode())
        component = answer.delta.new_element.bidi_component
        if component.component_name == "robustness_stack":
            stack = {"id": component.id, "fragment": answer.delta.fragment_id}
        found = TIMINGS.search(component.json)
        if found:
            forward = float(found[1])
        if answer.HasField("script_finished"):
            break
    total = 1000 * (time.perf_counter() - start)
    if forward is None:
        raise RuntimeError("the page did not come to its end: see the server's log")
    return total, forward, stack


def main() -> None:
    """Prints the shares."""
    row = measure()
    print(
        f"the study's four: update {row['total_ms']:.0f} ms, forward passes "
        f"{row['forward_ms']:.0f} ms, everything else {row['rest']:.0%}"
    )
    row = measure_engines()
    print(
        f"the offline four: update {row['total_ms']:.0f} ms, forward passes "
        f"{row['forward_ms']:.0f} ms; with TensorFlow {row['reference_ms']:.0f} and "
        f"{row['reference_forward_ms']:.0f} ms: {row['ratio']:.2f} of that"
    )


if __name__ == "__main__":
    main()
