"""Times what a start takes until the first answer of the offline models, each in new processes.

``import robustness``, alone and with its first name, is held against pandas and twice NumPy,
``predict`` against ``import tensorflow`` alone, and the dashboard against itself with
TensorFlow's passes: from the start of its server until a headless Chromium, which runs already,
shows the headline with the verdict of all four. Everything in turns, after a round that is not
counted: what is measured is a later start, with compiled modules, converted models and a filled
cache of files.

The very first start of the dashboard, whose cache is empty, is measured until the first verdict,
until all four, and until the server rests. ``python -m benchmarks.start_speed CHECKOUT`` measures
that alone, in turns with another checkout of the repository.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from playwright.sync_api import Browser

from benchmarks.offline_models import NAMES, run_by
from benchmarks.support.repository import ROOT
from benchmarks.support.server import PATIENCE, NoBrowserError, chromium, dashboard, until
from robustness.images.decoding import sample_bytes
from robustness.models.engine import OPENVINO, TENSORFLOW

_VERDICT = """() => /: (?!.* done[.])/.test(document.querySelector(".rb-headline")?.innerText)"""
"""The headline of all models, as those of some end with "done"."""
_FIRST_VERDICT = (
    """() => /: (?!0 of .* done[.])/.test(document.querySelector(".rb-headline")?.innerText)"""
)
_LINK = urlencode({"sample": "chelsea", "gaussian_blur": 0.6, "models": NAMES}, doseq=True)


def measure_import(repeats: int = 10) -> list[dict[str, Any]]:
    """Milliseconds of imports without Python's own start, and ``ratio`` to the last row."""
    code = ("import robustness", "import robustness; robustness.evaluate", "import pandas")
    alone_ms, used_ms, pandas_ms, numpy_ms = _in_turns_ms(
        *(partial(_import, each) for each in (*code, "import numpy")), repeats=repeats
    )
    bound_ms = pandas_ms + 2 * numpy_ms
    return [
        {"what": "import robustness", "ms": alone_ms, "ratio": alone_ms / bound_ms},
        {"what": "with robustness.evaluate", "ms": used_ms, "ratio": used_ms / bound_ms},
        {"what": "pandas and twice NumPy", "ms": bound_ms, "ratio": 1.0},
    ]


def measure_predict(repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds of ``predict`` with either engine, and ``ratio`` to ``import tensorflow``."""
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "picture.png"
        picture.write_bytes(sample_bytes("chelsea"))
        predict = ["-m", "robustness", "predict", str(picture), "--models", ",".join(NAMES)]
        ms, reference_ms, import_ms = _in_turns_ms(
            partial(_python, OPENVINO, *predict),
            partial(_python, TENSORFLOW, *predict),
            partial(_python, OPENVINO, "-c", "import tensorflow"),
            repeats=repeats,
        )
    return [
        {"what": "predict", "ms": ms, "ratio": ms / import_ms},
        {"what": "predict, TensorFlow", "ms": reference_ms, "ratio": reference_ms / import_ms},
        {"what": "import tensorflow", "ms": import_ms, "ratio": 1.0},
    ]


def measure_dashboard(browser: Browser, repeats: int = 5) -> list[dict[str, Any]]:
    """Milliseconds from the start of a server to the verdict, and ``ratio`` to TensorFlow's."""
    ms, reference_ms = _in_turns_ms(
        partial(_first_verdict, browser, OPENVINO),
        partial(_first_verdict, browser, TENSORFLOW),
        repeats=repeats,
    )
    return [
        {"what": "dashboard", "ms": ms, "ratio": ms / reference_ms},
        {"what": "dashboard, TensorFlow", "ms": reference_ms, "ratio": 1.0},
    ]


def measure_first_start(
    browser: Browser, *checkouts: Path, repeats: int = 3
) -> list[dict[str, Any]]:
    """Milliseconds of first starts of ``checkouts`` in turns, and ``ratio`` to the last of them."""
    taken: dict[Path, list[tuple[float, float, float]]] = {checkout: [] for checkout in checkouts}
    for turn in range(1 + repeats):
        for checkout, times in taken.items():
            found = _first_start(browser, checkout)
            if turn:
                times.append(found)
    rows = []
    reference = [statistics.median(column) for column in zip(*taken[checkouts[-1]], strict=True)]
    for checkout, times in taken.items():
        for step, column, last in zip(_STEPS, zip(*times, strict=True), reference, strict=True):
            seconds = statistics.median(column)
            what = f"{checkout.name}, {step}"
            rows.append({"what": what, "ms": 1000 * seconds, "ratio": seconds / last})
    return rows


_STEPS = ("first verdict", "all verdicts", "at rest")


def _first_start(browser: Browser, checkout: Path) -> tuple[float, float, float]:
    """Seconds from the start of a server with an empty cache until each of ``_STEPS``."""
    processes: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with dashboard(
            checkout=checkout,
            started=processes.append,
            ROBUSTNESS_CACHE=f"{folder}/cache",
            ROBUSTNESS_RUNS=f"{folder}/runs",
        ) as address:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            page.goto(f"{address}/?{_LINK}", timeout=PATIENCE)
            until(page, _FIRST_VERDICT)
            first = time.perf_counter() - start
            until(page, _VERDICT)
            everything = time.perf_counter() - start
            rest = _at_rest(processes[0]) - start
            page.close()
    return first, everything, rest


_IDLE_SHARE = 0.1
"""A server rests while it and its processes take less than this share of a core, for a second."""


def _at_rest(process: int) -> float:
    """The time at which a second began in which ``process`` and all that it started rested."""
    while True:
        began = time.perf_counter()
        before = _processor_seconds(process)
        time.sleep(1)
        if _processor_seconds(process) - before < _IDLE_SHARE:
            return began


def _processor_seconds(process: int) -> float:
    """Seconds of processor time that ``process`` and its descendants have taken."""
    fields = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields[int(stat.parent.name)] = stat.read_text().rpartition(")")[2].split()
    total = 0
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        total += sum(map(int, fields.get(parent, ["0"] * 20)[11:15]))
        waiting += [child for child, values in fields.items() if int(values[1]) == parent]
    return total / os.sysconf("SC_CLK_TCK")


def _python(engine: str, *arguments: str) -> None:
    with run_by(engine):
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=True)


def _import(code: str) -> float:
    """Seconds that ``code`` takes in a new process, which keeps what it compiles."""
    clock = "from time import perf_counter"
    timed = f"{clock}; start = perf_counter(); {code}; print(perf_counter() - start)"
    writes = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    python = [sys.executable, "-c", timed]
    done = subprocess.run(python, cwd=ROOT, env=writes, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def _first_verdict(browser: Browser, engine: str) -> float:
    """Seconds until it is shown; the end of the server is not among them."""
    start = time.perf_counter()
    with run_by(engine), dashboard() as address:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{address}/?{_LINK}", timeout=PATIENCE)
        until(page, _VERDICT)
        took = time.perf_counter() - start
        page.close()
    return took


def _in_turns_ms(*works: Callable[[], float | None], repeats: int) -> tuple[float, ...]:
    """Median milliseconds of each, after one round; of what a work returns where it does."""
    seconds: list[list[float]] = [[] for _ in works]
    for turn in range(1 + repeats):
        for work, times in zip(works, seconds, strict=True):
            start = time.perf_counter()
            told = work()
            if turn:
                times.append(time.perf_counter() - start if told is None else told)
    return tuple(1000 * statistics.median(times) for times in seconds)


def main() -> None:
    """Prints the tables, or of first starts alone those of this checkout and of another."""
    if len(sys.argv) > 1 and Path(sys.argv[1], "app.py").exists():
        with chromium() as browser:
            _print(measure_first_start(browser, ROOT, Path(sys.argv[1])))
        return
    print(f"{'what':26}{'ms':>8}{'of the last':>14}")
    _print(measure_import())
    _print(measure_predict())
    try:
        with chromium() as browser:
            _print(measure_dashboard(browser))
            _print(measure_first_start(browser, ROOT))
    except NoBrowserError as missing:
        print(f"dashboard: {missing}")


def _print(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['what']:26}{row['ms']:8.0f}{row['ratio']:14.2f}")


if __name__ == "__main__":
    main()
