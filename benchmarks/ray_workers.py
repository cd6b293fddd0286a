"""Two Ray workers, each pinned to a core, against one: rate, equal rows, and the driver's share.

The driver's share is its processor time an image beside that of the workers: it holds on a busy
machine too, and says how many workers one driver can serve. Needs Linux and
``requirements-ray.txt``.
"""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import below
from benchmarks.support.image_folders import flat_folder
from benchmarks.support.repository import ROOT
from robustness import runs
from robustness.measure.request import make_spec, study_conditions

IMAGES = 96
MODEL = "SqueezeNet"
_TICKS = os.sysconf("SC_CLK_TCK")
_WORKER = b"RayWorker"
"""In the title that Ray gives to the process of an actor of this class."""


def measure(images: int = IMAGES) -> list[dict[str, Any]]:
    """A row for one worker and for two."""
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        source = flat_folder(Path(scratch) / "images", images)
        plan = runs.plan(str(source), make_spec([MODEL], study_conditions()))
        tables = []
        for workers in (1, 2):
            row, run = _run(plan, Path(scratch), workers)
            tables.append(run.table())
            found.append({**row, "same_rows": tables[0].equals(tables[-1])})
    return found


def _run(plan: runs.Plan, folder: Path, workers: int) -> tuple[dict[str, Any], runs.Run]:
    from ray.cluster_utils import Cluster

    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    quiet = {"include_dashboard": False, "include_log_monitor": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **quiet})
    try:
        for core in range(workers):
            before = set(below(os.getpid()))
            cluster.add_node(num_cpus=1)
            for pid in set(below(os.getpid())) - before:
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(pid, {core})  # its workers inherit this
        with runs.start(plan, folder / str(workers), engine="ray") as writer:
            samples = [
                (time.perf_counter(), state.done, *_processor_seconds())
                for state in writer.perform("ray", cluster.address)
                if state.done
            ]
        seconds, images, driver, working = (
            max(column) - min(column) for column in zip(*samples, strict=True)
        )  # a worker that has ended is no longer counted: the most, not the last
        row = {
            "workers": workers,
            "images_per_second": images / seconds,
            "driver_ms_an_image": 1000 * driver / images,
            "worker_ms_an_image": 1000 * working / images,
            "driver_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        return row, runs.load(writer.folder)
    finally:
        cluster.shutdown()


def _processor_seconds() -> tuple[float, float]:
    """Seconds of processor time that this process and its workers have used."""
    workers = 0.0
    for pid in below(os.getpid()):
        with contextlib.suppress(OSError):
            if _WORKER in Path(f"/proc/{pid}/cmdline").read_bytes():
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                workers += (int(fields[11]) + int(fields[12])) / _TICKS
    return time.process_time(), workers


def main() -> None:
    """Prints the table."""
    for row in measure():
        print(
            f"{row['workers']} workers: {row['images_per_second']:.2f} images/s; processor time "
            f"an image: {row['worker_ms_an_image']:.0f} ms in workers, "
            f"{row['driver_ms_an_image']:.1f} ms in the driver, which held "
            f"{row['driver_mb']:.0f} MB; rows {'equal' if row['same_rows'] else 'differ'}"
        )


if __name__ == "__main__":
    main()
