"""``python -m benchmarks``: every table, one after the other."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from benchmarks import (
    attack_speed,
    batch_speed,
    dataset_memory,
    dataset_speed,
    explain_speed,
    forward_speed,
    interval_coverage,
    live_speed,
    perturbation_speed,
    report_speed,
    statistics_speed,
    study_speed,
)
from benchmarks.study_networks import NAMES
from robustness.models.runtime import tensorflow

_TITLES = (
    ("Perturbations against imagecorruptions, one 224 x 224 picture", perturbation_speed.main),
    ("Forward passes as a share of the float32 matrix-product rate", forward_speed.main),
    (f"A study of one picture with {', '.join(NAMES)}", study_speed.main),
    ("A Scorecard and a sweep against the bare forward passes, offline models", batch_speed.main),
    (f"Figures with intervals, {statistics_speed.IMAGES} images", statistics_speed.main),
    ("How often the intervals hold the truth, simulated", interval_coverage.main),
    ("Heat maps of four pictures against their forward pass, offline models", explain_speed.main),
    ("PGD of 20 steps against 20 bare passes forward and back, offline models", attack_speed.main),
    ("A Live update with the same four networks", live_speed.main),
    ("A dataset against the bare batched forward passes, offline models", dataset_speed.main),
    ("Memory of a dataset", dataset_memory.main),
    ("Reports against the run that they are of", report_speed.main),
)


def processor() -> str:
    """The processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main() -> None:
    """Prints the machine and all tables."""
    tf = tensorflow()
    print(
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    )
    for title, run in _TITLES:
        print(f"\n{title}\n")
        run()


if __name__ == "__main__":
    main()
