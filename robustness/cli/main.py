"""The command line: command families, exit codes and error handling.

Every ``RobustnessError`` ends in its sentence on stderr and exit status 2. ``models check`` exits
with status 1 when a model is damaged, fails or predicts wrongly, or a named one is missing,
``check`` when the budget is broken, ``match`` when --max-loss is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from robustness import __version__
from robustness.base import memory
from robustness.base.errors import ModelWarning, RobustnessError
from robustness.base.text import did_you_mean, nearest, visible
from robustness.cli import dashboard, domain, evaluate, images, models, runs, tasks
from robustness.cli.console import (
    EXIT_BAD_INPUT,
    LISTS,
    MODELS,
    OutputError,
    Parsers,
    other_code_on_stderr,
    remark,
)

EXIT_INTERRUPTED = 130

_COMMANDS: Mapping[str, Callable[[Parsers], None]] = {
    dashboard.NAME: dashboard.add,
    "models": models.add,
    "perturbations": models.add_perturbations,
    "predict": images.add_predictions,
    "perturb": images.add_predictions,
    "remedies": models.add_remedies,
    "study": images.add_strengths,
    "sweep": images.add_strengths,
    "evaluate": evaluate.add,
    "export": evaluate.add,
    "break": images.add_break,
    "attack": images.add_attack,
    "report": runs.add_runs,
    "runs": runs.add_runs,
    "choose": runs.add_questions,
    "failures": runs.add_questions,
    "fixes": runs.add_questions,
    "calibrate": runs.add_questions,
    "threshold": runs.add_questions,
    "check": runs.add_check,
    "domain": domain.add,
    "match": tasks.add_match,
    "harden": tasks.add_harden,
    "plugins": models.add_plugins,
}
"""By the name of a command what adds it, alone or with others; in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, without words the dashboard; return the exit status.

    0; 1 when ``models check``, ``check`` or ``match`` found something wrong; 2 for bad input, or
    when the output or a file cannot be read or written; 130 when interrupted.
    """
    memory.share_with_arrow()
    if arguments is None:
        arguments = sys.argv[1:]
    options = _parsed(list(arguments) or [dashboard.NAME])
    if isinstance(sys.stdout, io.TextIOWrapper):  # the name of a file may not be encodable
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings(), other_code_on_stderr():
            warnings.showwarning = partial(_show, warnings.showwarning)
            return _run_command(options)
    except OutputError as error:
        # What is still buffered goes to nowhere, lest Python complain of it while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error.cause, BrokenPipeError):  # the reader has gone, as in ``| head``
            return 0
        with contextlib.suppress(OutputError):  # stderr may be what is full
            remark(f"robustness: the output cannot be written: {error.cause.strerror}.")
        return EXIT_BAD_INPUT


def _parsed(words: list[str]) -> argparse.Namespace:
    """Parse ``words`` into options; exits with a sentence if they are not understood."""
    return _parser(words).parse_args(words)


def _comma_hint(words: Sequence[str], unknown: str) -> str:
    """Return a hint that values need commas, if ``unknown`` may be a value of a list; else ""."""
    words_before = words[: words.index(unknown)]
    flags = [word.partition("=")[0] for word in words_before]
    lists = [flag for flag in flags if flag in LISTS]
    if not lists:
        return ""
    return f"; separate the values of {lists[-1]} with commas, as in A,B"


def _show(usual: Callable[..., None], message: Warning | str, *details: Any) -> None:
    """Show a warning about a model as one sentence, any other as usual."""
    if isinstance(message, ModelWarning):
        remark(f"robustness: {message}")
    else:
        usual(message, *details)


def _run_command(options: argparse.Namespace) -> int:
    """Run the command and report its errors; return the exit status.

    Raises ``OutputError`` if the output cannot be written.
    """
    try:
        if options.reads:
            from robustness.plugins import load

            load()
        if options.reads == MODELS:
            from robustness.models import own

            own.refresh()
        status: int | None = options.command(options)
        return status or 0
    except RobustnessError as error:
        sentence = error.with_hint
    except OSError as error:
        sentence = _file_sentence(error)
    except KeyboardInterrupt:
        remark("robustness: interrupted.")
        return EXIT_INTERRUPTED
    remark(f"robustness: {sentence}")
    return EXIT_BAD_INPUT


def _file_sentence(error: OSError) -> str:
    names = []
    for name in (error.filename, error.filename2):
        if isinstance(name, str | bytes | os.PathLike):  # it may also be a descriptor, or None
            names.append(os.fsdecode(name))
    files = visible(" -> ".join(names)) or "A file"
    reason = error.strerror or visible(str(error)) or type(error).__name__
    return f"{files}: {reason.rstrip('.')}; the command stopped. Fix this and run it again."


class _Parser(argparse.ArgumentParser):
    """Answers a command that it does not understand with one sentence, without the usage."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # As argparse does, which names all choices and not the nearest one.
        choices = action.choices
        if choices is not None and value not in choices:
            names = [str(choice) for choice in choices]
            hint = did_you_mean(str(value), names)
            raise argparse.ArgumentError(action, f"there is no {value!r}. {hint}")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # The parser of a command is asked first, which knows the options that were meant.
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            if unknown[0].startswith("-"):
                flag = unknown[0].partition("=")[0]
                similar = nearest(flag, re.findall(r"--[a-z][a-z-]*", self.format_help()))
                hint = f". Did you mean {similar[0]!r}?" if similar else ""
            else:
                hint = _comma_hint(args, unknown[0])
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return options, unknown

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Build the parser of the command line, or as much of it as ``words`` need.

    If they begin with a command, only that one is added, with those that are added together with
    it; else all are. The options of questions, which are slow to import, are added only to commands
    that are in ``words``.
    """
    # Errors and help name the command as it was typed.
    program = "python -m robustness"
    if Path(sys.argv[0]).stem == "robustness":
        program = "robustness"
    parser = _Parser(
        prog=program,
        description="How robust are image classifiers to real-world perturbations?",
    )
    parser.add_argument("--version", action="version", version=__version__)
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    if words and words[0] in _COMMANDS:
        _COMMANDS[words[0]](parsers)
    else:
        for add_commands in dict.fromkeys(_COMMANDS.values()):
            add_commands(parsers)
    for name in runs.COMMANDS:
        is_needed = words is None or name in words[:3]
        if is_needed and name in parsers.choices:
            runs.add_options(parsers.choices[name], name)
    return parser
