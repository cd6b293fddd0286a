"""The perturbed images written out: the bytes that models are asked about, and what each is."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import robustness as rb
from benchmarks.support.image_files import load_study_image
from benchmarks.support.image_folders import labelled_folder
from robustness.base.errors import ParameterError, RobustnessError
from robustness.cli.main import main
from robustness.images.framing import image_digest
from robustness.images.pixels import to_uint8
from robustness.measure.request import make_spec
from robustness.perturbations import compose
from robustness.runs import export, plan
from robustness.runs.planning import Plan

CONDITION = {"fog": 0.4, "gaussian_noise": 0.3}


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    folder = labelled_folder(tmp_path / "photos", 1)
    conditions = [rb.Condition.of(CONDITION), rb.Condition.of({"rotation": 1.0})]
    return plan(str(folder), make_spec(["SqueezeNet"], conditions, seed=5), batch=1)


def table(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode())))


def test_the_pixels_are_those_that_models_are_asked_about(planned: Plan, tmp_path: Path) -> None:
    to = tmp_path / "out"
    assert [state.done for state in export.export(planned, str(to))] == [1, 2, 3]
    rows = table((to / "images.csv").read_bytes())
    assert len(rows) == 3 * 3
    assert len({row["label"] for row in rows}) == 3
    files = {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()}
    assert files == {"images.csv", *(row["path"] for row in rows)}
    for row in rows:
        study = load_study_image(tmp_path / "photos" / row["image"])
        strengths = {"clean": {}, "rotation=1.0": {"rotation": 1.0}}.get(
            row["condition"], CONDITION
        )
        digests = [image_digest(study)]
        wanted = compose(study[None], strengths, seed=5, digests=digests)[0]
        assert (np.asarray(Image.open(to / row["path"])) == to_uint8(wanted)).all()


def test_an_interrupted_export_goes_on_and_another_is_refused(
    planned: Plan, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(export.export(planned, str(whole)))
    list(islice(export.export(planned, str(broken)), 1))
    first = {path: path.stat().st_mtime_ns for path in broken.rglob("*.png")}
    list(export.export(planned, str(broken)))
    assert (broken / "images.csv").read_bytes() == (whole / "images.csv").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in first} == first, "not written again"
    with pytest.raises(ParameterError, match="a finished export"):
        list(export.export(planned, str(whole)))


def test_an_archive_holds_the_same(planned: Plan, tmp_path: Path) -> None:
    list(export.export(planned, str(tmp_path / "out")))
    list(export.export(planned, str(tmp_path / "out.zip")))
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    assert held == {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    names = ["../../a", "/b", "c/../d", "e\\f", "plain/g"]
    rb.export(dict.fromkeys(names, pixels), tmp_path / "out", conditions=["fog=1"])
    written = list(tmp_path.rglob("*.png"))
    assert len(written) == 2 * len(names)
    assert all(path.is_relative_to(tmp_path / "out") for path in written)


def test_the_command_writes_what_evaluate_would_ask(
    planned: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", planned.dataset.source, "--to", str(tmp_path / "out")]
    assert main([*command, "--conditions", "fog=.4+gaussian_noise=0.3,rotation=1"]) == 0
    assert "9 images" in capsys.readouterr().out
    assert main([*command[:2], "--to", "x", "--conditions", "pgd(epsilon=2/255,norm=l2)"]) == 2
    assert main([*command[:2], "--to", "x", "--conditions", "fog=1", "--severities", "3"]) == 2
    error = capsys.readouterr().err
    assert "attack" in error
    assert "--severities" in error


SHAPES = ("circle", "cup", "square")  # of which one is also a class of ImageNet


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two images of each class."""
    draws = np.random.default_rng(0)
    for name in SHAPES:
        (tmp_path / "shapes" / name).mkdir(parents=True)
        for number in range(2):
            pixels = draws.integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shapes" / name / f"{number}.png")
    return tmp_path / "shapes"


def labels_of(folder: Path) -> set[tuple[str, str]]:
    """(folder of the image, label) of all rows."""
    rows = table((folder / "images.csv").read_bytes())
    assert len(rows) == 6 * 2
    return {(row["image"].split("/")[0], row["label"]) for row in rows}


def test_folders_of_own_classes_are_the_classes(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "request.toml").write_text("[[condition]]\nfog = 0.5\n")
    themselves = {(name, name) for name in SHAPES}
    for number, options in enumerate(
        (["--conditions", "fog=0.5"], ["--request", str(tmp_path / "request.toml")])
    ):
        to = tmp_path / f"out{number}"
        assert main(["export", str(shapes), *options, "--to", str(to)]) == 0
        assert labels_of(to) == themselves
    rb.export(shapes, tmp_path / "python", conditions=["fog=0.5"])
    assert labels_of(tmp_path / "python") == themselves
    capsys.readouterr()

    # predictions by name then come back without a word about classes
    rows = table((to / "images.csv").read_bytes())
    predicted = tmp_path / "out1" / "predicted.csv"
    with predicted.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "prediction"])
        writer.writeheader()
        writer.writerows({**row, "prediction": row["label"]} for row in rows)
    assert (
        main(["evaluate", "--predictions", str(predicted), "--out", str(tmp_path), "--json"]) == 0
    )
    (summary,) = json.loads(capsys.readouterr().out)["summary"]
    assert summary["clean_accuracy"] == summary["perturbed_accuracy"] == 1


def test_class_names_give_the_indices_of_labels(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", str(shapes), "--conditions", "fog=0.5", "--to", str(tmp_path / "out")]
    names = tmp_path / "classes.txt"
    names.write_text("square\ncircle\n")
    assert main([*command, "--class-names", str(names)]) == 2
    error = capsys.readouterr().err
    assert "'cup' is not a class of classes" in error
    assert "--class-names" in error
    assert main([*command, "--models", "SqueezeNet", "--class-names", str(names)]) == 2
    assert "--class-names" in capsys.readouterr().err
    assert main([*command, "--models", "SqueezeNet"]) == 2
    assert "--class-names" in capsys.readouterr().err
    names.write_text("square\ncircle\ncup\n")
    assert main([*command, "--class-names", str(names)]) == 0
    assert labels_of(tmp_path / "out") == {("circle", "1"), ("cup", "2"), ("square", "0")}


@pytest.mark.parametrize("to", ["nothing://x", "memory://x.zip", "taken.zip"])
def test_a_place_that_cannot_be_used_is_refused(
    to: str, planned: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.zip").touch()
    with pytest.raises(RobustnessError, match=r"\.$"):
        list(export.export(planned, to))
