"""The command that says where and why the models of a run fail."""

from __future__ import annotations

import argparse
from pathlib import Path

from robustness.commands import console
from robustness.commands.options import RUN, Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Add ``failures``."""
    found = add_command(parsers, "failures", failures_command, "--json")
    found.add_argument("run", metavar="RUN", help=RUN)
    found.add_argument(
        "--where",
        metavar="SELECTION",
        help='list the images of a selection, such as "model=SqueezeNet&slice=brightness:..0.2"',
    )
    found.add_argument(
        "--to",
        type=Path,
        metavar="FILE.csv|FILE.zip",
        help="write the images of --where (default: all) as a table or a zip",
    )
    add_shared(found, "--out")


def failures_command(options: argparse.Namespace) -> None:
    """Say where and why the models of a run fail, or list the images of a selection."""
    from robustness import api, report, runs
    from robustness.report.results import run_failures

    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True, anywhere=True)
    if options.where is not None or options.to is not None:
        rows = api.failing_images(run, options.where or "", to=options.to)
        if options.json:
            console.print_json(rows)
        elif options.to is not None:
            console.say(str(options.to))
        else:
            console.say(report.printed_blocks([run_failures.listed_cases(rows)]))
        return
    found = api.failures(run)
    if options.json:
        console.print_json(found.as_dict())
        return
    for section in run_failures.sections(found):
        console.say(f"## {section.title}\n")
        kinds = (report.Text, report.Titled)
        console.say(report.printed_blocks(b for b in section.printed if isinstance(b, kinds)))
