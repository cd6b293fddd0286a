"""The command that answers which model to ship."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from robustness.commands import console
from robustness.commands.gate import add_baseline, baseline_of
from robustness.commands.options import RUN, Parsers, add_command, add_shared


def add(parsers: Parsers) -> None:
    """Add ``choose``."""
    chosen = add_command(parsers, "choose", choose_command, "--json")
    chosen.add_argument("runs", metavar="RUN", nargs="+", help=f"{RUN}; several of the same images")
    chosen.add_argument(
        "--weights",
        metavar="A=N,B=N",
        type=_weights,
        default={},
        help='how much perturbations or risks matter, such as "low light=3,fog=2,others=0" '
        "(default: each 1)",
    )
    for option, metavar, meaning in (
        ("--min-accuracy", "SHARE", "on the originals"),
        ("--max-latency-ms", "N", "milliseconds for one image, as measured in the run"),
        ("--max-megabytes", "N", "size of the weights"),
    ):
        chosen.add_argument(option, metavar=metavar, type=float, help=meaning)
    chosen.add_argument(
        "--margin",
        metavar="SHARE",
        type=float,
        help="a smaller difference is a tie (default: 0.01)",
    )
    chosen.add_argument(
        "--budget", type=Path, metavar="FILE.toml", help="rule out models that break its limits"
    )
    add_baseline(chosen)
    chosen.set_defaults(refuse=chosen.error)
    chosen.add_argument(
        "--remedies",
        action="store_true",
        help="also choose among the models behind each remedy that the run tried",
    )
    add_shared(chosen, "--out")


def _weights(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in filter(str.strip, text.split(",")):
        name, sign, number = part.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not sign or not name.strip() or not 0 <= weight < math.inf:
            raise argparse.ArgumentTypeError(
                f"expected NAME=NUMBER with a number of 0 or more, got {part.strip()!r}"
            )
        if name.strip() in found:
            raise argparse.ArgumentTypeError(f"expected each name once, got {name.strip()!r} twice")
        found[name.strip()] = weight
    return found


def choose_command(options: argparse.Namespace) -> int:
    """Say which model to ship; those that cannot be told apart are tied."""
    from robustness import api, gate, runs

    if options.baseline and not options.budget:
        options.refuse("--baseline is for the limits of --budget: give both")
    baseline = None
    if options.budget:
        budget = gate.read_budget(options.budget)
        if options.baseline or budget.compares:
            baseline = baseline_of(budget, options)
    opened = [runs.load(runs.folder_of(run, options.out), anywhere=True) for run in options.runs]
    found = api.choose(
        opened,
        weights=options.weights,
        min_accuracy=options.min_accuracy,
        max_latency_ms=options.max_latency_ms,
        max_megabytes=options.max_megabytes,
        budget=options.budget,
        baseline=baseline,
        remedies=options.remedies,
        **({} if options.margin is None else {"margin": options.margin}),
    )
    if options.json:
        console.print_json(found.as_dict())
        return 0
    from robustness import report
    from robustness.report.results import run_choice, run_race

    weighted = [f"{word}: {', '.join(names)}" for word, names in found.weighted.items()]
    console.say("\n".join(found.sentences))
    entries = run_choice.priced({}, found)
    tables = [run_choice.table(entries, found.quantity, found.abstaining)]
    for run in opened:
        tables += run_race.tables(run, run.raced) if run.raced is not None else []
    notes = [
        *run_choice.busy(entries),
        *run_choice.dominated(entries, found.quantity),
        *map(report.Text, weighted),
    ]
    console.say(report.printed_blocks([*tables, *notes]))
    return 0
