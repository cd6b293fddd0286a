"""Where and why the models of a run fail: the same from Python, command, report and page."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support import synthetic_runs
from benchmarks.support.synthetic_runs import (
    ESPRESSO,
    TABBY,
    measurement,
    pictures,
    saved,
    with_column,
    with_images,
)
from robustness import api, report, runs
from robustness.base.errors import ParameterError, RobustnessError
from robustness.cli.main import main
from robustness.datasets import open_dataset
from robustness.measure.condition import Condition
from robustness.measure.measurement import Measurement
from robustness.report.blocks import Titled
from robustness.report.failures import property_title
from robustness.runs import Analysis, cases, files, notes
from robustness.runs.analysis import compute_headline
from robustness.runs.cases import RowSelection

FOG, BLUR = Condition.of({"fog": 0.6}), Condition.of({"gaussian_blur": 0.5})
IMAGES = 48


def with_properties(run: runs.Run) -> runs.Run:
    """``run`` with the brightness of its images, which rises, and one camera."""
    brightness = [at / IMAGES for at in range(IMAGES)]

    def change(table: pa.Table) -> pa.Table:
        table = with_column(table, "camera", ["A"] * IMAGES)
        return with_column(table, "brightness", brightness)

    return with_images(run, change)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """SqueezeNet fails on the darker half of the images, and Lite0 never does."""
    root = tmp_path_factory.mktemp("failures")
    names = [f"{number:02}.png" for number in range(IMAGES)]
    digests = {name: f"digest {name}" for name in names} | pictures(root / "images", names[:3])
    kept = {
        "SqueezeNet": np.repeat(np.arange(IMAGES) >= IMAGES // 2, 2).reshape(-1, 2),
        "EfficientNetLite0": np.ones((IMAGES, 2), bool),
    }
    made = saved(
        root / "run",
        digests,
        dict.fromkeys(kept, 1.0),
        source=root / "images",
        conditions=(FOG, BLUR),
        labelled=False,
        kept=kept,
    )
    return with_properties(made)


def test_the_worse_slice_is_the_same_everywhere(
    run: runs.Run, capsys: pytest.CaptureFixture[str]
) -> None:
    found = api.failures(run)
    (worse,) = [entry for entry in found.slices if entry["worse"]]
    assert (worse["model"], worse["column"], worse["rate"], worse["rest"]) == (
        "SqueezeNet",
        "brightness",
        0,
        1,
    )
    assert main(["failures", str(run.folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.as_dict()))
    assert main(["failures", str(run.folder)]) == 0
    assert "Brightness below" in capsys.readouterr().out
    (section,) = [s for s in report.of_run(run).sections if s.title == "Slices"]
    assert any("Brightness below" in str(block) for block in section.printed)
    assert Analysis(runs.load(run.folder)).failures == found  # as kept beside the run


@pytest.mark.parametrize(
    ("column", "value", "title"),
    [
        ("brightness", "..0.4259", "Brightness below 42.59%"),
        ("contrast", "0.25", "Contrast: 25%"),
        ("contrast", "high", "Contrast: high"),
        ("iso", "200..", "ISO 200 or more"),
        ("camera", "0.5", "Camera: 0.5"),
        ("own", "0.5..", "own 0.5 or more"),
    ],
)
def test_a_slice_in_words_has_shares_in_percent(column: str, value: str, title: str) -> None:
    assert property_title(column, value) == title


def test_changes_and_pairs_open_the_images_that_they_count(run: runs.Run) -> None:
    found = Analysis(run).failures
    for entry in found.changes:
        assert len(api.failing_images(run, entry["selection"])) == entry["n_images"]
    whole = [(e["before"], e["after"], e["n_images"]) for e in found.changes if not e["condition"]]
    assert whole == [("espresso", "tabby", IMAGES // 2)]
    (pair,) = found.pairs
    for side in ("model", "other"):
        images = api.failing_images(run, pair[f"{side}_selection"])
        assert len(images) <= pair[f"{side}_only"], "an image counts under each condition"
        assert bool(images) is bool(pair[f"{side}_only"])


def test_a_table_shows_which_class_became_which(run: runs.Run) -> None:
    (section,) = [s for s in report.of_run(run).sections if s.title == "Changed classes"]
    (block,) = [block for block in section.printed if isinstance(block, Titled)]
    assert block.caption == "Changes of SqueezeNet 1.1"
    assert block.table.head == ("Original", "Perturbed", "Images", "Share of changes")
    assert [list(row) for row in block.table.rows] == [["espresso", "tabby", "24", "100.0%"]]


def test_a_selection_gives_its_images_to_lists_tables_and_archives(
    run: runs.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = next(entry["selection"] for entry in Analysis(run).failures.slices if entry["worse"])
    rows = api.failing_images(run, where)
    assert sorted(row["image"] for row in rows) == [f"{at:02}.png" for at in range(IMAGES // 2)]
    assert main(["failures", str(run.folder), "--where", where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows
    api.failing_images(run, where, to=tmp_path / "cases.zip")
    with zipfile.ZipFile(tmp_path / "cases.zip") as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("cases.csv").decode())))
        assert {row["consistent"] for row in table} == {"false"}
        shown = [row for row in table if row["perturbed"]]
        assert {row["image"] for row in shown} == {"00.png", "01.png", "02.png"}
        assert {row["perturbed"] for row in shown} < set(archive.namelist())
    with pytest.raises(ParameterError, match=r"\.csv or \.zip"):
        api.failing_images(run, where, to=tmp_path / "cases.txt")


@pytest.mark.parametrize(
    ("chosen", "images"),
    [
        (RowSelection(slices=(("brightness", "0.25..0.5"), ("camera", "A"))), 12),
        (RowSelection(model="SqueezeNet", against="EfficientNetLite0", conditions=(FOG.id,)), 24),
        (RowSelection(model="EfficientNetLite0", against="SqueezeNet"), 0),
        (RowSelection(model="SqueezeNet", became=(967, 281)), 24),
        (RowSelection(positions=(3, 40)), 2),
        (RowSelection(classes=(("SqueezeNet", 967), ("EfficientNetLite0", 967))), IMAGES),
    ],
)
def test_a_selection_is_its_text(run: runs.Run, chosen: RowSelection, images: int) -> None:
    assert RowSelection.parse(chosen.text, run.manifest.spec) == chosen
    assert run.cases.tally(chosen).images == images


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_a_blank_text_selects_all_rows(run: runs.Run, text: str) -> None:
    assert RowSelection.parse(text, run.manifest.spec) == RowSelection()


@pytest.mark.parametrize("column", ["site:camera", "a%3Ab", "100 %", ":"])
def test_a_column_may_have_any_name(run: runs.Run, column: str) -> None:
    chosen = RowSelection(slices=((column, "x:y"), (column, "..0.2")))
    assert RowSelection.parse(chosen.text, run.manifest.spec) == chosen


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "such as"),
        ("model=nobody", "model to be one of"),
        ("condition=nope", "condition to be one of fog=0.6, gaussian_blur=0.5; got 'nope'"),
        ("condition=fog=0.6&condition=fog=0.7", "got 'fog=0.7'"),
        ("perturbation=nope", "perturbation to be one of fog, gaussian_blur; got"),
        ("slice=brightness", "such as"),
        ("became=1", "such as"),
        ("image=x", "image to be positions from 0 to 2147483646, such as 3,40; got 'x'"),
        ("image=3,-1", "positions"),
        ("image=99999999999", "positions"),
        ("image=2147483648", "positions"),
        ("class=nobody", "Expected a class"),
        ("a=b", "such as"),
    ],
)
def test_a_text_that_is_no_selection_is_refused(run: runs.Run, text: str, reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        RowSelection.parse(text, run.manifest.spec)
    with pytest.raises(ParameterError, match="brightness"):
        api.failing_images(run, "slice=nothing:1")


def test_large_runs_are_sampled_and_say_so(run: runs.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MOST_CELLS", 20)
    found = cases.failure_tables(run.rows, run.properties)
    assert [entry["n_predictions"] for entry in found.pairs] == [20]
    assert found.changes[0]["n_images"] < 10
    assert list(found.unknown) == [cases.SAMPLED.format(10)]


def _put(path: Path, instead: str) -> None:
    path.unlink()
    if instead == "folder":
        path.mkdir()
    elif instead == "link":
        path.symlink_to(path.with_name("nowhere"))
    elif instead == "pipe":
        os.mkfifo(path)
    elif instead == "table":
        pq.write_table(pa.table({"x": [1]}), path)
    else:
        path.touch()


@pytest.mark.parametrize("instead", ["folder", "link", "pipe", "table", "nothing"])
def test_whatever_lies_in_place_of_a_file_a_run_opens_or_says_why(
    run: runs.Run, instead: str, tmp_path: Path
) -> None:
    assert Analysis(run).failures.slices
    assert compute_headline(run.folder, run.manifest).models
    notes.update(run.folder, title="A title", note="A note")
    names = sorted(path.name for path in run.folder.iterdir() if path.is_file())
    assert {"images.parquet", "manifest.json", "notes.json", "headline.json.gz"} <= {*names}
    for name in names:
        folder = tmp_path / name / "run"
        shutil.copytree(run.folder, folder)
        _put(folder / name, instead)
        assert len(runs.listing(folder.parent)) == 1
        refused = ""
        try:
            opened = runs.load(folder)
            assert report.printed(report.of_run(opened))
        except RobustnessError as error:
            refused = str(error)
        assert "\n" not in refused
        assert not refused or name.startswith(("part-", "images", "manifest")), refused


@pytest.mark.parametrize("without", [0.25, 0.75])
def test_pairs_of_a_partly_labelled_run_open_the_images_that_they_count(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, without: float
) -> None:
    rng = np.random.default_rng(1)
    names = ("SqueezeNet", "EfficientNetLite0")
    attack = Condition.attack(name="pgd", epsilon=4 / 255)
    labels = [ESPRESSO, TABBY] if without < 0.5 else [ESPRESSO]

    def measured(*told: Any, **more: Any) -> Measurement:
        row = measurement(*told, **more)
        number = int(row.image)
        there = number % 4 >= 4 * without
        return replace(row, label=labels[number % len(labels)] if there else None)

    monkeypatch.setattr(synthetic_runs, "measurement", measured)
    made = saved(
        tmp_path / "run",
        {f"{at}": f"digest {at}" for at in range(IMAGES)},
        dict.fromkeys(names, 1.0),
        source=tmp_path,
        conditions=(FOG, attack),
        kept={name: rng.random((IMAGES, 2)) < 0.6 for name in names},
    )
    (pair,) = Analysis(made).failures.pairs
    for side in ("model", "other"):
        assert pair[f"{side}_only"] > 0
        assert len(api.failing_images(made, pair[f"{side}_selection"])) == pair[f"{side}_only"]
    # One quantity, over the images that have it.
    frame = made.frame().query(f"condition == {FOG.id!r}")

    def wide(column: str) -> np.ndarray[Any, Any]:
        table = frame.pivot(index="image", columns="model", values=column)
        return table[[pair["model"], pair["other"]]].to_numpy(object)

    labelled = ~pd.isna(wide("label")).any(axis=1)
    well = wide("correct")[labelled] if without < 0.5 else wide("consistent")
    a, b = well.astype(bool).T
    assert (pair["n_predictions"], pair["both"]) == (len(well), (~a & ~b).sum())
    tally = made.cases.tally(RowSelection(perturbation="fog"))
    wrong = ~wide("correct")[labelled].astype(bool).all(axis=1)
    changed = ~wide("consistent")[~labelled].astype(bool).all(axis=1)
    assert (tally.by_label.counted, tally.by_label.bad) == (labelled.sum(), wrong.sum())
    assert (tally.by_change.counted, tally.by_change.bad) == ((~labelled).sum(), changed.sum())
    narrow = RowSelection(perturbation="fog", conditions=(FOG.id,), positions=tuple(range(IMAGES)))
    assert made.cases.tally(narrow) == tally, "by a query as from what is kept"


def test_columns_of_the_table_stand_beside_what_was_measured(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,Label,scene,brightness\na.png,0,day,x\nb.png,1,,y\na.png,0,night,z\n")
    dataset = open_dataset(str(table))
    run = saved(tmp_path / "run", {"a.png": "1", "b.png": "2"}, {"SqueezeNet": 1.0}, source=table)
    measured = with_column(run.image_table, "brightness", [0.5, 1.0])
    assert files.gather(run.folder, measured, dataset).name == files.FILE
    found = files.properties(pq.read_table(run.folder / files.FILE))
    assert found is not None
    assert found["position"].to_pylist() == [0, 1]
    assert found["brightness"].to_pylist() == [0.5, 1.0]
    assert found["scene"].to_pylist() == ["day", None]
    assert found["brightness (table)"].to_pylist() == ["x", "y"]
