"""``python -m benchmarks [TABLE ...]``: every table or those named, one after the other.

``--json`` prints a JSON list of rows instead: of the forward passes, or of ``run_scale``.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    attack_speed,
    batch_speed,
    choices,
    claims,
    dataset_memory,
    dataset_speed,
    decoding,
    domains,
    explain_speed,
    forward_speed,
    framework_models,
    interval_coverage,
    kills,
    live_beside_job,
    live_drag,
    live_speed,
    model_memory,
    perturbation_speed,
    report_speed,
    run_scale,
    soak,
    start_speed,
    statistics_speed,
    study_speed,
)
from benchmarks.study_networks import NAMES
from robustness.models.frameworks import tensorflow

_TABLES = {
    perturbation_speed: "Perturbations against imagecorruptions, one 224 x 224 image",
    forward_speed: "Forward passes against TensorFlow's, and the float32 matrix-product rate",
    framework_models: "Networks of torchvision, timm and Hugging Face against torch itself",
    start_speed: "From a new process to an answer, offline models",
    study_speed: f"A study of one image with {', '.join(NAMES)}",
    batch_speed: "A band, a map, the study and a sweep against the bare passes, offline models",
    statistics_speed: f"Figures with intervals, {statistics_speed.IMAGES} images",
    interval_coverage: "How often the intervals hold the truth, simulated",
    claims: "How often what is claimed of a run holds, simulated",
    choices: "How often a choice names the wrong model, simulated",
    domains: "How often what is said of a domain holds, simulated",
    explain_speed: "Heat maps of four images against their forward pass, offline models",
    attack_speed: "PGD of 20 steps against 20 bare passes forward and back, offline models",
    live_drag: "What follows a slider that is held, in a browser on the same cores",
    live_speed: "A Live update on the server",
    live_beside_job: "Live updates beside a job, against those without",
    soak: f"{soak.SESSIONS} sessions for {soak.MINUTES:.0f} minutes, with a job, bombs and kills",
    kills: "Rows of runs whose server, process or browser is killed again and again",
    dataset_speed: "A dataset against TensorFlow's passes and the bare forward passes, offline",
    dataset_memory: "Memory of a dataset",
    decoding: "Images decoded apart: what that costs, and the memory of five bombs",
    model_memory: "Memory of a process with the offline models loaded",
    report_speed: "Reports against the run that they are of",
    run_scale: "Runs of up to nineteen million rows: opened, controlled and reported",
}
_BY_NAME = {module.__name__.rpartition(".")[2]: module for module in _TABLES}


def processor() -> str:
    """The processor's name as the system tells it."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the machine and the tables, or the rows of the forward passes as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"of {', '.join(_BY_NAME)}; default: all"
    )
    parser.add_argument(
        "--json", action="store_true", help="the forward passes or run_scale, as JSON"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.tables if name not in _BY_NAME]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    if options.json:
        if options.tables not in ([], ["run_scale"]):
            parser.error("--json takes no TABLE but run_scale")
        (run_scale if options.tables else forward_speed).print_json()
        return
    tf = tensorflow()
    print(
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}, TensorFlow {tf.__version__}"
    )
    for name in options.tables or _BY_NAME:
        module = _BY_NAME[name]
        print(f"\n{_TABLES[module]}\n", flush=True)
        module.main()


if __name__ == "__main__":
    main()
