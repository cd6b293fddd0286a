"""The commands on saved runs: list, compare, hand on, delete and replay."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustness.base.errors import ParameterError
from robustness.commands.console import end_progress, print_json, print_table, progress, say
from robustness.commands.options import RUN, Action, Parsers, add_command, add_shared

if TYPE_CHECKING:
    from robustness.runs import Comparison, Listed, Run

_CHANGES = {
    "model": "<20",
    "condition": "<22",
    "consistency": ">13",
    "  change (95 % interval)": "",
}


def add(parsers: Parsers) -> None:
    """Adds ``runs`` with its actions, and ``replay``."""
    listing = add_command(
        parsers, "runs", runs_command, "list the saved runs", "--json", "--out", asks_models=False
    )
    actions = listing.add_subparsers(metavar="[compare|export|import|delete]")

    compared = _add_action(
        actions, "compare", compare_command, "what changed since a run", asks_models=True
    )
    compared.add_argument("runs", nargs="+", metavar="RUN", help="the first is the baseline")
    compared.set_defaults(refuse=compared.error)

    exported = _add_action(actions, "export", export_command, "write a run as a zip")
    exported.add_argument("run", metavar="RUN", help=RUN)
    exported.add_argument("--to", type=Path, required=True, metavar="FILE.zip")

    imported = _add_action(
        actions, "import", import_command, "bring an exported run", asks_models=True
    )
    imported.add_argument("file", type=Path, metavar="FILE.zip")

    deleted = _add_action(actions, "delete", delete_command, "delete a run for good")
    deleted.add_argument("run", metavar="RUN", help=RUN)
    deleted.add_argument("--yes", action="store_true", help="needed, as nothing brings it back")

    replayed = add_command(
        parsers,
        "replay",
        replay_command,
        "run a saved run again and say whether the rows agree",
        "--json",
        more=". Exit status 1 if they differ, 2 if it cannot",
    )
    replayed.add_argument("run", metavar="RUN", help=RUN)
    add_shared(replayed, "--out")
    replayed.add_argument(
        "--to", type=Path, metavar="DIR", help="keep the new run among those of this folder"
    )
    add_shared(replayed, "--engine", "--address")


def _add_action(
    actions: Parsers, name: str, action: Action, help_: str, *, asks_models: bool = False
) -> argparse.ArgumentParser:
    command = add_command(actions, name, action, help_, asks_models=asks_models)
    add_shared(command, "--json", "--out", default=argparse.SUPPRESS)
    return command


def runs_command(options: argparse.Namespace) -> None:
    """Lists the runs, the newest first, then the folders that are none."""
    from robustness import runs

    entries = runs.listing(options.out)
    if options.json:
        print_json([_listed(entry) for entry in entries])
        return
    if not entries:
        say(f"There are no runs in {options.out}.")
    for entry in entries:
        if entry.manifest is None:
            say(f"{entry.folder.name}: {entry.reason}")
            continue
        manifest = entry.manifest
        imported = ", imported" if entry.imported else ""
        say(
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

    say(f"{found.other.id} against {found.baseline.id}: {found.images} picture(s) in both")
    for sentence in found.apart:
        say(f"  {sentence}")
    if not found.differences:
        return
    rows = []
    for entry in found.differences:
        where = "all" if entry["condition"] is None else named(entry["condition"])
        low, high = (entry[f"consistency_difference_{side}"] for side in ("low", "high"))
        interval = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
        change = f"{100 * entry['consistency_difference']:+8.1f}{interval}"
        rows.append(
            (
                entry["model"],
                where,
                f"{entry['consistency_b']:.1%}",
                f"{change}, {entry['consistency_verdict']}",
            )
        )
    say("")
    print_table(_CHANGES, rows)


def export_command(options: argparse.Namespace) -> None:
    """Writes a run as a zip archive."""
    from robustness import runs

    run = _opened(options.run, options)
    runs.export_run(run, options.to)
    _answer(options, {"run": run.id, "file": str(options.to)}, f"{run.id} is in {options.to}")


def import_command(options: argparse.Namespace) -> None:
    """Brings the run of a zip archive among those of a folder."""
    from robustness import runs

    run = runs.import_run(options.file, options.out)
    _answer(options, {"run": run.id, "folder": str(run.folder)}, f"{run.id} is in {options.out}")


def delete_command(options: argparse.Namespace) -> None:
    """Deletes a run for good."""
    from robustness import runs

    folder = runs.folder_of(options.run, options.out)
    if not options.yes:
        raise ParameterError(f"Nothing brings {folder} back: say --yes to delete it.")
    runs.delete(folder)
    _answer(options, {"deleted": folder.name}, f"{folder.name} is deleted")


def _answer(options: argparse.Namespace, document: dict[str, Any], text: str) -> None:
    if options.json:
        print_json(document)
    else:
        say(text)


def replay_command(options: argparse.Namespace) -> int:
    """Runs a saved run again and says whether the rows agree; status 1 if they differ."""
    import tempfile

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
        say(f"{run.id}: {found.verdict}, {found.rows} rows compared")
        for sentence in found.findings:
            say(f"  {sentence}")
        if options.to:
            say(f"The new run is {found.again.folder}")
    return 0 if found.agrees else 1
