"""The options of the commands on saved runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robustness.commands import runs

Maker = Callable[..., argparse.ArgumentParser]

_RUN = "the folder of a run, or the id of one in RUNS"


def add(
    parsers: Any, command: Maker, add_request: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Adds ``runs``, ``replay`` and ``check`` to ``parsers``.

    ``command`` makes a command of a name, a function and a line of help; ``add_request`` adds the
    options by which a dataset is evaluated.
    """
    _add_runs(parsers, command)
    replayed = command(
        parsers,
        "replay",
        runs.replay_command,
        "run a saved run again and say whether the rows agree",
    )
    replayed.description = f"{replayed.description} Exit status 1 if they differ, 2 if it cannot."
    replayed.add_argument("run", metavar="RUN", help=_RUN)
    _add_out(replayed)
    replayed.add_argument(
        "--to", type=Path, metavar="DIR", help="keep the new run among those of this folder"
    )
    replayed.add_argument("--engine", default="local", metavar="local|ray", help="default: local")
    replayed.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster")

    checked = command(
        parsers,
        "check",
        runs.check_command,
        "hold a run against a budget of limits",
    )
    checked.description = (
        f"{checked.description} Exit status 1 if a limit is broken, 2 if it cannot."
    )
    checked.add_argument(
        "run", metavar="RUN|SOURCE", help=f"{_RUN}; or what evaluate takes, which is evaluated"
    )
    checked.add_argument("--budget", type=Path, required=True, metavar="FILE.toml")
    checked.add_argument("--baseline", metavar="RUN", help="instead of the one that FILE names")
    checked.add_argument("--junit", type=Path, metavar="FILE.xml", help="also write JUnit XML")
    checked.add_argument("--summary", type=Path, metavar="FILE.md", help="also write Markdown")
    checked.add_argument(
        "--github", action="store_true", help="append the Markdown to $GITHUB_STEP_SUMMARY"
    )
    _add_out(checked)
    add_request(checked)


def _add_runs(parsers: Any, command: Maker) -> None:
    listing = command(parsers, "runs", runs.runs_command, "list the saved runs")
    listing.set_defaults(asks_models=False)
    _add_out(listing)
    actions = listing.add_subparsers(metavar="[compare|export|import|delete]")

    compared = _action(actions, "compare", runs.compare_command, "what changed since a run")
    compared.add_argument("runs", nargs="+", metavar="RUN", help="the first is the baseline")
    compared.set_defaults(asks_models=True, refuse=compared.error)

    exported = _action(actions, "export", runs.export_command, "write a run as a zip")
    exported.add_argument("run", metavar="RUN", help=_RUN)
    exported.add_argument("--to", type=Path, required=True, metavar="FILE.zip")

    imported = _action(actions, "import", runs.import_command, "bring an exported run")
    imported.add_argument("file", type=Path, metavar="FILE.zip")
    imported.set_defaults(asks_models=True)

    deleted = _action(actions, "delete", runs.delete_command, "delete a run for good")
    deleted.add_argument("run", metavar="RUN", help=_RUN)
    deleted.add_argument("--yes", action="store_true", help="needed, as nothing brings it back")


def _action(actions: Any, name: str, run: Any, help_: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(
        name, help=help_, description=help_[0].upper() + help_[1:] + "."
    )
    action.set_defaults(command=run)
    # Suppressed, lest it undo one that stands before the action.
    action.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON document"
    )
    _add_out(action, default=argparse.SUPPRESS)
    return action


def _add_out(command: argparse.ArgumentParser, default: Any = Path("runs")) -> None:
    command.add_argument(
        "--out",
        type=Path,
        default=default,
        metavar="RUNS",
        help="the folder that holds runs (default: runs)",
    )
