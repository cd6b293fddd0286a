"""Times the reports of a run over 2,000 pictures against the run itself.

The run's rows are made up, its pictures drawn; the time that a real one takes is that of a small
one by the four offline models under the study's ten perturbations, measured in the same process
and scaled by the number of pictures. Memory is the process's high-water mark.
"""

from __future__ import annotations

import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import dataset_speed
from robustness import report, runs
from tests.made_up_saved_runs import pictures, saved

SHARES = dict(zip(dataset_speed.NAMES, (0.35, 0.55, 0.6, 0.75), strict=True))


def measure(images: int = 2000, small: int = 32) -> dict[str, Any]:
    """Seconds of the run, seconds and bytes of each format, and megabytes of memory they add."""
    run_s = dataset_speed.measure(small, repeats=1)["run_s"] * images / small
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{number:05}.png" for number in range(images)]
        digests = pictures(Path(folder) / "pictures", names)
        made = saved(Path(folder) / "run", digests, SHARES, source=Path(folder) / "pictures")
        formats = {}
        for suffix in report.FORMATS:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            start = time.perf_counter()
            content = report.of_run(runs.load(made.folder))
            (file, *_) = report.write(content, Path(folder) / f"a{suffix}", datetime.now(UTC))
            seconds = time.perf_counter() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            formats[suffix] = (seconds, file.stat().st_size, grown)
    return {"images": images, "run_s": run_s, "formats": formats}


def main() -> None:
    """Prints the table."""
    found = measure()
    print(f"{found['images']:,} pictures; the run itself: {found['run_s']:.0f} s")
    for suffix, (seconds, size, grown) in found["formats"].items():
        print(
            f"{suffix:9}{seconds:6.1f} s, {seconds / found['run_s']:.1%} of the run, "
            f"{size / 1e6:6.1f} MB, memory + {grown:.0f} MB"
        )


if __name__ == "__main__":
    main()
