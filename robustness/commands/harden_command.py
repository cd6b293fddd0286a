"""The command that trains a model on unlabelled images and judges the result."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.files_and_locks import expect_writable, write_file
from robustness.base.progress_and_time_left import Note, Pace, Unit
from robustness.commands import console
from robustness.commands.subcommands_and_options import RUN, Parsers, add_command, add_shared, names


def add(parsers: Parsers) -> None:
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
    from robustness.api.hardening_and_weakest_perturbations import harden
    from robustness.base import processes
    from robustness.hardening import Settings
    from robustness.report import hardening_report
    from robustness.runs import jobs

    if options.out is not None and options.out.suffix != ".xml":
        raise ParameterError(f"--out expects a file that ends in .xml, got {str(options.out)!r}.")
    expect_writable(options.out)
    phases = _Phases(lambda text, _done, _total: console.progress(text))
    if options.idle:
        processes.set_idle_priority()
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
    console.say("\n".join(hardening_report.sentences(answer)))
    console.say(report.printed_blocks(hardening_report.blocks(answer)))
    console.say(f"Model: {answer.name}, {answer.file}")


@contextmanager
def _background(folder: Path) -> Iterator[Note]:
    """Progress, and why the training failed, go into the ``folder`` of a run."""
    from robustness.base import processes
    from robustness.runs import jobs
    from robustness.runs.run_progress import Progress, ProgressFile

    processes.heed_termination()
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
        self._show, self._phase, self._reported = show, "", 0.0
        self._pace = Pace(Unit("images"))

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase != self._phase:
            self._phase, self._pace = phase, Pace(Unit("images"), overall=True)
            self._reported = 0.0
        self._pace.note(done, total)
        if time.monotonic() - self._reported >= 1:
            self._reported = time.monotonic()
            text = f"{phase}: {self._pace.text}" if total > 1 else f"{phase} …"
            self._show(text, done, total)
