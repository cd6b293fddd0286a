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
from tests.support.saved_runs import performed, spec, use_stand_ins

MIXED = ("SqueezeNet", "EfficientNetLite1", "EfficientNetLite0")


def test_models_are_grouped_by_their_own_side() -> None:
    assert by_side(None, MIXED) == {224: MIXED}
    assert by_side("384", MIXED) == {384: MIXED}
    own = {224: ("SqueezeNet", "EfficientNetLite0"), 240: ("EfficientNetLite1",)}
    assert by_side("model", MIXED) == own
    assert one_side("model", MIXED[1:2]) == 240


@pytest.mark.parametrize("asked", ["0", "1025", "-1", "big", "2.5", "99999999999", ""])
def test_what_is_no_side_is_refused(asked: str) -> None:
    with pytest.raises(ParameterError, match="side"):
        by_side(asked, MIXED)


def test_one_run_has_one_side() -> None:
    with pytest.raises(ParameterError, match="240: EfficientNetLite1"):
        one_side("model", MIXED)
    with pytest.raises(ParameterError, match="240: EfficientNetLite1"):
        api.make_spec(MIXED, side="model")
    assert api.make_spec(["EfficientNetLite1"], side="model").side == 240


def test_a_request_file_keeps_the_side(tmp_path: Path) -> None:
    asked = api.make_spec(["SqueezeNet"], perturbations=["fog"], side=96)
    (tmp_path / "request.toml").write_text(as_toml(asked))
    assert read_request(tmp_path / "request.toml") == asked


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
        *("--out", str(tmp_path)),
    )
    found = [runs.load(Path(each["folder"])).manifest.spec for each in evaluated]
    assert {spec.side: spec.model_names for spec in found} == {
        side: (name,) for name, side in sides.items()
    }
    swept = printed("sweep", images[0], "--perturbation", "brightness", "--steps", "3")
    assert {row["model"]: row["side"] for row in swept["points"]} == sides
    at_study = next(row for row in study["measurements"] if row["model"] == "EfficientNetLite1")
    under = printed("predict", images[0], "--under", f"brightness={at_study['strength']}")
    (top,) = (
        each["top"][0] for each in under["predictions"] if each["model"] == "EfficientNetLite1"
    )
    assert top["probability"] == pytest.approx(at_study["probability"])
