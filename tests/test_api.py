"""The Python API: what the README does not show of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from robustness import api
from robustness.base.errors import ImageError, ParameterError
from robustness.evaluation.spec import RunSpec
from robustness.pictures.eight_bits import to_uint8
from robustness.pictures.fitting import load_study_image
from tests.support.made_datasets import labelled_folder
from tests.support.saved_runs import use_stand_ins
from tests.support.stand_ins import Stable


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    use_stand_ins(monkeypatch)
    loop = api.loop.evaluate
    monkeypatch.setattr(
        api.loop, "evaluate", lambda spec, pictures: loop(spec, pictures, load=Stable().load)
    )


@pytest.fixture
def spec() -> RunSpec:
    return api.make_spec(["SqueezeNet"], perturbations=["fog", "rotation"], strengths=[0.2, 0.6])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return labelled_folder(tmp_path / "photos", 1)


def test_importing_it_loads_no_tensorflow() -> None:
    code = (
        "import sys; from robustness import api; api.make_spec(['SqueezeNet']); "
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_a_folder_and_the_same_pictures_have_the_same_rows(
    spec: RunSpec, photos: Path, tmp_path: Path
) -> None:
    heard: list[api.Progress] = []
    run = api.evaluate(photos, spec, out=tmp_path / "runs", note=heard.append)
    assert heard[-1].done == 3
    assert api.evaluate(photos, spec, out=tmp_path / "runs").id == run.id, "not computed twice"
    frame = run.frame()
    labels = dict(zip(frame["image"].astype(str), frame["label"], strict=True))
    by_name = {name: photos / name for name in frame["image"].unique()}
    again = api.evaluate_pictures(by_name, spec, labels=labels)
    assert again.astype(object).equals(frame.astype(object))
    assert api.summary(again) == api.summary(run)
    assert api.open_run(run.folder).table().equals(run.table())


def test_arrays_are_pictures_too(spec: RunSpec, photos: Path) -> None:
    path = next(photos.rglob("*.jpg"))
    study = load_study_image(path)
    given = {"file": path, "text": str(path), "study": study, "double": study.astype(float)}
    digests = api.evaluate_pictures(given, spec)["image_digest"]
    assert digests.nunique() == 1
    eight_bit = api.evaluate_pictures({"any size": to_uint8(study)[:200, :180]}, spec)
    assert len(eight_bit) == 4


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (np.full((224, 224, 3), 255.0), "divide pixels by 255"),
        (np.full((224, 224, 3), np.nan), "nan"),
        (np.zeros((100, 100, 3)), r"got float64 of shape \(100, 100, 3\)"),
        (np.zeros((224, 224), np.uint8), r"got uint8 of shape \(224, 224\)"),
        (np.zeros((0, 5, 3), np.uint8), "got uint8"),
        ([1, 2], "got int64"),
    ],
)
def test_other_arrays_are_refused(spec: RunSpec, picture: object, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        api.evaluate_pictures({"x": picture}, spec)


def test_a_file_that_is_no_picture_is_refused(spec: RunSpec, tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        api.evaluate_pictures({"x": tmp_path / "nothing.png"}, spec)


def test_runs_are_replayed_compared_and_checked(
    spec: RunSpec, photos: Path, tmp_path: Path
) -> None:
    run = api.evaluate(photos, spec, out=tmp_path / "runs")
    assert api.replay(run, tmp_path / "again").agrees
    assert api.compare(run, run).images == 3
    (tmp_path / "budget.toml").write_text("[[limit]]\nmin_consistency = 1.0\nmax_regression = 0.1")
    found = api.check(run, tmp_path / "budget.toml", baseline=run)
    assert [verdict.limit for verdict in found.broken] == ["min_consistency"]


def test_a_run_is_reported_as_the_suffix_says(
    spec: RunSpec, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = api.evaluate(photos, spec, out=tmp_path / "runs")
    (file,) = api.report(run, tmp_path / "a.md")
    assert "SqueezeNet" in file.read_text(encoding="utf-8")
    assert len(api.report(run, str(tmp_path / "a.csv"))) == 2
    monkeypatch.setattr(api.reports, "of_run", lambda run: pytest.fail("work for nothing"))
    with pytest.raises(api.RobustnessError, match="Expected"):
        api.report(run, tmp_path / "a.docx")


def test_the_models_that_are_ready_are_named() -> None:
    assert "SqueezeNet" in api.model_names()
    assert set(api.model_names()) < set(api.model_names(ready=False))
