"""The command that says what a camera does to images, and what accuracy follows.

The command that trains a model on unlabelled images and judges the result.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.files import expect_writable, write_file
from robustness.base.turns import Note, Pace, Unit
from robustness.cli import console
from robustness.cli.console import RUN, Parsers, add_command, add_shared, names

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
    from robustness.report import match

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
        first=lambda answer: console.remark("\n".join(match.sentences(answer)[:1])),
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
        lines = match.sentences(answer)
        lines += match.change_sentences(strengths, accuracies) if before else []
        if options.max_loss is not None:
            verdict = "broken" if broken else "kept"
            why = "" if accuracies else ", because no accuracy could be compared"
            lines.append(f"Limit of {100 * options.max_loss:g}% lost accuracy: {verdict}{why}.")
        console.say("\n".join(lines))
        tables = [b for b in match.blocks(answer) if isinstance(b, report.Text | report.Titled)]
        console.say(report.printed_blocks(tables))
        if options.out is not None:
            console.say(f"Profile: {options.out}")
        if to_fill_in:
            console.say(
                f"To label: {options.labels}. Write yes or no into the column correct, from the "
                "first image on, and run this command again."
            )
            console.say(match.forecasts(answer))
    return EXIT_LOSS if broken else 0


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
    trained = command.add_mutually_exclusive_group(required=True)
    trained.add_argument(
        "--perturbations", type=names, metavar="A,B", help="train on these, at strengths 0.1 to 0.8"
    )
    trained.add_argument("--run", metavar="RUN", help=f"train on the model's weakest five; {RUN}")
    command.add_argument(
        "--judge",
        metavar="LABELLED",
        help="labelled images that judge the result (default: a part of --images)",
    )
    command.add_argument(
        "--epochs", type=int, metavar="N", help="passes over the images (default: 5)"
    )
    command.add_argument(
        "--rate", type=float, metavar="R", help="learning rate (default: the model's)"
    )
    command.add_argument(
        "--background",
        type=Path,
        metavar="RUN",
        help="write the progress and the judgement into a run, as the dashboard does",
    )
    command.add_argument("--idle", action="store_true", help="use only idle cores")
    add_shared(command, "--seed")
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
    from robustness.base import workers
    from robustness.hardening import Settings
    from robustness.report import harden as report_harden
    from robustness.runs import jobs

    if options.out is not None and options.out.suffix != ".xml":
        raise ParameterError(f"--out expects a file that ends in .xml, got {str(options.out)!r}.")
    expect_writable(options.out)
    phases = _Phases(lambda text, _done, _total: console.progress(text))
    if options.idle:
        workers.set_idle_priority()
    run = None if options.run is None else runs.folder_of(options.run, Path("runs"))
    with _background(options.background) if options.background else nullcontext(phases) as note:
        answer = harden(
            options.model,
            images=options.images,
            name=options.name,
            perturbations=options.perturbations,
            run=run,
            judge=options.judge,
            epochs=Settings.epochs if options.epochs is None else options.epochs,
            rate=options.rate,
            seed=options.seed,
            note=note,
        )
        if options.background:
            jobs.end_hardening(options.background, answer.as_dict())
            return
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


@contextmanager
def _background(folder: Path) -> Iterator[Note]:
    """Progress, and why the training failed, go into the ``folder`` of a run."""
    from robustness.base import workers
    from robustness.runs import jobs
    from robustness.runs.writer import Progress, ProgressFile

    workers.heed_termination()
    file = ProgressFile(folder, 0)
    try:
        yield _Phases(lambda text, done, total: file.put(Progress(done, total, 0, text=text)))
    except RobustnessError as error:
        jobs.cancel(folder, str(error))
        raise
    finally:
        file.remove()


class _Phases:
    """Shows each phase with its rate and the time left, at most once a second."""

    def __init__(self, show: Note) -> None:
        self._show = show
        self._phase = ""
        self._reported = 0.0
        self._pace = Pace(Unit("images"))

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase = phase
            self._pace = Pace(Unit("images"), overall=True)
            self._reported = 0.0
        self._pace.note(done, total)
        if time.monotonic() - self._reported >= 1:
            self._reported = time.monotonic()
            text = f"{phase}: {self._pace.text}" if total > 1 else f"{phase} …"
            self._show(text, done, total)
