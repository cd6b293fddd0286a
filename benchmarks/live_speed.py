"""Times a Live update end to end on the server: a slider moves, and the whole page answers.

The server is a process of its own, as in use: once with the study's four networks, and for each
engine one with the four offline models. A client without a browser speaks its protocol, so that
nothing else needs the processor meanwhile. What is not forward pass covers perturbing, comparing,
encoding the images, tables, charts, and Streamlit.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlencode

from benchmarks.live_session import LiveSession
from benchmarks.offline_models import NAMES, run_by
from benchmarks.support.repository import ROOT
from benchmarks.support.server import dashboard
from robustness.models import label
from robustness.models.engine import OPENVINO, TENSORFLOW

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
    with dashboard(script, PYTHONPATH=str(ROOT)) as address, LiveSession(address, query) as session:
        yield session.update


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
