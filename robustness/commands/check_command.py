"""The command ``check``, which checks a run against a budget."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from robustness.base.errors import ParameterError
from robustness.base.files_and_locks import expect_writable, write_file
from robustness.base.text import counted
from robustness.commands import console, evaluate_and_export, request_options
from robustness.commands.subcommands_and_options import RUN, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.gate import Budget, Check
    from robustness.runs import Run

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable with which GitHub Actions names the file for the summary of a step."""

_HEAD = ("", "Model", "Condition", "Limit", "Expected", "Measured")


def add(parsers: Parsers) -> None:
    """Add ``check``."""
    checked = add_command(parsers, "check", check_command, "--json")
    checked.add_argument(
        "run",
        metavar="RUN|SOURCE",
        help=f"{RUN}; or a source as for evaluate, which is then evaluated",
    )
    checked.add_argument("--budget", type=Path, required=True, metavar="FILE.toml")
    add_shared(checked, "--baseline")
    checked.add_argument("--junit", type=Path, metavar="FILE.xml", help="also write JUnit XML")
    checked.add_argument("--summary", type=Path, metavar="FILE.md", help="also write Markdown")
    checked.add_argument(
        "--github",
        action="store_true",
        help="append the Markdown to $GITHUB_STEP_SUMMARY, or print it outside a workflow",
    )
    add_shared(checked, "--out")
    request_options.add_request(checked, runs=True)
    add_shared(checked, "--engine", "--address")


def check_command(options: argparse.Namespace) -> int:
    """Check a run against a budget. Exit status 1 if a limit is broken, 2 if it cannot run."""
    from robustness import gate, runs

    budget = gate.read_budget(options.budget)
    baseline = baseline_of(budget, options)
    expect_writable(options.junit, options.summary)
    folders = (options.out / options.run, Path(options.run))
    folder = next((path for path in folders if (path / runs.MANIFEST_FILE).is_file()), None)
    if folder is None:  # one of the same request is not computed twice
        run = evaluate_and_export.evaluated(options, options.run, resume=True)
    elif own := request_options.option_names(options, "engine", "address"):
        raise ParameterError(
            f"{options.run} is a saved run, which {own} cannot change: expected a source to "
            "evaluate, or none of these options."
        )
    else:
        run = runs.load(folder.resolve())
    check = gate.check(budget, run, baseline)
    if options.junit:
        write_file(options.junit, gate.junit(check))
    text = gate.markdown(check)
    if options.summary:
        write_file(options.summary, text.encode())
    if options.github and not os.environ.get(STEP_SUMMARY):  # outside a workflow
        # With --json, stdout holds the document alone.
        if options.json:
            console.remark(text)
        else:
            console.say(text)
    elif options.github:
        path = Path(os.environ[STEP_SUMMARY])
        before = path.read_bytes() if path.is_file() else b""
        write_file(path, before + text.encode())
    if options.json:
        console.print_json(gate.as_dict(check))
    else:
        _print_check(check)
    return 0 if check.passed else 1


def baseline_of(budget: Budget, options: argparse.Namespace) -> Run | None:
    """The run of ``--baseline`` or, if it is not given, of ``budget``.

    A path in a budget is relative to the budget's folder.
    """
    from robustness import runs

    named = options.baseline or budget.baseline
    if named is None:
        return None
    candidate = options.budget.parent / named
    if not options.baseline and not (options.out / named).is_dir() and candidate.is_dir():
        return runs.load(candidate.resolve())
    return runs.load(runs.folder_of(named, options.out))


def _print_check(check: Check) -> None:
    from robustness import gate, report
    from robustness.charts.ranking_and_condition_tables import Table

    rows = [
        (
            f"{'FAIL' if verdict in check.broken else 'ok'} {verdict.outcome}",
            verdict.model,
            verdict.where,
            verdict.limit,
            verdict.limit_text,
            verdict.figure_text,
        )
        for verdict in check.verdicts
    ]
    table = report.Titled("Limits", Table(_HEAD, rows))
    notes = map(report.Text, (*check.notes, gate.headline(check)))
    console.say(f"{check.run.id}, {counted(check.run.images, 'image')}")
    console.say(report.printed_blocks([table, *notes]))
