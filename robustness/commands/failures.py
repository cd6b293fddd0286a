"""The command that says where and why the models of a run fail."""

from __future__ import annotations

import argparse
from dataclasses import asdict
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
    found.add_argument(
        "--map",
        type=int,
        metavar="IMAGES",
        help="make a map of so many images of --where, which names a model and a condition",
    )
    add_shared(found, "--out")


def failures_command(options: argparse.Namespace) -> None:
    """Say where and why the models of a run fail, or list the images of a selection."""
    from robustness import api, report, runs
    from robustness.report.results import run_failures

    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True, anywhere=True)
    if options.map is not None:
        made = api.embedding_map(run, options.where or "", images=options.map)
        if options.json:
            console.print_json(asdict(made))
        else:
            shares = " and ".join(f"{share:.0%}" for share in made.explained)
            console.say(
                f"The map of {len(made.points)} images is kept beside the run, for its page and "
                f"its report. Its axes hold {shares} of the variance."
            )
        return
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
    kinds = (report.Text, report.Titled)
    for section in run_failures.sections(found):
        printed = report.printed_blocks(b for b in section.printed if isinstance(b, kinds))
        console.say(f"\n## {section.title}\n{printed}")
