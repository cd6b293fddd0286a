"""Runs of the first format, whose rows named their condition by perturbation and strength alone."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from robustness import report, runs, statistics
from robustness.base.errors import RunError
from robustness.commands.main import main
from robustness.evaluation.provenance import versions
from robustness.evaluation.rows import SCHEMA
from robustness.runs.parts import all_parts, read_rows
from tests.support.saved_runs import use_stand_ins

SAVED = Path(__file__).with_name("first_format")
RUNS = ("attacks", "compositions")


@pytest.fixture(params=RUNS)
def run(request: pytest.FixtureRequest) -> runs.Run:
    return runs.load(SAVED / request.param)


def test_its_rows_get_the_ids_of_its_conditions(run: runs.Run) -> None:
    frame = run.frame()
    ids = [condition.id for condition in run.conditions]
    assert len(set(ids)) == len(ids) == 5
    assert frame["condition"].value_counts().to_dict() == dict.fromkeys(ids, run.images * 2)
    assert (frame["condition"].tolist()) == ids * (run.images * 2)
    names = {condition.id: condition.name for condition in run.conditions}
    assert frame["condition"].astype(str).map(names).tolist() == frame["perturbation"].tolist()
    assert run.table().schema.equals(SCHEMA)
    lean = run.table(["condition", "top1"], model="SqueezeNet")
    assert lean["condition"].to_pylist() == ids * run.images


def test_conditions_of_one_name_and_strength_stay_apart(run: runs.Run) -> None:
    entries = statistics.by_perturbation(run.frame())
    assert len(entries) == 2 * len(run.conditions)
    assert len({entry["condition"] for entry in entries}) == len(run.conditions)
    assert {entry["n_images"] for entry in entries} == {run.images}


def test_it_can_be_compared_reported_exported_and_imported(run: runs.Run, tmp_path: Path) -> None:
    found = runs.compare(run, run)
    assert len(found.differences) == 2 * (1 + len(run.conditions))
    assert not found.apart
    for suffix, form in report.FORMATS.items():
        data = report.rendered(report.of_run(run), form.write, datetime(2026, 1, 2, tzinfo=UTC))
        assert data, suffix
    exported = tmp_path / "run.zip"
    assert main(["runs", "export", run.id, "--out", str(SAVED), "--to", str(exported)]) == 0
    assert main(["runs", "import", str(exported), "--out", str(tmp_path)]) == 0
    assert runs.load(tmp_path / run.id).table().equals(run.table())


def test_it_replays(capsys: pytest.CaptureFixture[str]) -> None:
    """Not the attacks, whose steps grow from the last digits of sums, other in each processor."""
    assert main(["replay", "compositions", "--out", str(SAVED), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 5 * 2 * 5


def test_an_unfinished_one_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)
    folder = tmp_path / "unfinished"
    shutil.copytree(SAVED / "unfinished", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"versions": versions()}))
    begun = runs.load(folder, unfinished=True)
    plan = runs.plan("samples", begun.manifest.spec, batch=begun.manifest.batch)
    with runs.start(plan, tmp_path, resume=True) as session:
        assert session.folder == folder
        assert 0 < session.resumed < 5
        for _ in session.perform():
            pass
    run = runs.load(folder)
    assert {part.has_ids for part in run.parts} == {True, False}
    assert run.frame()["condition"].value_counts().to_dict() == {
        "fog=0.6": 10,
        "horizontal_flip=1.0": 10,
    }


def test_rows_in_another_order_than_they_were_written_are_damage() -> None:
    run = runs.load(SAVED / "attacks")
    (part,) = all_parts(run.folder)
    with pytest.raises(RunError, match="another order"):
        read_rows(part, run.conditions[::-1])
