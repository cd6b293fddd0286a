"""The notebooks of the documentation, run from an empty folder with the installed wheel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.support.repository import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))

_RUN = """
import ast, json, sys
for file in sys.argv[1:]:
    names = {}
    for cell in json.load(open(file))["cells"]:
        if cell["cell_type"] == "code":
            *body, last = ast.parse("".join(cell["source"])).body
            if not isinstance(last, ast.Expr):
                body, last = [*body, last], None
            exec(compile(ast.Module(body, []), file, "exec"), names)
            if last is not None:
                found = eval(compile(ast.Expression(last.value), file, "eval"), names)
                draw = getattr(found, "_repr_html_", None) or getattr(found, "_repr_png_", None)
                print(draw() if draw else repr(found))
"""


def test_every_notebook_runs_and_draws(tmp_path: Path, installed: dict[str, str]) -> None:
    assert len(NOTEBOOKS) == 2
    for file in NOTEBOOKS:
        cells = json.loads(file.read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells), "outputs are not kept"
    command = [sys.executable, "-c", _RUN, *map(str, NOTEBOOKS)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=installed)
    assert done.returncode == 0, done.stderr
    assert "rb-map" in done.stdout, "the run"
    assert "mean is" in done.stdout, "the decision"
    assert "'middle':" in done.stdout, "breaking strengths"
    assert "PNG" in done.stdout, "the pair of images"
    assert "+dead_rows=0.4" in done.stdout
    assert (tmp_path / "report.html").is_file()
