"""The commands on saved runs: ``report``, and ``runs`` with its actions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.base.text import counted
from robustness.commands import console
from robustness.commands.subcommands_and_options import PLUGINS, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.runs import Listed, Run


def add(parsers: Parsers) -> None:
    """Add ``report``, and ``runs`` with its actions."""
    reported = add_command(parsers, "report", report_command, "run")
    reported.add_argument(
        "--to",
        required=True,
        type=Path,
        metavar="FILE",
        help="report file: .html, .pdf, .csv, .parquet, .json or .md",
    )
    add_shared(reported, "--out")

    listing = add_command(parsers, "runs", runs_command, "--json", "--out", reads=PLUGINS)
    actions = listing.add_subparsers(metavar="[compare|resume|delete]")

    compared = add_command(actions, "compare", compare_command)
    compared.add_argument("runs", nargs="+", metavar="RUN", help="the first is the baseline")
    compared.add_argument(
        "--to", type=Path, metavar="FILE", help="also write a report of two runs, as `report` does"
    )

    resumed = add_command(actions, "resume", resume_command, "run")
    resumed.add_argument(
        "--background",
        action="store_true",
        help="print only errors, and save the rows in order when terminated",
    )
    resumed.add_argument("--idle", action="store_true", help="use only idle cores")
    add_shared(resumed, "--engine", "--address")

    deleted = add_command(actions, "delete", delete_command, "run", reads=PLUGINS)
    deleted.add_argument("--yes", action="store_true", help="required: deleting cannot be undone")

    for action in (compared, resumed, deleted):
        add_shared(action, "--json", "--out", default=argparse.SUPPRESS)


def report_command(options: argparse.Namespace) -> None:
    """Write a self-contained report of a saved run."""
    from robustness import report

    report.format_of(options.to)  # now rather than after all the work
    run = _opened(options.run, options, unfinished=True)
    if not run.finished:
        done = run.images + len(run.unreadable)
        console.remark(
            f"robustness: the run {run.id} is not finished ({done} of "
            f"{counted(run.manifest.dataset.pictures, 'image')}); the report says so."
        )
    console.progress("computing the figures ...")
    written = report.write(report.of_run(run), options.to)
    console.end_progress()
    for path in written:
        console.say(str(path))


def runs_command(options: argparse.Namespace) -> None:
    """List the saved runs and matches."""
    from robustness import runs

    entries = runs.listing(options.out)
    if options.json:
        console.print_json([_listed(entry) for entry in entries])
        return
    if not entries:
        console.say(f"There are no runs in {options.out}.")
    for entry in entries:
        manifest = entry.manifest
        if manifest is None:
            about = f": {entry.reason}"
            if entry.match:
                status = "finished" if entry.finished else "unfinished"
                about = f"\n    {entry.title}: a match, {entry.created}, {status}"
            console.say(f"{entry.folder.name}{about}")
            continue
        console.say(
            f"{entry.folder.name}\n    {entry.title}: {manifest.images} of "
            f"{counted(manifest.dataset.pictures, 'image')}, "
            f"{counted(len(manifest.spec.models), 'model')}, "
            f"{counted(len(manifest.spec.pooled_conditions), 'condition')}, {manifest.how}, "
            f"{manifest.created}, {manifest.status}"
        )


def _listed(entry: Listed) -> dict[str, Any]:
    from robustness import runs

    manifest = entry.manifest
    about = {"run": entry.folder.name, "folder": str(entry.folder), "reason": entry.reason}
    if entry.match is not None:
        status = runs.FINISHED if entry.finished else runs.UNFINISHED
        return {**about, "title": entry.title, "created": entry.created, "status": status}
    if manifest is None:
        return about
    return {
        **about,
        "title": entry.title,
        "created": manifest.created,
        "status": manifest.status,
        "source": manifest.dataset.source,
        "pictures": manifest.dataset.pictures,
        "images": manifest.images,
        "unreadable": manifest.unreadable,
        "models": list(manifest.spec.model_names),
        "conditions": [dict(condition.steps) for condition in manifest.spec.conditions],
        "seed": manifest.spec.seed,
        "preprocessing": manifest.spec.framing_text,
    }


def _opened(run: str, options: argparse.Namespace, *, unfinished: bool = False) -> Run:
    from robustness import runs

    folder = runs.folder_of(run, options.out)
    return runs.load(folder, unfinished=unfinished)


def compare_command(options: argparse.Namespace) -> None:
    """Compare runs with a baseline."""
    if len(options.runs) < 2:
        options.parser.error("expected at least two runs; the first is the baseline")
    from robustness import report, runs

    if options.to:
        report.format_of(options.to)  # now rather than after all the work
        if len(options.runs) > 2:
            options.parser.error("expected two runs with --to: one report compares two")
    baseline, *others = (_opened(run, options) for run in options.runs)
    comparisons = [runs.compare(baseline, other) for other in others]
    written = []
    if options.to:
        written = report.write(report.of_comparison(comparisons[0]), options.to)
    if options.json:
        console.print_json(
            [
                {
                    "baseline": comparison.baseline.id,
                    "run": comparison.other.id,
                    "images": comparison.images,
                    "apart": comparison.notes,
                    "rows": None if comparison.rows is None else comparison.rows.as_dict(),
                    "differences": comparison.differences,
                }
                for comparison in comparisons
            ]
        )
        return
    from robustness.report import comparison_report

    for result in comparisons:
        console.say(report.printed_blocks(comparison_report.blocks(result)))
    for path in written:
        console.say(str(path))


def resume_command(options: argparse.Namespace) -> None:
    """Continue an unfinished run or match."""
    from robustness import runs
    from robustness.base import processes
    from robustness.base.progress_and_time_left import Pace, Unit
    from robustness.runs import jobs

    if options.idle:
        processes.set_idle_priority()
    if options.background:
        processes.heed_termination()
    folder = runs.folder_of(options.run, options.out)
    pace: Pace | None = None
    for state in jobs.work_off(folder, engine=options.engine, address=options.address):
        pace = pace or Pace(Unit("images"), state.total)
        pace.note(state.done)
        if not options.background:
            loading = state.text or "loading the models ..."
            console.progress(loading if state.loading else pace.text)
    entry = runs.listed(folder)
    if entry.match is None:
        runs.load(folder, unfinished=True)  # raises for a damaged run
    console.end_progress()
    status = runs.FINISHED if entry.finished else runs.UNFINISHED
    _answer(
        options,
        {"run": folder.name, "folder": str(folder), "status": status},
        f"{folder.name} is {status}",
    )


def delete_command(options: argparse.Namespace) -> None:
    """Delete a run or match permanently."""
    from robustness import runs

    folder = runs.folder_of(options.run, options.out)
    if not options.yes:
        raise ParameterError(f"Deleting {folder} cannot be undone: expected --yes.")
    runs.delete(folder)
    _answer(options, {"deleted": folder.name}, f"{folder.name} is deleted")


def _answer(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if options.json:
        console.print_json(document)
    else:
        console.say(text)
