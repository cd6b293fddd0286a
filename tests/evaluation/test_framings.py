"""The fit and the side that models are measured with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness import api, runs
from robustness.base.errors import ParameterError
from robustness.base.validation import checked_json
from robustness.commands.main import main
from robustness.evaluation.condition import Condition
from robustness.evaluation.framings import by_framing, framing, options
from robustness.evaluation.request import Request, read_request
from robustness.pictures.fitting import Framing
from tests.support.saved_runs import performed, spec, use_stand_ins

MIXED = ("SqueezeNet", "EfficientNetLite1", "EfficientNetLite0")


def test_models_are_grouped_by_their_own_side() -> None:
    assert by_framing("default", "default", MIXED) == {Framing("crop", 224): MIXED}
    assert by_framing("squash", "384", MIXED) == {Framing("squash", 384): MIXED}
    own = {
        Framing("crop", 224): ("SqueezeNet", "EfficientNetLite0"),
        Framing("crop", 240): ("EfficientNetLite1",),
    }
    assert by_framing("crop", "model", MIXED) == own
    assert framing("default", "model", MIXED[1]) == Framing("crop", 240)


@pytest.mark.parametrize("asked", ["0", "1025", "-1", "big", "2.5", "99999999999", ""])
def test_what_is_no_side_is_refused(asked: str) -> None:
    with pytest.raises(ParameterError, match="side"):
        by_framing("crop", asked, MIXED)


def test_a_request_at_several_sides_is_a_run_for_each() -> None:
    whole = api.make_spec(MIXED, perturbations=["fog"], side="model")
    assert [(part.side, part.model_names) for part in whole.by_side()] == [
        (224, ("SqueezeNet", "EfficientNetLite0")),
        (240, ("EfficientNetLite1",)),
    ]
    assert checked_json(Request, json.dumps(whole.as_dict()).encode()) == whole
    with pytest.raises(ParameterError, match=r"224 px.*240 px"):
        api.evaluate("samples", whole)
    alone = api.make_spec(["EfficientNetLite1"], side="model")
    assert (alone.fit, alone.side) == ("crop", 240)


@pytest.fixture
def whole() -> Iterator[str]:
    """A model that was added with classes of its own."""

    def brightness(pixels: Any) -> Any:
        return [[1 - share, share] for share in pixels.mean(axis=(1, 2, 3))]

    described: dict[str, Any] = {
        "labels": ["dark", "bright"],
        "input_size": 8,
        "normalisation": "0..1",
    }
    api.add_model("whole", brightness, **described)
    yield "whole"
    api.remove_model("whole")


def test_models_of_different_framings_are_split_and_explicit_ones_win(
    whole: str, tmp_path: Path
) -> None:
    names = ["SqueezeNet", whole]

    def framings(path: Path | None = None, **explicit: Any) -> list[tuple[str, int]]:
        spec = api.make_spec(names, conditions=["fog=0.2"], **explicit)
        assert checked_json(Request, json.dumps(spec.as_dict()).encode()) == spec
        file = tmp_path / "request.toml"
        file.write_text(spec.as_toml())
        assert read_request(file) == spec
        shortest: dict[str, Any] = options(spec.fit, spec.side, names)
        assert api.make_spec(names, conditions=["fog=0.2"], **shortest).by_side() == spec.by_side()
        return [part.framing[:2] for part in spec.by_side()]

    assert framings() == [("crop", 224), ("squash", 8)]
    assert framings(fit="crop", side=224) == [("crop", 224)]
    assert framings(fit="crop") == [("crop", 224), ("crop", 8)]
    assert framings(side=96) == [("crop", 96), ("squash", 96)]
    assert framings(fit="letterbox", side="model") == [("letterbox", 224), ("letterbox", 8)]
    with pytest.raises(ParameterError, match="crop at 224 px; squash at 8 px"):
        api.evaluate("samples", models=names, conditions=["fog=0.2"])
    api.export("samples", tmp_path / "out", conditions=["fog=0.2"])
    with Image.open(next((tmp_path / "out").rglob("*.png"))) as image:
        assert image.size == (224, 224), "a model in models= alone changes what is exported"
    saved = tmp_path / "request.toml"
    saved.write_text(f'models = ["{whole}"]\nfit = "crop"\n[[condition]]\nfog = 0.2\n')
    assert read_request(saved).framing == Framing("crop", 224), "the side of a fit"


def test_each_model_sees_its_own_version_of_one_image(whole: str) -> None:
    pixels = np.zeros((20, 180, 3), np.uint8)
    pixels[:, :160] = 255
    names = ["SqueezeNet", whole]
    swept = api.sweep(pixels, models=names, perturbation="vertical_flip", steps=2).points
    seen = swept[swept["model"] == whole]["clean_probability"]
    assert seen.unique() == pytest.approx([160 / 180], abs=0.01)
    assert set(swept["side"]) == {224, 8}


@pytest.mark.parametrize("side", [96, "model"])
def test_a_request_file_keeps_the_side(tmp_path: Path, side: int | str) -> None:
    asked = api.make_spec(MIXED, perturbations=["fog"], side=side)
    (tmp_path / "request.toml").write_text(asked.as_toml())
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
    assert any("side" in note for note in found.notes)
    assert not any("in common" in note for note in found.notes)
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
    budget.write_text("[[limit]]\nmodel = 'Eff*'\nmin_consistency = 0.5\n")
    one = ["--limit", "1", "--perturbations", "brightness", "--remedies", "flip"]
    asked = ["check", "samples", *one, "--out", str(tmp_path), "--budget", str(budget)]
    both = ["--models", "SqueezeNet,EfficientNetLite1", "--side", "model"]
    assert main([*asked, *both]) == 1, "one image is too few for the limit on one of the runs"
    capsys.readouterr()
    swept = printed("sweep", images[0], "--perturbation", "brightness", "--steps", "3")
    assert {row["model"]: row["side"] for row in swept["points"]} == sides
    at_study = next(row for row in study["measurements"] if row["model"] == "EfficientNetLite1")
    under = printed("predict", images[0], "--under", f"brightness={at_study['strength']}")
    (top,) = (
        each["top"][0] for each in under["predictions"] if each["model"] == "EfficientNetLite1"
    )
    assert top["probability"] == pytest.approx(at_study["probability"])
