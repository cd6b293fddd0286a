"""Hardening a small network from images to judgement, and the laws of its parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import robustness as rb
from robustness import models
from robustness.api.hardening import subjects
from robustness.base.errors import ParameterError
from robustness.commands.main import main
from robustness.evaluation.condition import Condition
from robustness.hardening import judgement, parts, perturbation_kinds
from robustness.hardening.harden import Hardening, smallest_good
from robustness.models.own import user_models
from robustness.models.tensorflow_runtime import keras
from robustness.models.training import TrainableModel
from robustness.models.weights.weight_files import digest
from robustness.perturbations import REGISTRY
from robustness.report import hardening as results
from robustness.report.run import of_run
from tests.support.user_models import DIGITS, describe, digits_images, small_network

TRAINED = ["brightness", "contrast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network that has learned the digits, described in ``models.toml``, and images."""
    base = tmp_path_factory.mktemp("hardening")
    images, classes = digits_images()
    keras().utils.set_random_seed(0)
    network = small_network()
    network.compile(keras().optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    network.fit(images[:1000], classes[:1000], epochs=6, batch_size=50, verbose=0)
    network.save(base / "digits.keras")
    describe(base)
    for part, rows in (("train", range(1000, 1300)), ("judge", range(1500, 1700))):
        for row in rows:
            path = base / part / DIGITS[classes[row]] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((images[row] * 255).round().astype(np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_MODELS", str(base / "models.toml"))
        yield base
    user_models.refresh()


def hardened(folder: Path, name: str, **changes: Any) -> Hardening:
    arguments = {"images": folder / "train", "judge": folder / "judge", "perturbations": TRAINED}
    return rb.harden("digits", name=name, **{**arguments, "epochs": 5, "rate": 1e-3, **changes})


class CancelledError(Exception):
    """What a caller raises to cancel."""


def test_hardening_gains_and_says_so_ever_after(folder: Path) -> None:
    user_models.refresh()
    parent, description = digest(models.REGISTRY["digits"]), (folder / "models.toml").read_text()
    steps: list[int] = []

    def stop(phase: str, done: int, _total: int) -> None:
        if phase == "Training":
            steps.append(done)
            if done > 400 and len(steps) < 40:
                raise CancelledError

    with pytest.raises(CancelledError):
        hardened(folder, "hard", note=stop)
    assert (folder / "models.toml").read_text() == description
    assert not (folder / "added-models").exists()

    last, steps[:] = steps[-1], [0] * 40
    answer = hardened(folder, "hard", note=stop)
    assert steps[40] == last  # nothing is trained twice
    trained = answer.judgement.group(judgement.TRAINED)
    assert answer.judgement.labelled
    assert trained.difference > 0.05
    assert trained.significant
    assert digest(models.REGISTRY["digits"]) == parent
    assert models.REGISTRY["hard"].trained_on == tuple(TRAINED)
    assert json.dumps(answer.as_dict(), allow_nan=False)
    assert "ImageNet-C" in str(results.blocks(answer)[-1])

    classifier = models.load("hard", side=8)
    images = digits_images()[0][:20]
    scores = np.exp(np.asarray(classifier.graph.scores(images)))
    replayed = scores / scores.sum(1, keepdims=True)
    np.testing.assert_allclose(replayed, classifier(images).probabilities, atol=1e-5)
    assert classifier.gradients is not None
    assert len(classifier.stages) == len(models.load("digits", side=8).stages)
    assert classifier.with_remedies("batch_norm", reference=images) is not None

    run = rb.evaluate(folder / "judge", models=["hard"], conditions=["fog=0.5"], limit=5)
    assert run.manifest.trained_on == {"hard": tuple(TRAINED)}
    assert any("hard was trained on" in text for text in of_run(run).cautions)
    assert subjects("hard", None, run, None).names == ("fog",)
    assert main(["models", "remove", "hard"]) == 0
    assert not (folder / "added-models" / "hard").exists()


def test_a_model_made_worse_is_not_recommended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = ["--images", str(folder / "train"), "--judge", str(folder / "judge")]
    words = ["harden", "digits", *sources, "--perturbations", ",".join(TRAINED), "--name", "worse"]
    copy = folder / "worse.xml"
    assert main([*words, "--rate", "0.1", "--epochs", "1", "--out", str(copy)]) == 0
    assert capsys.readouterr().out.startswith("Not recommended")
    assert copy.with_suffix(".bin").stat().st_size > 1000


def test_what_cannot_be_hardened_says_why(folder: Path) -> None:
    with pytest.raises(ParameterError, match="a model of that name exists"):
        hardened(folder, "digits")
    with pytest.raises(ParameterError, match="leave a family out"):
        hardened(folder, "all", perturbations=list(REGISTRY.names))
    with pytest.raises(ParameterError, match="one of perturbations, a run or a suite"):
        hardened(folder, "none", perturbations=None)
    few = folder / "few"
    shutil.copytree(next((folder / "train").iterdir()), few, dirs_exist_ok=True)
    with pytest.raises(ParameterError, match="at least 20 different images"):
        hardened(folder, "few", images=few)
    rb.add_model(
        "function",
        lambda pixels: np.full((len(pixels), 10), 0.1, np.float32),
        labels=list(DIGITS),
        input_size=8,
        normalisation="0..1",
        output="probabilities",
    )
    with pytest.raises(ParameterError, match="function cannot be trained"):
        TrainableModel(models.load("function", side=8))
    rb.remove_model("function")


# --- laws -----------------------------------------------------------------------------------------


def test_copies_of_an_image_are_in_one_part() -> None:
    draws = np.random.default_rng(0)
    scenes = draws.integers(0, 256, (120, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    darker, mirrored = (scenes * 0.8).astype(np.uint8), scenes[:, :, ::-1]
    pixels = np.concatenate([scenes, darker, mirrored])
    for judging in (0, 60):
        found = parts.split(pixels, judging, seed=1)
        sides = [{int(row) % 120 for row in rows} for rows in (found.train, found.choose)]
        sides.append({int(row) % 120 for row in found.judge})
        assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
        rows = np.concatenate([found.train, found.choose, found.judge])
        assert len(set(rows.tolist())) == len(rows) == len(pixels) - found.left_out
        assert judging == 0 or min(*found.choose, *found.judge) >= len(pixels) - judging


def test_unseen_perturbations_are_of_other_kinds() -> None:
    for record in REGISTRY:
        others = perturbation_kinds.unseen([record.name])
        assert perturbation_kinds.kind(record.name) not in perturbation_kinds.kinds(others)
    assert "motion_blur" not in str(perturbation_kinds.unseen(["gaussian_blur"]))
    weakest = perturbation_kinds.weakest(REGISTRY.names)
    assert len(weakest) == perturbation_kinds.MOST_TRAINED
    assert len(perturbation_kinds.kinds(perturbation_kinds.unseen(weakest))) >= 2


def judged(lost: int, gained: int, *, labelled: bool = True) -> judgement.Judgement:
    """That of 200 images: ``lost`` of the originals, ``gained`` under unseen perturbations."""
    fog = (Condition.of({"fog": 0.5}),)
    before, after = np.zeros((2, 200, 3), bool)
    before[:, 0] = after[:, 0] = True
    after[:lost, 0] = False
    after[:gained, 2] = True
    return judgement.judged(before, after, fog, fog, labelled=labelled)


def test_a_gain_without_a_loss_is_recommended() -> None:
    assert judged(0, 30).recommended
    assert not judged(0, 30, labelled=False).recommended
    assert not judged(0, 2).recommended
    assert judged(0, 30, labelled=False).more_images is None
    doubtful = judged(3, 30)
    assert doubtful.gain_established
    assert not doubtful.recommended
    assert 0 < (doubtful.more_images or 0) < 10_000
    assert judged(20, 30).more_images is None


def test_the_smallest_of_equally_good_interpolations_is_taken() -> None:
    flags = np.zeros((3, 50, 2), bool)
    flags[1:, :30, 1] = True  # clearly better than the first
    flags[2, 30:32, 1], flags[2, 0, 1] = True, False  # hardly better than the second
    assert smallest_good(flags) == 1
    flags[0] = flags[1]
    assert smallest_good(flags) == 0
