"""The commands that work on images without labels.

``match`` says what a camera does to images and what accuracy follows; ``harden`` trains a model on
images and judges the result.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import ParameterError
from robustness.base.files import expect_writable, write_file
from robustness.base.options import options_of
from robustness.base.text import counted, points
from robustness.cli import console
from robustness.cli.console import RUN, Parsers, add_command, add_options, add_shared, names
from robustness.measure.options import MatchOptions, TrainingOptions, ViewOptions

if TYPE_CHECKING:
    from robustness.matching import Match
    from robustness.matching.profile import MatchChange
    from robustness.runs import Progress

EXIT_LOSS = 1
_ROUNDING = 1e-9  # of differences: 0.65 - 0.6 is not quite 0.05


def add_match(parsers: Parsers) -> None:
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
    add_shared(command, "--models")
    add_options(command, MatchOptions)
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
        help="with --since: exit with 1 if a model loses more accuracy; 0.05 are 5 points",
    )


def match_command(options: argparse.Namespace) -> int:
    """Estimate which perturbations make images unlike a reference, and the accuracy to expect.

    Exit status 1 if --max-loss is broken, or cannot be judged.
    """
    from robustness import api, matching, models
    from robustness.report import match

    max_loss = options.max_loss
    if max_loss is not None and (options.since is None or not 0 <= max_loss <= 1):
        raise ParameterError("--max-loss expects a share from 0 to 1, together with --since.")
    # Before the match, which writes the table.
    has_new_table = options.labels is not None and not options.labels.exists()
    settings = matching.MatchSettings(
        models=models.resolve(options.models), **options_of(ViewOptions, vars(options))
    )
    earlier = None
    if options.since is not None:
        earlier = matching.read_profile(options.since, settings.framing)

    answer = api.match(
        options.production,
        reference=options.reference,
        models=settings.models,
        note=console.phase,
        first=_show_first_answer,
        **options_of(MatchOptions, vars(options)),
    )
    console.end_progress()
    if options.labels is not None:
        _remark_labels_of_other_models(options.labels, settings.models)
    strengths: list[MatchChange] = []
    accuracies: list[MatchChange] = []
    if earlier is not None:
        strengths, accuracies = matching.changes(answer, earlier)
    broken = max_loss is not None and _loses_more(accuracies, max_loss)

    if options.json:
        document = answer.as_dict()
        if earlier is not None:
            document["since"] = {
                "perturbations": [asdict(change) for change in strengths],
                "expected_accuracy": [asdict(change) for change in accuracies],
            }
        console.print_json(document)
    else:
        changes: list[str] = []
        if earlier is not None:
            changes += match.change_sentences(strengths, accuracies)
        if max_loss is not None:
            changes.append(_limit_sentence(max_loss, accuracies, broken=broken))
        _print_match(answer, changes)
        if options.out is not None:
            console.say(f"Profile: {options.out}")
        if has_new_table:
            _print_labelling(answer, options.labels)
    return EXIT_LOSS if broken else 0


def _show_first_answer(answer: Match) -> None:
    """Show what is known before the search for a cause begins."""
    from robustness.report.match import headline

    told, _ = headline(answer)
    console.remark(told)


def _remark_labels_of_other_models(table: Path, model_names: Sequence[str]) -> None:
    from robustness import matching

    labelled = {row.model for row in matching.sheet_rows(table)}
    others = sorted(labelled - set(model_names))
    if others:
        console.remark(
            f"{table}: the labels of {', '.join(others)} do not count, because the "
            "match is of other models."
        )


def _loses_more(accuracies: Sequence[MatchChange], max_loss: float) -> bool:
    """Return whether a model loses more than ``max_loss``, or none could be compared."""
    if not accuracies:
        return True
    return any(change.loss > max_loss + _ROUNDING for change in accuracies)


def _limit_sentence(max_loss: float, accuracies: Sequence[MatchChange], *, broken: bool) -> str:
    verdict = "broken" if broken else "kept"
    if not accuracies:
        verdict += ", because no accuracy could be compared"
    return f"Limit on lost accuracy, {counted(points(max_loss, 'g'), 'point')}: {verdict}."


def _print_match(answer: Match, changes: Sequence[str]) -> None:
    from robustness import report
    from robustness.report import match

    console.say("\n".join([*match.sentences(answer), *changes]))
    tables = []
    for block in match.blocks(answer):
        if isinstance(block, report.Text | report.Titled):  # a terminal shows no pictures
            tables.append(block)
    console.say(report.printed_blocks(tables))


def _print_labelling(answer: Match, table: Path) -> None:
    """Say how to fill in the ``table`` of labels, and what that would narrow."""
    from robustness.report import match

    console.say(
        f"To label: {table}. Write yes or no into the column correct, from the "
        "first image on, and run this command again."
    )
    console.say(match.forecasts(answer))


def add_harden(parsers: Parsers) -> None:
    """Add ``harden``."""
    command = add_command(parsers, "harden", harden_command, "--json")
    command.add_argument("model", metavar="MODEL", help="the model to train, which is not changed")
    command.add_argument(
        "--images",
        metavar="SOURCE",
        required=True,
        help="images to train on, without labels: a folder, zip or URL",
    )
    command.add_argument("--name", metavar="N", required=True, help="name of the new model")
    training = command.add_mutually_exclusive_group(required=True)
    training.add_argument(
        "--perturbations", type=names, metavar="A,B", help="train on these, at strengths 0.1 to 0.8"
    )
    training.add_argument("--run", metavar="RUN", help=f"train on the model's weakest five; {RUN}")
    command.add_argument(
        "--judge",
        metavar="LABELLED",
        help="labelled images that judge the result (default: a part of --images)",
    )
    add_options(command, TrainingOptions)
    command.add_argument(
        "--out", type=Path, metavar="FILE.xml", help="also copy the model, in OpenVINO's format"
    )


def harden_command(options: argparse.Namespace) -> None:
    """Train a model on unlabelled images to be more robust, and judge the result.

    The model is added under its name, whatever the judgement. Ctrl-C cancels; the same command
    continues.
    """
    from robustness import report, runs
    from robustness.api.runs import harden
    from robustness.report import harden as report_harden
    from robustness.runs.training import PhaseProgress

    if options.out is not None and options.out.suffix != ".xml":
        raise ParameterError(f"--out expects a file that ends in .xml, got {str(options.out)!r}.")
    expect_writable(options.out)
    run = None
    if options.run is not None:
        run = runs.folder_of(options.run, console.default_runs_folder())
    answer = harden(
        options.model,
        images=options.images,
        name=options.name,
        perturbations=options.perturbations,
        run=run,
        judge=options.judge,
        note=PhaseProgress(_show_progress),
        **options_of(TrainingOptions, vars(options)),
    )
    console.end_progress()
    if options.out is not None:
        for suffix in (".xml", ".bin"):
            data = Path(answer.file).with_suffix(suffix).read_bytes()
            write_file(options.out.with_suffix(suffix), data)
    if options.json:
        console.print_json(answer.as_dict())
        return
    console.say("\n".join(report_harden.sentences(answer)))
    console.say(report.printed_blocks(report_harden.blocks(answer)))
    console.say(f"Model: {answer.name}, {answer.file}")


def _show_progress(progress: Progress) -> None:
    console.progress(progress.text)
