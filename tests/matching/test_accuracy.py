"""Accuracies without a cause: from confidence, from labels, and from both."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import matching, models
from robustness.api.images import open_images
from robustness.base.errors import ParameterError
from robustness.cli.main import main
from robustness.images.pixels import from_uint8, to_uint8
from robustness.matching import match as matched
from robustness.matching import reference
from robustness.matching.accuracy import (
    AccuracyEstimate,
    ConfidenceEstimator,
    ExpectedAccuracy,
    TopPredictions,
    bounded,
    combined,
    exact_estimate,
    labelled_estimate,
    with_agreement,
)
from robustness.matching.reference import ReferenceImages
from robustness.matching.run import (
    Match,
    MatchSettings,
    SampleImage,
    first_answer,
    read_sheet,
    sheet,
    with_labels,
)
from robustness.report import match as results
from tests.matching.test_run import FRAMING, SIDE, example, textures

MODEL = "SqueezeNet"
ONE_MODEL = MatchSettings(models=(MODEL,))


def silent(_what: str, _done: int, _total: int) -> None: ...


def predictions(count: int, seed: int, shift: float = 0.0, honest: bool = True) -> TopPredictions:
    """A model that is right as often as its confidence says; ``shift`` lowers both.

    Class 0 is correct. A model that is not honest keeps its confidence where it is wrong.
    """
    draws = np.random.default_rng([seed, int(100 * shift)])
    true = np.clip(draws.beta(2, 0.8, count) - shift, 0.02, 0.98)
    shown = true if honest else np.clip(true + shift, 0.02, 0.98)
    classes = np.where(draws.random(count) < true, 0, 1)
    cues = np.stack([np.log(shown / (1 - shown)), -shown, shown], 1)
    features = draws.normal(0, 1, (count, 8))
    features[:, 0] += 3 * shift if honest else 0
    return TopPredictions(classes, shown, cues, features)


def fitted(honest: bool = True) -> ConfidenceEstimator:
    """What 300 reference images and 12 compositions tell of such a model."""
    draws = np.random.default_rng(0)
    simulated = [
        (predictions(40, 1 + number, 0.06 * number, honest), draws.permutation(300)[:40])
        for number in range(12)
    ]
    return ConfidenceEstimator(predictions(300, 0), np.zeros(300, np.int64), simulated)


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.5])
def test_a_fall_of_confidence_is_a_fall_of_accuracy(shift: float) -> None:
    production = predictions(400, 99, shift)
    estimate = fitted().estimate(production)
    true = float((production.classes == 0).mean())
    assert estimate.value == pytest.approx(true, abs=0.1)
    assert estimate.low < true < estimate.high
    assert set(estimate.parts) >= {"ATC", "DoC"}


def test_a_model_whose_confidence_does_not_follow_has_a_wide_interval() -> None:
    production = predictions(50, 99, 0.3)
    honest, other = fitted(), fitted(honest=False)
    assert other.error > 2 * honest.error
    assert other.estimate(production).error > honest.estimate(production).error


def pair(count: int, seed: int, shift: float = 0.0) -> dict[str, TopPredictions]:
    """A strong honest model, and a weak one that stays sure of itself. Their errors differ."""
    strong = predictions(count, seed, shift)
    weak = predictions(count, seed + 1000, min(0.1 + 2 * shift, 0.9), honest=False)
    wrong = np.where(weak.classes == 0, 0, 2)
    return {"strong": strong, "weak": weak._replace(classes=wrong)}


def test_another_model_tells_when_a_sure_one_is_wrong() -> None:
    labels = dict.fromkeys(("strong", "weak"), np.zeros(300, np.int64))
    draws = np.random.default_rng(0)
    rows = [draws.permutation(300)[:40] for _ in range(16)]
    originals = pair(300, 0)
    simulated = [pair(40, 1 + number, 0.04 * number) for number in range(16)]
    widths, inside = [], []
    for with_other in (False, True):

        def seen(outputs: dict[str, TopPredictions], both: bool = with_other) -> TopPredictions:
            chosen = outputs if both else {"weak": outputs["weak"]}
            return with_agreement(chosen, labels)["weak"]

        parts = [(seen(outputs), own) for outputs, own in zip(simulated, rows, strict=True)]
        estimator = ConfidenceEstimator(seen(originals), labels["weak"], parts)
        for number in range(20):
            production = pair(50, 200 + number, 0.02 * number)
            estimate = estimator.estimate(seen(production))
            true = float((production["weak"].classes == 0).mean())
            widths.append(estimate.high - estimate.low)
            inside.append(estimate.low <= true <= estimate.high)
    assert np.mean(widths[20:]) < 0.75 * np.mean(widths[:20])
    assert sum(inside[20:]) >= 19


def test_other_features_are_another_content_and_those_of_a_composition_are_not() -> None:
    confidence = fitted()
    same = predictions(50, 99)
    camera = predictions(50, 99, 0.4)
    assert confidence.content_distance(same) < 1
    assert confidence.content_distance(camera) < 1
    features = same.features.copy()
    features[:, 3:6] += 1.5
    assert confidence.content_distance(same._replace(features=features)) > 1


def test_parts_of_the_reference_are_seldom_another_content() -> None:
    confidence, draws = fitted(), np.random.default_rng(1)
    parts = [confidence.original.rows(draws.permutation(300)[:50]) for _ in range(20)]
    assert sum(confidence.content_distance(part) > 1 for part in parts) <= 1


@pytest.mark.parametrize("rate", [0.3, 0.65, 0.9])
def test_intervals_from_labels_hold_the_truth(rate: float) -> None:
    draws, inside, narrower = np.random.default_rng(0), 0, 0
    for _ in range(300):
        shares = np.clip(draws.beta(8 * rate, 8 * (1 - rate), 200), 0.01, 0.99)
        correct = (draws.random(200) < shares).astype(float)
        confidences = np.clip(shares + 0.2, 0, 1)
        part = labelled_estimate(correct[:30], confidences[:30], float(confidences.mean()), 200)
        beside = bounded(float(np.clip(rate + draws.normal(0, 0.07), 0, 1)), 0.08**2)
        both = combined(beside, part)
        inside += both.low <= rate <= both.high
        narrower += both.high - both.low < min(part.high - part.low, beside.high - beside.low)
    assert inside >= 0.92 * 300
    assert narrower >= 0.95 * 300


@pytest.mark.parametrize("value", [False, True])
def test_labels_all_alike_leave_none_and_all_possible(value: bool) -> None:
    correct = {(image.name, MODEL): value for image in sample()[:20]}
    match = with_labels(drawn(bounded(0.3, 0.09**2)), correct)
    (part,) = match.expected_accuracy
    exact = exact_estimate(np.full(20, float(value)))
    assert part.labels is not None
    assert part.labels.low <= exact.low < exact.high <= part.labels.high
    assert (part.high == 1) if value else (part.low == 0)
    assert any(f"{20 * value} of 20 correct" in str(block) for block in results.blocks(match))


def sample() -> tuple[SampleImage, ...]:
    """Thirty drawn images of one model."""
    return tuple(
        SampleImage(f"image {number}.png", b"", {MODEL: "=tabby"}, {MODEL: number / 30})
        for number in range(30)
    )


def drawn(confidence: AccuracyEstimate | None = None) -> Match:
    match = replace(example(0.3, 0.5), sample=sample(), confidences={MODEL: 0.5})
    part = ExpectedAccuracy(MODEL, 0.7, confidence)
    return replace(match, expected_accuracy=(part,) if confidence else ())


def fill_in(path: Path, words: list[str]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, word in zip(rows, words, strict=False):
        row["correct"] = word
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


def test_a_table_of_labels_is_read_as_it_was_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(sheet(sample()))
    assert read_sheet(path, sample()) == {}
    fill_in(path, ["yes", "NO", "1", "0"] * 5)
    correct = read_sheet(path, sample())
    assert list(correct.values()) == [True, False] * 10
    path.write_text(sheet(sample(), correct))
    assert read_sheet(path, sample()) == correct


@pytest.mark.parametrize(
    ("words", "message"),
    [(["yes", "", "no"], "from the first image on"), (["perhaps"], "yes or no, got 'perhaps'")],
)
def test_a_table_that_leaves_out_an_image_is_refused(
    words: list[str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(sheet(sample()))
    fill_in(path, words)
    with pytest.raises(ParameterError, match=message):
        read_sheet(path, sample())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image\n1\n",
        "image,model,correct\nother.png,SqueezeNet,yes\n",
        "image,model,correct\na\n",
    ],
)
def test_another_table_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    if text:
        with pytest.raises(ParameterError, match="expected"):
            read_sheet(path, sample())
    else:
        assert read_sheet(path, sample()) == {}


def test_labels_narrow_an_estimate_and_stand_alone_without_one() -> None:
    correct = {(image.name, MODEL): place % 2 == 0 for place, image in enumerate(sample()[:20])}
    confidence = bounded(0.6, 0.09**2)
    (before,) = drawn(confidence).expected_accuracy
    (after,) = with_labels(drawn(confidence), correct).expected_accuracy
    assert after.high - after.low < before.high - before.low
    assert 0.5 < after.value < 0.6
    assert after.labelled == 20
    (alone,) = with_labels(drawn(), correct).expected_accuracy
    exact = exact_estimate(np.array([1.0, 0.0] * 10))
    assert (alone.value, alone.low, alone.high) == (exact.value, exact.low, exact.high)
    assert any("from labels" in text for text in results.sentences(with_labels(drawn(), correct)))


def test_estimates_that_disagree_are_a_warning() -> None:
    part = ExpectedAccuracy(MODEL, 0.7, bounded(0.6, 0.05**2))
    assert not part.disagreement
    assert not replace(part, labels=bounded(0.65, 0.05**2)).disagreement
    assert not replace(part, labels=exact_estimate(np.ones(1))).disagreement
    labels = replace(part, labels=exact_estimate(np.zeros(20)), labelled=20)
    assert labels.disagreement == "confidence and labels"
    match = replace(example(0.3, 0.5), expected_accuracy=(labels,), other_content=True)
    said = results.sentences(match)
    assert any("disagree" in text for text in said)
    assert not any("label some" in text.lower() for text in said)
    few = AccuracyEstimate(0.291, 0.033, 0.717, 0.2)
    none = AccuracyEstimate(0.083, 0.023, 0.209, 0.05)
    assert not replace(part, confidence=few, labels=none).disagreement


def top_predictions(_name: str, pixels: NDArray[np.uint8]) -> TopPredictions:
    """A model of the mean colours."""
    images = from_uint8(pixels)
    features = images.mean((1, 2)).astype(np.float64)
    confidences = np.clip(2 * images.std((1, 2, 3)).astype(np.float64), 0.05, 0.95)
    classes = (features.sum(1) * 1e4).astype(np.int64) % 1000
    cues = np.stack([confidences, -confidences, confidences**2], 1)
    return TopPredictions(classes, confidences, cues, features)


@pytest.fixture(scope="module")
def side(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReferenceImages]:
    """Reference images of few simulations, and a model without a network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustness.matching.accuracy.COMPOSITIONS", 4)
        patch.setattr(reference, "SIMULATED", 10)
        patch.setattr(reference, "top_predictions", top_predictions)
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setitem(first_answer.__globals__, "top_predictions", top_predictions)
        yield ReferenceImages(textures(40, 0), 0)


def first(side: ReferenceImages, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Match:
    names = [f"{number}.png" for number in range(len(pixels))]
    return first_answer(side, pixels, names, {MODEL: labels}, ONE_MODEL, silent)


def test_the_first_answer_has_an_accuracy_and_images_to_label(side: ReferenceImages) -> None:
    labels = top_predictions(MODEL, side.pixels).classes
    labels[::3] = 0  # a third is incorrect
    answer = first(side, textures(30, 1), labels)
    assert not answer.searched
    (part,) = answer.expected_accuracy
    assert part.confidence is not None
    assert part.low <= part.value == part.confidence.value <= part.high
    assert part.reference == pytest.approx(0.66, abs=0.05)
    assert len(answer.sample) == 30
    assert len({image.name for image in answer.sample}) == 30
    assert [image.name for image in answer.sample] != sorted(image.name for image in answer.sample)
    for image in answer.sample[:2]:
        row = int(image.name.partition(".")[0])
        (name,) = image.predictions.values()
        only = top_predictions(MODEL, textures(30, 1)[row : row + 1])
        assert name == models.class_name(MODEL, int(only.classes[0]))
        assert image.confidences[MODEL] == pytest.approx(only.confidences[0], abs=1e-4)
    assert any(text.startswith("Accuracy to expect") for text in results.sentences(answer))
    assert json.dumps(answer.as_dict(), allow_nan=False)


def test_the_next_match_with_a_reference_predicts_it_from_the_cache(
    side: ReferenceImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = side.originals(MODEL).classes
    before = first(side, textures(30, 1), labels)
    path = "robustness.matching.reference.top_predictions"
    monkeypatch.setattr(path, lambda *_: pytest.fail("predicted again"))
    again = first(ReferenceImages(side.pixels, side.seed), textures(30, 1), labels)
    assert again.expected_accuracy == before.expected_accuracy


def test_without_labels_or_models_it_says_which_are_missing(side: ReferenceImages) -> None:
    answer = first(side, textures(30, 1), np.full(40, -1))
    assert "reference images have a class" in answer.no_accuracy
    assert not answer.expected_accuracy
    assert answer.sample, "labels alone give an accuracy"
    names = [str(number) for number in range(30)]
    answer = first_answer(side, textures(30, 1), names, {}, MatchSettings(), silent)
    assert "no model was named" in answer.no_accuracy
    assert not answer.sample


def moved(image: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """Frames of one scene: moved, and noisy."""
    draws, frames = np.random.default_rng(0), []
    for _ in range(count):
        shifted = np.roll(image, draws.integers(-12, 13, 2), (0, 1))
        noise = draws.normal(0, 0.03, image.shape)
        frames.append(to_uint8(np.clip(from_uint8(shifted) + noise, 0, 1).astype(np.float32)))
    return np.stack(frames)


def test_frames_of_one_scene_are_refused_and_labels_alone_are_not(side: ReferenceImages) -> None:
    answer = first(side, moved(textures(1, 7)[0], 40), top_predictions(MODEL, side.pixels).classes)
    assert "one scene" in results.sentences(answer)[0]
    assert not answer.expected_accuracy
    assert not answer.perturbations
    correct = {(image.name, MODEL): True for image in answer.sample[:20]}
    (part,) = with_labels(answer, correct).expected_accuracy
    assert part.high == 1


def test_copies_saved_again_count_once() -> None:
    images = textures(15, 3)
    noisy = to_uint8(np.clip(from_uint8(images) * 0.97 + 0.01, 0, 1))
    twice = np.concatenate([images, noisy])
    with pytest.raises(ParameterError, match=r"20 different .* got 15 \(15 more are copies\)"):
        matched(open_images(twice), open_images(textures(30, 4)), FRAMING)


def test_the_command_writes_a_table_and_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = drawn(bounded(0.6, 0.09**2))

    def found(*_: object, first: Callable[[Match], object], **__: object) -> Match:
        first(replace(answer, searched=False))
        early = capsys.readouterr()
        assert "SqueezeNet 1.1" in early.err
        assert "%" in early.err
        assert not early.out
        return answer

    monkeypatch.setattr(matching, "match", found)
    path = tmp_path / "labels.csv"
    words = ["match", "samples", "--reference", "samples", "--labels", str(path)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "after 20" in said
    assert "labels.csv" in said
    fill_in(path, ["yes"] * 20)
    assert main([*words, "--json"]) == 0
    (part,) = json.loads(capsys.readouterr().out)["expected_accuracy"]
    assert part["labelled"] == 20
    assert part["value"] > 0.65
    with path.open("a") as file:
        file.write("image 0.png,Other,,no\n")
    assert main([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["expected_accuracy"] == [part]
    assert "labels of Other do not count" in err
    monkeypatch.setattr(matching, "match", lambda *_, **__: pytest.fail("matched"))
    for text in ("image,model\n", "image,model,correct\na,b,maybe\n"):
        path.write_text(text)
        assert main(words) == 2
        assert "labels.csv" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "labels.txt")]) == 2
    assert "ends in .csv" in capsys.readouterr().err


def test_a_match_asks_each_model_with_its_own_preprocessing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Perturbations are fitted on study images, which one of the models does not see."""
    shapes: dict[str, set[int]] = {}

    def noted(name: str, pixels: NDArray[np.uint8]) -> TopPredictions:
        shapes.setdefault(name, set()).add(pixels.shape[1])
        return predictions(len(pixels), 5)

    monkeypatch.setattr(models, "load", lambda _name, side: SimpleNamespace(key=f"{side}"))
    names = ("small", "large")
    images, originals = textures(30, 2), textures(40, 3)
    views = {"small": np.ascontiguousarray(originals[:, ::2, ::2])}
    side = ReferenceImages(originals, 0, views)
    for function in (first_answer, ReferenceImages.confidences):
        monkeypatch.setitem(function.__globals__, "top_predictions", noted)
    labels = dict.fromkeys(names, np.zeros(40, np.int64))
    of_camera = {"small": np.ascontiguousarray(images[:, ::2, ::2])}
    settings = MatchSettings(models=names)
    first_answer(side, images, [str(n) for n in range(30)], labels, settings, silent, of_camera)
    assert shapes == {"small": {SIDE // 2}, "large": {SIDE}}
