"""A shared server under load for minutes: sessions at sliders, a job, bombs, and killed processes.

Every session moves its slider and asks past the script as a browser does; one answer that is
missing or wrong is told. Meanwhile the process of the job is killed again and again, images
that unpack to far more than they hold come from five sessions at a time, and the memory of the
server with all its processes is read every second.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.live_beside_job import PAUSE, QUERY, begin
from benchmarks.live_session import LiveSession
from benchmarks.processes import held_by, serving
from benchmarks.support.repository import ROOT
from benchmarks.support.server import dashboard
from robustness import runs
from robustness.runs import jobs

SESSIONS = 25
MINUTES = 10.0
BOMB_SIDE = 8062
"""Side of an image of one colour: 65 million pixels in less than a hundred bytes."""

_WHOLE = {"cards": [None] * 4}
_UPDATES_TO_WARM_UP = 300
_BOMBERS = 5
_SECONDS_BETWEEN_BOMBS = 20.0
_SECONDS_BETWEEN_KILLS = 45.0
_SECONDS_TO_SETTLE = 150.0
"""A session that a browser has left is kept for two minutes, since it may come back."""


@dataclass
class Found:
    """Counts: responses by kind, failures, and bytes held over time."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)


def measure(minutes: float = MINUTES, sessions: int = SESSIONS) -> dict[str, Any]:
    """The results of all requests within ``minutes``."""
    found = Found()
    over = threading.Event()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with dashboard(PYTHONPATH=str(ROOT), ROBUSTNESS_RUNS=str(folder / "runs")) as address:
            server = serving(address)
            with LiveSession(address, QUERY) as first:
                _warm_up(first)
            before = held_by(server)
            run = begin(folder, seed=0, pictures=60)
            does = [
                *([_tune] * sessions),
                *([_bomb] * _BOMBERS),
                _kill_again_and_again,
                _read_memory,
            ]
            threads = [
                threading.Thread(target=each, args=(address, server, run, found, over))
                for each in does
            ]
            for thread in threads:
                thread.start()
            time.sleep(60 * minutes)
            over.set()
            for thread in threads:
                thread.join()
            jobs.cancel(run)
            time.sleep(_SECONDS_TO_SETTLE)
            after = held_by(server)
    percentiles = sorted(found.milliseconds)
    return {
        "sessions": sessions,
        "minutes": minutes,
        **found.counts,
        "faults": len(found.faults),
        "examples": found.faults[:5],
        "update_p50_ms": percentiles[len(percentiles) // 2],
        "update_p95_ms": percentiles[int(0.95 * len(percentiles))],
        "memory_before_mb": before / 1e6,
        "memory_peak_mb": max(found.held) / 1e6,
        "memory_after_mb": after / 1e6,
    }


def _warm_up(session: LiveSession) -> None:
    """Fills what the server keeps up to its limits, and has it begin the processes that decode."""
    for _ in range(_UPDATES_TO_WARM_UP):
        session.update()
    frame = io.BytesIO()
    Image.new("RGB", (640, 480)).save(frame, "JPEG")
    session.held("camera", [frame.getvalue()])


def _tune(address: str, _server: int, _run: Path, found: Found, over: threading.Event) -> None:
    """A hand at a slider: it moves by the script, then past it, and rests."""
    try:
        with LiveSession(address, QUERY) as session:
            while not over.is_set():
                found.milliseconds.append(session.update()[0])
                found.counts["updates"] += 1
                for want in ("picture", "answers"):
                    status, answer = session.held(want)
                    if status == 200 and (
                        want == "picture" or len(answer["answers"]["cards"]) == 4
                    ):
                        found.counts["held"] += 1
                    else:
                        found.faults.append(f"{want}: {status} {answer}")
                over.wait(PAUSE)
    except Exception as error:
        found.faults.append(f"a session ended: {error!r}")


def _bomb(address: str, _server: int, _run: Path, found: Found, over: threading.Event) -> None:
    """A stranger who sends, as a frame of a camera, an image that unpacks to 195 million bytes."""
    packed = io.BytesIO()
    Image.new("RGB", (BOMB_SIDE, BOMB_SIDE)).save(packed, "WEBP", lossless=True)
    with LiveSession(address, QUERY) as session:
        while not over.wait(_SECONDS_BETWEEN_BOMBS):
            status, _ = session.held("camera", [packed.getvalue()])
            found.counts["bombs"] += 1
            if status not in (200, 422):
                found.faults.append(f"bomb: {status}")


def _kill_again_and_again(
    _address: str, _server: int, run: Path, found: Found, over: threading.Event
) -> None:
    """The process of the job dies, and another has to go on where it was."""
    while not over.wait(_SECONDS_BETWEEN_KILLS):
        seen = runs.read_progress(run)
        if seen is not None and seen.worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(seen.worker.pid, signal.SIGKILL)
                found.counts["kills"] += 1


def _read_memory(
    _address: str, server: int, _run: Path, found: Found, over: threading.Event
) -> None:
    while not over.wait(1.0):
        found.held.append(held_by(server))


def main() -> None:
    """Prints what was found, a line each."""
    for name, value in measure().items():
        print(f"{name}: {value:.0f}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
