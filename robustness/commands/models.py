"""The command ``models``: list models, fetch weights, check models."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.text import share
from robustness.commands import console, own_models
from robustness.commands.options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.models import ModelRecord

EXIT_WRONG = 1
EXIT_FAILED = 2

GROUPS = ("study", "modern", "all")
"""Choices of ``models download --group``."""

_FIELDS = ("name", "group", "family", "year", "parameters", "input_size", "input_shape")
"""Fields of a record in ``models --json``."""


def add(parsers: Parsers) -> None:
    """Add ``models`` with its actions."""
    listing = add_command(parsers, "models", models_command, "--json")
    actions = listing.add_subparsers(metavar="[add|remove|download|check]")

    own_models.add(actions)
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

    for action in (fetch, check):
        add_shared(action, "--json", default=argparse.SUPPRESS)


def models_command(options: argparse.Namespace) -> None:
    """List the models and whether they are ready."""
    from robustness import models
    from robustness.models.engine_and_limits import engine_text, limits
    from robustness.models.own.describe import stated_licence
    from robustness.models.weights.weight_files import parameters_text, size

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
                    "licence": stated_licence(own.path) if (own := record.weights.own) else "",
                    "limits": list(limits(record)),
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
        for limit in limits(record):
            console.say(f"{'':18}{limit}")


def download_command(options: argparse.Namespace) -> int:
    """Fetch the published weights of models."""
    from robustness.base.errors import RobustnessError
    from robustness.base.files import stored_bytes
    from robustness.models.weights.fetch import download

    rows: list[dict[str, Any]] = []
    for record in _selected(options):  # unknown names fail before the first download
        name, path, reason = record.name, None, ""
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


def _selected(options: argparse.Namespace) -> list[ModelRecord]:
    from robustness import models
    from robustness.models.weights.fetch import downloadable

    offered = [record for record in models.REGISTRY if record.weights.url]
    if bool(options.names) == bool(options.group):
        options.parser.error(
            "expected either names or --group; "
            f"names: {', '.join(record.name for record in offered)}; groups: {', '.join(GROUPS)}"
        )
    if options.group:
        return [r for r in offered if options.group in ("all", r.group)]
    return [downloadable(name) for name in dict.fromkeys(options.names)]


def _progress_of(name: str) -> Callable[[int, int], None]:
    """Return a function that reports the progress of ``name``; off a terminal, a line per tenth."""
    from robustness.base.progress import MEGABYTES, Pace

    pace, last = Pace(MEGABYTES), -1

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
    from robustness.models.model_check import MISSING, OK, check_model
    from robustness.pictures.fitting import check_side

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
