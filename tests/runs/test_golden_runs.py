"""Runs that 0.13.0 wrote: they open, and every command answers about them as it did.

``labelled`` has remedies, an attack, a plugin's metric and unreadable images, ``race`` was settled,
``imported`` has the predictions of two models from a table. After an intended change, write the
answers anew: ``python -m tests.runs.test_golden_runs``.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustness.commands import main

GOLDEN = Path(__file__).parent / "golden"
RUNS = ("labelled", "race", "imported")
COMMANDS = (
    ["choose", "--json"],
    ["choose", "--remedies", "--json"],
    ["failures", "--json"],
    ["report"],
)
TABLES = ("summary", "compare", "over_models", "by_perturbation", "robust_accuracy", "agreement")
"""Tables of a report; races have only the first."""


def answers(run: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """The answer of each command about ``run``, by the command; ``folder`` is empty."""
    copy = folder / run
    shutil.copytree(GOLDEN / run, copy)
    for name, *options in COMMANDS:
        if name == "report":
            to = folder / "report.json"
            status = main.main([name, str(copy), "--to", str(to)])
            document = json.loads(to.read_text())
            text = json.dumps({key: document.get(key) for key in TABLES})
        else:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(io.StringIO()):
                status = main.main([name, str(copy), *options])
            text = printed.getvalue() or "null"
        yield " ".join([name, *options]), {"status": status, "answer": figures(json.loads(text))}


def figures(value: Any) -> Any:
    """``value`` without its sentences, and numbers with as many digits as any machine gives."""
    if isinstance(value, dict):
        return {key: figures(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [figures(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return "..." if isinstance(value, str) and value.endswith(".") else value


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_an_earlier_version_has_its_answers(run: str, tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / f"{run}.json").read_text())
    actual = dict(answers(run, tmp_path))
    assert actual.keys() == expected.keys()
    for command, answer in expected.items():
        assert actual[command] == answer, command


if __name__ == "__main__":
    for name in RUNS:
        with tempfile.TemporaryDirectory() as empty:
            text = json.dumps(dict(answers(name, Path(empty))), indent=0)
        (GOLDEN / f"{name}.json").write_text(text + "\n")
