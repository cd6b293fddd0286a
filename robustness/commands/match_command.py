"""The command that says what a camera does to images, and what accuracy follows."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from robustness.base.errors import ParameterError
from robustness.commands import console
from robustness.commands.subcommands_and_options import Parsers, add_command, add_shared

EXIT_LOSS = 1
_ROUNDING = 1e-9  # of differences: 0.65 - 0.6 is not quite 0.05


def add(parsers: Parsers) -> None:
    """Add ``match``."""
    command = add_command(parsers, "match", match_command, "--json")
    command.add_argument(
        "production", metavar="PRODUCTION", help="images without labels: a folder, zip or URL"
    )
    command.add_argument(
        "--reference",
        metavar="LABELLED",
        required=True,
        help="images of the same kind of scene, with classes as for `evaluate`",
    )
    add_shared(command, "--models", "--seed", "--fit", "--side")
    command.add_argument(
        "--out", type=Path, metavar="FILE.toml", help="write the profile, a suite for `evaluate`"
    )
    command.add_argument(
        "--labels",
        type=Path,
        metavar="FILE.csv",
        help="labels of some PRODUCTION images, which narrow the accuracy; if there is no such "
        "file, it is written for you to fill in",
    )
    command.add_argument(
        "--since",
        type=Path,
        metavar="FILE.toml",
        help="compare with an earlier profile",
    )
    command.add_argument(
        "--max-loss",
        type=float,
        metavar="SHARE",
        help="with --since: exit with 1 if a model loses more accuracy, such as 0.05",
    )


def match_command(options: argparse.Namespace) -> int:
    """Estimate which perturbations make images unlike a reference, and the accuracy to expect.

    Exit status 1 if --max-loss is broken, or cannot be judged.
    """
    from robustness import api, matching, models, report
    from robustness.report import match_report

    if options.max_loss is not None and (options.since is None or not 0 <= options.max_loss <= 1):
        raise ParameterError("--max-loss expects a share from 0 to 1, together with --since.")
    to_fill_in = options.labels is not None and not options.labels.exists()
    settings = matching.MatchSettings(
        models=models.resolve(options.models),
        fit=options.fit,
        side=options.side,
        seed=options.seed,
    )
    since = options.since
    before = None if since is None else matching.read_profile(since, settings.framing)

    answer = api.match(
        options.production,
        reference=options.reference,
        out=options.out,
        labels=options.labels,
        **settings.model_dump(),
        note=console.phase,
        first=lambda answer: console.remark("\n".join(match_report.sentences(answer)[:1])),
    )
    console.end_progress()
    if options.labels is not None:
        labelled = {row.model for row in matching.sheet_rows(options.labels)}
        if others := sorted(labelled - set(settings.models)):
            console.remark(
                f"{options.labels}: the labels of {', '.join(others)} do not count, because the "
                "match is of other models."
            )
    strengths, accuracies = matching.changes(answer, before) if before else ([], [])
    broken = options.max_loss is not None and (
        not accuracies or any(change.loss > options.max_loss + _ROUNDING for change in accuracies)
    )
    if options.json:
        changed = {
            "perturbations": [asdict(change) for change in strengths],
            "expected_accuracy": [asdict(change) for change in accuracies],
        }
        console.print_json({**answer.as_dict(), **({"since": changed} if before else {})})
    else:
        lines = match_report.sentences(answer)
        lines += match_report.change_sentences(strengths, accuracies) if before else []
        if options.max_loss is not None:
            verdict = "broken" if broken else "kept"
            why = "" if accuracies else ", because no accuracy could be compared"
            lines.append(f"Limit of {100 * options.max_loss:g}% lost accuracy: {verdict}{why}.")
        console.say("\n".join(lines))
        tables = [
            b for b in match_report.blocks(answer) if isinstance(b, report.Text | report.Titled)
        ]
        console.say(report.printed_blocks(tables))
        if options.out is not None:
            console.say(f"Profile: {options.out}")
        if to_fill_in:
            console.say(
                f"To label: {options.labels}. Write yes or no into the column correct, from the "
                "first image on, and run this command again."
            )
            console.say(match_report.forecasts(answer))
    return EXIT_LOSS if broken else 0
