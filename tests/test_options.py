"""An option is declared once: as a field of a record, from which everything else is made.

``python -m tests.test_options`` writes the table of the docs anew.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Unpack

import pytest

import robustness as rb
from benchmarks.support.repository import ROOT
from robustness.base.options import Field, changed, fields_of
from robustness.base.validation import checked_arguments
from robustness.measure import options
from robustness.measure.options import (
    EvaluationOptions,
    MatchOptions,
    RequestOptions,
    TrainingOptions,
)
from robustness.statistics.options import ChoiceOptions, ThresholdOptions

DOCS = ROOT / "docs" / "command-line.md"
HEADING = """## Options

Commands, Python, files of requests and pages have the same options, with the same defaults."""
HEAD = ("command line", "Python", "file", "page", "meaning")
RECORDS: dict[str, type] = {
    "evaluate": EvaluationOptions,
    "match": MatchOptions,
    "harden": TrainingOptions,
    "choose": ChoiceOptions,
    "threshold": ThresholdOptions,
}
"""The options of each command that declares them."""

FIELD = """
    grain: Annotated[int, Option(3, "size of the grain", metavar="PIXELS", label="Grain size")]
"""

SCRIPT = """
import contextlib, importlib.util, inspect, io, json, sys
from pathlib import Path

# The module of the records with one more field, before anything imports it.
name, file, source = "robustness.measure.options", sys.argv[1], sys.stdin.read()
spec = importlib.util.spec_from_loader(name, loader=None, origin=file)
module = sys.modules[name] = importlib.util.module_from_spec(spec)
exec(compile(source, file, "exec"), vars(module))

import robustness as rb
from robustness.cli import main
from robustness.measure.options import EvaluationOptions
from tests.support import pages

def sentence(function, *arguments, **keywords):
    try:
        function(*arguments, **keywords)
    except rb.RobustnessError as error:
        return str(error)

def help_of(command):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main.main([command, "--help"])
    return " ".join(out.getvalue().split())

request = Path(sys.argv[2])
request.write_text("grain = 'fine'\\n[[condition]]\\nfog = 0.5\\n")
page = Path("pages/evaluations.py").resolve()
forms = [pages.run(page, question=question) for question in ("compare", "match")]
print(json.dumps({
    "help": [help_of(command) for command in ("evaluate", "match")],
    "defaults": [
        inspect.signature(function).parameters["grain"].default
        for function in (rb.evaluate, rb.match)
    ],
    "docstring": inspect.getdoc(rb.evaluate),
    "argument": sentence(rb.make_spec, ["SqueezeNet"], grain="fine"),
    "key": sentence(rb.read_request, request),
    "inputs": [app.number_input(key="grain").value for app in forms],
    "labels": [app.number_input(key="grain").label for app in forms],
}))
"""


def test_a_new_field_is_an_option_of_the_command_of_python_of_files_and_of_the_form(
    tmp_path: Path,
) -> None:
    file = Path(options.__file__)
    before, anchor, after = file.read_text().partition("    fit: Annotated[")
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / "request.toml")],
        input=before + FIELD + anchor + after,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not process.returncode, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    for text in found["help"]:
        assert "[--grain PIXELS]" in text
        assert "--grain PIXELS size of the grain --fit" in text
    assert (found["defaults"], found["inputs"]) == ([3, 3], [3, 3])
    assert found["labels"] == ["Grain size"] * 2
    assert "- ``grain``: size of the grain" in found["docstring"]
    assert found["argument"] == "grain: expected a whole number, got 'fine'."
    assert found["key"].endswith(": expected grain to be a whole number, got 'fine'.")


@pytest.mark.parametrize("record", RECORDS.values())
def test_the_defaults_of_a_record_pass_its_checks(record: type) -> None:
    def options_of_call(**options: Any) -> dict[str, Any]:
        return options

    options_of_call.__annotations__["options"] = Unpack[record]
    call = checked_arguments(options_of_call)
    defaults = call()
    assert list(defaults) == list(fields_of(record))
    assert call(**defaults) == defaults
    assert not changed(record, defaults)


def test_thresholds_have_the_defaults_of_their_record_from_python_too() -> None:
    # By hand, as its first option may be given without its name.
    parameters = inspect.signature(rb.safe_threshold).parameters
    for field in fields_of(ThresholdOptions).values():
        assert parameters[field.name].default == field.option.default


def cells(field: Field) -> tuple[str, ...]:
    """The cells of ``field`` in a table of the docs: see ``HEAD``."""
    flag = field.flag
    if field.kind is not bool:
        value = field.option.metavar or "|".join(field.option.choices or ())
        flag += f" {value}"
    default = repr(field.option.default).replace("'", '"')
    return (
        f"`{flag}`".replace("|", "\\|"),
        f"`{field.name}={default}`",
        f"`{field.name}`" if field.name in fields_of(RequestOptions) else "",
        field.option.label,
        field.option.meaning,
    )


def table(record: type, *, has_file: bool) -> str:
    """The options of ``record``, as docs list them; without columns that are empty."""
    rows = [HEAD, *(cells(field) for field in fields_of(record).values())]
    columns = [column for column in zip(*rows, strict=True) if any(column[1:])]
    if not has_file:
        columns = [column for column in columns if column[0] != "file"]
    head, *lines = [f"| {' | '.join(row)} |\n" for row in zip(*columns, strict=True)]
    return f"{head}|{'---|' * len(columns)}\n{''.join(lines)}"


def section() -> str:
    """The options of all commands that declare them."""
    parts = [HEADING]
    for command, record in RECORDS.items():
        parts += [f"`{command}`:", table(record, has_file=command == "evaluate").rstrip("\n")]
    return "\n\n".join(parts) + "\n\n"


def test_docs_list_the_options() -> None:
    assert section() in DOCS.read_text(), "write it anew as the docstring says"


if __name__ == "__main__":
    before, _, rest = DOCS.read_text().partition(HEADING)
    DOCS.write_text(before + section() + rest[rest.index("## ") :])
