"""Times a Live update end to end on the server: a slider moves, and the whole page answers.

The server is a process of its own, as in use, with the study's four networks. A client without a
browser speaks its protocol, so that nothing else needs the processor meanwhile. What is not
forward pass covers perturbing, comparing, encoding the pictures, tables, charts, and Streamlit.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parent.parent
TIMINGS = re.compile(r"forward passes (\d+) ms, this update (\d+) ms in all")


def measure(repeats: int = 10) -> dict[str, Any]:
    """Median milliseconds of an update, of its forward passes, and the share of the rest.

    The update counts from the slider's message to the last message of the page's answer.
    """
    totals, passes = [], []
    with (
        _server() as port,
        connect(
            f"ws://127.0.0.1:{port}/_stcore/stream",
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
        ) as server,
    ):
        first = BackMsg()
        first.rerun_script.query_string = "sample=chelsea"
        _, _, slider = _ask(server, first)
        for step in range(repeats + 2):
            move = BackMsg()
            move.rerun_script.query_string = "sample=chelsea"
            move.rerun_script.fragment_id = slider["fragment"]
            state = move.rerun_script.widget_states.widgets.add()
            state.id = slider["id"]
            state.double_array_value.data.append(round(0.3 + 0.01 * step, 2))
            total, forward, _ = _ask(server, move)
            totals.append(total)
            passes.append(forward)
    total, forward_ms = statistics.median(totals[2:]), statistics.median(passes[2:])
    return {"total_ms": total, "forward_ms": forward_ms, "rest": 1 - forward_ms / total}


def _ask(server: ClientConnection, message: BackMsg) -> tuple[float, float, dict[str, str]]:
    """Sends ``message``; (ms to the end of the answer, ms of forward passes, the slider)."""
    start = time.perf_counter()
    server.send(message.SerializeToString())
    forward, slider = None, {"id": "", "fragment": ""}
    while True:
        answer = ForwardMsg()
        data = server.recv(timeout=300)
        answer.ParseFromString(data if isinstance(data, bytes) else data.encode())
        element = answer.delta.new_element
        if element.HasField("slider") and "brightness" in element.slider.id:
            slider = {"id": element.slider.id, "fragment": answer.delta.fragment_id}
        found = TIMINGS.search(element.markdown.body)
        if found:
            forward = float(found[1])
        if answer.HasField("script_finished"):
            break
    total = 1000 * (time.perf_counter() - start)
    if forward is None:
        raise RuntimeError("the page did not come to its end: see the server's log")
    return total, forward, slider


@contextmanager
def _server() -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "streamlit", "run", "benchmarks/live_app.py"]
    options = ["--server.headless=true", f"--server.port={port}", "--server.address=127.0.0.1"]
    with subprocess.Popen(
        command + options,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            for _ in range(300):
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health"):
                        break
                except OSError:
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def main() -> None:
    """Prints the shares."""
    row = measure()
    print(
        f"update {row['total_ms']:.0f} ms, forward passes {row['forward_ms']:.0f} ms, "
        f"everything else {row['rest']:.0%}"
    )


if __name__ == "__main__":
    main()
