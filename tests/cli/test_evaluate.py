"""The command that evaluates a dataset: what it prints, and how it answers bad input."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.support.image_folders import labelled_folder
from robustness import models, runs
from robustness.attacks import AttackSpec, Outcome, craft
from robustness.cli import main, request
from robustness.measure.condition import AttackCondition
from robustness.perturbations import REGISTRY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = labelled_folder(tmp_path_factory.mktemp("data") / "set", 2)
    (made / "670" / "broken.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return made


def answer(
    capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 0
) -> dict[str, Any]:
    command = ["evaluate", *map(str, arguments), "--models", "SqueezeNet", "--json"]
    assert main.main(command) == status
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_document_tells_what_was_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = answer(capsys, folder, "--out", tmp_path)
    assert found["images"] == 6
    assert [entry["image"] for entry in found["unreadable"]] == ["670/broken.jpg"]
    assert found["seconds"] > 0
    (entry,) = found["summary"]
    run = runs.find(tmp_path, found["run"])
    rows = run.frame()
    assert entry["model"] == "SqueezeNet"
    assert entry["n_images"] == 6
    assert entry["consistency"] == pytest.approx(rows["consistent"].astype(float).mean())
    assert entry["consistency_low"] <= entry["consistency"] <= entry["consistency_high"]
    clean = rows.drop_duplicates("image")["clean_correct"].astype(float).mean()
    assert entry["clean_accuracy"] == pytest.approx(clean)
    assert entry["perturbed_accuracy"] == pytest.approx(rows["correct"].astype(float).mean())
    assert entry["cosine"] == pytest.approx(rows["cosine"].mean())
    assert entry["euclidean"] == pytest.approx(rows["euclidean"].mean())
    names = [row["perturbation"] for row in found["by_perturbation"]]
    assert names == [record.name for record in REGISTRY if record.in_study]


def test_every_option_of_a_request_is_refused_beside_a_run() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    request.add_request(parser)
    options = {action.dest for action in parser._actions} - {"request"}
    assert options == {*request._REQUEST_OPTIONS, *request._IMAGE_OPTIONS}


def test_a_plan_tells_what_a_run_takes_and_begins_none(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    found = answer(capsys, folder, "--out", out, "--plan")
    assert (found["images"], found["conditions"], found["models"]) == (7, 10, 1)
    assert (found["passes"], found["rows"]) == (7 * 11, 7 * 10)
    assert (found["seconds"], found["basis"]) == (None, [])
    assert found["bytes_on_disk"] > 0
    assert not out.exists()
    command = ["evaluate", str(folder), "--models", "SqueezeNet", "--out", str(out)]
    assert main.main([*command, "--plan"]) == 0
    assert "Time: known once it runs\nDisk: about 15 kB, 70 rows" in capsys.readouterr().out
    assert main.main(command) == 0
    capsys.readouterr()
    assert main.main([*command, "--limit", "2", "--plan"]) == 0
    assert "at the rate of the run of 20" in capsys.readouterr().out
    assert len(list(out.iterdir())) == 1


def test_severities_and_strengths_are_conditions(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--out", tmp_path, "--sample", 3, "--perturbations", "fog,contrast")
    by_severity = answer(capsys, folder, *options, "--severities", "2-4")["by_perturbation"]
    assert [row["strength"] for row in by_severity] == [0.4, 0.6, 0.8] * 2
    assert [row["severity"] for row in by_severity] == [2, 3, 4] * 2
    by_strength = answer(capsys, folder, *options, "--strength", "0.1,0.6")["by_perturbation"]
    assert [row["strength"] for row in by_strength] == [0.1, 0.6] * 2
    assert [row["severity"] for row in by_strength] == [None, 3] * 2
    same = [row for row in by_severity if row["severity"] == 3]
    assert same == [row for row in by_strength if row["severity"] == 3]


def test_no_readable_picture_is_no_result_and_no_crash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_bytes(b"nothing of the kind")
    found = answer(capsys, tmp_path / "set", "--out", tmp_path / "runs", status=2)
    assert (found["images"], found["summary"], len(found["unreadable"])) == (0, [], 1)
    command = ["evaluate", str(tmp_path / "set"), "--out", str(tmp_path / "runs")]
    assert main.main([*command, "--models", "SqueezeNet"]) == 2
    assert "there are no results" in capsys.readouterr().out


BAD = {
    "no such folder": (["nowhere"], "There is no folder or file nowhere"),
    "an unknown perturbation": (["samples", "--perturbations", "fgo"], "Did you mean 'fog'"),
    "an unknown engine": (["samples", "--engine", "rya"], "There is no engine called 'rya'"),
    "a severity out of range": (
        ["samples", "--suite", "imagenet-c", "--severities", "0-3"],
        "severity from 1 to 5, got 0",
    ),
    "a severity of a rotation": (["samples", "--severities", "3"], "no ImageNet-C severities"),
    "an empty limit": (["samples", "--limit", "0"], "Set --limit to 1 or more"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_gets_a_sentence_and_status_2(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, message = BAD[what]
    assert main.main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left behind"


# --- attacks --------------------------------------------------------------------------------------


def test_attacks_count_as_perturbations_with_robust_accuracy_over_epsilon(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--out", tmp_path, "--limit", 4)
    attacks = ("--perturbations", "fog,pgd", "--epsilon", "0,1/255,8/255", "--attack-steps", 3)
    found = answer(capsys, folder, *few, *attacks)
    rows = [row for row in found["by_perturbation"] if row["perturbation"] == "pgd"]
    assert [row["strength"] for row in rows] == [0.0, 1 / 255, 8 / 255]
    accuracies = [row["perturbed_accuracy"] for row in rows]
    assert accuracies[0] == rows[0]["clean_accuracy"]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[-1] == 0.0, "nothing survives 8/255"
    assert rows[-1]["ssim"] > 0.8
    fog = answer(capsys, folder, *few, "--perturbations", "fog")
    assert fog["by_perturbation"] == [
        row for row in found["by_perturbation"] if row["perturbation"] == "fog"
    ]


def test_an_attack_in_a_run_is_the_attack_on_the_picture(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    attacks = ("--perturbations", "fgsm", "--epsilon", "4/255", "--labels", "none", "--seed", 3)
    found = answer(capsys, folder, "--out", tmp_path, "--limit", 4, *attacks)
    run = runs.find(tmp_path, found["run"])
    (condition,) = run.conditions
    assert isinstance(condition, AttackCondition)
    for row in run.frame().to_dict("records"):
        spec = AttackSpec.of("fgsm", epsilon=4 / 255, seed=3)
        *_, outcome = craft(run.picture(row["image"]), models.load("SqueezeNet"), spec)
        assert isinstance(outcome, Outcome)
        assert (row["clean_top1"], row["top1"]) == (outcome.clean_top1, outcome.top1)
        assert row["ssim"] == pytest.approx(outcome.ssim, abs=1e-6)
        assert row["consistent"] is not outcome.success


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--perturbations", "pdg"], "There is no perturbation called 'pdg'"),
        (["--perturbations", "pgd", "--epsilon", "2"], "between 0 and 1"),
        (["--perturbations", "pgd", "--epsilon", "x"], "fraction such as 8/255"),
        (
            ["--perturbations", "fog", "--epsilon", "8/255"],
            "Expected an attack among the perturbations",
        ),
        (["--perturbations", "fgsm", "--attack-steps", "5"], "takes 1 step"),
        (["--perturbations", "fgsm", "--attack-restarts", "5"], "no random start"),
        (
            ["--perturbations", "fog", "--attack-restarts", "5"],
            "Expected an attack among the perturbations",
        ),
        (
            ["--perturbations", "pgd", "--strength", "0.5"],
            "Attacks take no strengths or severities",
        ),
        (
            ["--perturbations", "pgd,fgsm", "--severities", "3"],
            "Attacks take no strengths or severities",
        ),
    ],
)
def test_bad_attacks_get_a_sentence(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main.main(["evaluate", "samples", "--out", str(tmp_path / "runs"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
