"""Kills the server, a job's process and a watching browser at random moments; compares the rows.

Each of the three dies again and again while one run is worked on, and whatever died is started
again, as an operator, the server itself, or a person would. In the end the rows of the run are held
against those of the same request that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.live_beside_job import made_pictures
from benchmarks.processes import below, serving
from benchmarks.support.server import chromium, dashboard
from robustness import runs
from robustness.measure.options import STUDY_SUITE
from robustness.measure.request import make_spec, suite_conditions
from robustness.runs import jobs

KILLS = 10
PICTURES = 360
LONGEST_SECONDS = 3.0
MODELS = ("SqueezeNet", "EfficientNetLite0")


def measure(kills: int = KILLS, pictures: int = PICTURES) -> list[dict[str, Any]]:
    """For each of what is killed: how often, in how many seconds, and whether the rows agree."""
    rng = random.Random(0)
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plan = runs.plan(
            str(made_pictures(folder / "pictures", pictures)),
            make_spec(MODELS, suite_conditions(STUDY_SUITE)),
            batch=1,
        )
        with runs.start(plan, folder / "undisturbed") as writer:
            list(writer.perform())
        expected = runs.load(writer.folder).table()
        for what, lives in (("server", _servers), ("job", _jobs), ("browser", _browsers)):
            began = time.monotonic()
            place = folder / what
            run = jobs.submit(plan, place, "benchmark")
            done = 0
            with lives(place, run) as kill:
                while done < kills and jobs.is_queued(run):
                    time.sleep(rng.uniform(0.2, LONGEST_SECONDS))
                    done += kill()
                _wait(run)
            same = runs.load(run).table().equals(expected)
            seconds = time.monotonic() - began
            rows.append({"what": what, "kills": done, "seconds": seconds, "same_rows": same})
    return rows


Kill = Callable[[], bool]
"""Kills, and has start again, what a row is about; whether there was anything to kill."""


@contextmanager
def _server(place: Path) -> Iterator[tuple[str, int]]:
    with dashboard(ROBUSTNESS_RUNS=str(place), ROBUSTNESS_JOB_PRIORITY="normal") as address:
        yield address, serving(address)


@contextmanager
def _servers(place: Path, _run: Path) -> Iterator[Kill]:
    with ExitStack() as now:
        _, first = now.enter_context(_server(place))
        living = [first]

        def kill() -> bool:
            os.kill(living[-1], signal.SIGKILL)
            now.close()
            living.append(now.enter_context(_server(place))[1])
            return True

        yield kill


@contextmanager
def _jobs(place: Path, run: Path) -> Iterator[Kill]:
    with _server(place):

        def kill() -> bool:
            seen = runs.read_progress(run)
            if seen is None:
                if not jobs.is_queued(run) and jobs.stop_reason(run):
                    jobs.resume(run, "benchmark")  # as a person does after too many deaths
                return False
            assert seen.worker is not None, "a process wrote it"
            with contextlib.suppress(ProcessLookupError):
                os.kill(seen.worker.pid, signal.SIGKILL)
            return True

        yield kill


@contextmanager
def _browsers(place: Path, run: Path) -> Iterator[Kill]:
    with _server(place) as (address, server):

        def kill() -> bool:
            with contextlib.suppress(Exception), chromium() as browser:
                browser.new_page().goto(f"{address}/evaluations?run={run.name}")
                for pid in set(below(os.getpid())) - {server, *below(server)}:
                    if "chrom" in Path(f"/proc/{pid}/cmdline").read_text():
                        os.kill(pid, signal.SIGKILL)
            return True

        yield kill


def _wait(run: Path) -> None:
    while jobs.is_queued(run) or jobs.stop_reason(run):
        if not jobs.is_queued(run):
            jobs.resume(run, "benchmark")
        time.sleep(0.2)


def main() -> None:
    """Prints the table."""
    print("| killed | times | seconds in all | same rows |")
    print("|---|---|---|---|")
    for row in measure():
        print(f"| {row['what']} | {row['kills']} | {row['seconds']:.0f} | {row['same_rows']} |")


if __name__ == "__main__":
    main()
