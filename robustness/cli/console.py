"""What all commands share: their output, how they are added, and the options that several take.

Answers go to stdout as text or JSON, remarks and progress to stderr. The help lists a command's
options in the order in which they are added.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, TypeAlias, get_args, get_origin

from robustness.base.errors import ParameterError
from robustness.base.options import Field, fields_of, options_of
from robustness.base.text import unhidden
from robustness.measure.options import EngineOptions, RequestOptions

if TYPE_CHECKING:
    from robustness.measure.condition import Condition
    from robustness.measure.request import Request

EXIT_BAD_INPUT = 2


class OutputError(Exception):
    """Stdout or stderr cannot be written, because of ``cause``."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(cause)
        self.cause = cause


_answers: TextIO | None = None
"""Where answers go, while stdout is that of other code."""


@contextmanager
def other_code_on_stderr() -> Iterator[None]:
    """Have answers alone on stdout: what models and plugins print goes to stderr."""
    global _answers
    before = _answers
    _answers = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _answers = before


def say(text: str) -> None:
    """Print ``text`` on stdout and flush; raises ``OutputError`` if that fails."""
    _print(_harmless(text), _answers or sys.stdout)


def remark(text: str) -> None:
    """Print ``text`` on stderr, on a line of its own."""
    end_progress()
    _print(_harmless(text), sys.stderr)


def _harmless(text: str) -> str:
    """Return ``text`` with control characters made visible, which names of files may contain."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return unhidden(text).replace("\r", "U+000D")


def default_runs_folder() -> Path:
    """Where runs are without ``--out``: the folder of the dashboard, or ``runs`` in this one.

    Raises ``ParameterError`` for an invalid setting.
    """
    from robustness.base import settings  # with NumPy, which the help does without

    return settings.value(settings.RUNS) or Path("runs")


def _runs_folder(text: str) -> Path:
    # The parser asks this of the default, too, and only where the option is missing.
    if text:
        return Path(text)
    try:
        return default_runs_folder()
    except ParameterError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def expect_png(path: Path, what: str) -> None:
    """Raise ``ParameterError`` unless ``path`` is a PNG file; ``what`` names the image."""
    if path.suffix.lower() != ".png":
        raise ParameterError(
            f"{what} is written losslessly: expected --to to end in .png, got {str(path)!r}."
        )


def as_json(document: Any) -> str:
    """Return ``document`` as indented JSON; raises ``ValueError`` for NaN or infinity."""
    # ASCII alone: any name of a file then survives any encoding of stdout.
    return json.dumps(document, indent=2, allow_nan=False)


def print_json(document: Any) -> None:
    """Print ``document`` on stdout as JSON."""
    end_progress()
    say(as_json(document))


_BAR_LENGTH = 24  # characters

_progress_open = False


def progress(text: str, share: float | None = None) -> None:
    """Show on stderr what is being done; on a terminal in one line that is overwritten.

    There a ``share`` of the work that is done, from 0 to 1, is drawn as a bar before the text.
    """
    global _progress_open
    text = _harmless(text)
    if sys.stderr.isatty():
        if share is not None:
            from tqdm.std import Bar

            text = f"{Bar(min(share, 1.0), default_len=_BAR_LENGTH)} {text}"
        _print(f"\r\033[K{text}", sys.stderr, end="")
        _progress_open = True
    else:
        _print(text, sys.stderr)


_phase_shown = ""
_phase_shown_at = 0.0


def phase(name: str, done: int, total: int) -> None:
    """Show how much of the phase ``name`` is done, at most once a second."""
    global _phase_shown, _phase_shown_at
    now = time.monotonic()
    if name == _phase_shown and now - _phase_shown_at < 1:
        return
    _phase_shown = name
    _phase_shown_at = now
    progress(f"{name} ... {done} of {total}", done / total if total else None)


def end_progress() -> None:
    """Clear the line of ``progress`` on a terminal."""
    global _progress_open
    if _progress_open:
        _progress_open = False
        _print("\r\033[K", sys.stderr, end="")


def _print(text: str, stream: TextIO, end: str = "\n") -> None:
    try:
        print(text, end=end, file=stream, flush=True)
    except OSError as error:
        raise OutputError(error) from error


Parsers: TypeAlias = "argparse._SubParsersAction[Any]"
"""The parsers to which a family adds its commands."""

Action: TypeAlias = Callable[[argparse.Namespace], int | None]
"""Performs a command of parsed options; returns the exit status, None for 0. Its docstring is
what the help says of the command."""

RUN = "folder of a run, or its id in RUNS"
"""Help for an argument that names a saved run."""


def names(text: str) -> list[str]:
    """Split ``text`` at commas; the type of options that take several names."""
    parts = [name.strip() for name in text.split(",") if name.strip()]
    if not parts:
        raise argparse.ArgumentTypeError(f"expected names separated by commas, got {text!r}")
    return parts


def _settings_of(field: Field) -> dict[str, Any]:
    """The settings by which argparse adds the option ``field``."""
    option = field.option
    settings: dict[str, Any] = {"dest": field.name, "help": option.meaning}
    if field.kind is bool:
        return {**settings, "action": "store_true"}
    settings["default"] = option.default
    settings["metavar"] = option.metavar
    if get_origin(field.kind) is Literal:
        return {**settings, "choices": get_args(field.kind)}
    if option.read is not None:
        return {**settings, "type": _reader(option.read)}
    return {**settings, "type": _reader_of_kind(field.kind)}


def _reader(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """``read`` with its errors as argparse knows them."""

    def value(text: str) -> Any:
        try:
            return read(text)
        except ParameterError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return value


def _reader_of_kind(kind: Any) -> Callable[[str], Any]:
    """Return what makes a value of ``kind`` of a text."""
    if kind in (Sequence[str], Sequence[str] | None):
        return names
    for each in (int, float):
        if kind in (each, each | None):
            return each
    return str


_IMAGE = {"metavar": "IMAGE", "help": "image file, or a sample such as sample:coffee"}

SHARED: Mapping[str, Mapping[str, Any]] = {
    "image": _IMAGE,
    "images": {**_IMAGE, "nargs": "+"},
    "run": {"metavar": "RUN", "help": RUN},
    "--json": {"action": "store_true", "help": "print one JSON document"},
    "--models": {
        "metavar": "A,B",
        "type": names,
        "help": "default: the study's models with weights, otherwise the bundled ones",
    },
    "--true-class": {
        "metavar": "CLASS",
        "help": "true class, by name or synset (known for the samples coffee and chelsea)",
    },
    "--out": {
        "metavar": "RUNS",
        "type": _runs_folder,
        "default": "",
        "help": "folder of runs (default: that of the dashboard, by the setting 'runs', else runs)",
    },
    "--baseline": {"metavar": "RUN", "help": "overrides the baseline in the budget"},
    **{field.flag: _settings_of(field) for field in fields_of(RequestOptions).values()},
    **{field.flag: _settings_of(field) for field in fields_of(EngineOptions).values()},
}
"""Options with the same meaning in every command."""

LISTS = (
    "--models",
    "--perturbations",
    "--conditions",
    "--remedies",
    "--strength",
    "--severities",
    "--epsilon",
    "--features",
)
"""Options that may take several values, separated by commas."""


MODELS: Literal["models"] = "models"
PLUGINS: Literal["plugins"] = "plugins"


def add_shared(command: argparse.ArgumentParser, *options: str, **changes: Any) -> None:
    """Add ``options`` of ``SHARED`` to ``command``, with ``changes`` to each."""
    for option in options:
        command.add_argument(option, **{**SHARED[option], **changes})


def add_options(command: argparse._ActionsContainer, record: type, *names: str) -> None:
    """Add the options of ``record`` to ``command`` or a group of it; those of ``names`` if any."""
    fields = fields_of(record)
    for name in names or fields:
        command.add_argument(fields[name].flag, **_settings_of(fields[name]))


def add_command(
    parsers: Parsers,
    name: str,
    action: Action,
    *shared: str,
    reads: Literal["models", "plugins", ""] = MODELS,
) -> argparse.ArgumentParser:
    """Add a command that ``action`` performs, with ``shared`` options; others are the caller's.

    The first paragraph of the docstring of ``action`` heads the command's own help; up to a full
    stop or semicolon it stands in the list of commands. ``reads`` says what is read first: the
    user's own ``MODELS`` with the plugins, the ``PLUGINS`` alone, or nothing. The action finds its
    parser among the options, for defaults and for errors.
    """
    description = (action.__doc__ or "").partition("\n\n")[0]
    # The full stop of a name such as models.toml is followed by a letter, and ends no clause.
    clause = re.split(r";|\.(?!\w)", description)[0]
    command: argparse.ArgumentParser = parsers.add_parser(
        name, help=clause[:1].lower() + clause[1:], description=description
    )
    command.set_defaults(command=action, parser=command, reads=reads)
    add_shared(command, *shared)
    return command


def request_of(
    options: argparse.Namespace, models: Sequence[str] | None, conditions: Sequence[Condition]
) -> Request:
    """Make the request of ``models`` and ``conditions``, with --seed, --fit, --side, --remedies."""
    from robustness.measure.request import make_spec

    return make_spec(models, conditions, **options_of(RequestOptions, vars(options)))
