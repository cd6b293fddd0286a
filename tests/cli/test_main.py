"""The command line: its documents, its files, and how little it loads."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from benchmarks.support.image_files import load_study_image
from benchmarks.support.repository import ROOT
from robustness import models, perturbations
from robustness.cli.main import EXIT_BAD_INPUT, main
from robustness.images.decoding import sample_path
from robustness.images.framing import Framing, image_digest
from robustness.models.weights import size

COFFEE = str(sample_path("coffee"))
NAMES = [
    *("VGG16", "ResNet50", "DenseNet121", "EfficientNetB0"),
    *("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"),
    *("ResNet50V2", "MobileNetV3Large", "EfficientNetV2B0", "ConvNeXtTiny"),
    *("ViTB16", "DeiTTiny", "DeiTSmall"),
]
MODELS = ["SqueezeNet", "EfficientNetLite0"]


@dataclass(frozen=True)
class Ended:
    status: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process, where TensorFlow is loaded once."""

    def call(*arguments: str | Path) -> Ended:
        capsys.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = int(left.code or 0)
        return Ended(status, *capsys.readouterr())

    return call


def start(
    *arguments: str, python: tuple[str, ...] = (), **variables: str
) -> subprocess.Popen[bytes]:
    """The real thing: a process of its own."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "robustness", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def document(text: str | bytes) -> Any:
    """The JSON document ``text``, in which no number is NaN or infinite."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


# --- help and lists -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (
            ["--help"],
            {"tensorflow", "keras", "numpy", "pandas", "cv2", "PIL", "pydantic", "streamlit"},
        ),
        (["models", "--json"], {"tensorflow", "keras", "pandas", "streamlit"}),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_nothing_heavy_is_imported_before_it_is_needed(
    arguments: list[str], unneeded: set[str]
) -> None:
    process = start(*arguments, python=("-X", "importtime"))
    out, err = process.communicate()
    assert process.returncode == 0
    assert out
    assert all(line.startswith(b"import time:") for line in err.splitlines())
    imported = {line.rpartition("|")[2].strip() for line in err.decode().splitlines()}
    assert "robustness.cli.main" in imported
    assert not imported & unneeded


def test_every_command_explains_itself(run: Run) -> None:
    listed = re.findall(r"^ {4}(\w+)", run("--help").out, re.MULTILINE)
    assert {"models", "perturbations", "predict", "perturb", "study", "attack"} <= set(listed)
    for command in ("", "models download", *listed):
        ended = run(*command.split(), "--help")
        assert (ended.status, ended.err) == (0, "")
        assert ended.out.startswith(f"usage: python -m robustness {command}".rstrip())
        if command != "models download":
            paragraph = ended.out.split("\n\n")[1]
            assert paragraph[0].isupper()
            assert paragraph[-1] in ".?"


def test_models_lists_all_and_whether_they_are_ready(run: Run) -> None:
    ended = run("models", "--json")
    rows = document(ended.out)
    assert (ended.status, ended.err) == (0, "")
    assert [row["name"] for row in rows] == NAMES
    for row, record in zip(rows, models.REGISTRY, strict=True):
        assert list(row) == [
            *("name", "group", "family", "year", "parameters", "input_size", "input_shape"),
            *("ready", "engine", "source", "digest", "limits"),
            *("weights_bytes", "published", "reason"),
        ]
        assert (row["group"], row["parameters"]) == (record.group, record.parameters)
        assert row["weights_bytes"] == size(record)
        assert row["ready"] is (row["reason"] == "") is (record.group == "offline")
    assert rows[0]["reason"].startswith("VGG16: weights missing, 553 MB; fetch them with ")
    sizes = {row["name"]: row["input_size"] for row in rows if row["input_size"] != 224}
    assert sizes == {"EfficientNetLite1": 240, "EfficientNetLite2": 260}
    assert rows[0]["published"]["top1"] == 71.3


def test_perturbations_are_searched_by_everyday_words(run: Run) -> None:
    ended = run("perturbations", "too", "dark")
    assert (ended.status, ended.out.split()[0]) == (0, "darkness")
    assert [row["name"] for row in document(run("perturbations", "foggy", "--json").out)] == ["fog"]
    rows = dict(line.split(maxsplit=1) for line in run("perturbations").out.splitlines())
    assert list(rows) == list(perturbations.REGISTRY.names)
    assert all(rows[record.name].startswith(record.label) for record in perturbations.REGISTRY)
    parameters = {record.parameter for record in perturbations.REGISTRY if "expos" in record.label}
    assert len(parameters) == 2
    ended = run("perturbations", "zebra")
    assert (ended.status, ended.out) == (2, "")
    assert "No match. Try “blur” or “noise”." in ended.err


def test_a_reader_that_leaves_early_is_no_error() -> None:
    with start("perturbations", "--json") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


# --- predict --------------------------------------------------------------------------------------


def test_predict_tells_of_a_bad_image_beside_the_answers_for_the_others(
    run: Run, tmp_path: Path
) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("no image")
    missing = tmp_path / "missing.jpg"
    ended = run("predict", bad, COFFEE, missing, "--models", "SqueezeNet", "--json")
    assert ended.status == 2
    (found,) = json.loads(ended.out)["predictions"]
    assert (found["image"], found["top"][0]["name"]) == (COFFEE, "espresso")
    assert "notes.jpg" in ended.err
    assert "missing.jpg" in ended.err


def test_predict_gives_the_published_answers(run: Run) -> None:
    chelsea_png = str(sample_path("chelsea"))
    ended = run("predict", COFFEE, chelsea_png, "--models", ",".join(MODELS), "--json")
    assert ended.status == 0
    found = document(ended.out)
    assert list(found) == ["predictions"]
    assert [(p["image"], p["model"]) for p in found["predictions"]] == [
        (image, model) for image in (COFFEE, chelsea_png) for model in MODELS
    ]
    coffee, chelsea = (entry["top"] for entry in found["predictions"][::2])
    assert list(coffee[0]) == ["index", "synset", "name", "probability"]
    assert coffee[0] == {
        "index": 967,
        "synset": "n07920052",
        "name": "espresso",
        "probability": pytest.approx(0.9366, abs=0.002),
    }
    assert [answer["index"] for answer in coffee] == [967, 925, 521, 809, 968]
    assert [answer["index"] for answer in chelsea] == [285, 282, 281, 287, 293]


def test_a_true_class_is_said_by_name_synset_or_sample(run: Run) -> None:
    def correct(*arguments: str) -> list[bool | None]:
        ended = run("predict", *arguments, "--models", "SqueezeNet", "--json")
        return [entry["correct"] for entry in document(ended.out)["predictions"]]

    assert correct("sample:coffee", "sample:rocket", COFFEE) == [True, None, None]
    assert correct(COFFEE, "--true-class", "n07920052") == [True]
    assert correct("sample:coffee", "--true-class", "tench") == [False]
    refused = run("predict", COFFEE, "--models", "SqueezeNet", "--true-class", "expresso")
    assert refused.status == EXIT_BAD_INPUT
    assert "Did you mean 'espresso'?" in refused.err


# --- perturb --------------------------------------------------------------------------------------


def perturb(run: Run, out: Path, name: str, *options: str) -> bytes:
    ended = run("perturb", COFFEE, "--perturbation", name, "--to", out, *options)
    assert (ended.status, ended.out) == (0, "")
    return out.read_bytes()


@pytest.mark.parametrize("name", ["gaussian_noise", "vertical_flip"])
def test_perturb_writes_the_perturbed_study_image_losslessly(
    run: Run, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "new folder" / "out.PNG"
    perturb(run, out, name, "--strength", "0.6", "--seed", "4", "--fit", "squash")
    study = load_study_image(COFFEE, Framing("squash"))[None]
    streams = [image_digest(load_study_image(COFFEE))]
    record = perturbations.REGISTRY[name]
    expected = perturbations.apply(record, study, 0.6, seed=4, digests=streams)[0]
    with Image.open(out) as written:
        assert (written.format, written.mode, written.size) == ("PNG", "RGB", (224, 224))
        np.testing.assert_array_equal(np.asarray(written), np.rint(expected * 255))


# --- study ----------------------------------------------------------------------------------------

CONDITIONS = ["fog", "gaussian_noise", "rotation", "horizontal_flip"]


@dataclass(frozen=True)
class Study:
    """Two runs of the same command, the first of which was a process that also wrote files."""

    images: list[str]
    outputs: list[bytes]
    errors: list[str]
    folder: Path

    @property
    def result(self) -> Any:
        return document(self.outputs[0])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    strange = folder / "猫 ü.png"
    strange.write_bytes(sample_path("chelsea").read_bytes())
    images = [COFFEE, str(strange)]
    command = [
        *("study", *images, "--models", ",".join(MODELS)),
        *("--perturbations", ", ".join(CONDITIONS), "--seed", "3", "--json"),
    ]
    process = start(*command, "--out", str(folder / "out"), PYTHONIOENCODING="ascii:strict")
    output, error = process.communicate()
    assert process.returncode == 0, error
    again, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(again), contextlib.redirect_stderr(errors):
        assert main(command) == 0
    outputs = [output, again.getvalue().encode()]
    return Study(images, outputs, [error.decode(), errors.getvalue()], folder / "out")


def test_study_prints_one_document_and_the_same_bytes_again(study: Study) -> None:
    assert study.outputs[0] == study.outputs[1]
    assert list(study.result) == ["manifest", "summary", "measurements"]
    for err in study.errors:
        assert "loading SqueezeNet, EfficientNetLite0 ..." in err
        assert "16 of 16 measurements" in err
        assert "Traceback" not in err


def test_study_measures_every_picture_model_and_perturbation(study: Study) -> None:
    rows = study.result["measurements"]
    assert [(row["image"], row["model"], row["perturbation"]) for row in rows] == [
        (image, model, name) for image in study.images for model in MODELS for name in CONDITIONS
    ]
    promised = (
        "image model perturbation strength parameter clean_top1 clean_probability top1 probability "
        "consistent top5_overlap cosine cosine_rescaled euclidean euclidean_rescaled ssim psnr"
    )
    for row in rows:
        assert set(promised.split()) <= set(row)
        record = perturbations.REGISTRY[row["perturbation"]]
        assert row["strength"] == record.study_strength
        assert row["parameter"] == pytest.approx(record.parameter_at(row["strength"]))
        assert row["consistent"] is (row["clean_top1"] == row["top1"])
        assert 0 < row["clean_probability"] <= 1
        assert 0 < row["psnr"] < 40
    assert {row["consistent"] for row in rows} == {True, False}
    assert rows[0]["clean_top1"] == 967
    assert rows[0]["clean_probability"] == pytest.approx(0.9366, abs=0.002)


def test_the_study_as_published_is_the_command_with_its_networks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["study", COFFEE, "--as-published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    named = ",".join(entry["model"] for entry in found["networks"])
    assert main(["study", COFFEE, "--models", named, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measurements"] == found["measurements"]
    (dense,) = (entry for entry in found["networks"] if entry["network"] == "DenseNet121")
    assert (dense["published_top5"], dense["top5"]) == (0.936, 0.923)
    assert dense["stands_in"]
    for extra in ("--models=SqueezeNet", "--strength=0", "--remedies=median", COFFEE):
        assert main(["study", extra, COFFEE, "--as-published"]) == 2
        assert "--as-published" in capsys.readouterr().err


def test_study_summary_is_what_its_measurements_say(study: Study) -> None:
    summary = study.result["summary"]
    rows = pd.DataFrame(study.result["measurements"])
    assert {entry["model"] for entry in summary} == set(MODELS)
    shares = [entry["consistency"] for entry in summary]
    assert shares == sorted(shares, reverse=True)
    for entry in summary:
        assert list(entry) == [
            *("model", "n", "consistency", "consistency_low", "consistency_high"),
            *("clean_accuracy", "perturbed_accuracy"),
            *("cosine", "cosine_rescaled", "euclidean", "euclidean_rescaled", "label_set"),
        ]
        mine = rows[rows["model"] == entry["model"]]
        assert entry["n"] == 8
        assert entry["consistency"] == pytest.approx(mine["consistent"].mean())
        assert (entry["consistency_low"], entry["consistency_high"]) == (None, None)
        for name in ("cosine", "cosine_rescaled", "euclidean", "euclidean_rescaled"):
            assert entry[name] == pytest.approx(mine[name].mean())


def test_study_out_writes_files_that_agree(study: Study) -> None:
    folder = study.folder
    assert document((folder / "study.json").read_bytes()) == study.result
    table = pd.read_csv(folder / "measurements.csv")
    rows = pd.DataFrame(study.result["measurements"])
    for column in ("image", "model", "perturbation", "top1", "consistent", "cosine", "psnr"):
        assert table[column].tolist() == pytest.approx(rows[column].tolist())
    for number, image in enumerate(study.images, start=1):
        clean = load_study_image(image)
        stages = {"clean": clean}
        for name in CONDITIONS:
            record = perturbations.REGISTRY[name]
            strength = record.study_strength or math.nan
            stages[name] = perturbations.apply(record, clean[None], strength, seed=3)[0]
        written = {path.stem: path for path in (folder / f"picture-{number}").iterdir()}
        assert set(written) == set(stages)
        for name, expected in stages.items():
            pixels = np.asarray(Image.open(written[name]))
            np.testing.assert_array_equal(pixels, np.rint(expected * 255))
    assert len(list(folder.iterdir())) == 4, "two files and a folder an image"
