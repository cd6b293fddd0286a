"""Published trees are read as they are stored, and give the figures that were measured live."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.repository import ROOT
from robustness import models
from robustness.cli.main import main
from robustness.datasets import ImageNetCTree, open_dataset
from robustness.measure.request import SEVERITIES, graded_conditions
from robustness.perturbations import SAVED_AS_JPEG
from robustness.runs import Analysis
from robustness.statistics.study import AS_JPEG, AS_STORED, IN_MEMORY
from tests.support import pages
from tests.support.onnx_files import small_model, small_weights
from tests.support.saved_runs import assert_same_rows, evaluate_again

CORRUPTIONS = ("contrast", "gaussian_noise")
CLASSES = ("n01440764", "n07920052")
HOW = {"models": ["thousand"], "side": 32, "fit": "squash"}
LIVE = graded_conditions(CORRUPTIONS, severities=SEVERITIES)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("model") / "thousand.onnx"
    file.write_bytes(small_model(small_weights(1000)))
    rb.add_model("thousand", file, labels="imagenet", normalisation="0..1", output="logits")
    folder = tmp_path_factory.mktemp("val")
    random = np.random.default_rng(3)
    for name in CLASSES:
        (folder / name).mkdir()
        for number in range(3):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"ILSVRC2012_val_{number}.png")
    yield folder
    rb.remove_model("thousand")


def tree(originals: Path, folder: Path, *, jpeg: bool = False, group: str = "") -> Path:
    """The layout of ImageNet-C, made of the perturbed images of ``originals``."""
    rb.export(originals, folder / "out", conditions=LIVE, **HOW)
    for condition in LIVE:
        ((name, strength),) = condition.steps
        to = folder / "tree" / group / name / str(round(5 * strength))
        shutil.copytree(folder / "out" / condition.id, to)
        for file in to.rglob("*.png"):
            plain = file.with_name(file.name.removesuffix(".png"))
            if jpeg:
                Image.open(file).save(plain.with_suffix(".JPEG"), quality=85)
                file.unlink()
            else:
                file.rename(plain)
    return folder / "tree"


def columns(run: rb.EvaluatedRun) -> dict[str, list[object]]:
    frame = run.frame().sort_values(["image", "perturbation", "strength"])
    names = ["image", "label", "top1", "probability", "cosine", "ssim", "psnr", "correct5"]
    return {name: frame[name].astype(str).tolist() for name in names}


def test_a_lossless_tree_gives_the_rows_that_were_measured_live(
    originals: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = f"{tree(originals, tmp_path, group='noise')}::{originals}"
    live = rb.evaluate(originals, conditions=LIVE, **HOW)
    stored = rb.evaluate(source, out=tmp_path / "runs", **HOW)
    assert columns(live) == columns(stored)
    (before,) = Analysis(live).figures.corruption_errors
    (after,) = Analysis(stored).figures.corruption_errors
    assert (before["note"], after["note"]) == (IN_MEMORY, AS_STORED)
    assert after["mean_ce"] == pytest.approx(before["mean_ce"])
    assert [entry["severity"] for entry in Analysis(stored).figures.by_severity] == list(SEVERITIES)
    html = stored.report(tmp_path / "report.html")[0].read_text()
    assert "cannot be shown" not in html
    assert "Gaussian noise (stored)" in html or "Random noise (stored)" in html
    assert_same_rows(stored, evaluate_again(stored, tmp_path / "again"))
    rows = rb.failing_images(stored, "perturbation=stored:contrast", to=tmp_path / "cases.zip")
    with zipfile.ZipFile(tmp_path / "cases.zip") as archive:
        for row in rows:
            name = row["image"]
            made = stored.perturbed(stored.picture(name), rb.Condition.parse(row["condition"]))
            with Image.open(archive.open(f"{row['condition']}/{name}.png")) as image:
                assert np.array_equal(np.asarray(image), np.rint(made * 255))
    where = "model=thousand&condition=stored(corruption=contrast,severity=3)"
    monkeypatch.setenv("ROBUSTNESS_RUNS", str(stored.folder.parent))
    app = pages.run(ROOT / "pages" / "evaluations.py", run=stored.id, cell=where)
    assert not app.error
    assert "cannot be shown" not in pages.html(app) + str([each.value for each in app.caption])
    assert sum(len(element.proto.imgs) for element in app.get("image")) >= 6
    command = ["evaluate", source, "--severities", "3", "--perturbations", "contrast", "--json"]
    how = ["--models", "thousand", "--side", "32", "--fit", "squash", "--out", str(tmp_path)]
    listed: list[Path] = []
    listing = ImageNetCTree.__init__

    def noted(self: ImageNetCTree, place: Path, *rest: Path) -> None:
        listed.append(place)
        listing(self, place, *rest)

    monkeypatch.setattr(ImageNetCTree, "__init__", noted)
    assert main([*command, *how]) == 0
    assert len(listed) == 1, "a large tree takes long to list"
    (row,) = json.loads(capsys.readouterr().out)["by_perturbation"]
    assert row["condition"] == "stored(corruption=contrast,severity=3)"


def test_the_published_jpeg_files_are_the_suite_with_that_step(
    originals: Path, tmp_path: Path
) -> None:
    saved = [rb.Condition.of({**each.as_dict(), SAVED_AS_JPEG: 1.0}) for each in LIVE]
    live = rb.evaluate(originals, conditions=saved, **HOW)
    stored = rb.evaluate(f"{tree(originals, tmp_path, jpeg=True)}::{originals}", **HOW)
    assert columns(live) == columns(stored)
    assert Analysis(live).figures.corruption_errors[0]["note"] == AS_JPEG


def test_a_tree_is_never_perturbed_again(originals: Path, tmp_path: Path) -> None:
    place = tree(originals, tmp_path)
    with pytest.raises(rb.RobustnessError, match="ImageNet-C: its images are already perturbed"):
        rb.evaluate(place, **HOW)
    source = f"{place}::{originals}"
    with pytest.raises(rb.RobustnessError, match="already perturbed"):
        rb.evaluate(source, conditions=["fog=0.6"], **HOW)
    with pytest.raises(rb.RobustnessError, match="published dataset"):
        rb.evaluate(originals, conditions=["stored(corruption=fog,severity=3)"], **HOW)
    with pytest.raises(rb.RobustnessError, match="none of the images"):
        rb.evaluate(f"{place}::{tmp_path / 'out' / LIVE[0].id}", **HOW)
    name = f"{CLASSES[0]}/ILSVRC2012_val_%s.png"
    for each in place.glob(f"*/*/{name % 0}"):
        each.unlink()
    (place / "contrast" / "3" / (name % 1)).unlink()
    (place / "contrast" / "1" / (name % 2)).unlink()
    found = rb.evaluate(source, **HOW)
    assert found.images == 3, "the tree has image 0 nowhere"
    assert [reason for _, reason in found.unreadable] == [
        f"{name % 1} is missing under contrast/3.",
        f"{name % 2} is missing under contrast/1.",
    ]


def test_severities_may_be_numbers_of_any_size(originals: Path, tmp_path: Path) -> None:
    for level in ("10.00", "1.50", "4.00"):
        shutil.copytree(originals, tmp_path / "bar" / "plasma_noise" / level)
    dataset = open_dataset(f"{tmp_path / 'bar'}::{originals}")
    assert isinstance(dataset, ImageNetCTree)
    assert dataset.title == "ImageNet-C-bar (bar)"
    assert [(name, level, place.name) for (name, level), place in dataset.stored.items()] == [
        ("plasma_noise", 1, "1.50"),
        ("plasma_noise", 2, "4.00"),
        ("plasma_noise", 3, "10.00"),
    ]


def test_predictions_may_be_among_the_classes_of_the_dataset(
    originals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As published for ImageNet-A and -R, whose 200 classes are a part of the 1,000."""
    asked = models.load("thousand", side=32)
    own = [0, 967]
    command = ["evaluate", str(originals), "--conditions", "fog=0.6", "--own-classes", "--json"]
    how = ["--models", "thousand", "--side", "32", "--fit", "squash", "--out", str(tmp_path)]
    assert main([*command, *how]) == 0
    found = rb.open_run(json.loads(capsys.readouterr().out)["folder"])
    for name in set(found.frame(None)["image"]):
        whole = asked(found.picture(name).image[None]).probabilities[0]
        row = found.frame(None).set_index("image").loc[name]
        among = whole[own] / whole[own].sum()
        assert row["clean_top1"] == own[int(among.argmax())]
        assert row["clean_probability"] == pytest.approx(among.max(), rel=1e-5)
    assert "2 of 1,000" in found.report(tmp_path / "report.md")[0].read_text()
    assert_same_rows(found, evaluate_again(found, tmp_path / "again"))
    everywhere = rb.evaluate(originals, conditions=["fog=0.6"], **HOW)
    assert everywhere.manifest.key != found.manifest.key
    with pytest.raises(rb.RobustnessError, match="labels"):
        rb.evaluate(np.zeros((1, 32, 32, 3)), conditions=["fog=1"], own_classes=True, **HOW)
