"""The commands ``models add`` and ``models remove``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.text import counted, share
from robustness.base.toml import toml_of
from robustness.commands import console
from robustness.commands.options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.models.own.propose import Description

_MOST_TRIALS = 4
_FIND_NORMALISATION = (
    "Labelled images find the normalisation: give their folder, with one subfolder per class, in "
    "--images."
)


def add(actions: Parsers) -> None:
    """Add ``models add`` and ``models remove``."""
    adding = add_command(actions, "add", add_model_command, asks_models=False)
    adding.add_argument("file", type=Path, metavar="FILE", help="model file, JATIC folder or zip")
    adding.add_argument("--name", metavar="N", default="", help="default: the file's name")
    adding.add_argument(
        "--labels", metavar="imagenet|FILE", help="imagenet, or a file with one class per line"
    )
    adding.add_argument("--input-size", metavar="PIXELS|HxW", help="if the file has no fixed size")
    adding.add_argument(
        "--normalisation", metavar="NAME|TABLE", help="a name such as torch, or a TOML table"
    )
    adding.add_argument("--mean", metavar="R,G,B", help="of pixels from 0 to 1, with --std")
    adding.add_argument("--std", metavar="R,G,B", help="instead of --normalisation")
    add_shared(
        adding,
        "--fit",
        default=None,
        help="measure it at its own size, with this fit (default: squash if it has own classes)",
    )
    adding.add_argument("--crop-pct", metavar="SHARE", help="kept of the resized image")
    adding.add_argument("--interpolation", metavar="NAME", help="such as bilinear or bicubic")
    adding.add_argument(
        "--resize", metavar="LIBRARY", help="that resizes: pil, torch, tensorflow or opencv"
    )
    adding.add_argument(
        "--no-antialias",
        action="store_false",
        dest="antialias",
        default=None,
        help="of torch or tensorflow",
    )
    adding.add_argument("--padding", metavar="R,G,B", help="of letterbox, 0 to 255")
    adding.add_argument("--output", metavar="probabilities|logits", help="default: detected")
    adding.add_argument(
        "--features", metavar="A,B", help="layers or operations whose output to compare"
    )
    adding.add_argument("--title", metavar="TEXT", help="name shown on pages")
    adding.add_argument(
        "--no-default",
        action="store_false",
        dest="default",
        default=None,
        help="leave it out of the default selection",
    )
    adding.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="labelled images to try it on, one subfolder per class",
    )
    adding.add_argument("--dry-run", action="store_true", help="write nothing")

    removing = add_command(actions, "remove", remove_model_command, asks_models=False)
    removing.add_argument("name", metavar="NAME", help="name of the model")
    for action in (adding, removing):
        add_shared(action, "--json", default=argparse.SUPPRESS)


def add_model_command(options: argparse.Namespace) -> None:
    """Add your own model file: inspect it and write its description to models.toml.

    Asks only for what the file lacks; tries the usual normalisations on labelled images.
    """
    from robustness.models.own import model_file

    with model_file.opened(options.file) as (path, unpacked):
        description = _complete(path, options)
        file = None if options.dry_run else description.write(unpacked)
    if options.json:
        console.print_json({**description.document(), "written_to": str(file) if file else None})
        return
    _say(description)
    console.say(f"written to {file}" if file else "nothing was written")


def _complete(path: Path, options: argparse.Namespace) -> Description:
    """The complete proposal; with ``--dry-run --json`` values may be missing."""
    from robustness.models.own.propose import name_of, propose
    from robustness.models.own.user_models import name_problem

    choices = _choices(options)
    asking = sys.stdin.isatty() and not options.json
    name = options.name or name_of(options.file)
    if problem := name_problem(name):
        raise ParameterError(f"Expected a name for the model, got {name!r}: {problem}.")

    def said(step: str) -> None:
        console.progress(f"{path.name}: {step} ...")

    while True:
        description = propose(path, choices, name=name, images=options.images, said=said)
        console.end_progress()
        if not description.missing or (options.dry_run and options.json):
            return description
        if not asking:
            raise ParameterError(_lacking(description))
        choices[description.missing[0]] = _answer(description)


def remove_model_command(options: argparse.Namespace) -> None:
    """Remove a model of your own from models.toml.

    Its file stays, unless it was uploaded on the Models page or unpacked from a zip archive.
    """
    from robustness.models.own import add

    file = add.remove(options.name)
    if options.json:
        console.print_json({"name": options.name, "removed_from": str(file)})
    else:
        console.say(f"{options.name}: removed from {file}")


def _choices(options: argparse.Namespace) -> dict[str, Any]:
    """The values of the options, by the keys of ``models.toml``."""
    from robustness.models.own.user_models import parsed_size

    read: dict[str, Callable[[str], Any]] = {
        "labels": _labels,
        "input_size": parsed_size,
        "normalisation": _value,
        "mean": partial(_numbers, "mean", float),
        "std": partial(_numbers, "std", float),
        "fit": str,
        "crop_pct": lambda text: _numbers("crop-pct", float, text)[0],
        "interpolation": str,
        "resize": str,
        "padding": partial(_numbers, "padding", int),
        "output": str,
        "features": lambda text: text.split(","),
        "title": str,
    }
    texts = {key: getattr(options, key) for key in read}
    choices = {key: read[key](text) for key, text in texts.items() if text is not None}
    switches = {key: getattr(options, key) for key in ("antialias", "default")}
    return choices | {key: value for key, value in switches.items() if value is not None}


def _numbers(option: str, kind: Callable[[str], Any], text: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(
            f"--{option}: expected numbers with commas between them, got {text!r}."
        ) from error


def _labels(text: str) -> str:
    return text if text == "imagenet" else str(Path(text).resolve())


def _value(text: str) -> Any:
    """A table as TOML, else the text itself."""
    if not text.lstrip().startswith("{"):
        return text
    return toml_of(f"value = {text}".encode(), "--normalisation")["value"]


def _lacking(description: Description) -> str:
    """A message that names the options for the missing values."""
    from robustness.models.own.propose import UNDECIDED

    options = " and ".join("--" + key.replace("_", "-") for key in description.missing)
    text = f"{description.name}: expected {options}, which the file lacks."
    if description.trials:
        tried = "; ".join(" ".join(line.split()) for line in _trial_lines(description))
        text += f" {UNDECIDED} Of {counted(description.tried_on, 'image')}: {tried}."
    elif "normalisation" in description.missing:
        text += f" {_FIND_NORMALISATION}"
    return text


def _answer(description: Description) -> Any:
    """The user's input for the first missing value."""
    from robustness.models.own.propose import UNDECIDED
    from robustness.models.own.user_models import parsed_size

    missing = description.missing[0]
    if description.trials:
        console.remark(UNDECIDED)
    for line in _trial_lines(description):
        console.remark(line)
    hints = {
        "labels": "labels (imagenet, or a file with one class per line): ",
        "input_size": "input size in pixels (224, or height x width): ",
        "normalisation": "normalisation (0..1, -1..1, 0..255, torch, caffe, or a table): ",
    }
    try:
        text = input(hints[missing]).strip()
    except EOFError as error:
        raise ParameterError(_lacking(description)) from error
    if not text:
        raise ParameterError(_lacking(description))
    if missing == "input_size":
        return parsed_size(text)
    return _labels(text) if missing == "labels" else _value(text)


def _trial_lines(description: Description) -> list[str]:
    return [f"  {trial.name:16}{trial.text}" for trial in description.trials[:_MOST_TRIALS]]


def _say(description: Description) -> None:
    from robustness.models.model_record import LabelledAccuracy
    from robustness.models.own.trials import cropping_cost

    if description.trials:
        console.say(f"normalisations tried on {counted(description.tried_on, 'image')}:")
        for line in _trial_lines(description):
            console.say(line)
    for answer in description.samples:
        console.say(f"  {answer['image']:28}{answer['class']} {share(answer['confidence'])}")
    if native := description.native:
        console.say(
            f"predictions by {native.runtime}; OpenVINO agrees on {share(native.agreement)} of the "
            f"images, and its probabilities differ by up to {native.largest:.2f}"
        )
    if accuracy := description.entry.get("accuracy"):
        console.say(f"{LabelledAccuracy(**accuracy).text}.")
    if description.warning:
        console.remark(f"robustness: {description.warning}")
    console.say(f"preprocessing: {description.preprocessing}")
    if description.resizings:
        console.remark(f"robustness: {description.resizings}")
    if cost := cropping_cost(description.framings, description.tried_on):
        console.say(cost)
    elif description.entry.get("fit") and not description.framings:
        console.say("measured at its own size; use --images DIR to see the cost of the usual crop")
    console.say(description.toml.rstrip())
