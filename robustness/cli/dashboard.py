"""The command that starts the dashboard."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from pathlib import Path

import robustness
from robustness.cli.console import Parsers, add_command

NAME = "dashboard"


def add(parsers: Parsers) -> None:
    """Add ``dashboard``."""
    command = add_command(parsers, NAME, dashboard_command, reads="")
    command.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help="port to listen on (default: the first free from 8501)",
    )
    command.add_argument(
        "--no-browser", action="store_true", help="do not open the page in a browser"
    )


def dashboard_command(options: argparse.Namespace) -> None:
    """Start the dashboard on this machine and open it in a browser; Ctrl-C stops it.

    Settings, models.toml and runs are those of the working folder.
    """
    # Without the working folder on the path of modules, where any file may have the name of one.
    words = [sys.executable, "-P", "-m", "streamlit", "run", str(_script())]
    if options.port is not None:
        words += ["--server.port", str(options.port)]
    if options.no_browser:
        words += ["--server.headless", "true"]
    sys.stdout.flush()
    os.execv(sys.executable, words)


def _port(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) < 6 else 0
    if not 0 < number < 2**16:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind(("127.0.0.1", number))
        except OSError as error:
            raise argparse.ArgumentTypeError(
                f"{number} cannot be listened on: {error.strerror}. Choose another port"
            ) from error
    return number


def _script() -> Path:
    """The app: beside the package in a working tree, within it where it is installed."""
    package = Path(robustness.__file__).resolve().parent
    installed = package / "dashboard" / "app.py"
    if installed.is_file():
        return installed
    return package.parent / "app.py"
