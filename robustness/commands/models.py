"""The commands about the models themselves: list them, fetch their weights, check their files."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.commands.console import end_progress, print_json, progress, remark, say
from robustness.commands.options import Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.models import ModelRecord

EXIT_WRONG = 1
EXIT_FAILED = 2

GROUPS = ("study", "modern", "all")
"""What ``models download --group`` takes."""


def add(parsers: Parsers) -> None:
    """Adds ``models`` with its actions."""
    listing = add_command(
        parsers, "models", models_command, "list the models and whether they are ready", "--json"
    )
    actions = listing.add_subparsers(metavar="[download|verify|check]")

    fetch = add_command(
        actions, "download", download_command, "fetch the published weights of models"
    )
    fetch.add_argument("names", nargs="*", metavar="NAME", help="name of a model")
    fetch.add_argument("--group", choices=GROUPS, help="instead of names: all of a group")
    fetch.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="fill a folder that serves another machine as its source",
    )
    fetch.set_defaults(refuse=fetch.error)

    verify = add_command(
        actions,
        "verify",
        verify_command,
        "read every weight file again and say what is wrong",
        more="; status 1 if anything is",
    )
    verify.add_argument("names", nargs="*", metavar="NAME", help="name of a model (default: all)")

    check = add_command(
        actions,
        "check",
        check_command,
        "ask models about pictures that they know",
        more="; status 1 if any answers wrongly",
    )
    check.add_argument("names", nargs="*", metavar="NAME", help="default: all that are ready")

    for action in (fetch, verify, check):
        add_shared(action, "--json", default=argparse.SUPPRESS)


def models_command(options: argparse.Namespace) -> None:
    """Lists the models and whether they are ready."""
    from robustness import models
    from robustness.models.weights import parameters_text, size

    rows: list[dict[str, Any]] = []
    texts: list[str] = []
    for record in models.REGISTRY:
        state = models.state(record)
        rows.append(
            {
                "name": record.name,
                "group": record.group,
                "family": record.family,
                "year": record.year,
                "parameters": record.parameters,
                "input_size": record.input_size,
                "ready": state.ready,
                "weights_bytes": size(record),
                "published": asdict(record.published),
                "reason": state.reason,
            }
        )
        texts.append(
            f"{record.name:18}{record.group:9}{parameters_text(record):>8}{record.input_size:5} px"
            f"  {state.reason or 'ready'}"
        )
    if options.json:
        print_json(rows)
    else:
        for text in texts:
            say(text)


def download_command(options: argparse.Namespace) -> int:
    """Fetches the published weights of models; 2 if any of them failed."""
    from robustness.base.disk import occupied
    from robustness.base.errors import RobustnessError
    from robustness.models.fetching.download import download

    rows: list[dict[str, Any]] = []
    for record in _asked_for(options):  # all of them, before the first download
        name, path, reason = record.name, None, ""
        try:
            path = download(name, _Shown(name), options.to)
        except RobustnessError as error:
            reason = str(error)
        end_progress()
        if reason:
            remark(f"robustness: {reason}")
        elif not options.json:
            say(f"{name}: {path}")
        rows.append(
            {
                "name": name,
                "path": str(path) if path else None,
                "bytes": occupied(path) if path else None,
                "ok": path is not None,
                "reason": reason,
            }
        )
    if options.json:
        print_json(rows)
    return 0 if all(row["ok"] for row in rows) else EXIT_FAILED


def _asked_for(options: argparse.Namespace) -> list[ModelRecord]:
    from robustness import models
    from robustness.models.fetching.download import downloadable

    kinds = models.PublishedFile | models.Preset
    offered = [record for record in models.REGISTRY if isinstance(record.weights, kinds)]
    if bool(options.names) == bool(options.group):
        options.refuse(
            "expected either names or --group; "
            f"names: {', '.join(record.name for record in offered)}; groups: {', '.join(GROUPS)}"
        )
    if options.group:
        return [r for r in offered if options.group in ("all", r.group)]
    return [downloadable(name)[0] for name in dict.fromkeys(options.names)]


class _Shown:
    """How far the download of ``name`` is: on a terminal as it goes, elsewhere a line a tenth."""

    def __init__(self, name: str) -> None:
        from robustness.base.pace import MEGABYTES, Pace

        self._name = name
        self._pace = Pace(MEGABYTES)
        self._tenth = -1

    def __call__(self, done: int, total: int) -> None:
        self._pace.note(done, total)
        tenth = done * 10 // total if total else 0
        if sys.stderr.isatty() or tenth > self._tenth:
            self._tenth = tenth
            share = f" ({done / total:.0%})" if total else ""
            progress(f"{self._name}: {self._pace.text}{share}")


def verify_command(options: argparse.Namespace) -> int:
    """Reads the weight files again; 1 if any of them is damaged."""
    from robustness import models
    from robustness.models.fetching import verify

    names = dict.fromkeys(options.names or models.REGISTRY.names)
    records = [models.REGISTRY[name] for name in names]
    rows: list[dict[str, Any]] = []
    for record in records:
        progress(f"{record.name} ...") if sys.stderr.isatty() else None
        for finding in verify.findings(record):
            end_progress()
            path = str(finding.path) if finding.path else None
            rows.append(
                {
                    "name": record.name,
                    "state": finding.state,
                    "path": path,
                    "reason": finding.reason,
                }
            )
            if not options.json:
                why = f" ({finding.reason})" if finding.reason else ""
                say(f"{record.name:18}{finding.state:24}{path or ''}{why}".rstrip())
    if options.json:
        print_json(rows)
    damaged = any(row["state"] == verify.DAMAGED for row in rows)
    return EXIT_WRONG if damaged else 0


def check_command(options: argparse.Namespace) -> int:
    """Asks models about pictures that they know; 1 if any of them answers wrongly."""
    from robustness import models
    from robustness.models.selfcheck import self_checks

    names = options.names or [r.name for r in models.REGISTRY if models.state(r).ready]
    names = models.resolve(names)
    rows: list[dict[str, Any]] = []
    progress(f"{names[0]} ...")
    for check in self_checks(names):
        end_progress()
        rows.append(check.as_row())
        if options.json:
            continue
        if check.problem or not check.answers:
            say(f"{check.model:18}{check.problem or 'no known picture'}")
        for answer in check.answers:
            verdict = "right" if answer.right else "WRONG"
            expected = " or ".join(answer.expected)
            time = f"{check.milliseconds:.0f} ms a pass"
            if answer.expected_probability is not None:
                expected += f" {answer.expected_probability:.1%}"
            say(
                f"{check.model:18}{verdict:7}{answer.picture:12}{answer.top1} "
                f"{answer.probability:.1%}, expected {expected}; {time}"
            )
    if options.json:
        print_json(rows)
    return EXIT_WRONG if any(row["right"] is False for row in rows) else 0
