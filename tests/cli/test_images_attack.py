"""The attack command: its document, its image, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.support.image_files import load_study_image
from robustness.cli.main import main
from robustness.images.decoding import sample_path
from robustness.models import Classifier
from tests.support.console import check_sentence

COFFEE = str(sample_path("coffee"))
QUICK = ("--model", "SqueezeNet", "--steps", "3")


def attacked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Any:
    """The document of a command that succeeds."""
    capsys.readouterr()
    assert main(["attack", COFFEE, *(str(argument) for argument in arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("norm", "epsilon", "value"), [("linf", "2/255", 2 / 255), ("l2", "0.3", 0.3)]
)
def test_the_document_is_about_the_saved_picture(
    capsys: pytest.CaptureFixture[str],
    classifiers: Mapping[str, Classifier],
    tmp_path: Path,
    norm: str,
    epsilon: str,
    value: float,
) -> None:
    out = tmp_path / "new" / "out.png"
    found = attacked(capsys, *QUICK, "--epsilon", epsilon, "--norm", norm, "--to", out)
    assert list(found) == [
        *(
            "success",
            "by",
            "epsilon",
            "epsilon_at_side",
            "linf",
            "l2",
            "ssim",
            "clean_top1",
            "top1",
            "probability",
        ),
        *("noise_control", "label", "transfer"),
    ]
    with Image.open(out) as written:
        assert (written.format, written.mode, written.size) == ("PNG", "RGB", (224, 224))
        pixels = np.asarray(written)
    clean = np.rint(load_study_image(COFFEE).astype(np.float64) * 255)
    change = (pixels - clean) / 255
    assert found["epsilon"] == value
    assert found["linf"] == pytest.approx(np.abs(change).max(), rel=1e-12)
    assert found["l2"] == pytest.approx(np.linalg.norm(change), rel=1e-12)
    assert 0 < found[norm] <= value
    saved = pixels[None].astype(np.float32) / np.float32(255)
    answer = classifiers["SqueezeNet"](saved).probabilities[0]
    assert found["clean_top1"] == 967
    assert found["top1"] == answer.argmax()
    assert found["probability"] == pytest.approx(answer.max(), abs=1e-5)
    assert found["success"] is True
    assert answer.argmax() != 967
    assert main(["predict", str(out), "--fit", "squash", "--models", "SqueezeNet", "--json"]) == 0
    (read,) = json.loads(capsys.readouterr().out)["predictions"]
    assert read["top"][0]["index"] == found["top1"]
    control = found["noise_control"]
    assert control["success"] is (control["successes"] > 0) is False
    assert control[norm] == pytest.approx(found[norm], rel=0.15)  # less what is clipped
    judges = [entry["model"] for entry in found["transfer"]]
    assert judges == ["EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2"]
    for entry in found["transfer"]:
        assert entry["success"] is (entry["top1"] != entry["clean_top1"])


def test_the_same_seed_gives_the_same_picture_and_target_and_restarts_are_heard(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ("--model", "SqueezeNet", "--target", "Consomme", "--epsilon", "1/255", "--steps=4")
    pictures, documents = [], []
    for seed in (3, 3, 4):
        out = tmp_path / "out.png"
        documents.append(
            attacked(capsys, *options, "--restarts=2", "--seed", str(seed), "--to", out)
        )
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]
    assert documents[0] == documents[1]
    assert documents[0]["success"]
    assert documents[0]["top1"] == 925


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--epsilon", "-8/255"), "between 0 and 1"),
        (("--epsilon", "much"), "'much'"),
        (("--target", "no such thing"), "no class called 'no such thing'"),
        (("--target", "espresso"), "already"),
        (("--attack", "sqare"), "Did you mean 'square'"),
        (("--seed", "-1"), "seed must"),
        (("--to", "out.jpg"), "end in .png"),
        (("--model", "VGG16"), "weights missing"),
        (("--model", "SqueezNet"), "Did you mean 'SqueezeNet'"),
    ],
)
def test_bad_settings_end_in_a_sentence(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...], word: str
) -> None:
    assert main(["attack", COFFEE, "--model", "SqueezeNet", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    sentence = err.removeprefix("loading SqueezeNet ...\n")
    check_sentence(sentence)
    assert word in sentence
