"""Runs with remedies: paired rows, the same in any batch, and evaluated again; old runs stay."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import labelled_folder
from robustness import api, runs
from robustness.base.errors import RunError
from robustness.base.validation import checked_json
from robustness.cli.main import main
from robustness.measure.condition import Condition
from robustness.measure.request import Request
from robustness.remedies import parse_all
from robustness.runs import Analysis
from robustness.runs.remedies import measured_gains
from tests.support.saved_runs import (
    assert_same_rows,
    evaluate_again,
    performed,
    spec,
    use_stand_ins,
)

PLAIN = spec([Condition.of({"impulse_noise": 0.6}), Condition.of({"rotation": 0.0})])
ASKED = PLAIN.with_remedies(parse_all("median,flip,median+autocontrast,average,vote"))
KEYS = ["model", "condition", "base", "clean_top1", "top1"]


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return labelled_folder(tmp_path_factory.mktemp("source") / "photos")


@pytest.fixture(scope="module")
def both(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[runs.Run, runs.Run]:
    """A run with the remedies and one without, to be left as they are."""
    folder = tmp_path_factory.mktemp("both")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        first = performed(source, folder / "a", ASKED)
        return first, performed(source, folder / "b", PLAIN)


@pytest.fixture
def copied(both: tuple[runs.Run, runs.Run], tmp_path: Path) -> runs.Run:
    """A copy of the run with the remedies, which a test may change."""
    folder = tmp_path / "copy" / both[0].id
    shutil.copytree(both[0].folder, folder)
    return runs.load(folder)


def test_rows_hold_the_prediction_behind_each_remedy(
    both: tuple[runs.Run, runs.Run], tmp_path: Path
) -> None:
    run, _ = both
    names: dict[tuple[object, ...], set[str]] = {}
    for row in run.table(KEYS, variants=True).to_pylist():
        names.setdefault((row["position"], row["condition"]), set()).add(row["model"])
        assert row["base"] == row["model"].split("+")[0]
        if row["condition"].startswith("rotation"):
            assert row["top1"] == row["clean_top1"]
    models = ASKED.model_names
    assert len(names) * len(models) == run.row_count
    expected = {"+".join([*models, remedy]) for remedy in ("average", "vote")}
    for remedy in ("median", "flip", "median+autocontrast"):
        expected |= {f"{model}+{remedy}" for model in models}
    assert all(each == expected for each in names.values())
    found = measured_gains(run)
    assert len(found.gains) == 5 * 2 * 2
    rows = api.gains(run)
    assert [(row["remedy"], row["gain"]) for row in rows] == [
        (each.remedy, each.gain) for each in found.gains
    ]
    assert all(row["milliseconds"] is None or row["milliseconds"] > 0 for row in rows)
    assert_same_rows(run, evaluate_again(run, tmp_path / "again"))


def test_other_figures_are_those_of_the_run_without_remedies(
    both: tuple[runs.Run, runs.Run],
) -> None:
    with_them, without = both
    assert with_them.table().equals(without.table())
    assert Analysis(with_them).figures.summary == Analysis(without).figures.summary
    assert not measured_gains(without).gains
    assert not without.manifest.spec.remedies
    assert not any("+" in name for turns in without.manifest.latencies for name in turns.models)


def test_without_asking_for_remedies_every_answer_is_the_same_to_the_byte(
    copied: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied
    answers: list[list[str | bytes]] = []
    for _ in range(2):
        answers.append([])
        for command in ("choose", "failures"):
            assert main([command, str(run.folder), "--json"]) == 0
            answers[-1].append(capsys.readouterr().out)
        budget = tmp_path / "budget.toml"
        budget.write_text("[[limit]]\nmin_consistency = 0.5\n")
        main(["check", str(run.folder), "--budget", str(budget), "--json"])
        answers[-1].append(capsys.readouterr().out)
        assert main(["report", str(run.folder), "--to", str(tmp_path / "rows.csv")]) == 0
        capsys.readouterr()
        answers[-1].append((tmp_path / "rows.csv").read_bytes())
        for part in run.parts:  # as if there had been no remedies
            rows = pq.read_table(part.path)
            pq.write_table(rows.filter(rows["base"].is_null()), part.path)
        sizes = {name: (run.folder / name).stat().st_size for name in run.manifest.parts}
        bare = replace(run.manifest, spec=PLAIN, parts=sizes)
        bare.write(run.folder)
        run = runs.load(run.folder)
    assert not run.table(KEYS, variants=True).num_rows
    assert answers[0] == answers[1]
    assert all(answers[0])


def test_a_copy_of_a_run_has_its_gains_and_its_spec_reads_back(
    both: tuple[runs.Run, runs.Run], tmp_path: Path
) -> None:
    assert checked_json(Request, json.dumps(ASKED.as_dict()).encode()) == ASKED
    run, _ = both
    copy = runs.load(Path(shutil.copytree(run.folder, tmp_path / "b")))
    assert measured_gains(copy).gains == measured_gains(run).gains


@pytest.mark.parametrize("what", ["model", "variant"])
def test_a_run_without_all_its_rows_is_not_opened(
    what: str, both: tuple[runs.Run, runs.Run], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(both[0].folder, tmp_path / "copy"))
    (part,) = (path for path in folder.glob("part-*"))
    table = pq.read_table(part)
    of_variant = table["base"].is_valid().to_numpy()
    first = {"model": np.flatnonzero(~of_variant)[0], "variant": np.flatnonzero(of_variant)[0]}
    pq.write_table(table.take(np.delete(np.arange(len(table)), first[what])), part)
    sizes = {name: (folder / name).stat().st_size for name in both[0].manifest.parts}
    both[0].manifest.updated(parts=sizes).write(folder)
    with pytest.raises(RunError, match="rows"):
        runs.load(folder)
