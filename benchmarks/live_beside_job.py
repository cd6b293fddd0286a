"""Times Live updates while a dataset run is worked on beside them, against the same without it.

Sessions without a browser move a slider with a pause between, as hands do; blocks with and without
the job have turns, so that whatever else the machine does meets both.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from PIL import Image

from benchmarks.live_session import LiveSession
from benchmarks.offline_models import NAMES
from benchmarks.support.repository import ROOT
from benchmarks.support.server import dashboard
from robustness import runs
from robustness.measure.options import IMAGENET_C_SUITE
from robustness.measure.request import make_spec, suite_conditions
from robustness.models import label
from robustness.runs import jobs

PAUSE = 0.5
"""Seconds from the end of an update to the next move of the same session."""

QUERY = urlencode({"sample": "chelsea", "models": [label(n) for n in NAMES]}, doseq=True)


def measure(sessions: Sequence[int] = (1, 4), seconds: float = 20.0) -> list[dict[str, Any]]:
    """Milliseconds of an update at the median and the 95th percentile, with and without a job.

    Each block takes so many ``seconds``; ``ratio`` is of the 95th percentiles.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with dashboard(PYTHONPATH=str(ROOT), ROBUSTNESS_RUNS=str(folder / "runs")) as address:
            return [_measured(address, folder, count, seconds) for count in sessions]


def _measured(address: str, folder: Path, count: int, seconds: float) -> dict[str, Any]:
    pages = [LiveSession(address, QUERY).__enter__() for _ in range(count)]
    times: dict[bool, list[float]] = {False: [], True: []}
    _updates(pages, seconds / 4)
    for _ in range(2):
        times[False] += _updates(pages, seconds / 2)
        run = begin(folder, seed=len(times[True]))
        times[True] += _updates(pages, seconds / 2)
        if runs.read_progress(run) is None:
            raise RuntimeError("the job came to its end meanwhile: give it more images")
        stop(run)
    for page in pages:
        page.__exit__()
    alone, beside = (np.percentile(times[job], [50, 95]) for job in (False, True))
    return {
        "sessions": count,
        "p50_ms": beside[0],
        "p50_reference_ms": alone[0],
        "p95_ms": beside[1],
        "p95_reference_ms": alone[1],
        "ratio": beside[1] / alone[1],
        "updates": len(times[True]),
    }


def share_of_a_job(seconds: float = 20.0) -> dict[str, Any]:
    """The images a second of a job alone and while a slider is held, in turns, and their ratio."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (
            dashboard(PYTHONPATH=str(ROOT), ROBUSTNESS_RUNS=str(folder / "runs")) as address,
            LiveSession(address, QUERY) as page,
        ):
            run = begin(folder, seed=0, pictures=1000, severities=[3], conditions=1)
            done = {False: 0, True: 0}
            asked = 0
            for is_held in (False, True) * 2:
                before = _images(run)
                if is_held:
                    asked += _held(page, seconds / 2)
                else:
                    time.sleep(seconds / 2)
                done[is_held] += _images(run) - before
            stop(run)
    return {
        "images_a_second": done[True] / seconds,
        "images_a_second_alone": done[False] / seconds,
        "ratio": done[True] / max(1, done[False]),
        "answers_a_second": asked / seconds,
    }


def _images(run: Path) -> int:
    found = runs.read_progress(run)
    if found is None:
        raise RuntimeError("the job came to its end meanwhile: give it more images")
    return found.done


def _held(page: LiveSession, seconds: float) -> int:
    """How many answers came while images and answers were asked for as a held slider does."""
    end = time.monotonic() + seconds

    def ask(want: str, pause: float) -> int:
        count = 0
        while time.monotonic() < end:
            count += page.held(want)[0] == 200
            time.sleep(pause)
        return count

    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(ask, ("picture", "answers"), (0.06, 0.0)))


def begin(
    folder: Path,
    seed: int,
    pictures: int = 300,
    severities: Sequence[int] = (1, 3, 5),
    conditions: int | None = None,
) -> Path:
    """A job in the server's folder of runs, working on images by now; its folder."""
    source = made_pictures(folder / "pictures", pictures)
    asked = suite_conditions(IMAGENET_C_SUITE, severities=severities)[:conditions]
    spec = make_spec(NAMES, asked, seed=seed)
    run = jobs.submit(runs.plan(str(source), spec, batch=1), folder / "runs", "benchmark")
    while (seen := runs.read_progress(run)) is None or seen.done == 0:
        time.sleep(0.1)
    return run


def made_pictures(folder: Path, count: int) -> Path:
    """``folder`` with so many smooth images in it, the same each time."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for place in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        coarse.resize((400, 300), Image.Resampling.BICUBIC).save(folder / f"{place}.jpg")
    return folder


def stop(run: Path) -> None:
    """Cancels the job, and waits until nobody works on it."""
    jobs.cancel(run)
    while runs.read_progress(run) is not None:
        time.sleep(0.1)


def _updates(pages: Sequence[LiveSession], seconds: float) -> list[float]:
    """Milliseconds of every update that began within ``seconds``, of all sessions at once."""
    end = time.monotonic() + seconds
    found: list[float] = []

    def move(page: LiveSession) -> None:
        while time.monotonic() < end:
            found.append(page.update()[0])
            time.sleep(PAUSE)

    threads = [threading.Thread(target=move, args=[page]) for page in pages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def main() -> None:
    """Prints the table."""
    print("| sessions | p50, ms | without the job | p95, ms | without the job | ratio of p95 |")
    print("|---|---|---|---|---|---|")
    for row in measure():
        print(
            f"| {row['sessions']} | {row['p50_ms']:.0f} | {row['p50_reference_ms']:.0f} | "
            f"{row['p95_ms']:.0f} | {row['p95_reference_ms']:.0f} | {row['ratio']:.2f} |"
        )
    job = share_of_a_job()
    print(
        f"\nWhile a slider is held a job makes {job['images_a_second']:.1f} images a second, "
        f"{job['ratio']:.2f} of those alone; {job['answers_a_second']:.1f} answers came a second."
    )


if __name__ == "__main__":
    main()
