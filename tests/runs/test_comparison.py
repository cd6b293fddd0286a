"""A run evaluated again, and runs side by side: what is equal, and what differs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.support.image_folders import drawing, labelled_folder
from benchmarks.support.synthetic_runs import ESPRESSO, TABBY, saved
from robustness import api, models, report, runs
from robustness.base.errors import ParameterError, RunError
from robustness.images.framing import Framing
from robustness.measure.condition import Condition, named, short
from robustness.measure.options import Labelling
from robustness.measure.rows import TOLERANCE, stored
from robustness.report.blocks import Map
from robustness.runs.comparison import compare_rows, flips, row_changes
from robustness.runs.files import KEY
from tests.support.saved_runs import (
    CONDITIONS,
    assert_same_rows,
    evaluate_again,
    finished,
    performed,
    spec,
    use_stand_ins,
)

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


# --- evaluated again ------------------------------------------------------------------------------


def test_a_run_evaluated_again_has_the_same_rows(original: runs.Run, tmp_path: Path) -> None:
    again = evaluate_again(original, tmp_path / "again")
    assert_same_rows(original, again)
    assert again.table().equals(original.table())


@pytest.mark.parametrize("labelling", ["folders", "none"])
def test_the_selection_the_labels_and_the_batch_are_those_of_the_run(
    photos: Path, tmp_path: Path, labelling: Labelling
) -> None:
    plan = runs.plan(str(photos), spec(), labelling=labelling, limit=5, sample=3, batch=1)
    run = finished(plan, tmp_path / "runs")
    again = evaluate_again(run, tmp_path / "again")
    assert_same_rows(run, again)
    assert again.manifest.dataset == run.manifest.dataset
    assert again.manifest.batch == 1


def test_the_rows_of_images_that_both_runs_have_are_compared(
    run: runs.Run, photos: Path, tmp_path: Path
) -> None:
    changed = photos / "670" / "motorcycle-1.jpg"
    size = changed.stat().st_size
    drawing(3).save(changed, quality=1)
    with changed.open("ab") as file:
        file.write(bytes(size - changed.stat().st_size))  # listed as before, by its size
    compared = runs.compare(run, evaluate_again(run, tmp_path / "again"))
    assert compared.rows == runs.RowComparison(5 * 2 * 4)
    assert any("1 image only in this run" in note for note in compared.notes)


# --- how far rows may lie apart -------------------------------------------------------------------


def altered(run: runs.Run, tmp_path: Path, changes: Mapping[int, Mapping[str, object]]) -> runs.Run:
    """A copy of ``run`` with other values: a column's ``changes`` by the place of the row."""
    folder = tmp_path / "altered"
    shutil.copytree(run.folder, folder)
    (path,) = folder.glob("part-*")
    table = pq.read_table(path)
    rows = table.to_pylist()
    for place, columns in changes.items():
        for name, value in columns.items():
            rows[place][name] = value(rows[place][name]) if callable(value) else value
    about = {KEY: (table.schema.metadata or {})[KEY]}
    changed = pa.Table.from_pylist(rows, stored(())).replace_schema_metadata(about)
    pq.write_table(changed, path)
    sizes = {part.name: part.stat().st_size for part in folder.glob("*.parquet")}
    run.manifest.updated(parts=sizes).write(folder)
    return runs.load(folder)


def plus(amount: float) -> object:
    return lambda value: value + amount


def test_the_last_digits_of_another_machine_are_equal_within_rounding(
    original: runs.Run, tmp_path: Path
) -> None:
    columns = {
        "probability": plus(TOLERANCE / 2),
        "cosine": plus(-1e-7),
        "top5_probabilities": lambda values: [value + 1e-6 for value in values],
        "top5": lambda classes: [*classes[:3], classes[4], classes[3]],
        "stages": lambda stages: [{**stage, "cosine": stage["cosine"] + 1e-8} for stage in stages],
    }
    other = altered(original, tmp_path, {0: columns})
    compared = compare_rows(original, other)
    assert compared is not None
    assert compared.difference is None
    assert compared.sentence == "Rows equal within rounding (48 compared)."
    found = {change.column: change for change in row_changes(original.table(), other.table())}
    assert found.keys() == columns.keys()
    assert found["probability"].largest == pytest.approx(TOLERANCE / 2)
    assert found["stages"].largest == pytest.approx(1e-8)
    assert all(change.rows == 1 for change in found.values())
    row = original.frame().iloc[0]
    place = (row["image"], row["model"], row["condition"])
    assert (found["cosine"].image, found["cosine"].model, found["cosine"].condition) == place


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
def test_the_first_column_beyond_its_tolerance_is_named(
    original: runs.Run, tmp_path: Path, column: str, value: object
) -> None:
    other = altered(original, tmp_path, {1: {"clean_probability": plus(1e-9), column: value}})
    compared = compare_rows(original, other)
    assert compared is not None
    assert compared.difference is not None
    row = original.table().to_pylist()[1]
    for text in (f"{column} differs", row["image"], row["model"], named(row["condition"])):
        assert text in compared.sentence
    document = compared.as_dict()
    assert (document["equal"], document["compared"]) == (False, 48)
    assert (document["column"], document["condition"]) == (column, row["condition"])


def test_other_versions_are_named_and_are_no_difference_by_themselves(
    original: runs.Run, tmp_path: Path
) -> None:
    shutil.copytree(original.folder, tmp_path / "before")
    versions = {**original.manifest.versions, "numpy": "1.0"}
    original.manifest.updated(versions=versions).write(tmp_path / "before")
    compared = runs.compare(runs.load(tmp_path / "before"), original)
    assert compared.rows == runs.RowComparison(48)
    assert any(note.startswith("Another version of numpy: 1.0") for note in compared.notes)


# --- what cannot be evaluated again ---------------------------------------------------------------


def test_a_run_with_other_weights_or_a_model_that_is_gone_is_not_evaluated_again(
    original: runs.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = (("SqueezeNet", "sha256:0"), *original.manifest.spec.models[1:])
    manifest = original.manifest.updated(
        spec=dataclasses.replace(original.manifest.spec, models=others)
    )
    with pytest.raises(RunError, match="weights of SqueezeNet have changed since, from sha256:0"):
        runs.reevaluation_plan(manifest)
    known = {n: r for n, r in models.REGISTRY._records.items() if n != "SqueezeNet"}
    monkeypatch.setattr(models.REGISTRY, "_records", known)  # undoing it keeps the order
    with pytest.raises(RunError, match="no model called 'SqueezeNet'"):
        runs.reevaluation_plan(manifest)


def test_images_that_are_gone_or_others_need_a_source(
    run: runs.Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "670" / "motorcycle-0.jpg").unlink()
    with pytest.raises(RunError, match=r"Expected the 6 images .* got others .* their source"):
        runs.reevaluation_plan(run.manifest)
    assert len(runs.reevaluation_plan(run.manifest, str(photos)).dataset) == 5
    shutil.rmtree(photos)
    with pytest.raises(RunError, match="not where they were: give their source, too"):
        runs.reevaluation_plan(run.manifest)
    with pytest.raises(ParameterError, match="There is no folder"):
        runs.reevaluation_plan(run.manifest, str(tmp_path / "nowhere"))


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


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (
            "sha256:0123456789+aa",
            "sha256:9876543210+aa",
            "weights differ: {} (01234567 → 98765432)",
        ),
        ("sha256:0123456789+aa", "sha256:0123456789+bb", "description differs: {}."),
        ("sha256:0123456789+aa", "sha256:0123456789+aa", ""),
    ],
)
def test_two_versions_of_one_model_are_told_apart(
    original: runs.Run, before: str, after: str, note: str
) -> None:
    def version(digest: str) -> runs.Run:
        (name, _), *rest = original.manifest.spec.models
        spec = dataclasses.replace(original.manifest.spec, models=((name, digest), *rest))
        return dataclasses.replace(original, manifest=original.manifest.updated(spec=spec))

    compared = runs.compare(version(before), version(after))
    label = models.label(original.manifest.spec.model_names[0])
    assert {entry["model"] for entry in compared.differences} >= {"SqueezeNet"}, "paired by name"
    differ = [text for text in compared.notes if "differ" in text]
    assert (note.format(label) in differ[0]) if note else not differ


def test_the_report_of_a_comparison_has_the_differences_on_its_map(
    original: runs.Run, other: runs.Run, tmp_path: Path
) -> None:
    result = runs.compare(original, other)
    made = report.of_comparison(result)
    assert made.data.tables["differences"] == result.differences
    (section,) = made.sections
    (drawn,) = [block for block in section.printed if isinstance(block, Map)]
    tiles = [
        tile for row in drawn.drawing.rows for strip in row.strips if strip for tile in strip.tiles
    ]
    overall, noise = result.differences
    gaps = [overall["clean_accuracy_difference"], noise["perturbed_accuracy_difference"]]
    assert [int(tile.text) for tile in tiles] == [round(100 * gap) for gap in gaps]
    files = [tmp_path / f"report{suffix}" for suffix in (".html", ".json", ".md")]
    made_files = [path for file in files for path in api.report(result, file)]
    texts = {path.suffix: path.read_text() for path in made_files}
    assert json.loads(texts[".json"])["differences"] == result.differences
    for text in (texts[".html"], texts[".md"]):
        assert "Originals" in text
        assert "2 images only in the baseline" in text
        assert original.id in text
        assert str(original.manifest.dataset.source) not in text
    with pytest.raises(RunError, match="share no images"):
        report.of_comparison(
            dataclasses.replace(result, differences=[], notes=("These runs share no images.",))
        )


@pytest.mark.parametrize("quantity", ["consistency", "perturbed_accuracy"])
@pytest.mark.parametrize("side", [224, 96])
def test_flipped_images_are_those_that_the_change_counts(
    side: int, quantity: str, tmp_path: Path
) -> None:
    names, conditions = [f"{at}.png" for at in range(12)], [Condition.of({"fog": 0.6})]
    verdicts = np.random.default_rng(0).random((2, 12, 1)) < 0.5
    made = [
        saved(
            tmp_path / f"{asked}-{place}",
            {name: f"digest of {name}" for name in names},
            {"SqueezeNet": 1},
            source=tmp_path,
            conditions=conditions,
            kept={"SqueezeNet": verdicts[place]},
        )
        for place, asked in enumerate((224, side))
    ]
    framings = (("SqueezeNet", Framing(side=side)),)
    asked = dataclasses.replace(made[1].manifest.spec, framings=framings)
    made[1].manifest.updated(spec=asked).write(made[1].folder)
    first, second = (runs.load(run.folder) for run in made)
    incorrect = np.arange(12) % 5 == 0  # before the perturbation: correct where it is changed
    before, after = verdicts[..., 0] ^ (incorrect & (quantity != "consistency"))
    told = [
        [flip.image for flip in each]
        for each in flips(first, second, "SqueezeNet", conditions[0].id, quantity)
    ]
    expected = [np.flatnonzero(before & ~after), np.flatnonzero(~before & after)]
    assert told == [[names[at] for at in places] for places in expected]
    assert all(told)


def test_originals_that_flip_are_those_whose_prediction_differs(
    original: runs.Run, tmp_path: Path
) -> None:
    frame = original.frame()
    row = frame[(frame["model"] == "SqueezeNet") & ~frame["clean_correct"].fillna(True)].iloc[0]
    image, before, label = str(row["image"]), int(row["clean_top1"]), int(row["label"])
    names = original.rows.names
    corrected = {
        at: {"clean_top1": label}
        for at, each in enumerate(original.table().to_pylist())
        if each["model"] == "SqueezeNet" and names[each["position"]] == image
    }
    other = altered(original, tmp_path, corrected)
    pairs = (original, other), (other, original)
    (worse, better), (back_worse, back_better) = (
        flips(*pair, "SqueezeNet", "", "perturbed_accuracy") for pair in pairs
    )
    assert (worse, better) == ([], [(image, before, label, "")])
    assert (back_worse, back_better) == ([(image, label, before, "")], [])


def test_an_image_whose_prediction_is_the_target_already_flips_nowhere(tmp_path: Path) -> None:
    names, verdicts = [f"{at}.png" for at in range(12)], np.arange(24).reshape(2, 12, 1) < 12
    for target, flipped in ((ESPRESSO, 0), (TABBY, 12)):  # espresso is what was predicted before
        aimed = Condition.attack("pgd", epsilon=0.5, norm="l2", steps=10, target=target)
        first, second = (
            saved(
                tmp_path / f"{target}-{place}",
                {name: name for name in names},
                {"SqueezeNet": 1},
                source=tmp_path,
                conditions=[aimed],
                labelled=False,
                kept={"SqueezeNet": kept},
            )
            for place, kept in enumerate(verdicts)
        )
        (_, entry) = runs.compare(first, second).differences
        assert entry["consistency_moved"] == flipped
        worse, better = flips(first, second, "SqueezeNet", aimed.id, "consistency")
        assert (len(worse), len(better)) == (flipped, 0)
