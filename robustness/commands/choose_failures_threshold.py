"""The commands that answer questions about runs: which model to ship, where models fail, what
would help, and from which confidence to accept predictions."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robustness.base.text import share
from robustness.commands import console
from robustness.commands.check_command import baseline_of
from robustness.commands.subcommands_and_options import RUN, Parsers, add_command, add_shared

COMMANDS = ("choose", "failures", "threshold")


def add(parsers: Parsers) -> None:
    """Add ``COMMANDS``, ``fixes`` and ``calibrate``."""
    chosen = add_command(parsers, "choose", choose_command, "--json")
    chosen.add_argument("runs", metavar="RUN", nargs="+", help=f"{RUN}; several of the same images")
    chosen.add_argument(
        "--budget", type=Path, metavar="FILE.toml", help="rule out models that break its limits"
    )
    add_shared(chosen, "--baseline", "--out")

    failing = add_command(parsers, "failures", failures_command, "--json", "run")
    failing.add_argument(
        "--where",
        metavar="SELECTION",
        help='list the images of a selection, such as "model=SqueezeNet&slice=brightness:..0.2"',
    )
    failing.add_argument(
        "--to",
        type=Path,
        metavar="FILE.csv|FILE.zip",
        help="write the images of --where (default: all) as a table or a zip",
    )
    failing.add_argument(
        "--map",
        type=int,
        metavar="IMAGES",
        help="make a map of this many images of --where, which names a model and a condition",
    )
    add_shared(failing, "--out")

    add_command(parsers, "fixes", fixes_command, "--json", "run", "--out")

    calibrating = add_command(parsers, "calibrate", calibrate_command, "--json", "run")
    calibrating.add_argument("model", metavar="MODEL", help="a model of the run")
    calibrating.add_argument(
        "--name", metavar="N", default="", help="also add the calibrated model to models.toml"
    )
    add_shared(calibrating, "--out")

    accepting = add_command(parsers, "threshold", threshold_command, "--json", "run")
    accepting.add_argument(
        "--groups",
        metavar="REGEX",
        help="images with the same match in their names belong together, such as frames of a video",
    )
    add_shared(accepting, "--out")


def add_options(command: argparse.ArgumentParser, name: str) -> None:
    """Add the options of the questions that the command ``name`` prints."""
    from robustness.report.questions import REGISTRY

    for question in REGISTRY:
        for option in question.options if question.command == name else ():
            kind: dict[str, Any] = {"type": float, "metavar": option.metavar}
            if isinstance(option.default, bool):
                kind = {"action": "store_true"}
            elif isinstance(option.default, Mapping):
                kind["type"] = _weights
            flag = f"--{option.name.replace('_', '-')}"
            command.add_argument(flag, help=option.meaning, default=option.default, **kind)


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
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
        if name.strip() in weights:
            raise argparse.ArgumentTypeError(f"expected each name once, got {name.strip()!r} twice")
        weights[name.strip()] = weight
    return weights


def choose_command(options: argparse.Namespace) -> int:
    """Say which model to ship; those that cannot be told apart are tied."""
    from robustness import api, gate, runs
    from robustness.report.facts_and_cautions import own_preprocessing, trained_on
    from robustness.report.questions import choice_and_trade_offs, safe_threshold

    if options.baseline and not options.budget:
        options.parser.error("--baseline is for the limits of --budget: give both")
    baseline = None
    if options.budget:
        budget = gate.read_budget(options.budget)
        if options.baseline or budget.compares:
            baseline = baseline_of(budget, options)
    folders = dict.fromkeys(runs.folder_of(run, options.out) for run in options.runs)
    opened = [runs.load(folder) for folder in folders]
    model_choice = api.choose(
        opened,
        budget=options.budget,
        baseline=baseline,
        **{option.name: getattr(options, option.name) for option in choice_and_trade_offs.OPTIONS},
    )
    if options.json:
        console.print_json({**model_choice.as_dict(), "thresholds": safe_threshold.entries(opened)})
        return 0
    from robustness import report

    weighted = [f"{word}: {', '.join(names)}" for word, names in model_choice.weighted.items()]
    entries = choice_and_trade_offs.placed(model_choice)
    console.say("\n".join(model_choice.sentences))
    hardened = dict(entry for run in opened for entry in run.manifest.trained_on.items())
    notes = [
        *choice_and_trade_offs.measured_on(entries),
        *choice_and_trade_offs.busy(entries),
        *map(report.Text, weighted),
        *(report.Text(trained_on(*entry)) for entry in hardened.items()),
        *map(report.Text, own_preprocessing(run.manifest.spec for run in opened)),
        *safe_threshold.notes(opened, model_choice.best),
    ]
    console.say(report.printed_blocks([choice_and_trade_offs.table(entries, model_choice), *notes]))
    return 0


def failures_command(options: argparse.Namespace) -> None:
    """Say where and why the models of a run fail, or list the images of a selection."""
    from robustness import api, report, runs
    from robustness.report.questions import REGISTRY, RunFigures, failure_counts_and_images

    run = runs.load(runs.folder_of(options.run, options.out), unfinished=True)
    if options.map is not None:
        embedding = api.embedding_map(run, options.where or "", images=options.map)
        if options.json:
            console.print_json(asdict(embedding))
        else:
            shares = " and ".join(share(part, 0) for part in embedding.explained)
            console.say(
                f"The map of {len(embedding.points)} images is saved with the run, for its page "
                f"and report. Its axes explain {shares} of the variance."
            )
        return
    if options.where is not None or options.to is not None:
        rows = api.failing_images(run, options.where or "", to=options.to)
        if options.json:
            console.print_json(rows)
        elif options.to is not None:
            console.say(str(options.to))
        else:
            console.say(report.printed_blocks([failure_counts_and_images.listed_cases(rows)]))
        return
    if options.json:
        console.print_json(api.failures(run).as_dict())
        return
    of = RunFigures(run, options=vars(options))
    sections = [question.section(of) for question in REGISTRY if question.command == "failures"]
    for section in filter(None, sections):
        console.say(f"\n## {section.title}\n{_printed(section.printed)}")


def fixes_command(options: argparse.Namespace) -> None:
    """Say what would help each model of a run, what it gains and costs, and how to measure it."""
    from robustness import runs
    from robustness.report.questions import RunFigures
    from robustness.report.questions.fixes import FIXES

    run = runs.load(runs.folder_of(options.run, options.out))
    figures = RunFigures(run).answer(FIXES)
    if options.json:
        console.print_json(FIXES.tables(figures)["fixes"])
        return
    console.say(_printed(FIXES.blocks(figures)))


def calibrate_command(options: argparse.Namespace) -> None:
    """Fit a temperature that makes the confidence of a model honest, and add it as a model.

    One half of the labelled originals fits it, by one more pass; the other judges it.
    """
    from robustness import api, runs
    from robustness.report.questions import fixes

    run = runs.load(runs.folder_of(options.run, options.out))
    fit = api.calibrate(
        run,
        options.model,
        name=options.name,
        note=lambda done, total: console.phase("Predicting the originals", done, total),
    )
    console.end_progress()
    if options.json:
        console.print_json({**fit.as_dict(), "added": options.name or None})
        return
    console.say(fixes.calibration_sentence(fit))
    console.say(
        f"Added as {options.name}."
        if options.name
        else f"To add it: python -m robustness calibrate {options.run} {fit.model} --name NAME"
    )


def threshold_command(options: argparse.Namespace) -> None:
    """Say from which confidence to accept predictions, so that few accepted ones are wrong."""
    from robustness import report, runs
    from robustness.report.questions import RunFigures
    from robustness.report.questions.safe_threshold import (
        THRESHOLD,
        document,
        groups_of,
        of_model,
    )

    run = runs.load(runs.folder_of(options.run, options.out))
    values = vars(options) | {"groups": groups_of(run, options.groups)}
    figures = RunFigures(run, options=values).answer(THRESHOLD)
    if options.json:
        console.print_json(document(figures))
        return
    reasons = [report.Text(of_model(entry, figures)) for entry in figures.entries]
    console.say(_printed(THRESHOLD.blocks(figures)) or report.printed_blocks(reasons))


def _printed(blocks: Iterable[Any]) -> str:
    """The paragraphs and tables among the ``blocks`` of a question, without its pictures."""
    from robustness import report

    kinds = (report.Text, report.Titled)
    return report.printed_blocks(block for block in blocks if isinstance(block, kinds))
