"""Hardening a small network from images to judgement, and the laws of its parts."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
from PIL import Image

import robustness as rb
from robustness import gate, models
from robustness.api.runs import weakest_perturbations
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.hardening import Settings, judgement
from robustness.hardening.run import Hardening, most_likely
from robustness.hardening.train import split_places
from robustness.images.decoding import REGISTRY as SAMPLES
from robustness.images.decoding import sample_bytes
from robustness.images.framing import study_image
from robustness.images.pixels import copies, to_uint8
from robustness.measure.condition import Condition
from robustness.models import own
from robustness.models.frameworks import keras
from robustness.models.keras import keras_graph
from robustness.models.training import GraphTrainer
from robustness.models.weights import digest
from robustness.perturbations import REGISTRY
from robustness.report import harden as results
from robustness.report.run import of_run
from robustness.runs import jobs, last_trained
from robustness.statistics.means import holm, overall
from tests.support.jobs import training_of
from tests.support.user_models import DIGITS, describe, digits_images, small_network

TRAINED = ["brightness", "contrast"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Networks that have learned the digits, with a batch normalisation and without, and images."""
    base = tmp_path_factory.mktemp("hardening")
    images, classes = digits_images()
    keras().utils.set_random_seed(0)
    layers = keras().layers
    dense = [layers.Flatten(), layers.Dense(32, "relu"), layers.Dense(10, "softmax")]
    plain = keras().Sequential([layers.Input((8, 8, 3)), *dense])
    descriptions = ""
    for name, network in (("digits", small_network()), ("plain", plain)):
        network.compile(keras().optimizers.Adam(0.01), "sparse_categorical_crossentropy")
        network.fit(images[:1000], classes[:1000], epochs=6, batch_size=50, verbose=0)
        graph = keras_graph(network, (), (8, 8))
        openvino.save_model(graph, base / f"{name}.xml", compress_to_fp16=False)
        # No process needs TensorFlow to read it.
        descriptions += describe(base, name, path=f"{name}.xml").read_text()
    (base / "models.toml").write_text(descriptions)
    for part, rows in (("train", range(1000, 1160)), ("judge", range(1500, 1620))):
        for row in rows:
            path = base / part / DIGITS[classes[row]] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((images[row] * 255).round().astype(np.uint8)).save(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_MODELS", str(base / "models.toml"))
        yield base
    own.refresh()


def hardened(folder: Path, name: str, **changes: Any) -> Hardening:
    arguments = {"images": folder / "train", "judge": folder / "judge", "perturbations": TRAINED}
    return rb.harden("digits", name=name, **{**arguments, "epochs": 5, "rate": 1e-2, **changes})


class CancelledError(Exception):
    """Raised by a caller to cancel."""


def test_hardening_gains_and_says_so_ever_after(folder: Path) -> None:
    own.refresh()
    parent, description = digest(models.REGISTRY["digits"]), (folder / "models.toml").read_text()
    steps: list[int] = []

    def stop(phase: str, done: int, _total: int) -> None:
        if phase == "Training":
            steps.append(done)
            if done > 300 and len(steps) < 40:
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
    added = models.REGISTRY["hard"]
    assert (added.trained_on, added.by_default) == (tuple(TRAINED), False)
    assert added.origin
    assert (added.origin.parent, added.origin.digest) == ("digits", parent)
    assert (added.origin.image_count, added.origin.share) == (answer.train, answer.share)
    assert json.dumps(answer.as_dict(), allow_nan=False)
    assert "ImageNet-C" in str(results.blocks(answer)[-1])

    classifier = models.load("hard", side=8)
    images = digits_images()[0][:20]
    scores = np.exp(np.asarray(classifier.graph.scores(images)))
    replayed = scores / scores.sum(1, keepdims=True)
    np.testing.assert_allclose(replayed, classifier(images).probabilities, atol=1e-5)
    assert classifier.gradients is not None
    assert len(classifier.stages) == len(models.load("digits", side=8).stages)

    run = rb.evaluate(folder / "judge", models=["hard"], conditions=["fog=0.5"], limit=5)
    assert run.manifest.trained_on == {"hard": tuple(TRAINED)}
    assert any("hard was trained on" in text for text in of_run(run).cautions)
    limits = gate.read_budget(Path("budget.toml"), b"[[limit]]\nmin_accuracy = 0.01\n")
    assert "hard was trained on" in gate.check(limits, run).notes[0]
    assert weakest_perturbations("hard", run) == ("fog",)
    assert main(["models", "remove", "hard"]) == 0
    assert not (folder / "added-models" / "hard").exists()


def test_a_model_made_worse_is_not_recommended_and_a_job_ends_with_its_answer(
    folder: Path, tmp_path: Path
) -> None:
    request = training_of(
        tmp_path / "run",
        model="plain",
        name="worse",
        source=str(folder / "train"),
        judging_source=str(folder / "judge"),
        perturbations=tuple(TRAINED),
        settings=Settings(epochs=1, rate=0.1),
    )
    queued = jobs.submit(request, tmp_path, "somebody")
    assert jobs.is_queued(queued)
    resume = ["runs", "resume", "--out", str(tmp_path), "--background"]
    assert main([*resume, queued.name]) == 0
    assert not jobs.is_queued(queued)
    answer = last_trained(tmp_path / "run")
    assert answer is not None
    assert next(results.sentences(answer)).startswith("Not recommended")

    again = jobs.submit(request, tmp_path, "somebody")
    assert main([*resume, again.name]) == 2
    assert "a model of that name exists" in jobs.stop_reason(again)
    jobs.resume(again, "somebody")
    assert jobs.is_queued(again)


def test_a_full_disk_ends_a_training_that_goes_on_from_its_last_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own.refresh()
    monkeypatch.setenv("ROBUSTNESS_CACHE", str(tmp_path))
    replace_file = os.replace
    written: list[str] = []
    steps: list[int] = []

    def refuse(source: Any, target: Any) -> None:
        """Only the first checkpoint finds room."""
        if Path(target).suffix == ".npz":
            written.append(str(target))
            if len(written) > 1:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace_file(source, target)

    def note(phase: str, done: int, _total: int) -> None:
        if phase == "Training":
            steps.append(done)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(ParameterError, match="cannot be saved: No space left"):
            hardened(folder, "late", note=note)
    assert "late" not in models.REGISTRY
    assert len(set(written)) == 1
    assert [path.name for path in (tmp_path / "hardening").iterdir()] == [Path(written[0]).name]

    per_step, saved_after = steps[1], 25
    steps.clear()
    hardened(folder, "late", note=note)
    assert steps[0] == saved_after * per_step, "training goes on from the last checkpoint"
    assert not list((tmp_path / "hardening").iterdir())
    assert main(["models", "remove", "late"]) == 0


def test_without_labels_nothing_is_recommended(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = folder / "flat"
    flat.mkdir()
    for path in (folder / "train").rglob("*.png"):
        shutil.copy(path, flat)
    words = ["harden", "digits", "--images", str(flat), "--name", "blind"]
    words += ["--perturbations", ",".join(TRAINED)]
    copy = folder / "blind.xml"
    assert main([*words, "--epochs", "1", "--out", str(copy), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["trained_on"] == ["brightness", "contrast"]
    assert not answer["judgement"]["labelled"]
    assert not answer["judgement"]["recommended"]
    assert copy.with_suffix(".bin").stat().st_size > 1000


def test_what_cannot_be_hardened_says_why(folder: Path) -> None:
    with pytest.raises(ParameterError, match="a model of that name exists"):
        hardened(folder, "digits")
    with pytest.raises(ParameterError, match="leave a family out"):
        hardened(folder, "all", perturbations=list(REGISTRY.names))
    with pytest.raises(ParameterError, match="either perturbations or a run"):
        hardened(folder, "none", perturbations=None)
    with pytest.raises(ParameterError, match="at least one perturbation"):
        hardened(folder, "none", perturbations=[])
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
        GraphTrainer(models.load("function", side=8))
    rb.remove_model("function")


# --- laws -----------------------------------------------------------------------------------------


def test_copies_of_an_image_are_in_one_part() -> None:
    draws = np.random.default_rng(0)
    scenes = draws.integers(0, 256, (120, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    darker, mirrored = (scenes * 0.8).astype(np.uint8), scenes[:, :, ::-1]
    pixels = np.concatenate([scenes, darker, mirrored])
    for judging in (0, 60):
        parts = split_places(pixels, judging, seed=1)
        train, choose, judge = ({int(row) % 120 for row in rows} for rows in parts)
        assert not train & choose | train & judge | choose & judge
        rows = np.concatenate(parts)
        assert len(set(rows.tolist())) == len(rows)
        assert judging == 0 or min(*parts[1], *parts[2]) >= len(pixels) - judging


def test_a_crop_is_not_found_as_a_copy() -> None:
    """As the documentation says."""
    images = [Image.fromarray(to_uint8(study_image(sample_bytes(r.name)))) for r in SAMPLES]
    side, border = images[0].width, round(0.06 * images[0].width)
    box = (border, border, side - border, side - border)
    small = [image.resize((side // 2, side // 2)).resize((side, side)) for image in images]
    crops = [image.crop(box).resize((side, side)) for image in images]
    numbers = copies(map(np.asarray, [*images, *small, *crops]))
    originals = [*range(len(images))]
    assert numbers.tolist() == [*originals, *originals, *np.arange(len(crops)) + 2 * len(images)]


def test_unseen_perturbations_are_of_other_kinds() -> None:
    def kinds(trained: Sequence[str]) -> set[str]:
        conditions = judgement.unseen_conditions(trained)
        return {judgement.kind(name) for c in conditions for name in c.perturbations}

    for record in REGISTRY:
        assert judgement.kind(record.name) not in kinds([record.name])
    assert "motion_blur" not in str(judgement.unseen_conditions(["gaussian_blur"]))
    weakest = judgement.names_to_train(REGISTRY.names)
    assert len(weakest) == judgement.MOST_TRAINED
    assert len(kinds(weakest)) >= 2


def judged(lost: int, gained: int, *, labelled: bool = True) -> judgement.Judgement:
    """A judgement of 200 images: ``lost`` on originals, ``gained`` under unseen perturbations."""
    fog = (Condition.of({"fog": 0.5}),)
    before, after = np.zeros((2, 200, 3), bool)
    before[:, 0] = after[:, 0] = True
    after[:lost, 0] = False
    after[:gained, 2] = True
    return judgement.judge_training(before, after, fog, fog, labelled=labelled)


def test_p_values_alone_are_corrected_for_the_number_of_differences() -> None:
    fog = (Condition.of({"fog": 0.5}),)
    before, after = np.random.default_rng(0).random((2, 60, 3)) < [[[0.4]], [[0.6]]]
    gaps, present = after.astype(int) - before, np.ones((2, 60, 1), bool)
    alone = [overall(gaps[:, [at]], *present) for at in range(3)]
    made = judgement.judge_training(before, after, fog, fog, labelled=True)
    for judged_alike, first in ((made.groups, 0), (made.conditions, 1)):
        assert [each.p for each in judged_alike] == holm([each.p for each in alone[first:]])
        bounds = [(each.low, each.high) for each in judged_alike]
        assert bounds == [(each.low, each.high) for each in alone[first:]]


def test_a_gain_without_a_loss_is_recommended() -> None:
    assert judged(0, 30).recommended
    assert not judged(0, 30, labelled=False).recommended
    assert not judged(0, 2).recommended
    assert judged(0, 30, labelled=False).more_images is None
    assert judged(0, 0).more_images is None  # the same predictions
    doubtful = judged(3, 30)
    assert doubtful.gain_established
    assert not doubtful.recommended
    assert 0 < (doubtful.more_images or 0) < 10_000
    assert judged(20, 30).more_images is None


def test_originals_weigh_twice_as_much_as_all_conditions_in_the_choice() -> None:
    logs = np.zeros((2, 50, 5), np.float32)
    logs[0, :, 1:] = -0.5
    logs[1, :, 0] = -0.2
    assert most_likely(logs) == 1
    logs[1, :, 0] = -0.3
    assert most_likely(logs) == 0
