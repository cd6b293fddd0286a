"""Opens, controls and reports of runs of up to nineteen million rows, and the memory they take.

The runs are replicas of a small real run, see ``benchmarks.replicas``. Every figure is of a fresh
process: a server that is asked without a browser, or the command line (a report, a comparison
of the run with itself, a gate with that baseline). The first opening finds
nothing kept beside the run; the second one, in another server, finds what the first kept.
``reference_s`` is a fixed work of one core, sorting five million numbers, halfway through: where
it takes longer than on another machine, so does the rest.

``python -m benchmarks run_scale [--json]`` measures all sizes. One size alone:
``python -m benchmarks.run_scale --sizes 20000x1 --folder DIR``, where DIR keeps the replicas.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dataset_memory import peak_of
from benchmarks.offline_models import NAMES
from benchmarks.page_session import PageSession
from benchmarks.processes import held_by, serving
from benchmarks.replicas import replicated, small_run
from benchmarks.support.server import dashboard
from robustness import runs
from robustness.report.blocks import FAILURES, IMAGES

SIZES = ((1000, 1), (50_000, 1), (50_000, 4))
"""(images, models)."""

VISITORS = 10
CONTROL = "cell_figure"
CASES = "case_perturbation"

_BUDGET = "baseline = {baseline}\n[[limit]]\nmin_consistency = 0\nmax_regression = 1\n"
_SECONDS_TO_SETTLE = 3.0
_SECONDS_BETWEEN = 0.5  # looks at the memory: each takes a while itself


def measure(folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[dict[str, Any]]:
    """A row for each size, whose replica is made in ``folder`` if it is not there."""
    small = small_run(folder)
    for images, models in sizes:
        place = folder / "runs" / f"images-{images}-models-{models}"
        run = replicated(small, place, images, NAMES[:models])
        yield {"images": images, "models": models, "rows": _rows(run), **_of(run)}


def _rows(run: runs.Run) -> int:
    return sum(part.rows for part in run.parts)


def _of(run: runs.Run) -> dict[str, Any]:
    row: dict[str, Any] = {}
    with _server(run) as (address, memory):
        row["first_headline_s"], row["first_page_s"] = _opening(address, run)
        row["first_above_idle_mb"] = memory()
    with _server(run) as (address, memory):
        row["headline_s"], row["page_s"] = _opening(address, run)
        row["control_s"], row["cases_s"] = _controls(address, run)
        row["above_idle_mb"] = memory()
    with _server(run) as (address, memory), ThreadPoolExecutor(VISITORS) as pool:
        seen = list(pool.map(lambda _: _opening(address, run), range(VISITORS)))
        row[f"headline_of_{VISITORS}_s"] = max(headline for headline, _ in seen)
        row[f"above_idle_of_{VISITORS}_mb"] = memory()
    row["reference_s"] = min(_reference() for _ in range(3))
    with tempfile.TemporaryDirectory() as scratch:
        report, budget = (str(Path(scratch) / name) for name in ("report.html", "gate.toml"))
        Path(budget).write_text(_BUDGET.format(baseline=json.dumps(str(run.folder))))
        commands = {
            "report": ("report", str(run.folder), "--to", report),
            "compare": ("runs", "compare", str(run.folder), str(run.folder)),
            "check": ("check", str(run.folder), "--budget", budget),
        }
        for name, command in commands.items():
            start = time.perf_counter()
            peak = peak_of(*command)
            row |= {f"{name}_s": time.perf_counter() - start, f"{name}_peak_mb": peak / 1e6}
    return row


def _reference() -> float:
    numbers = np.random.default_rng(0).random(5_000_000)
    start = time.perf_counter()
    numbers.sort()
    return time.perf_counter() - start


def _opening(address: str, run: runs.Run) -> tuple[float, float]:
    """Seconds that a visitor waits: (the headline, the whole page)."""
    with PageSession(address, "evaluations", f"run={run.id}") as session:
        opened = session.open()
    if opened.headline is None:
        raise RuntimeError("the page did not come to its end: see the server's log")
    return opened.headline, opened.end


def _controls(address: str, run: runs.Run) -> tuple[float, float]:
    """Seconds that a visitor waits: (a control, a list of cases)."""
    with PageSession(address, "evaluations", f"run={run.id}&view={FAILURES}") as session:
        session.open()
        control = session.choose(CONTROL)
    with PageSession(address, "evaluations", f"run={run.id}&view={IMAGES}") as session:
        session.open()
        cases = session.choose(CASES)
    if not control.charts:
        raise RuntimeError("the page did not come to its end: see the server's log")
    return control.end, cases.end


@contextmanager
def _server(run: runs.Run) -> Iterator[tuple[str, Any]]:
    """A server of the runs beside ``run``: (its address, the MB that it held most above idle)."""
    with dashboard(ROBUSTNESS_RUNS=str(run.folder.parent)) as address:
        with PageSession(address, "evaluations") as session:
            session.open()
        time.sleep(_SECONDS_TO_SETTLE)
        process = serving(address)
        over = threading.Event()
        idle = held_by(process)
        held = [idle]

        def watch() -> None:
            while not over.wait(_SECONDS_BETWEEN):
                held.append(held_by(process))

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            yield address, lambda: (max(held) - idle) / 1e6
        finally:
            over.set()
            watcher.join()


def print_json() -> None:
    """Prints a JSON list of the rows."""
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(list(measure(Path(scratch))), indent=2))


def main() -> None:
    """Prints the rows, a line for each figure."""
    with tempfile.TemporaryDirectory() as scratch:
        _print(measure(Path(scratch)))


def _print(rows: Iterator[dict[str, Any]]) -> None:
    for row in rows:
        print(f"{row['images']:,} images, {row['models']} models, {row['rows']:,} rows")
        for name in list(row)[3:]:
            value = row[name]
            print(f"  {name:<24}" + ("-" if value is None else f"{value:>10.2f}"), flush=True)


def _size(text: str) -> tuple[int, int]:
    images, _, models = text.partition("x")
    return int(images), int(models or 1)


def _command_line() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_scale")
    parser.add_argument("--folder", type=Path, help="keeps the replicas")
    parser.add_argument(
        "--sizes", nargs="*", type=_size, default=SIZES, metavar="IMAGESxMODELS", help="50000x4"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(options.folder or Path(scratch), options.sizes)
        if options.json:
            print(json.dumps(list(rows), indent=2))
        else:
            _print(rows)


if __name__ == "__main__":
    _command_line()
