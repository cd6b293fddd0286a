"""The command ``models``, and the commands that list perturbations, remedies and plugins.

``models`` lists the models; its actions add, remove, download and check them.
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
from robustness.base.files import read_regular, reading
from robustness.base.text import counted, points, share
from robustness.base.toml import parse_toml
from robustness.cli import console
from robustness.cli.console import PLUGINS, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.models.check import ModelCheck
    from robustness.models.describe import Description

EXIT_WRONG = 1
EXIT_FAILED = 2

GROUPS = ("study", "modern", "all")
"""Choices of ``models download --group``."""

_MODEL_FIELDS = ("name", "group", "family", "year", "parameters", "input_size", "input_shape")
"""Fields of a model's record in ``models --json``."""
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
_LARGEST_TEMPLATES = 2**16  # bytes of a file of them
_MOST_TRIALS = 4
"""Most normalisations that are printed of those tried on images."""


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
        (
            "--templates",
            "TEXT|FILE",
            "prompts of CLIP: 'a photo of a {}.', or a file, one per line",
        ),
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

    if options.json:
        documents = []
        for record in models.REGISTRY:
            state = models.state(record)
            document = {name: getattr(record, name) for name in _MODEL_FIELDS}
            document["ready"] = state.ready
            document["engine"] = engine_text(record)
            document["source"] = record.weights.source
            document["digest"] = models.digest(record) if state.ready else None
            document["limits"] = list(limitations(record))
            document["weights_bytes"] = size(record)
            document["published"] = asdict(record.published)
            document["reason"] = state.reason
            documents.append(document)
        console.print_json(documents)
        return
    for record in models.REGISTRY:
        reason = models.state(record).reason or "ready"
        console.say(
            f"{record.name:18}{record.group:9}{parameters_text(record):>8}{record.input_text:>12}"
            f"  {reason}"
        )
        for limit in limitations(record):
            console.say(f"{'':18}{limit}")


def add_model_command(options: argparse.Namespace) -> None:
    """Add your own model file: inspect it and write its description to models.toml.

    Asks only for what the file lacks; tries the usual normalisations on labelled images.
    """
    from robustness.models.record import LabelledAccuracy

    description = _completed_description(options)
    written_to = None
    if not options.dry_run:
        written_to = description.write()
    if options.json:
        document = description.document()
        document["written_to"] = str(written_to) if written_to else None
        console.print_json(document)
        return
    if description.trials:
        console.say(f"normalisations tried on {counted(description.tried_on, 'image')}:")
        console.say("\n".join(_trial_lines(description)))
    for answer in description.samples:
        console.say(f"  {answer['image']:28}{answer['class']} {share(answer['confidence'])}")
    native = description.native
    if native:
        console.say(
            f"predictions by {native.runtime}; OpenVINO agrees on {share(native.agreement)} of the "
            "images, and its probabilities differ by up to "
            f"{counted(points(native.largest, '.1f'), 'point')}"
        )
    accuracy = description.entry.get("accuracy")
    if accuracy:
        console.say(f"{LabelledAccuracy(**accuracy).text}.")
    if description.warning:
        console.remark(f"robustness: {description.warning}")
    console.say(f"preprocessing: {description.preprocessing}")
    if description.resizings:
        console.remark(f"robustness: {description.resizings}")
    if description.entry.get("fit"):
        console.say("measured at its own size")
    console.say(description.toml.rstrip())
    if written_to:
        console.say(f"written to {written_to}")
    else:
        console.say("nothing was written")


def _completed_description(options: argparse.Namespace) -> Description:
    """Describe the model file; ask the user for what it lacks until nothing is missing.

    With ``--dry-run --json`` the description may lack values, which its document lists. Where
    nobody can be asked, raises ``ParameterError`` with the options that give them.
    """
    from robustness.models.describe import name_of, propose
    from robustness.models.own import name_problem

    choices = _given_choices(options)
    name = options.name or name_of(options.file)
    problem = name_problem(name)
    if problem:
        raise ParameterError(f"Expected a name for the model, got {name!r}: {problem}.")
    may_lack_values = options.dry_run and options.json
    may_ask = sys.stdin.isatty() and not options.json

    def show(step: str) -> None:
        console.progress(f"{options.file.name}: {step} ...")

    while True:
        description = propose(options.file, choices, name=name, images=options.images, said=show)
        console.end_progress()
        if not description.missing or may_lack_values:
            return description
        if not may_ask:
            raise ParameterError(_lacking(description))
        # One value at a time, as the next proposal builds on it.
        key = description.missing[0]
        read = _readers()[key]
        choices[key] = read(_ask(description))


def _given_choices(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the options that are given, by key of ``models.toml``."""
    choices: dict[str, Any] = {}
    for key, read in _readers().items():
        text = getattr(options, key)
        if text is not None:
            choices[key] = read(text)
    for key in ("antialias", "default"):
        value = getattr(options, key)
        if value is not None:
            choices[key] = value
    return choices


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
    """Return functions that read a value from a text, by key of ``models.toml``."""
    from robustness.models.own import parsed_size

    return {
        "labels": _labels,
        "templates": _templates,
        "input_size": parsed_size,
        "normalisation": _name_or_table,
        "fit": str,
        "crop_pct": _crop_pct,
        "interpolation": str,
        "resize": str,
        "padding": _padding,
        "output": str,
        "features": _features,
        "title": str,
    }


def _labels(text: str) -> str:
    if text == "imagenet":
        return text
    return str(Path(text).resolve())  # models.toml may be read from another folder


def _templates(text: str) -> list[str]:
    """Read one template, or the lines of a file of them."""
    if "{}" in text:
        return [text]
    with reading(text):
        try:
            lines = read_regular(Path(text), _LARGEST_TEMPLATES).decode("utf-8-sig").splitlines()
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise ParameterError(
                "--templates: expected a text with {} for the label, or a text file with one per "
                f"line, got {text!r}."
            ) from error
    return [line.strip() for line in lines if line.strip()]


def _crop_pct(text: str) -> float:
    numbers: list[float] = _numbers("crop-pct", float, text)
    return numbers[0]


def _padding(text: str) -> list[int]:
    return _numbers("padding", int, text)


def _features(text: str) -> list[str]:
    return text.split(",")


def _numbers(option: str, kind: Callable[[str], Any], text: str) -> list[Any]:
    try:
        return [kind(part) for part in text.split(",")]
    except ValueError as error:
        raise ParameterError(
            f"--{option}: expected numbers with commas between them, got {text!r}."
        ) from error


def _name_or_table(text: str) -> Any:
    """Read a normalisation: a table in TOML, such as {mean = [0, 0, 0]}, or a name."""
    if not text.lstrip().startswith("{"):
        return text
    return parse_toml(f"value = {text}".encode(), "--normalisation")["value"]


def _lacking(description: Description) -> str:
    """Return a message that names the options for the missing values."""
    from robustness.models.describe import UNDECIDED

    flags = [f"--{key.replace('_', '-')}" for key in description.missing]
    message = f"{description.name}: expected {' and '.join(flags)}, which the file lacks."
    if description.trials:
        # The lines are aligned with spaces, which a sentence is not.
        trials = [" ".join(line.split()) for line in _trial_lines(description)]
        images_text = counted(description.tried_on, "image")
        message += f" {UNDECIDED} Of {images_text}: {'; '.join(trials)}."
    elif "normalisation" in description.missing:
        message += (
            " Labelled images find the normalisation: give their folder, with one subfolder per "
            "class, in --images."
        )
    return message


def _ask(description: Description) -> str:
    """Ask for the first missing value; raises ``ParameterError`` for an empty answer."""
    from robustness.models.describe import UNDECIDED

    if description.trials:
        console.remark(UNDECIDED)
    for line in _trial_lines(description):
        console.remark(line)
    prompts = {
        "labels": "labels (imagenet, or a file with one class per line): ",
        "input_size": "input size in pixels (224, or height x width): ",
        "normalisation": "normalisation (0..1, -1..1, 0..255, torch, caffe, or a table): ",
    }
    answer = ""
    with suppress(EOFError):
        answer = input(prompts[description.missing[0]]).strip()
    if not answer:
        raise ParameterError(_lacking(description))
    return answer


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
    else:
        # All are looked up before the first download, so that an unknown name fails at once.
        records = [record_with_download(name) for name in dict.fromkeys(options.names)]
    documents: list[dict[str, Any]] = []
    failed = False
    for record in records:
        name = record.name
        document: dict[str, Any] = {
            "name": name,
            "path": None,
            "bytes": None,
            "ok": False,
            "reason": "",
        }
        try:
            path = download(name, _progress_of(name), options.to)
        except RobustnessError as error:
            failed = True
            document["reason"] = str(error)
            console.end_progress()
            console.remark(f"robustness: {error}")
        else:
            document["path"] = str(path)
            document["bytes"] = stored_bytes(path)
            document["ok"] = True
            console.end_progress()
            if not options.json:
                console.say(f"{name}: {path}")
        documents.append(document)
    if options.json:
        console.print_json(documents)
    return EXIT_FAILED if failed else 0


def _progress_of(name: str) -> Callable[[int, int], None]:
    """Return a function that reports the progress of ``name``; off a terminal, a line per tenth."""
    from robustness.base.turns import MEGABYTES, Pace

    pace = Pace(MEGABYTES)
    last_tenth = -1

    def show(done: int, total: int) -> None:
        nonlocal last_tenth
        pace.note(done, total)
        tenth = 0
        percent = ""
        if total:  # a server need not say how much there is
            tenth = done * 10 // total
            percent = f" ({share(done / total, 0)})"
        if sys.stderr.isatty() or tenth > last_tenth:
            last_tenth = tenth
            console.progress(f"{name}: {pace.text}{percent}", pace.share)

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
    # All are looked up before the first check, so that an unknown name fails at once.
    records = [models.REGISTRY[name] for name in options.names or models.REGISTRY.names]
    checks: list[ModelCheck] = []
    for name in dict.fromkeys(record.name for record in records):
        console.progress(f"{name} ...")
        check = check_model(name, side=options.side, timing=options.timing)
        console.end_progress()
        checks.append(check)
        if not options.json:
            _print_model_check(name, check)
    if options.json:
        console.print_json([check.as_row() for check in checks])
    harmless: tuple[str, ...] = (OK,)
    if not options.names:
        harmless = (OK, MISSING)  # nobody needs all models; one that is named is needed
    if all(check.state in harmless for check in checks):
        return 0
    return EXIT_WRONG


def _print_model_check(name: str, check: ModelCheck) -> None:
    latency = ""
    if check.milliseconds is not None:
        latency = f"{check.milliseconds:.0f} ms"
    result = check.problem
    if not result:
        result = f"known images: {check.images_text:8}{latency:>8}  {check.engine}"
    console.say(f"{name:18}{check.state:9}{result}")
    for note in check.notes:
        console.say(f"{'':18}{note}")


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
        strength = record.study_strength
        setting = ""
        if strength is not None:
            setting = f"study: {strength:g} = {record.value_text(strength)}"
        text = f"{record.name:22}{record.label:36}{record.family:26}{record.parameter:35}{setting}"
        console.say(text.rstrip())


def remedies_command(options: argparse.Namespace) -> None:
    """List the remedies, which act between an image and its prediction and need no training."""
    from robustness.remedies import REGISTRY

    if options.json:
        documents = []
        for remedy in REGISTRY:
            document = {name: getattr(remedy, name) for name in _REMEDY_FIELDS}
            document["max_original_change"] = remedy.original
            document["false_alarms"] = remedy.gate.false_alarms if remedy.gate else None
            documents.append(document)
        console.print_json(documents)
        return
    for remedy in REGISTRY:
        console.say(f"{remedy.name:22}{remedy.kind:16}{remedy.label}: {remedy.against}")


def plugins_command(options: argparse.Namespace) -> None:
    """List the loaded plugins with what each adds."""
    from robustness.plugins.loading import plugins, records_of

    loaded = plugins()
    if options.json:
        documents = []
        for plugin in loaded:
            records = [{"kind": kind, "name": name} for kind, name in records_of(plugin.name)]
            documents.append({"name": plugin.name, "digest": plugin.digest, "records": records})
        console.print_json({"plugins": documents})
        return
    for plugin in loaded:
        records_text = ", ".join(f"{kind} {name}" for kind, name in records_of(plugin.name))
        console.say(f"{plugin.name} ({plugin.digest[:12]}): {records_text}")
    if not loaded:
        console.say("No plugins. Name them in the setting plugins.")
