"""The command that makes a report of a saved run.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.console import end_progress, progress

if TYPE_CHECKING:
    from robustness.runs import Run


def report_command(options: argparse.Namespace) -> None:
    """Writes the report of a run, and prints the names of the files."""
    from robustness import report

    report.format_of(options.to)  # now rather than after all the work
    run = _run(options.run, options.out)
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


def _run(named: str, folder: Path) -> Run:
    """The run in the folder ``named``, or called so in ``folder``; it may be unfinished."""
    from robustness import runs
    from robustness.runs.manifest import FILE

    if (Path(named) / FILE).is_file():
        return runs.load(Path(named), unfinished=True)
    return runs.find(folder, named, unfinished=True)
