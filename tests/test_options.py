"""An option is declared once: as a field of a record, from which everything else is made.

``python -m tests.test_options`` writes the table of the docs anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.support.repository import ROOT
from robustness.base.options import Field, fields_of
from robustness.measure import options
from robustness.measure.options import EvaluationOptions, RequestOptions

DOCS = ROOT / "docs" / "command-line.md"
HEAD = "| command line | Python | file | form | meaning |\n|---|---|---|---|---|\n"

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


def row(field: Field) -> str:
    """The row of ``field`` in the table of the docs."""
    flag = field.flag
    if field.kind is not bool:
        value = field.option.metavar or "|".join(field.option.choices or ())
        flag += f" {value}"
    key = f"`{field.name}`" if field.name in fields_of(RequestOptions) else ""
    default = repr(field.option.default).replace("'", '"')
    cells = (
        f"`{flag}`".replace("|", "\\|"),
        f"`{field.name}={default}`",
        key,
        field.option.label,
        field.option.meaning,
    )
    return f"| {' | '.join(cells)} |\n"


def table() -> str:
    """The options of an evaluation, as docs list them."""
    return HEAD + "".join(row(field) for field in fields_of(EvaluationOptions).values())


def test_docs_list_the_options() -> None:
    assert table() in DOCS.read_text(), "write it anew as the docstring says"


if __name__ == "__main__":
    before, _, rest = DOCS.read_text().partition(HEAD)
    _, blank, after = rest.partition("\n\n")
    DOCS.write_text(before + table().rstrip("\n") + blank + after)
