"""The images of a selection as an archive that FiftyOne reads."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.support.synthetic_runs import pictures, saved
from robustness import api, runs
from robustness.measure.condition import Condition
from robustness.runs import export
from robustness.runs.cases import SURVIVORS, WORST, RowSelection
from tests.support.documents import DOCUMENTS, blocks

NAMES = ["a.png", "b.v2.jpg.png", "folder/c.png"]
FOG = Condition.of({"fog": 0.6})
CHANGED = {"model": "SqueezeNet", "condition": FOG.id, "perturbation": "fog", "strength": 0.6}


def made(root: Path, *, labelled: bool = True, kept: Sequence[bool] = (False,) * 3) -> runs.Run:
    """A run whose model changes every prediction from espresso to tabby, except those ``kept``."""
    digests = pictures(root / "images", NAMES)
    return saved(
        root / "run",
        digests,
        {"SqueezeNet": 0.0},
        source=root / "images",
        conditions=(FOG,),
        labelled=labelled,
        kept={"SqueezeNet": np.array(kept)[:, None]},
    )


def unpacked(run: runs.Run, to: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The failing images of ``run`` in a folder: true classes and predictions by image."""
    api.failing_images(run, to=to.with_suffix(".zip"))
    with zipfile.ZipFile(to.with_suffix(".zip")) as archive:
        archive.extractall(to)
    read = [json.loads((to / name).read_text()) for name in ("labels.json", "predictions.json")]
    assert [list(each) for each in read] == [["labels"], ["labels"]]
    return read[0]["labels"], read[1]["labels"]


def test_every_image_has_its_true_class_and_its_prediction(tmp_path: Path) -> None:
    run = made(tmp_path)
    classes, predictions = unpacked(run, tmp_path / "dark")
    images = [path.relative_to(tmp_path / "dark") for path in (tmp_path / "dark").rglob("*.png")]
    assert {path.with_suffix("").as_posix() for path in images} == classes.keys()
    rows = api.failing_images(run)
    assert sorted(row["image"] for row in rows) == NAMES
    for row in rows:
        original, perturbed = f"original/{row['image']}", f"{FOG.id}/{row['image']}"
        assert classes[original] == classes[perturbed] == row["true_class"]
        before, after = predictions[original], predictions[perturbed]
        assert (before["label"], after["label"]) == ("espresso", "tabby")
        assert before["confidence"] == row["clean_probability"]
        assert after["confidence"] == row["probability"]
        assert before["attributes"] == {"model": "SqueezeNet", "condition": "clean"}
        told = after["attributes"]
        assert {key: told[key] for key in CHANGED} == CHANGED
        assert (told["consistent"], told["correct"]) == (False, row["correct"])


def test_a_kind_of_cases_is_exported_alone(tmp_path: Path) -> None:
    run = made(tmp_path, labelled=False, kept=[True, False, False])
    worst = NAMES[:0:-1]  # by the loss of confidence
    for kind, names in ((WORST, worst), (SURVIVORS, NAMES[:1]), ("", [*worst, NAMES[0]])):
        table = export.exported(run, RowSelection(), ".csv", kind).decode()
        assert [row["image"] for row in csv.DictReader(table.splitlines())] == names


@pytest.mark.parametrize("labelled", [True, False])
def test_fiftyone_reads_it_as_printed(
    labelled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = [
        block for block in blocks("python", DOCUMENTS["docs/datasets.md"]) if "fiftyone" in block
    ]
    fiftyone = pytest.importorskip("fiftyone", reason="fiftyone is not installed")
    classes, predictions = unpacked(made(tmp_path, labelled=labelled), tmp_path / "dark")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    try:
        exec(code, names)
    except fiftyone.core.config.FiftyOneConfigError as error:
        pytest.skip(f"FiftyOne's database does not start: {error}")
    dataset = names["dataset"]
    read = {
        Path(sample.filepath).relative_to(tmp_path / "dark").with_suffix("").as_posix(): sample
        for sample in dataset
    }
    assert read.keys() == classes.keys()
    for image, sample in read.items():
        told = predictions[image]
        if labelled:
            assert sample.ground_truth.label == classes[image]
        assert (sample.prediction.label, sample.prediction.confidence) == (
            told["label"],
            told["confidence"],
        )
        assert all(sample.prediction[key] == value for key, value in told["attributes"].items())
    fogged = dataset.match(fiftyone.ViewField("prediction.condition") == FOG.id)
    assert len(fogged) == len(NAMES)
    assert "prediction.condition" in dataset.get_field_schema(flat=True)
