"""Times the reports of a run over 2,000 images against the run itself, and measures their memory.

The run's rows are made up, its images drawn; the time that a real one takes is that of a small
one by the four offline models under the study's ten perturbations, measured in the same process
and scaled by the number of images. Memory is the high-water mark of the command in a process of
its own, for 2,000 images and for 200.
"""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import dataset_speed
from benchmarks.dataset_memory import peak_of
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import report, runs

SHARES = dict(zip(dataset_speed.NAMES, (0.35, 0.55, 0.6, 0.75), strict=True))
FEW = 200
MANY = 2000
REAL = 32


def made_up(folder: Path, images: int) -> runs.Run:
    """A saved run over ``images`` drawings."""
    names = [f"{number:05}.png" for number in range(images)]
    digests = pictures(folder / f"set-{images}", names)
    return saved(folder / f"run-{images}", digests, SHARES, source=folder / f"set-{images}")


def seconds(run: runs.Run, path: Path) -> float:
    """Seconds from the folder of the run to the finished file."""
    start = time.perf_counter()
    report.write(report.of_run(runs.load(run.folder)), path, datetime.now(UTC))
    return time.perf_counter() - start


def main() -> None:
    """Prints the table."""
    run_s = dataset_speed.measure(REAL, repeats=1)["run_s"] * MANY / REAL
    print(f"{MANY:,} images; the run itself: {run_s:.0f} s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        few = made_up(folder, FEW)
        many = made_up(folder, MANY)
        for suffix in report.FORMATS:
            path = folder / f"report{suffix}"
            took = seconds(many, path)
            size = path.stat().st_size
            small, large = (
                peak_of("report", str(run.folder), "--to", str(path)) for run in (few, many)
            )
            print(
                f"{suffix:9}{took:6.1f} s, {took / run_s:.1%} of the run, {size / 1e6:6.1f} MB; "
                f"memory {large / 1e6:.0f} MB, {large / small:.2f} times that of {FEW} images"
            )


if __name__ == "__main__":
    main()
