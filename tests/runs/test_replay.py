"""A run again, and runs side by side: what agrees, what differs, and what could not be run."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import drawing, labelled_folder
from robustness import models, runs
from robustness.base.errors import ImageError, RunError
from robustness.evaluation.condition import Condition, short
from robustness.evaluation.provenance import GRAIN
from robustness.evaluation.row_schema import stored
from robustness.runs.replay import TOLERANCE, agreement
from robustness.runs.row_files import KEY
from tests.support.saved_runs import CONDITIONS, performed, spec, use_stand_ins

TWICE = (Condition.of({"fog": 0.2, "rotation": 0.5}), Condition.of({"fog": 0.8, "rotation": 0.1}))
"""Two compositions of one name and no strength: told apart by their place alone."""


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return labelled_folder(tmp_path / "photos", 2)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> runs.Run:
    """Such a run, to be left as it is."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        use_stand_ins(patch)
        photos = labelled_folder(folder / "photos", 2)
        return performed(photos, folder / "runs", spec((*CONDITIONS, *TWICE)))


@pytest.fixture
def run(original: runs.Run, photos: Path, tmp_path: Path) -> runs.Run:
    """Such a run of ``photos``; a test may change both."""
    folder = tmp_path / "runs" / original.id
    shutil.copytree(original.folder, folder)
    dataset = dataclasses.replace(original.manifest.dataset, source=str(photos))
    original.manifest.updated(dataset=dataset).write(folder)
    return runs.load(folder)


def repeat(run: runs.Run, tmp_path: Path) -> runs.Replay:
    return runs.replay(run, tmp_path / "again")


# --- replay ---------------------------------------------------------------------------------------


def test_the_same_machine_gives_the_same_rows(original: runs.Run, tmp_path: Path) -> None:
    heard: list[runs.Progress] = []
    result = runs.replay(original, tmp_path / "again", note=heard.append)
    assert result.verdict == runs.IDENTICAL
    assert result.agrees
    assert not result.findings
    assert result.rows == original.table().num_rows == 6 * 2 * 4
    assert heard[-1].done == 6
    assert result.repeat.table().equals(original.table())


@pytest.mark.parametrize("labelling", ["folders", "none"])
def test_the_selection_the_labels_and_the_batch_are_those_of_the_run(
    photos: Path, tmp_path: Path, labelling: str
) -> None:
    plan = runs.plan(str(photos), spec(), labelling=labelling, limit=5, sample=3, batch=1)
    with runs.start(plan, tmp_path / "runs") as writer:
        list(writer.perform())
    run = runs.load(writer.folder)
    result = repeat(run, tmp_path)
    assert result.verdict == runs.IDENTICAL
    assert result.repeat.manifest.dataset == run.manifest.dataset
    assert result.repeat.manifest.batch == 1


def test_pictures_that_changed_came_or_went_are_named(
    run: runs.Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "670" / "motorcycle-0.jpg").unlink()
    drawing(3).save(photos / "670" / "motorcycle-1.jpg")
    drawing(4).save(photos / "670" / "aaa.jpg")
    (photos / "n07920052" / "coffee-0.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    result = repeat(run, tmp_path)
    assert result.verdict == runs.DIFFERENT
    assert set(result.missing) == {"670/motorcycle-0.jpg", "n07920052/coffee-0.jpg"}
    assert result.extra == ("670/aaa.jpg",)
    assert result.changed == ("670/motorcycle-1.jpg",)
    assert not result.listing
    assert not result.changes, "the rows of the other images are the same"
    assert any("670/aaa.jpg" in sentence for sentence in result.findings)


def test_a_picture_whose_pixels_are_the_same_is_the_same(
    run: runs.Run, photos: Path, tmp_path: Path
) -> None:
    path = photos / "670" / "motorcycle-1.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    result = repeat(run, tmp_path)
    assert not result.changed
    assert result.findings == ["The dataset has other files than the run."]


def test_a_picture_that_changed_is_not_shown_as_the_one_that_was_measured(
    run: runs.Run, photos: Path
) -> None:
    drawing(3).save(photos / "670" / "motorcycle-1.jpg")
    repeat = runs.load(run.folder)
    assert repeat.picture("670/motorcycle-0.jpg").name == "670/motorcycle-0.jpg"
    with pytest.raises(ImageError, match="its pixels have changed"):
        repeat.picture("670/motorcycle-1.jpg")


# --- how far rows may lie apart -------------------------------------------------------------------


def altered(run: runs.Run, tmp_path: Path, **columns: object) -> runs.Run:
    """A copy of ``run`` in which the first row's values of ``columns`` are others."""
    folder = tmp_path / "altered"
    shutil.copytree(run.folder, folder)
    path = sorted(folder.glob("part-*"))[0]
    table = pq.read_table(path)
    rows = table.to_pylist()
    for name, value in columns.items():
        rows[0][name] = value(rows[0][name]) if callable(value) else value
    about = {KEY: (table.schema.metadata or {})[KEY]}
    changed = pa.Table.from_pylist(rows, stored(())).replace_schema_metadata(about)
    pq.write_table(changed, path)
    sizes = {part.name: part.stat().st_size for part in folder.glob("*.parquet")}
    run.manifest.updated(parts=sizes).write(folder)
    return runs.load(folder)


def plus(amount: float) -> object:
    return lambda value: value + amount


def test_the_last_digits_of_another_machine_agree_within_rounding(
    original: runs.Run, tmp_path: Path
) -> None:
    result = agreement(
        original,
        altered(
            original,
            tmp_path,
            probability=plus(TOLERANCE / 2),
            cosine=plus(-1e-7),
            top5_probabilities=lambda values: [value + 1e-6 for value in values],
            top5=lambda classes: [*classes[:3], classes[4], classes[3]],
            stages=lambda stages: [{**stage, "cosine": stage["cosine"] + 1e-8} for stage in stages],
        ),
    )
    assert result.verdict == runs.ROUNDED
    assert result.agrees
    changed = {change.column: change for change in result.changes}
    assert set(changed) == {"probability", "cosine", "top5_probabilities", "top5", "stages cosine"}
    assert changed["probability"].largest == pytest.approx(TOLERANCE / 2)
    assert changed["stages cosine"].largest == pytest.approx(1e-8)
    assert all(change.rows == 1 for change in result.changes)
    row = original.frame().iloc[0]
    assert changed["cosine"].image == row["image"]
    assert (changed["cosine"].model, changed["cosine"].perturbation) == (
        row["model"],
        row["perturbation"],
    )


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("top1", plus(1)),
        ("label", plus(1)),
        ("consistent", lambda value: not value),
        ("probability", plus(2 * TOLERANCE)),
        ("strength", plus(1e-9)),
        ("cosine", None),
        ("top5_probabilities", lambda values: values[:4]),
        ("stages", lambda stages: stages[1:]),
    ],
)
def test_what_is_more_than_rounding_is_different(
    original: runs.Run, tmp_path: Path, column: str, value: object
) -> None:
    result = agreement(original, altered(original, tmp_path, **{column: value}))
    assert result.verdict == runs.DIFFERENT
    assert result.changes[0].column.startswith(column)
    assert result.as_dict()["verdict"] == "different"


def test_other_versions_are_told_and_are_no_difference_by_themselves(
    run: runs.Run, tmp_path: Path
) -> None:
    versions = {**run.manifest.versions, "numpy": "1.0"}
    run.manifest.updated(versions=versions).write(run.folder)
    result = repeat(runs.load(run.folder), tmp_path)
    assert result.verdict == runs.IDENTICAL
    assert any(sentence.startswith("Another version of numpy: 1.0") for sentence in result.versions)


# --- what could not be run ------------------------------------------------------------------------


def test_changed_or_missing_weights_cannot_be_replayed(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(
        run.manifest.spec, models=(("SqueezeNet", "sha256:0"), *run.manifest.spec.models[1:])
    )
    run.manifest.updated(spec=other).write(run.folder)
    with pytest.raises(RunError, match="weights of SqueezeNet have changed since, from sha256:0"):
        repeat(runs.load(run.folder), tmp_path)
    others = {n: r for n, r in models.REGISTRY._records.items() if n != "SqueezeNet"}
    monkeypatch.setattr(models.REGISTRY, "_records", others)  # undoing it keeps the order
    with pytest.raises(RunError, match="no model called 'SqueezeNet'"):
        repeat(runs.load(run.folder), tmp_path)


def test_a_source_that_is_gone_cannot_be_replayed(
    run: runs.Run, photos: Path, tmp_path: Path
) -> None:
    shutil.rmtree(photos)
    with pytest.raises(RunError, match="cannot be replayed: There is no folder"):
        repeat(run, tmp_path)
    assert not (tmp_path / "again").exists()


# --- comparison -----------------------------------------------------------------------------------


@pytest.fixture
def other(original: runs.Run, tmp_path: Path) -> runs.Run:
    asked = spec(CONDITIONS[:1], names=["SqueezeNet"], seed=6)
    return performed(original.manifest.dataset.source, tmp_path / "runs", asked, limit=4)


def test_runs_are_compared_on_what_they_share(original: runs.Run, other: runs.Run) -> None:
    result = runs.compare(original, other)
    assert result.images == 4
    overall, noise = result.differences
    assert (overall["model"], overall["perturbation"]) == ("SqueezeNet", None)
    assert (noise["perturbation"], noise["n_images"]) == ("gaussian_noise", 4)
    for side, each in (("a", original), ("b", other)):
        rows = each.frame().query("model == 'SqueezeNet' and perturbation == 'gaussian_noise'")
        shared = rows[rows["image"].isin(other.frame()["image"].unique())]
        assert noise[f"consistency_{side}"] == pytest.approx(np.mean(shared["consistent"]))
    text = " ".join(result.notes)
    assert "2 images only in the baseline" in text
    assert "Models only in the baseline: EfficientNet-Lite0." in text
    assert "Conditions only in the baseline: rotation 0.5, fog 0.2 + rotation 0.5" in text
    text = " ".join(runs.compare(original, other, said=short).notes)
    assert "Conditions only in the baseline: Rotation 0.5, Fog effect 0.2 + Rotation 0.5" in text
    assert "The seed differs: 5 and 6." in text
    assert "other run alone" not in text


def test_runs_that_share_nothing_say_so(original: runs.Run, tmp_path: Path) -> None:
    stranger = performed("samples", tmp_path / "runs", spec(CONDITIONS[:1]))
    result = runs.compare(original, stranger)
    assert result.images == 0
    assert not result.differences
    assert "share no images" in result.notes[0]


@pytest.mark.parametrize("side", [224, 384])
def test_noise_of_another_grain_is_told_where_it_differs(
    original: runs.Run, tmp_path: Path, side: int
) -> None:
    manifest = original.manifest.updated(
        spec=dataclasses.replace(original.manifest.spec, side=side)
    )
    earlier = {name: text for name, text in manifest.versions.items() if name != GRAIN}
    for name, versions in (("now", manifest.versions), ("earlier", earlier)):
        shutil.copytree(original.folder, tmp_path / name)
        manifest.updated(versions=versions).write(tmp_path / name)
    now, before = (runs.load(tmp_path / name) for name in ("now", "earlier"))
    assert not any("noise" in text for text in runs.compare(now, now).notes)
    for pair, whose in (((now, before), "other run"), ((before, now), "baseline")):
        notes = [text for text in runs.compare(*pair).notes if "noise" in text]
        assert bool(notes) is (side > 224)
        assert all(whose in text for text in notes)


def test_changed_weights_and_versions_are_told(original: runs.Run, tmp_path: Path) -> None:
    shutil.copytree(original.folder, tmp_path / "copy")
    trained = dataclasses.replace(
        original.manifest.spec,
        models=(("SqueezeNet", "sha256:0"), *original.manifest.spec.models[1:]),
    )
    original.manifest.updated(spec=trained, versions={"keras": "4"}).write(tmp_path / "copy")
    text = " ".join(runs.compare(original, runs.load(tmp_path / "copy")).notes)
    assert "The weights differ: SqueezeNet." in text
    assert f"Another version of keras: {original.manifest.versions['keras']} and 4." in text
