"""How models see images: each as it is described, or all alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustness import api, runs
from robustness.base.errors import ParameterError
from robustness.base.validation import checked_json
from robustness.cli.main import main
from robustness.images.decoding import decode, sample_bytes
from robustness.images.framing import Framing, fit
from robustness.measure.request import Request, by_framing, framing, options, read_request

BUNDLED = ("SqueezeNet", "EfficientNetLite1")
WHOLE = Framing("squash", 8)


@pytest.fixture
def whole() -> Iterator[str]:
    """A model of two classes that sees whole images at 8 pixels: by how much is bright."""

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


def test_models_are_grouped_by_their_own_framing(whole: str) -> None:
    names = (BUNDLED[0], whole, BUNDLED[1])
    assert by_framing(None, None, names) == {Framing(): BUNDLED, WHOLE: (whole,)}
    assert by_framing("squash", 384, names) == {Framing("squash", 384): names}
    assert framing("crop", None, whole) == Framing("crop", 8)
    assert framing(None, 96, whole) == Framing("squash", 96)
    assert framing("crop", 96, whole) == Framing("crop", 96) == framing("crop", 96, BUNDLED[0])


def test_models_that_a_variant_combines_see_images_alike(whole: str) -> None:
    described: dict[str, Any] = {"labels": "imagenet", "input_size": 8, "normalisation": "0..1"}
    api.add_model("tiny", lambda pixels: np.eye(1000)[[0] * len(pixels)], fit="squash", **described)
    try:
        with pytest.raises(ParameterError, match="with the same classes"):
            api.make_spec([f"SqueezeNet+{whole}+average"], conditions=["fog=0.2"])
        with pytest.raises(ParameterError, match="see images alike"):
            api.make_spec(["SqueezeNet+tiny+average"], conditions=["fog=0.2"])
        alike = api.make_spec(["SqueezeNet+tiny+vote"], conditions=["fog=0.2"], fit="crop", side=8)
        assert alike.variants
    finally:
        api.remove_model("tiny")


@pytest.mark.parametrize("text", ["model", "big", "-1", "2.5", "99999999999", ""])
def test_a_side_on_the_command_line_is_a_number_of_pixels(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["predict", "sample:coffee", f"--side={text}"])
    assert "a side in pixels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "overrides",
    [{}, {"fit": "crop"}, {"side": 96}, {"fit": "letterbox", "side": 96}],
    ids=["own", "fit", "side", "both"],
)
def test_a_request_keeps_how_each_model_sees_images(
    whole: str, tmp_path: Path, overrides: dict[str, Any]
) -> None:
    names = [BUNDLED[0], whole]
    spec = api.make_spec(names, conditions=["fog=0.2"], **overrides)
    fit, side = overrides.get("fit"), overrides.get("side")
    expected = [Framing(fit or "crop", side or 224), Framing(fit or "squash", side or 8)]
    assert [spec.framing_of(name) for name in names] == expected
    assert checked_json(Request, json.dumps(spec.as_dict()).encode()) == spec
    file = tmp_path / "request.toml"
    file.write_text(spec.as_toml())
    assert read_request(file) == spec
    shortest: dict[str, Any] = options(dict(spec.framings))
    assert shortest.keys() == overrides.keys()


def test_the_framing_of_each_model_is_part_of_the_request() -> None:
    requests = [api.make_spec(BUNDLED, perturbations=["fog"], side=side) for side in (224, 96)]
    assert requests[0].digest != requests[1].digest
    document = requests[0].as_dict()
    del document["framings"]["SqueezeNet"]
    with pytest.raises(ParameterError, match="a framing for each model"):
        checked_json(Request, json.dumps(document).encode())


def test_what_has_one_framing_refuses_models_of_several(whole: str, tmp_path: Path) -> None:
    names = [BUNDLED[0], whole]
    with pytest.raises(ParameterError, match="crop at 224 px and squash at 8 px"):
        api.export("samples", tmp_path / "refused", models=names, conditions=["fog=0.2"])
    api.export("samples", tmp_path / "out", conditions=["fog=0.2"])
    with Image.open(next((tmp_path / "out").rglob("*.png"))) as image:
        assert image.size == (224, 224), "a model in models= alone changes what is exported"


def test_models_of_several_framings_are_one_run(whole: str, tmp_path: Path) -> None:
    names = ["SqueezeNet", whole, "EfficientNetLite0"]
    conditions = ["gaussian_noise=0.4", "brightness=0.5"]
    alone = {
        name: api.evaluate("samples", models=[name], conditions=conditions, limit=2, out=tmp_path)
        for name in names
    }
    mixed = api.evaluate("samples", models=names, conditions=conditions, limit=2, out=tmp_path)
    columns = ["clean_probability", "probability", "ssim", "side", "fit", "framed_digest"]
    frame = mixed.frame(None)
    for name, run in alone.items():
        own = frame[frame["model"] == name]
        for column in ("image_digest", *columns):
            assert own[column].tolist() == run.frame(None)[column].tolist(), (name, column)
    assert frame["image_digest"].nunique() == 2
    compared = runs.compare(alone["SqueezeNet"], mixed)
    assert (compared.images, compared.rows) == (2, None)
    assert {entry["model"] for entry in compared.differences} == {"SqueezeNet"}
    assert all(entry["consistency_a"] == entry["consistency_b"] for entry in compared.differences)
    for model in names:
        picture = mixed.picture_for(str(frame["image"].iloc[0]), model)
        assert picture.framing == mixed.manifest.spec.framing_of(model)


def test_a_copied_run_of_several_classes_and_framings_opens(whole: str, tmp_path: Path) -> None:
    names = ["SqueezeNet", "EfficientNetLite0", whole]
    run = api.evaluate(
        "samples", models=names, conditions=["brightness=0.5"], limit=2, out=tmp_path
    )
    copied = shutil.copytree(run.folder, tmp_path / "elsewhere" / "copied")
    copy = runs.load(copied)
    assert copy.table().equals(run.table())
    image = copy.image_table.column("framed").combine_chunks().flatten()
    assert len(image) == 2 * 2, "a digest for each framing"


def test_commands_measure_each_model_in_its_own_framing(
    whole: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def printed(*arguments: str) -> Any:
        assert main([*arguments, "--models", f"SqueezeNet,{whole}", "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    images = ["sample:coffee", "sample:chelsea"]
    study = printed("study", *images, "--perturbations", "brightness")
    sides = {"SqueezeNet": 224, whole: 8}
    assert {row["model"]: row["side"] for row in study["measurements"]} == sides
    framings = study["manifest"]["spec"]["framings"]
    assert {name: own["side"] for name, own in framings.items()} == sides
    assert [entry["n"] for entry in study["summary"]] == [2, 2]
    evaluated = printed(
        *("evaluate", "samples", "--limit", "1", "--perturbations", "brightness"),
        *("--remedies", "flip", "--out", str(tmp_path)),
    )
    assert {entry["model"] for entry in evaluated["summary"]} == {*sides}
    budget = tmp_path / "budget.toml"
    budget.write_text(
        "when_unsure = 'pass'\n[[limit]]\nmin_consistency = 0\n"
        f"[[limit]]\nmodel = '{whole}+flip'\nmin_consistency = 0\n"
    )
    checked = printed(
        *("check", "samples", "--limit", "1", "--perturbations", "brightness"),
        *("--remedies", "flip", "--out", str(tmp_path), "--budget", str(budget)),
    )
    assert checked["run"] == evaluated["run"], "the run that there was"
    assert any("own preprocessing" in note for note in checked["notes"])
    assert [v["model"] for v in checked["verdicts"]] == ["SqueezeNet", whole, f"{whole}+flip"]
    swept = printed("sweep", images[0], "--perturbation", "brightness", "--steps", "3")
    assert {row["model"]: row["side"] for row in swept["points"]} == sides
    at_study = next(row for row in study["measurements"] if row["model"] == whole)
    under = printed("predict", images[0], "--under", f"brightness={at_study['strength']}")
    (top,) = (each["top"][0] for each in under["predictions"] if each["model"] == whole)
    assert top["probability"] == pytest.approx(at_study["probability"])


def test_what_a_model_sees_can_be_written_and_asked_again(whole: str, tmp_path: Path) -> None:
    """``perturb --model`` and ``rb.perturb(framed, source=...)`` draw as an evaluation does."""
    image = decode(sample_bytes("coffee"))
    to = tmp_path / "seen.png"
    where = ["--perturbation", "gaussian_noise", "--strength", "0.5", "--to", str(to)]
    assert main(["perturb", "sample:coffee", *where, "--model", whole]) == 0
    written = np.asarray(Image.open(to))
    framed = np.rint(fit(image, WHOLE) * 255).astype(np.uint8)
    drawn = api.perturb(framed, "gaussian_noise", 0.5, source=image)
    np.testing.assert_array_equal(written, drawn)
    assert not np.array_equal(drawn, api.perturb(framed, "gaussian_noise", 0.5))
    with pytest.raises(ParameterError, match="a source for each of 1 image, got int"):
        api.perturb(framed, "gaussian_noise", 0.5, source=5)
    row = api.evaluate_pictures(
        {"coffee": "sample:coffee"}, api.make_spec([whole], conditions=["gaussian_noise=0.5"])
    ).iloc[0]
    share = drawn.mean() / 255
    assert row["probability"] == pytest.approx(max(share, 1 - share), abs=1e-5)
