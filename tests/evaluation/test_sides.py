"""The side that models are measured at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustness import api, runs
from robustness.base.errors import ParameterError
from robustness.commands.main import main
from robustness.evaluation.condition import Condition
from robustness.evaluation.request_file import as_toml, read_request
from robustness.evaluation.sides import by_side, one_side
from robustness.evaluation.spec import RunSpec
from tests.support.saved_runs import performed, spec, use_stand_ins

MIXED = ("SqueezeNet", "EfficientNetLite1", "EfficientNetLite0")


def test_models_are_grouped_by_their_own_side() -> None:
    assert by_side(None, MIXED) == {224: MIXED}
    assert by_side("384", MIXED) == {384: MIXED}
    own = {224: ("SqueezeNet", "EfficientNetLite0"), 240: ("EfficientNetLite1",)}
    assert by_side("model", MIXED) == own
    assert one_side("model", MIXED[1]) == 240


@pytest.mark.parametrize("asked", ["0", "1025", "-1", "big", "2.5", "99999999999", ""])
def test_what_is_no_side_is_refused(asked: str) -> None:
    with pytest.raises(ParameterError, match="side"):
        by_side(asked, MIXED)


def test_a_request_at_several_sides_is_a_run_for_each() -> None:
    whole = api.make_spec(MIXED, perturbations=["fog"], side="model")
    assert [(part.side, part.model_names) for part in whole.by_side()] == [
        (224, ("SqueezeNet", "EfficientNetLite0")),
        (240, ("EfficientNetLite1",)),
    ]
    assert RunSpec.from_dict(json.loads(json.dumps(whole.as_dict()))) == whole
    with pytest.raises(ParameterError, match="224 px, 240 px"):
        api.evaluate("samples", whole)
    alone = api.make_spec(["EfficientNetLite1"], side="model")
    assert (alone.side, alone.own_sides) == (240, False)


@pytest.mark.parametrize("side", [96, "model"])
def test_a_request_file_keeps_the_side(tmp_path: Path, side: int | str) -> None:
    asked = api.make_spec(MIXED, perturbations=["fog"], side=side)
    (tmp_path / "request.toml").write_text(as_toml(asked))
    assert read_request(tmp_path / "request.toml") == asked


def test_every_model_is_asked_at_its_own_side_in_one_call() -> None:
    images = {"coffee": "sample:coffee"}
    whole = api.make_spec(MIXED[:2], conditions=["gaussian_noise=0.4"], side="model")
    found = api.evaluate_pictures(images, whole)
    assert found["side"].tolist() == [224, 240]
    assert found["image_digest"].nunique() == 1, "it is one image"
    apart = [api.evaluate_pictures(images, part) for part in whole.by_side()]
    columns = ["probability", "cosine", "ssim"]
    expected = [frame[columns].iloc[0].tolist() for frame in apart]
    assert found[columns].to_numpy().tolist() == expected


@pytest.mark.slow
def test_runs_at_different_sides_compare_by_the_source_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_stand_ins(monkeypatch)
    asked = spec([Condition.of({"brightness": 0.5})])
    first = performed("samples", tmp_path, asked)
    other = performed("samples", tmp_path, replace(asked, side=48))
    found = runs.compare(first, other)
    assert found.images == 5
    assert found.differences
    assert any("side" in note for note in found.apart)
    assert not any("in common" in note for note in found.apart)
    fewer = performed("samples", tmp_path, replace(asked, side=40), limit=2)
    assert runs.compare(first, fewer).images == 0, "another listing may be of other images"


def test_commands_measure_each_model_at_its_own_side(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def printed(*arguments: str) -> Any:
        names = ["--models", "SqueezeNet,EfficientNetLite1", "--side", "model", "--json"]
        assert main([*arguments, *names]) == 0
        return json.loads(capsys.readouterr().out)

    images = ["sample:coffee", "sample:chelsea"]
    study = printed("study", *images, "--perturbations", "brightness")
    sides = {"SqueezeNet": 224, "EfficientNetLite1": 240}
    assert {row["model"]: row["side"] for row in study["measurements"]} == sides
    assert [each["spec"]["side"] for each in study["manifests"]] == [224, 240]
    assert [entry["n"] for entry in study["summary"]] == [2, 2]
    evaluated = printed(
        *("evaluate", "samples", "--limit", "1", "--perturbations", "brightness"),
        *("--remedies", "flip", "--out", str(tmp_path)),
    )
    found = [runs.load(Path(each["folder"])).manifest.spec for each in evaluated]
    assert {spec.side: spec.model_names for spec in found} == {
        side: (name,) for name, side in sides.items()
    }
    budget = tmp_path / "budget.toml"
    budget.write_text(
        "when_unsure = 'pass'\n[[limit]]\nmin_consistency = 0\n"
        "[[limit]]\nmodel = 'Eff*'\nperturbation = '*'\nmin_consistency = 0\n"
        "[[limit]]\nmodel = 'Eff*+flip'\nmin_consistency = 0\n"
    )
    checked = printed(
        *("check", "samples", "--limit", "1", "--perturbations", "brightness"),
        *("--remedies", "flip", "--out", str(tmp_path), "--budget", str(budget)),
    )
    lite = "EfficientNetLite1"
    judged = (["SqueezeNet"], [lite, lite, f"{lite}+flip"])
    assert [(each["run"], [v["model"] for v in each["verdicts"]]) for each in checked] == [
        (Path(each["folder"]).name, own) for each, own in zip(evaluated, judged, strict=True)
    ], "the runs that there were, each held against the limits on its models"
    swept = printed("sweep", images[0], "--perturbation", "brightness", "--steps", "3")
    assert {row["model"]: row["side"] for row in swept["points"]} == sides
    at_study = next(row for row in study["measurements"] if row["model"] == "EfficientNetLite1")
    under = printed("predict", images[0], "--under", f"brightness={at_study['strength']}")
    (top,) = (
        each["top"][0] for each in under["predictions"] if each["model"] == "EfficientNetLite1"
    )
    assert top["probability"] == pytest.approx(at_study["probability"])
