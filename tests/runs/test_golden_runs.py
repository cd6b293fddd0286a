"""Saved runs: they open, every command answers about them as it did, and one is evaluated anew.

``labelled`` has remedies, an attack, a plugin's metric and unreadable images, ``imported`` has the
predictions of two models from a table. ``evaluated`` is ``request.toml`` on ``photos``, which are
parts of the samples and two damaged files. After an intended change of answers or columns, write
them anew: ``python -m tests.runs.test_golden_runs``.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from robustness import runs
from robustness.cli import main
from robustness.measure.rows import BASE, COLUMNS, stored
from robustness.runs.comparison import row_changes
from robustness.runs.manifest import VERSION

GOLDEN = Path(__file__).parent / "golden"
RUNS = ("labelled", "imported", "evaluated")
COMMANDS = (
    ["choose", "--json"],
    ["choose", "--remedies", "--json"],
    ["failures", "--json"],
    ["report"],
)
ANEW = (
    "After a change of columns: set the next number in VERSION of robustness/runs/manifest.py, and "
    "run `python -m tests.runs.test_golden_runs`."
)
TABLES = ("summary", "compare", "over_models", "by_perturbation", "robust_accuracy", "agreement")
"""Tables of a report."""


def answers(run: str, folder: Path) -> Iterator[tuple[str, Any]]:
    """The answer of each command about ``run``, by the command; ``folder`` is empty."""
    copy = folder / run
    shutil.copytree(GOLDEN / run, copy)
    for name, *options in COMMANDS:
        if name == "report":
            to = folder / "report.json"
            said = io.StringIO()
            with contextlib.redirect_stderr(said):
                status = main.main([name, str(copy), "--to", str(to)])
            assert status == 0, f"{said.getvalue()}{ANEW}"
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
def test_a_saved_run_has_its_answers(run: str, tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / f"{run}.json").read_text())
    actual = dict(answers(run, tmp_path))
    assert actual.keys() == expected.keys()
    for command, answer in expected.items():
        assert actual[command] == answer, command


def evaluate(to: Path, *options: str) -> Path:
    """Evaluates the request of ``evaluated`` in the empty folder ``to``; the folder of the run."""
    request = str(GOLDEN / "request.toml")
    arguments = ["evaluate", str(GOLDEN / "photos"), "--request", request, "--out", str(to)]
    arguments += options
    with contextlib.redirect_stdout(io.StringIO()):
        assert main.main([*arguments, "--json"]) == 0
    (folder,) = (path for path in to.iterdir() if path.is_dir())
    return folder


def test_a_fresh_evaluation_has_the_rows_of_the_saved_run(tmp_path: Path) -> None:
    """Of a sample of its images, three that can be read: an attack takes a second for each."""
    saved = runs.load(GOLDEN / "evaluated").table()
    fresh = runs.load(evaluate(tmp_path, "--sample", "5")).table()
    assert saved.num_rows == 12 * 2 * 4
    assert fresh.num_rows == 3 * 2 * 4
    saved = saved.filter(pc.is_in(saved["image"], pc.unique(fresh["image"])))
    # A position is a place among all images, or in the sample.
    tables = [table.drop_columns("position") for table in (saved, fresh)]
    beyond = [change for change in row_changes(*tables) if not change.rounding]
    assert not [change for change in beyond if not change.condition.startswith("pgd")]
    # Rounding of another processor turns the steps of an attack, but seldom where they lead.
    assert all(change.rows <= 2 for change in beyond if change.column == "top1"), beyond


def add_columns(run: str, fresh: Path) -> None:
    """Gives the files of ``run`` the columns that they lack, and today's version of runs.

    ``evaluated`` takes their values from the run ``fresh``. The images of the other runs are not
    here, so these have no values, or the lowest where a row needs one.
    """
    columns = {column.name: column for column in COLUMNS}
    manifest = json.loads((GOLDEN / run / "manifest.json").read_text())
    for path in (GOLDEN / run).glob("part-*.parquet"):
        table = pq.read_table(path)
        own = [name for name in table.column_names if name not in {*columns, BASE.name}]
        schema, plain = stored(own), pc.is_null(table[BASE.name])
        lacking = [field for field in schema if field.name not in table.column_names]
        if not lacking:
            continue
        if manifest["version"] == VERSION:
            sys.exit(
                "The files of rows have a new column: expected the next number in VERSION of "
                f"robustness/runs/manifest.py, got {VERSION} again. Set it, as older runs lack it."
            )
        for field in lacking:
            values = pa.nulls(len(table), field.type)
            if run == "evaluated":
                rows = pq.read_table(fresh / path.name)
                keys = ["position", "model", "condition"]
                assert rows.select(keys) == table.select(keys), "rows of another order"
                values = rows[field.name]
            elif not columns[field.name].null:
                lowest = columns[field.name].low or 0
                values = pc.if_else(plain, pa.scalar(lowest).cast(field.type), values)
            table = table.append_column(field, values)
        whole = table.select(schema.names).replace_schema_metadata(table.schema.metadata)
        pq.write_table(whole, path, compression="zstd")
        manifest["parts"][path.name] = path.stat().st_size
    manifest["version"] = VERSION
    (GOLDEN / run / "manifest.json").write_text(json.dumps(manifest, indent=2))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        fresh = evaluate(Path(empty))
        for name in RUNS:
            add_columns(name, fresh)
    for name in RUNS:
        with tempfile.TemporaryDirectory() as empty:
            text = json.dumps(dict(answers(name, Path(empty))), indent=0)
        (GOLDEN / f"{name}.json").write_text(text + "\n")
