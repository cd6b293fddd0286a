"""The command that answers which model of a run to ship."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.commands import console
from robustness.commands.options import RUN, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.statistics import ModelChoice

_COLUMNS = {
    "rank": "<7",
    "model": "<20",
    "robust (95 % interval)": "<26",
    "originals": ">9",
    "first in": ">9",
    "latency": ">10",
    "size": ">9",
    "  weakest under": "",
}


def add(parsers: Parsers) -> None:
    """Adds ``choose``."""
    chosen = add_command(parsers, "choose", choose_command, "--json")
    chosen.add_argument("run", metavar="RUN", help=RUN)
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
    add_shared(chosen, "--out")


def _weights(text: str) -> dict[str, float]:
    found = {}
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
        found[name.strip()] = weight
    return found


def choose_command(options: argparse.Namespace) -> int:
    """Say which model of a run to ship; those that cannot be told apart are tied."""
    from robustness import api, runs

    run = runs.load(runs.folder_of(options.run, options.out), anywhere=True)
    found = api.choose(
        run,
        weights=options.weights,
        min_accuracy=options.min_accuracy,
        max_latency_ms=options.max_latency_ms,
        max_megabytes=options.max_megabytes,
        budget=options.budget,
        **({} if options.margin is None else {"margin": options.margin}),
    )
    if options.json:
        console.print_json(found.as_dict())
    else:
        _print(found)
    return 0


def _print(found: ModelChoice) -> None:
    for sentence in found.sentences:
        console.say(sentence)
    console.say("")
    console.print_table(_COLUMNS, map(_row, found.models))
    for word, names in found.weighted.items():
        console.say(f"{word}: {', '.join(names)}")


def _row(entry: Mapping[str, Any]) -> tuple[str, ...]:
    from robustness.evaluation.condition import perturbation_label

    low, high = entry["place_low"], entry["place_high"]
    place = "-" if low is None else f"{low}" if low == high else f"{low}-{high}"
    robust = "" if entry["robust"] is None else f"{entry['robust']:.1%}"
    if entry["robust_low"] is not None:
        robust += f" ({entry['robust_low']:.1%} to {entry['robust_high']:.1%})"
    return (
        place,
        entry["model"],
        robust,
        _of("{:.1%}", entry["accuracy"]),
        _of("{:.0%}", entry["certainty"]),
        _of("{:.1f} ms", entry["latency_ms"]),
        _of("{:.1f} MB", entry["megabytes"]),
        "  " + ("" if entry["weakest"] is None else perturbation_label(entry["weakest"])),
    )


def _of(form: str, value: float | None) -> str:
    return "" if value is None else form.format(value)
