"""The command on domains.

``domain init`` proposes one, ``domain show`` says what one asks for, and ``domain record`` writes
the record of a run of one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from robustness.base.errors import ParameterError
from robustness.base.files import write_file
from robustness.base.text import counted
from robustness.cli import console
from robustness.cli.console import Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Add ``domain`` with its actions."""
    command = add_command(parsers, "domain", show_help, reads="plugins")
    actions = command.add_subparsers(metavar="init|show|record")

    proposed = add_command(actions, "init", init_command, "--json", reads="plugins")
    proposed.add_argument(
        "--preset",
        metavar="NAME",
        help="outdoor-camera, phone or scanner; fills up what a match or images do not show",
    )
    proposed.add_argument(
        "--match",
        type=Path,
        metavar="FILE.toml",
        help="the profile of a match: its strengths are the middles of the ranges",
    )
    proposed.add_argument(
        "--images", metavar="SOURCE", help="images whose properties show how far they range"
    )
    proposed.add_argument("--name", default="", help="name of the domain")
    add_shared(proposed, "--seed")
    proposed.add_argument("--to", type=Path, required=True, metavar="FILE.toml")

    shown = add_command(actions, "show", show_command, "--json", reads="plugins")
    shown.add_argument("file", type=Path, metavar="FILE.toml|PRESET")

    recorded = add_command(actions, "record", record_command, "run")
    recorded.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="the record: .html, .pdf, .json or .md; --since reads .json",
    )
    recorded.add_argument(
        "--since",
        metavar="FILE.json|RUN",
        help="say what changed since an earlier record, or since its run, with paired tests",
    )
    add_shared(recorded, "--out")


def show_help(options: argparse.Namespace) -> None:
    """Propose the domain in which a model must work, show one, or record a run of one."""
    options.parser.error("expected an action: init, show or record")


def init_command(options: argparse.Namespace) -> None:
    """Propose a domain, from a preset, a match, or the properties of images."""
    from robustness.datasets import open_dataset
    from robustness.matching.domain import propose

    if options.to.suffix != ".toml":
        raise ParameterError(f"Expected --to to end in .toml, got {options.to}.")
    if options.to.exists():
        raise ParameterError(f"{options.to} exists: expected a new file, or remove it first.")
    images = None if options.images is None else open_dataset(options.images)
    domain = propose(
        name=options.name,
        preset=options.preset,
        profile=options.match,
        images=images,
        seed=options.seed,
        note=console.phase,
    )
    console.end_progress()
    write_file(options.to, domain.as_toml().encode())
    if options.json:
        console.print_json({"file": str(options.to), "digest": domain.digest, **domain.as_dict()})
        return
    console.say(domain.as_toml())
    console.say(f"Written to {options.to}. Edit the ranges and the limit, then:")
    console.say(f"python -m robustness evaluate FOLDER --domain {options.to}")


def show_command(options: argparse.Namespace) -> None:
    """Show the ranges, the limit and the number of conditions of a domain."""
    from robustness.matching.domain import open_domain

    domain = open_domain(options.file)
    counts = {
        "pairs": len(domain.pairs),
        "array": len(domain.array),
        "conditions": len(domain.conditions),
    }
    if options.json:
        console.print_json({"digest": domain.digest, **counts, **domain.as_dict()})
        return
    console.say(f"{domain.name}: {domain.limit_text}")
    for each in domain.ranges:
        parts = [f"  {each.text}", each.requirement, each.source]
        console.say("; ".join(part for part in parts if part))
    if domain.outside:
        console.say(f"Outside: {', '.join(domain.outside)}")
    pairs = counted(counts["pairs"], "pair")
    rows = counted(counts["array"], "row")
    conditions = counted(counts["conditions"], "condition")
    console.say(f"{pairs} and {rows} of the array: {conditions}")
    console.say(f"SHA-256 {domain.digest}")


def record_command(options: argparse.Namespace) -> None:
    """Write the record of a domain's run: what was tested, what holds, and lines to sign."""
    from robustness import report, runs
    from robustness.report.record import Record, check_format, of_record, read_record
    from robustness.report.run import RunFigures

    check_format(options.to)  # now rather than after all the work
    since: Record | runs.Run | None = None
    if options.since is not None and options.since.endswith(".json"):
        since = read_record(Path(options.since))
    elif options.since is not None:
        since = runs.load(runs.folder_of(options.since, options.out))
    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True)
    console.progress("computing the figures ...")
    written = report.write(of_record(RunFigures(runs.Analysis(run)), since), options.to)
    console.end_progress()
    for path in written:
        console.say(str(path))
