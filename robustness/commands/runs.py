"""The commands on saved runs: list, compare, hand on, delete, replay, and hold to a budget.

Heavy modules are imported by the command that needs them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.commands import evaluate
from robustness.commands.console import end_progress, print_json, progress, write_file

if TYPE_CHECKING:
    from robustness.runs import Comparison, Listed, Run
    from robustness.runs.gate import Check

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""The variable in which GitHub Actions names the file that a step's summary is appended to."""


def runs_command(options: argparse.Namespace) -> None:
    """Lists the runs, the newest first, then the folders that are none."""
    from robustness import runs

    entries = runs.listing(options.out)
    if options.json:
        print_json([_listed(entry) for entry in entries])
        return
    if not entries:
        print(f"There are no runs in {options.out}.")
    for entry in entries:
        if entry.manifest is None:
            print(f"{entry.folder.name}: {entry.reason}")
            continue
        manifest = entry.manifest
        imported = ", imported" if entry.imported else ""
        print(
            f"{entry.folder.name}\n    {entry.title}: {manifest.images} of "
            f"{manifest.dataset.pictures} pictures, {len(manifest.spec.models)} model(s), "
            f"{len(manifest.spec.conditions)} condition(s), {manifest.created}, "
            f"{manifest.status}{imported}"
        )


def _listed(entry: Listed) -> dict[str, Any]:
    manifest = entry.manifest
    about = {"run": entry.folder.name, "folder": str(entry.folder), "reason": entry.reason}
    if manifest is None:
        return about
    return {
        **about,
        "title": entry.title,
        "created": manifest.created,
        "status": manifest.status,
        "imported": entry.imported,
        "source": manifest.dataset.source,
        "pictures": manifest.dataset.pictures,
        "images": manifest.images,
        "unreadable": manifest.unreadable,
        "models": list(manifest.spec.model_names),
        "conditions": [dict(condition.steps) for condition in manifest.spec.conditions],
        "seed": manifest.spec.seed,
    }


def _opened(run: str, options: argparse.Namespace) -> Run:
    from robustness import runs

    return runs.load(runs.folder_of(run, options.out), anywhere=True)


def compare_command(options: argparse.Namespace) -> None:
    """Compares runs with the first of them."""
    if len(options.runs) < 2:
        options.refuse("expected at least two runs, the first of them the baseline")
    from robustness import runs

    baseline, *others = (_opened(run, options) for run in options.runs)
    found = [runs.compare(baseline, other) for other in others]
    if options.json:
        print_json(
            [
                {
                    "baseline": each.baseline.id,
                    "run": each.other.id,
                    "images": each.images,
                    "apart": list(each.apart),
                    "differences": each.differences,
                }
                for each in found
            ]
        )
        return
    for each in found:
        _print_comparison(each)


def _print_comparison(found: Comparison) -> None:
    from robustness.evaluation.condition import named

    print(f"{found.other.id} against {found.baseline.id}: {found.images} picture(s) in both")
    for sentence in found.apart:
        print(f"  {sentence}")
    if found.differences:
        print("\nmodel               condition               consistency  change (95 % interval)")
    for entry in found.differences:
        where = "all" if entry["condition"] is None else named(entry["condition"])
        low, high = (entry[f"consistency_difference_{side}"] for side in ("low", "high"))
        interval = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        print(
            f"{entry['model']:20}{where:22}{entry['consistency_b']:13.1%}"
            f"{100 * entry['consistency_difference']:+8.1f}{interval}, "
            f"{entry['consistency_verdict']}"
        )


def export_command(options: argparse.Namespace) -> None:
    """Writes a run as a zip archive."""
    from robustness import runs

    run = _opened(options.run, options)
    runs.export_run(run, options.to)
    _say(options, {"run": run.id, "file": str(options.to)}, f"{run.id} is in {options.to}")


def import_command(options: argparse.Namespace) -> None:
    """Brings the run of a zip archive among those of a folder."""
    from robustness import runs

    run = runs.import_run(options.file, options.out)
    _say(options, {"run": run.id, "folder": str(run.folder)}, f"{run.id} is in {options.out}")


def delete_command(options: argparse.Namespace) -> None:
    """Deletes a run for good."""
    from robustness import runs

    folder = runs.folder_of(options.run, options.out)
    if not options.yes:
        raise ParameterError(f"Nothing brings {folder} back: say --yes to delete it.")
    runs.delete(folder)
    _say(options, {"deleted": folder.name}, f"{folder.name} is deleted")


def _say(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if options.json:
        print_json(document)
    else:
        print(text)


def replay_command(options: argparse.Namespace) -> int:
    """Runs a saved run again and says whether the rows agree; status 1 if they differ."""
    from robustness import runs

    run = _opened(options.run, options)
    with tempfile.TemporaryDirectory() as scratch:
        found = runs.replay(
            run,
            options.to or Path(scratch),
            engine=options.engine,
            address=options.address,
            note=lambda state: progress(f"{state.done} of {state.total} pictures"),
        )
    end_progress()
    if options.json:
        print_json(found.as_dict())
    else:
        print(f"{run.id}: {found.verdict}, {found.rows} rows compared")
        for sentence in found.findings:
            print(f"  {sentence}")
        if options.to:
            print(f"The new run is {found.again.folder}")
    return 0 if found.agrees else 1


def check_command(options: argparse.Namespace) -> int:
    """Holds a run against a budget; status 1 if a limit is broken."""
    from robustness import runs
    from robustness.runs import gate

    budget = gate.read_budget(options.budget)
    named = options.baseline or budget.baseline
    baseline = None if named is None else _baseline(named, options)
    if options.github and not os.environ.get(STEP_SUMMARY):
        raise ParameterError(f"--github needs the variable {STEP_SUMMARY}, which is not set.")
    folder = _saved(options)
    run = _evaluated(options) if folder is None else runs.load(folder, anywhere=True)
    found = gate.check(budget, run, baseline)
    _write_documents(options, found)
    if options.json:
        print_json(gate.as_dict(found))
    else:
        _print_check(found)
    return 0 if found.passed else 1


def _baseline(named: str, options: argparse.Namespace) -> Run:
    """The run called ``named``; a path in a budget starts from the budget's folder."""
    from robustness import runs

    beside = options.budget.parent / named
    if not options.baseline and not (options.out / named).is_dir() and beside.is_dir():
        return runs.load(beside.resolve())
    return _opened(named, options)


def _saved(options: argparse.Namespace) -> Path | None:
    """The folder of the run that is meant; None for a source that is to be evaluated."""
    from robustness import runs

    for folder in (options.out / options.run, Path(options.run)):
        if (folder / runs.MANIFEST_FILE).is_file():
            return folder.resolve()
    return None


def _evaluated(options: argparse.Namespace) -> Run:
    """The run of what the options ask; one of the same request is not computed twice."""
    from robustness import runs

    plan = evaluate.planned(options, options.run)
    with runs.start(plan, options.out, engine=options.engine, resume=True) as session:
        evaluate.perform(session, options.engine, options.address)
    return runs.load(session.folder, anywhere=True)


def _write_documents(options: argparse.Namespace, found: Check) -> None:
    from robustness.runs import gate

    if options.junit:
        write_file(options.junit, gate.junit(found))
    text = gate.markdown(found)
    if options.summary:
        write_file(options.summary, text.encode())
    if options.github:
        path = Path(os.environ[STEP_SUMMARY])
        before = path.read_bytes() if path.is_file() else b""
        write_file(path, before + text.encode())


def _print_check(found: Check) -> None:
    from robustness.runs import gate

    broken = found.broken
    print(f"{found.run.id}, {found.run.images} picture(s)\n")
    print("           model               condition               limit                  wanted")
    for verdict in found.verdicts:
        mark = "FAIL" if verdict in broken else "ok"
        print(
            f"{mark:4} {verdict.outcome:11}{verdict.model:20}{verdict.where:24}"
            f"{verdict.limit:23}{verdict.wanted:<8g}{verdict.found}"
        )
    print(f"\n{gate.headline(found)}")
