"""The command that makes a report of a saved run."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustness.commands.console import end_progress, progress, remark, say
from robustness.commands.options import Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Adds ``report``."""
    reported = add_command(
        parsers,
        "report",
        report_command,
        "make a report of a saved run that can be handed on",
    )
    reported.add_argument("run", metavar="RUN", help="the folder of a run, or its id in RUNS")
    reported.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="its suffix is the format: .html, .pdf, .csv, .parquet, .json or .md",
    )
    add_shared(reported, "--out")


def report_command(options: argparse.Namespace) -> None:
    """Writes the report of a run, and prints the names of the files."""
    from robustness import report, runs

    report.format_of(options.to)  # now rather than after all the work
    folder = runs.folder_of(options.run, options.out)
    run = runs.load(folder, unfinished=True, anywhere=True)
    if not run.finished:
        done = run.images + len(run.unreadable)
        remark(
            f"robustness: the run {run.id} is not finished ({done} of "
            f"{run.manifest.dataset.pictures} pictures), which the report says."
        )
    progress("working out the figures ...")
    written = report.write(report.of_run(run), options.to)
    end_progress()
    for path in written:
        say(str(path))
