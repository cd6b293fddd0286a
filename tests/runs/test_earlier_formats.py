"""Runs of earlier formats: rows of the first named their condition by perturbation and strength
alone, those of the first two not their fit and side, and pictures were not rounded to 8 bits."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from robustness import report, runs, statistics
from robustness.base.errors import RunError
from robustness.charts.tables import similarities
from robustness.commands.main import main
from robustness.evaluation.provenance import versions
from robustness.evaluation.rows import SCHEMA
from robustness.report.formats import pdf_charts
from robustness.runs.parts import all_parts, read_rows
from tests.support.saved_runs import use_stand_ins

FIRST, SECOND = (Path(__file__).with_name(f"{which}_format") for which in ("first", "second"))
RUNS = (FIRST / "attacks", FIRST / "compositions", SECOND / "attacks-and-compositions")


@pytest.fixture(params=RUNS, ids=lambda folder: folder.name)
def run(request: pytest.FixtureRequest) -> runs.Run:
    return runs.load(request.param)


def test_its_rows_get_what_they_lack(run: runs.Run) -> None:
    frame = run.frame()
    models = len(run.manifest.spec.models)
    assert set(frame["fit"]) == {"crop"}
    assert set(frame["side"]) == {224}
    ids = [condition.id for condition in run.conditions]
    assert len(set(ids)) == len(ids) == 5
    assert frame["condition"].value_counts().to_dict() == dict.fromkeys(ids, run.images * models)
    assert (frame["condition"].tolist()) == ids * (run.images * models)
    names = {condition.id: condition.name for condition in run.conditions}
    assert frame["condition"].astype(str).map(names).tolist() == frame["perturbation"].tolist()
    assert run.table().schema.equals(SCHEMA)
    lean = run.table(["condition", "top1"], model="SqueezeNet")
    assert lean["condition"].to_pylist() == ids * run.images


def test_similarity_from_its_floor_is_left_out(run: runs.Run) -> None:
    frame = run.frame()
    for entry in [*statistics.summary(frame), *statistics.by_perturbation(frame)]:
        assert 0 < entry["cosine"] <= 1
        assert entry["cosine_rescaled"] is entry["euclidean_rescaled"] is None
    titles = [title for title, _ in similarities(statistics.summary(frame), ".3f")]
    assert titles == ["Cosine", "Euclidean"]
    older = frame.drop(columns=["cosine_rescaled", "euclidean_rescaled"])  # a file's of that time
    assert statistics.summary(older) == statistics.summary(frame)


def test_conditions_of_one_name_and_strength_stay_apart(run: runs.Run) -> None:
    entries = statistics.by_perturbation(run.frame())
    assert len(entries) == len(run.manifest.spec.models) * len(run.conditions)
    assert len({entry["condition"] for entry in entries}) == len(run.conditions)
    assert {entry["n_images"] for entry in entries} == {run.images}


def test_it_can_be_compared_reported_exported_and_imported(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pdf_charts, "DPI", 40)  # nobody looks at them
    found = runs.compare(run, run)
    assert len(found.differences) == len(run.manifest.spec.models) * (1 + len(run.conditions))
    assert not found.apart
    content = report.of_run(run)
    for suffix, form in report.FORMATS.items():
        data = report.rendered(content, form.write, datetime(2026, 1, 2, tzinfo=UTC))
        assert data, suffix
    exported = tmp_path / "run.zip"
    out = str(run.folder.parent)
    assert main(["runs", "export", run.id, "--out", out, "--to", str(exported)]) == 0
    assert main(["runs", "import", str(exported), "--out", str(tmp_path)]) == 0
    assert runs.load(tmp_path / run.id).table().equals(run.table())


def test_it_says_that_its_pictures_were_not_rounded(run: runs.Run) -> None:
    assert "not rounded to 8 bits" in run.depth_note
    assert run.depth_note in report.of_run(run).cautions
    now = replace(run.manifest, spec=replace(run.manifest.spec, bits=8))
    apart = runs.compare(run, replace(run, manifest=now)).apart
    assert any("Of the baseline alone the perturbed pictures" in note for note in apart)


def test_replayed_it_is_rounded_and_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "compositions", "--out", str(FIRST), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 5 * 2 * 5
    assert told["verdict"] == "different"
    assert not told["changed"]


def test_an_unfinished_one_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run would mix pictures that are rounded with others that are not."""
    use_stand_ins(monkeypatch)
    folder = tmp_path / "unfinished"
    shutil.copytree(FIRST / "unfinished", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"versions": versions()}))
    begun = runs.load(folder, unfinished=True)
    spec = replace(begun.manifest.spec, bits=8)
    plan = runs.plan("samples", spec, batch=begun.manifest.batch)
    with runs.start(plan, tmp_path, resume=True) as session:
        assert session.folder != folder
        assert session.resumed == 0


def test_rows_in_another_order_than_they_were_written_are_damage() -> None:
    run = runs.load(FIRST / "attacks")
    (part,) = all_parts(run.folder, run.manifest)
    with pytest.raises(RunError, match="another order"):
        read_rows(part, replace(run.manifest.spec, conditions=run.conditions[::-1]))
