"""The commands that try remedies on a few images, against classifiers behind the same remedies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.support.image_files import load_study_image
from robustness import models
from robustness.cli.main import main
from robustness.images.decoding import sample_path
from robustness.images.framing import Picture
from robustness.measure.condition import Condition
from robustness.measure.loop import perturbed

COFFEE = str(sample_path("coffee"))
TWO = ["SqueezeNet", "EfficientNetLite0"]
ASKED = "--remedies=median,median+tta,average"


@pytest.fixture(scope="module")
def behind() -> dict[tuple[str, str], Any]:
    """By remedy and model, the classifier behind it."""
    one, other = (models.load(name) for name in TWO)
    return {
        (remedy, own.record.name): own.with_remedies(remedy, partners)
        for own, rival in ((one, other), (other, one))
        for remedy, partners in (("median", []), ("median+tta", []), ("average", [rival]))
    }


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_study_counts_what_classifiers_behind_the_remedies_predict(
    capsys: pytest.CaptureFixture[str], behind: dict[tuple[str, str], Any]
) -> None:
    asked = ["--models", ",".join(TWO), "--perturbations=gaussian_noise", "--strength=0.5"]
    found = printed(capsys, "study", COFFEE, *asked, ASKED)
    picture = Picture.of(COFFEE, load_study_image(sample_path("coffee")))
    noisy = perturbed(picture, [Condition.of({"gaussian_noise": 0.5})], 0)
    of_variants = {row["model"]: row for row in found["measurements"] if "base" in row}
    assert len(of_variants) == 2 * 2 + 1, "two remedies of each model, and their average"
    for name, row in of_variants.items():
        chain = "average" if name.endswith("average") else name.removeprefix(f"{row['base']}+")
        classifier = behind[chain, row["base"]]
        answer = classifier(noisy).probabilities[0]
        assert row["top1"] == answer.argmax()
        assert row["probability"] == pytest.approx(answer.max(), abs=1e-5)
        clean = classifier(picture.image[None]).probabilities[0]
        assert row["clean_top1"] == clean.argmax()
    assert {entry["model"] for entry in found["summary"]} == {*TWO}
    assert main(["study", COFFEE, *asked, ASKED]) == 0
    table = capsys.readouterr().out
    assert table.count("of 1") >= 2 * 2 * (1 + 3), "none and three remedies of two models, twice"


@pytest.mark.parametrize("under", [[], ["--under=gaussian_noise=0.5"]])
def test_predict_says_the_same_as_a_classifier_behind_the_remedy(
    capsys: pytest.CaptureFixture[str], behind: dict[tuple[str, str], Any], under: list[str]
) -> None:
    asked = [COFFEE, f"--models={','.join(TWO)}", "--true-class=espresso", *under, ASKED]
    found = printed(capsys, "predict", *asked)
    picture = Picture.of(COFFEE, load_study_image(sample_path("coffee")))
    if under:
        picture = Picture.of(
            COFFEE, perturbed(picture, [Condition.of({"gaussian_noise": 0.5})], 0)[0]
        )
    for entry in found["predictions"]:
        assert [each["remedy"] for each in entry["remedies"]] == ["median", "median+tta", "average"]
        for each in entry["remedies"]:
            answer = behind[each["remedy"], entry["model"]](picture.image[None]).probabilities[0]
            assert each["index"] == answer.argmax()
            assert each["probability"] == pytest.approx(answer.max(), abs=1e-5)
            assert each["correct"] == (each["name"] == "espresso")
