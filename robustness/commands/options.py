"""What the commands' options have in common: how a command is added, and options that several take.

The help lists a command's options in the order in which they are added.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

Parsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What a family adds its commands to."""

Action: TypeAlias = Callable[[argparse.Namespace], int | None]
"""Performs a command of parsed options; returns the exit status, None for 0."""


RUN = "the folder of a run, or the id of one in RUNS"
"""What stands for a saved run."""


def add_command(
    parsers: Parsers,
    name: str,
    action: Action,
    help_: str,
    *,
    more: str = "",
    asks_models: bool = True,
    json: bool = True,
) -> argparse.ArgumentParser:
    """Adds a command that ``action`` performs; its options are for the caller to add.

    ``help_`` stands in the list of commands, and with ``more`` in the command's own help.
    ``asks_models`` says whether the user's own models are read first, and ``json`` whether the
    command takes ``--json``.
    """
    command = parsers.add_parser(
        name, help=help_, description=f"{help_[0].upper()}{help_[1:]}{more}."
    )
    command.set_defaults(command=action, asks_models=asks_models)
    if json:
        add_json(command)
    return command


def add_json(command: argparse.ArgumentParser, default: Any = False) -> None:
    """``--json``; ``argparse.SUPPRESS`` as ``default`` keeps one that stands before an action."""
    command.add_argument(
        "--json", action="store_true", default=default, help="print one JSON document"
    )


def add_image(command: argparse.ArgumentParser) -> None:
    """One picture."""
    command.add_argument("image", metavar="IMAGE", help="a picture file")


def add_images(command: argparse.ArgumentParser) -> None:
    """One picture or several."""
    command.add_argument("images", nargs="+", metavar="IMAGE", help="a picture file")


def add_models(command: argparse.ArgumentParser) -> None:
    """``--models``."""
    command.add_argument(
        "--models",
        metavar="A,B",
        type=names,
        help="default: the study's that are ready, else the offline ones",
    )


def add_seed(command: argparse.ArgumentParser) -> None:
    """``--seed``."""
    command.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")


def add_fit(command: argparse.ArgumentParser) -> None:
    """``--fit``."""
    command.add_argument(
        "--fit",
        default="crop",
        metavar="crop|squash|letterbox",
        help="how a picture becomes square (default: crop)",
    )


def add_runs_folder(command: argparse.ArgumentParser, default: Any = Path("runs")) -> None:
    """``--out`` of the commands that read or write saved runs; ``default`` as in ``add_json``."""
    command.add_argument(
        "--out",
        type=Path,
        default=default,
        metavar="RUNS",
        help="the folder that holds runs (default: runs)",
    )


def add_engine(command: argparse.ArgumentParser) -> None:
    """Where a dataset is worked on."""
    command.add_argument("--engine", default="local", metavar="local|ray", help="default: local")
    command.add_argument("--address", metavar="HOST:PORT", help="of a running Ray cluster")


def names(text: str) -> list[str]:
    """The names in ``text``, which has commas between them."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError(f"expected names with commas between, got {text!r}")
    return found
