"""The command that makes a report of a saved run.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys

from robustness.commands.console import end_progress, progress


def report_command(options: argparse.Namespace) -> None:
    """Writes the report of a run, and prints the names of the files."""
    from robustness import report, runs

    report.format_of(options.to)  # now rather than after all the work
    folder = runs.folder_of(options.run, options.out)
    run = runs.load(folder, unfinished=True, anywhere=True)
    if not run.finished:
        done = run.images + len(run.unreadable)
        print(
            f"robustness: the run {run.id} is not finished ({done} of "
            f"{run.manifest.dataset.pictures} pictures), which the report says.",
            file=sys.stderr,
        )
    progress("working out the figures ...")
    written = report.write(report.of_run(run), options.to)
    end_progress()
    for path in written:
        print(path)
