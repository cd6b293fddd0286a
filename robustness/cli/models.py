"""The command ``models``: list, add, remove, fetch and check models.

The commands that list what can be chosen: ``perturbations``, ``remedies`` and ``plugins``.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError, RobustnessError
from robustness.base.text import counted, share
from robustness.base.toml import parse_toml
from robustness.cli import console
from robustness.cli.console import PLUGINS, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.models.describe import Description

EXIT_WRONG = 1
EXIT_FAILED = 2

GROUPS = ("study", "modern", "all")
"""Choices of ``models download --group``."""

_FIELDS = ("name", "group", "family", "year", "parameters", "input_size", "input_shape")
"""Fields of a record in ``models --json``."""
_MOST_TRIALS = 4


def add(parsers: Parsers) -> None:
    """Add ``models`` with its actions."""
    listing = add_command(parsers, "models", models_command, "--json")
    actions = listing.add_subparsers(metavar="[add|remove|download|check]")

    adding = add_command(actions, "add", add_model_command, reads="")
    adding._negative_number_matcher = re.compile(r"-1\.\.1$")  # a normalisation, and no option
    adding.add_argument("file", type=Path, metavar="FILE", help="model file or SavedModel folder")
    adding.add_argument("--name", metavar="N", default="", help="default: the file's name")
    for option, metavar, text in (
        ("--labels", "imagenet|FILE", "imagenet, or a file with one class per line"),
        ("--input-size", "PIXELS|HxW", "if the file has no fixed size"),
        ("--normalisation", "NAME|TABLE", "a name such as torch, or a TOML table"),
        ("--crop-pct", "SHARE", "kept of the resized image"),
        ("--interpolation", "NAME", "such as bilinear or bicubic"),
        ("--resize", "LIBRARY", "that resizes: pil, torch, tensorflow or opencv"),
        ("--padding", "R,G,B", "of letterbox, 0 to 255"),
        ("--output", "probabilities|logits", "default: detected"),
        ("--features", "A,B", "layers or operations whose output to compare"),
        ("--title", "TEXT", "name shown on pages"),
    ):
        adding.add_argument(option, metavar=metavar, help=text)
    add_shared(
        adding,
        "--fit",
        default=None,
        help="measure it at its own size, with this fit (default: squash if it has own classes)",
    )
    for option, key, text in (
        ("--no-antialias", "antialias", "of torch or tensorflow"),
        ("--no-default", "default", "leave it out of the default selection"),
    ):
        adding.add_argument(option, action="store_false", dest=key, default=None, help=text)
    adding.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="labelled images to try it on, one subfolder per class",
    )
    adding.add_argument("--dry-run", action="store_true", help="write nothing")

    removing = add_command(actions, "remove", remove_model_command, reads="")
    removing.add_argument("name", metavar="NAME", help="name of the model")

    fetch = add_command(actions, "download", download_command)
    fetch.add_argument("names", nargs="*", metavar="NAME", help="name of a model")
    fetch.add_argument("--group", choices=GROUPS, help="instead of names: all of a group")
    fetch.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="fill a folder that another machine can use as its source",
    )

    check = add_command(actions, "check", check_command)
    check.add_argument("names", nargs="*", metavar="NAME", help="name of a model (default: all)")
    check.add_argument(
        "--side",
        type=int,
        metavar="PIXELS",
        help="of the images to convert graphs for (default: as each model is measured)",
    )
    check.add_argument("--no-timing", dest="timing", action="store_false", help="leave latency out")

    for action in (adding, removing, fetch, check):
        add_shared(action, "--json", default=argparse.SUPPRESS)


def models_command(options: argparse.Namespace) -> None:
    """List the models and whether they are ready."""
    from robustness import models
    from robustness.models.check import engine_text, limitations
    from robustness.models.weights import parameters_text, size

    states = [(record, models.state(record)) for record in models.REGISTRY]
    if options.json:
        console.print_json(
            [
                {
                    **{name: getattr(record, name) for name in _FIELDS},
                    "ready": state.ready,
                    "engine": engine_text(record),
                    "source": record.weights.source,
                    "digest": models.digest(record) if state.ready else None,
                    "limits": list(limitations(record)),
                    "weights_bytes": size(record),
                    "published": asdict(record.published),
                    "reason": state.reason,
                }
                for record, state in states
            ]
        )
        return
    for record, state in states:
        console.say(
            f"{record.name:18}{record.group:9}{parameters_text(record):>8}{record.input_text:>12}"
            f"  {state.reason or 'ready'}"
        )
        for limit in limitations(record):
            console.say(f"{'':18}{limit}")


def add_model_command(options: argparse.Namespace) -> None:
    """Add your own model file: inspect it and write its description to models.toml.

    Asks only for what the file lacks; tries the usual normalisations on labelled images.
    """
    from robustness.models.record import LabelledAccuracy

    description = _complete(options)
    file = None if options.dry_run else description.write()
    if options.json:
        console.print_json({**description.document(), "written_to": str(file) if file else None})
        return
    if description.trials:
        console.say(f"normalisations tried on {counted(description.tried_on, 'image')}:")
        console.say("\n".join(_trial_lines(description)))
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
    if description.entry.get("fit"):
        console.say("measured at its own size")
    console.say(description.toml.rstrip())
    console.say(f"written to {file}" if file else "nothing was written")


def _complete(options: argparse.Namespace) -> Description:
    """The complete proposal; with ``--dry-run --json`` values may be missing."""
    from robustness.models.describe import name_of, propose
    from robustness.models.own import name_problem

    readers = _readers()
    texts = {key: getattr(options, key) for key in readers}
    choices = {key: readers[key](text) for key, text in texts.items() if text is not None}
    for key in ("antialias", "default"):
        if (value := getattr(options, key)) is not None:
            choices[key] = value
    asking = sys.stdin.isatty() and not options.json
    name = options.name or name_of(options.file)
    if problem := name_problem(name):
        raise ParameterError(f"Expected a name for the model, got {name!r}: {problem}.")

    def show(step: str) -> None:
        console.progress(f"{options.file.name}: {step} ...")

    while True:
        description = propose(options.file, choices, name=name, images=options.images, said=show)
        console.end_progress()
        if not description.missing or (options.dry_run and options.json):
            return description
        if not asking:
            raise ParameterError(_lacking(description))
        missing = description.missing[0]
        choices[missing] = readers[missing](_answer(description))


def remove_model_command(options: argparse.Namespace) -> None:
    """Remove a model of your own from models.toml.

    Its file stays, unless it was uploaded on the Models page.
    """
    from robustness.models import own

    file = own.remove(options.name)
    if options.json:
        console.print_json({"name": options.name, "removed_from": str(file)})
    else:
        console.say(f"{options.name}: removed from {file}")


def _readers() -> dict[str, Callable[[str], Any]]:
    """By key of ``models.toml``, what reads its value from a text."""
    from robustness.models.own import parsed_size

    return {
        "labels": lambda text: text if text == "imagenet" else str(Path(text).resolve()),
        "input_size": parsed_size,
        "normalisation": _name_or_table,
        "fit": str,
        "crop_pct": lambda text: _numbers("crop-pct", float, text)[0],
        "interpolation": str,
        "resize": str,
        "padding": partial(_numbers, "padding", int),
        "output": str,
        "features": lambda text: text.split(","),
        "title": str,
    }


def _numbers(option: str, kind: Callable[[str], Any], text: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(
            f"--{option}: expected numbers with commas between them, got {text!r}."
        ) from error


def _name_or_table(text: str) -> Any:
    """A table as TOML, else the text itself."""
    if not text.lstrip().startswith("{"):
        return text
    return parse_toml(f"value = {text}".encode(), "--normalisation")["value"]


def _lacking(description: Description) -> str:
    """A message that names the options for the missing values."""
    from robustness.models.describe import UNDECIDED

    options = " and ".join("--" + key.replace("_", "-") for key in description.missing)
    text = f"{description.name}: expected {options}, which the file lacks."
    if description.trials:
        tried = "; ".join(" ".join(line.split()) for line in _trial_lines(description))
        text += f" {UNDECIDED} Of {counted(description.tried_on, 'image')}: {tried}."
    elif "normalisation" in description.missing:
        text += (
            " Labelled images find the normalisation: give their folder, with one subfolder per "
            "class, in --images."
        )
    return text


def _answer(description: Description) -> str:
    """The user's input for the first missing value."""
    from robustness.models.describe import UNDECIDED

    if description.trials:
        console.remark(UNDECIDED)
    for line in _trial_lines(description):
        console.remark(line)
    hints = {
        "labels": "labels (imagenet, or a file with one class per line): ",
        "input_size": "input size in pixels (224, or height x width): ",
        "normalisation": "normalisation (0..1, -1..1, 0..255, torch, caffe, or a table): ",
    }
    text = ""
    with suppress(EOFError):
        text = input(hints[description.missing[0]]).strip()
    if not text:
        raise ParameterError(_lacking(description))
    return text


def _trial_lines(description: Description) -> list[str]:
    from robustness.models.record import means_text

    lines = []
    for trial in description.trials[:_MOST_TRIALS]:
        means = means_text(trial.confidence, trial.true_class_probability)
        lines.append(f"  {trial.name:16}{trial.correct} correct, {means}")
    return lines


def download_command(options: argparse.Namespace) -> int:
    """Fetch the published weights of models."""
    from robustness import models
    from robustness.base.files import stored_bytes
    from robustness.models.weights import download, record_with_download

    offered = [record for record in models.REGISTRY if record.weights.url]
    if bool(options.names) == bool(options.group):
        options.parser.error(
            "expected either names or --group; "
            f"names: {', '.join(record.name for record in offered)}; groups: {', '.join(GROUPS)}"
        )
    if options.group:
        records = [record for record in offered if options.group in ("all", record.group)]
    else:  # unknown names fail before the first download
        records = [record_with_download(name) for name in dict.fromkeys(options.names)]
    rows: list[dict[str, Any]] = []
    for record in records:
        name = record.name
        path = None
        reason = ""
        try:
            path = download(name, _progress_of(name), options.to)
        except RobustnessError as error:
            reason = str(error)
        console.end_progress()
        if reason:
            console.remark(f"robustness: {reason}")
        elif not options.json:
            console.say(f"{name}: {path}")
        rows.append(
            {
                "name": name,
                "path": str(path) if path else None,
                "bytes": stored_bytes(path) if path else None,
                "ok": path is not None,
                "reason": reason,
            }
        )
    if options.json:
        console.print_json(rows)
    return 0 if all(row["ok"] for row in rows) else EXIT_FAILED


def _progress_of(name: str) -> Callable[[int, int], None]:
    """Return a function that reports the progress of ``name``; off a terminal, a line per tenth."""
    from robustness.base.turns import MEGABYTES, Pace

    pace = Pace(MEGABYTES)
    last = -1

    def show(done: int, total: int) -> None:
        nonlocal last
        pace.note(done, total)
        tenth = done * 10 // total if total else 0
        if sys.stderr.isatty() or tenth > last:
            last = tenth
            part = f" ({share(done / total, 0)})" if total else ""
            console.progress(f"{name}: {pace.text}{part}")

    return show


def check_command(options: argparse.Namespace) -> int:
    """Check weights, graphs, predictions of known images, and latency.

    Exit status 1 if something is damaged or wrong, or a named model is missing.
    """
    from robustness import models
    from robustness.images.framing import check_side
    from robustness.models.check import MISSING, OK, check_model

    if options.side is not None:
        check_side(options.side)
    records = [models.REGISTRY[name] for name in options.names or models.REGISTRY.names]
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(record.name for record in records):  # unknown names failed before
        console.progress(f"{name} ...")
        check = check_model(name, side=options.side, timing=options.timing)
        console.end_progress()
        rows.append(check.as_row())
        if options.json:
            continue
        latency = "" if check.milliseconds is None else f"{check.milliseconds:.0f} ms"
        result = f"known images: {check.images_text:8}{latency:>8}  {check.engine}"
        console.say(f"{name:18}{check.state:9}{check.problem or result}")
        for note in check.notes:
            console.say(f"{'':18}{note}")
    if options.json:
        console.print_json(rows)
    harmless = {OK} if options.names else {OK, MISSING}
    return 0 if all(row["state"] in harmless for row in rows) else EXIT_WRONG


_PERTURBATION_FIELDS = (
    "name",
    "label",
    "family",
    "risk",
    "search",
    "graded",
    "random",
    "parameter",
    "unit",
    "study_strength",
    "monotone",
    "imagenet_c",
    "severity_strengths",
    "source",
)
_REMEDY_FIELDS = ("name", "label", "kind", "against", "source")

_add_list = partial(add_command, reads=PLUGINS)


def add_perturbations(parsers: Parsers) -> None:
    """Add ``perturbations``."""
    listing = _add_list(parsers, "perturbations", perturbations_command, "--json")
    listing.add_argument("words", nargs="*", metavar="WORD", help="only matching perturbations")


def add_remedies(parsers: Parsers) -> None:
    """Add ``remedies``."""
    _add_list(parsers, "remedies", remedies_command, "--json")


def add_plugins(parsers: Parsers) -> None:
    """Add ``plugins``."""
    _add_list(parsers, "plugins", plugins_command, "--json")


def perturbations_command(options: argparse.Namespace) -> None:
    """List the perturbations, or those that match words such as "too dark", best match first."""
    from robustness.perturbations.record import find

    matches = find(" ".join(options.words))
    if not matches.records:
        raise ParameterError(matches.no_match)
    if options.json:
        documents = [
            {name: getattr(record, name) for name in _PERTURBATION_FIELDS}
            for record in matches.records
        ]
        console.print_json(documents)
        return
    for record in matches.records:
        at = record.study_strength
        setting = ""
        if at is not None:
            setting = f"study: {at:g} = {record.value_text(at)}"
        text = f"{record.name:22}{record.label:36}{record.family:26}{record.parameter:35}{setting}"
        console.say(text.rstrip())


def remedies_command(options: argparse.Namespace) -> None:
    """List the remedies, which act between an image and its prediction and need no training."""
    from robustness.remedies import REGISTRY

    if options.json:
        documents = [
            {
                **{name: getattr(remedy, name) for name in _REMEDY_FIELDS},
                "max_original_change": remedy.original,
                "false_alarms": remedy.gate and remedy.gate.false_alarms,
            }
            for remedy in REGISTRY
        ]
        console.print_json(documents)
        return
    for record in REGISTRY:
        console.say(f"{record.name:22}{record.kind:16}{record.label}: {record.against}")


def plugins_command(options: argparse.Namespace) -> None:
    """List the loaded plugins with what each adds."""
    from robustness.plugins.loading import plugins, records_of

    documents = [
        {
            "name": plugin.name,
            "digest": plugin.digest,
            "records": [{"kind": kind, "name": name} for kind, name in records_of(plugin.name)],
        }
        for plugin in plugins()
    ]
    if options.json:
        console.print_json({"plugins": documents})
        return
    for plugin in plugins():
        adds = ", ".join(f"{kind} {name}" for kind, name in records_of(plugin.name))
        console.say(f"{plugin.name} ({plugin.digest[:12]}): {adds}")
    if not documents:
        console.say("No plugins. Name them in the setting plugins.")
