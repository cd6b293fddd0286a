"""The command line: its options, its exit codes.

Every ``RobustnessError`` ends in its sentence on stderr and exit status 2. ``models verify`` exits
with status 1 when it found a damaged file, ``models check`` when a model answered wrongly,
``replay`` when the rows differ, ``check`` when the budget is broken.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustness import __version__
from robustness.base.errors import RobustnessError
from robustness.commands import attack as attack_commands
from robustness.commands import evaluate, models, report, run_options
from robustness.commands import study as commands
from robustness.commands.console import end_progress

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status.

    0; 1 when ``models verify``, ``models check``, ``replay`` or ``check`` found something wrong; 2
    for bad input; 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):  # the name of a file may not be encodable
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if options.asks_models:
            from robustness.models import user_models

            user_models.refresh()
        status: int | None = options.command(options)
        sys.stdout.flush()
        return status or 0
    except RobustnessError as error:
        end_progress()
        print(f"robustness: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        end_progress()
        print("robustness: interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        _silence_stdout()
    except OSError as error:
        _silence_stdout()
        print(f"robustness: the output cannot be written: {error.strerror}.", file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


def _silence_stdout() -> None:
    """Sends what is still buffered to nowhere, lest Python complain of it while it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m robustness",
        description="How robust are image classifiers to real-world perturbations?",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_models_commands(parsers)

    perturbations = _command(
        parsers, "perturbations", commands.perturbations_command, "list the perturbations"
    )
    perturbations.set_defaults(asks_models=False)

    predict = _command(parsers, "predict", commands.predict_command, "top-5 classes of pictures")
    _add_images(predict)
    _add_models(predict)
    _add_fit(predict)

    perturb = _command(
        parsers, "perturb", commands.perturb_command, "write a perturbed study image", json=False
    )
    perturb.set_defaults(asks_models=False)
    perturb.add_argument("image", metavar="IMAGE")
    perturb.add_argument("--perturbation", required=True, metavar="NAME")
    perturb.add_argument("--strength", required=True, type=float, metavar="S", help="0 to 1")
    perturb.add_argument("--to", required=True, type=Path, metavar="OUT.png")
    _add_seed(perturb)
    _add_fit(perturb)

    study = _command(
        parsers,
        "study",
        commands.study_command,
        "consistency and feature similarity under the perturbations",
    )
    _add_images(study)
    _add_models(study)
    study.add_argument(
        "--perturbations", metavar="A,B", type=_names, help="default: the study's ten"
    )
    study.add_argument(
        "--strength", type=float, metavar="S", help="0 to 1; default: each one's study setting"
    )
    study.add_argument("--out", type=Path, metavar="DIR", help="also write tables and pictures")
    _add_seed(study)
    _add_fit(study)

    swept = _command(
        parsers,
        "sweep",
        commands.sweep_command,
        "the strength at which each model's answer breaks",
    )
    swept.add_argument("image", metavar="IMAGE", help="a picture file")
    which = swept.add_mutually_exclusive_group()
    which.add_argument("--perturbation", metavar="NAME", help="default: the study's ten")
    which.add_argument("--all", action="store_true", help="every perturbation there is")
    _add_models(swept)
    swept.add_argument(
        "--steps", type=int, default=21, metavar="N", help="strengths swept (default: 21)"
    )
    swept.add_argument(
        "--repeats", type=int, default=5, metavar="N", help="seeds of a random one (default: 5)"
    )
    _add_seed(swept)
    _add_fit(swept)

    _add_evaluate_command(parsers)
    _add_attack_command(parsers)
    _add_report_command(parsers)
    run_options.add(parsers, _command, _add_request)
    return parser


def _add_report_command(parsers: Any) -> None:
    reported = _command(
        parsers,
        "report",
        report.report_command,
        "make a report of a saved run that can be handed on",
        json=False,
    )
    reported.add_argument("run", metavar="RUN", help="the folder of a run, or its id in RUNS")
    reported.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="its suffix is the format: .html, .pdf, .csv, .parquet, .json or .md",
    )
    reported.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="RUNS",
        help="the folder that holds runs (default: runs)",
    )


def _add_evaluate_command(parsers: Any) -> None:
    evaluated = _command(
        parsers,
        "evaluate",
        evaluate.evaluate_command,
        "evaluate a whole dataset and save the run",
    )
    evaluated.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder (flat, or one sub-folder a class), a .csv or .parquet of paths and labels, "
        "a .zip, a URL such as s3://bucket/photos, or 'samples'",
    )
    evaluated.add_argument(
        "--out",
        type=Path,
        default=Path("runs"),
        metavar="RUNS",
        help="the folder that holds runs (default: runs)",
    )
    _add_request(evaluated)
    evaluated.add_argument(
        "--resume", action="store_true", help="go on with the unfinished run of the same request"
    )


def _add_request(evaluated: argparse.ArgumentParser) -> None:
    """What is asked of a dataset, and where it is worked on."""
    _add_models(evaluated)
    which = evaluated.add_mutually_exclusive_group()
    which.add_argument(
        "--perturbations",
        metavar="A,B",
        type=_names,
        help="instead of a suite; attacks such as pgd count as perturbations",
    )
    which.add_argument(
        "--suite", choices=("study", "imagenet-c"), help="default: study, ten perturbations"
    )
    how = evaluated.add_mutually_exclusive_group()
    how.add_argument("--strength", type=_strengths, metavar="S[,S]", help="0 to 1, one or several")
    evaluated.add_argument(
        "--epsilon", metavar="E[,E]", type=_names, help="of attacks, such as 2/255,8/255"
    )
    evaluated.add_argument("--attack-steps", type=int, metavar="N", help="of attacks")
    how.add_argument(
        "--severities",
        type=_severities,
        metavar="1-5",
        help="ImageNet-C severities, such as 3 or 1-5 or 1,3,5",
    )
    _add_seed(evaluated)
    _add_fit(evaluated)
    evaluated.add_argument("--limit", type=int, metavar="N", help="the first N pictures")
    evaluated.add_argument("--sample", type=int, metavar="N", help="N pictures drawn by the seed")
    evaluated.add_argument(
        "--batch", type=int, metavar="N", help="pictures worked on at once (default: by memory)"
    )
    evaluated.add_argument(
        "--labels",
        choices=("folders", "none"),
        default="folders",
        help="classes from sub-folders or the table's column (default), or none",
    )
    evaluated.add_argument("--engine", default="local", metavar="local|ray", help="default: local")
    evaluated.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster")


def _add_models_commands(parsers: Any) -> None:
    listing = _command(
        parsers,
        "models",
        models.models_command,
        "list the models and whether they are ready",
    )
    actions = listing.add_subparsers(metavar="[download|verify|check]")

    fetch = actions.add_parser(
        "download",
        help="fetch the published weights of models",
        description="Fetch the published weights of models.",
    )
    fetch.add_argument("names", nargs="*", metavar="NAME", help="name of a model")
    fetch.add_argument("--group", choices=models.GROUPS, help="instead of names: all of a group")
    fetch.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="fill a folder that serves another machine as its source",
    )
    fetch.set_defaults(command=models.download_command, refuse=fetch.error)

    verify = actions.add_parser(
        "verify",
        help="read every weight file again and say what is wrong",
        description="Read every weight file again and say what is wrong; status 1 if anything is.",
    )
    verify.add_argument("names", nargs="*", metavar="NAME", help="name of a model (default: all)")
    verify.set_defaults(command=models.verify_command)

    check = actions.add_parser(
        "check",
        help="ask models about pictures that they know",
        description="Ask models about pictures that they know; status 1 if any answers wrongly.",
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that are ready")
    check.set_defaults(command=models.check_command)

    for action in (fetch, verify, check):
        # Suppressed, lest it undo one that stands before the action.
        action.add_argument(
            "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document"
        )


def _add_attack_command(parsers: Any) -> None:
    attack = _command(
        parsers,
        "attack",
        attack_commands.attack_command,
        "change a picture as little as possible so that a model errs",
    )
    attack._negative_number_matcher = re.compile(r"-[\d.]")  # so that -8/255 gets its sentence
    attack.add_argument("image", metavar="IMAGE", help="a picture file")
    attack.add_argument("--model", required=True, metavar="NAME", help="the model attacked")
    attack.add_argument(
        "--attack",
        default="pgd",
        metavar="NAME",
        help="pgd, fgsm, mifgsm, deepfool or square (default: pgd)",
    )
    attack.add_argument(
        "--epsilon",
        metavar="E",
        help="largest change, of the full range of a pixel (default: 8/255; in l2 0.5)",
    )
    attack.add_argument("--steps", type=int, metavar="N", help="default: the attack's own")
    attack.add_argument("--norm", metavar="linf|l2", help="default: the attack's own")
    attack.add_argument("--target", metavar="CLASS", help="name of the class to reach")
    attack.add_argument(
        "--restarts", type=int, default=1, metavar="N", help="random starts (default: 1)"
    )
    attack.add_argument(
        "--to",
        type=Path,
        metavar="OUT.png",
        help="write the picture, lossless; --fit squash reads it back as it is",
    )
    _add_seed(attack)
    _add_fit(attack)


def _command(
    parsers: Any, name: str, run: Any, help_: str, *, json: bool = True
) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = parsers.add_parser(
        name, help=help_, description=help_[0].upper() + help_[1:] + "."
    )
    command.set_defaults(command=run, asks_models=True)
    if json:
        command.add_argument("--json", action="store_true", help="print one JSON document")
    return command


def _add_images(command: argparse.ArgumentParser) -> None:
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")


def _add_models(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--models",
        metavar="A,B",
        type=_names,
        help="default: the study's that are ready, else the offline ones",
    )


def _add_fit(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--fit",
        default="crop",
        metavar="crop|squash|letterbox",
        help="how a picture becomes square (default: crop)",
    )


def _add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def _strengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a number, or several with commas between, got {text!r}"
        ) from None


def _severities(text: str) -> list[int]:
    levels: list[int] = []
    try:
        for part in text.split(","):
            first, _, last = part.partition("-")
            start = int(first)
            stop = min(int(last or first), start + 10)  # there are five; the rest gets its sentence
            levels += range(start, stop + 1)
    except ValueError:
        levels = []
    if not levels:
        raise argparse.ArgumentTypeError(f"expected such as 3, 1-5 or 1,3,5, got {text!r}")
    return levels


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError(f"expected names with commas between, got {text!r}")
    return names
