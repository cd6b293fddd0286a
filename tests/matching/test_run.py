"""Matches of synthetic textures, whose perturbations are known."""

from __future__ import annotations

import ast
import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

import robustness as rb
from robustness import matching, models
from robustness.api.images import open_images
from robustness.base.errors import ModelWarning, ParameterError
from robustness.cli.main import main
from robustness.images.framing import Framing
from robustness.images.pixels import from_uint8, to_png, to_uint8
from robustness.matching import emulator, fit
from robustness.matching import match as matched
from robustness.matching.accuracy import (
    AccuracyEstimate,
    ExpectedAccuracy,
    TopPredictions,
    simulated_estimate,
)
from robustness.matching.fit import Estimate, Fit, find_affected
from robustness.matching.reference import ReferenceImages
from robustness.matching.run import (
    Cause,
    Match,
    MatchedPerturbation,
    MatchSettings,
    first_answer,
    profile_conditions,
    search_cause,
)
from robustness.matching.statistics import NAMES, batch_statistics, difference
from robustness.measure.condition import as_profile
from robustness.measure.request import read_request, suite_conditions
from robustness.perturbations import compose
from robustness.report import match as report_match
from robustness.report.differences import phrases

SIDE = 64
FRAMING = MatchSettings(fit="squash", side=SIDE)


def textures(count: int, seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Coloured noise with the spectrum of photographs."""
    draws = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(side)[:, None], np.fft.fftfreq(side)[None]
    filters = 1 / np.maximum(np.hypot(y, x), 1 / side)
    images = []
    for _ in range(count):
        luma = np.fft.ifft2(np.fft.fft2(draws.normal(size=(side, side))) * filters).real
        colour = np.fft.ifft2(np.fft.fft2(draws.normal(size=(3, side, side))) * filters).real
        image = 0.5 + 0.17 * luma[..., None] / luma.std() + 0.04 * np.moveaxis(colour, 0, 2)
        images.append(to_uint8(np.clip(image, 0, 1).astype(np.float32)))
    return np.stack(images)


def perturbed(images: NDArray[np.uint8], **strengths: float) -> NDArray[np.uint8]:
    return to_uint8(compose(from_uint8(images), strengths))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NDArray[np.uint8]]:
    """Reference images, with a small emulator in a cache of their own. Two perturbations at once
    are the most that these tests know, and that is searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBUSTNESS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(emulator, "SIMULATIONS", 1000)
        patch.setattr(emulator, "_EPOCHS", 30)
        patch.setattr(fit, "MOST", 2)
        yield textures(60, 0)


def answer(images: NDArray[np.uint8], reference: NDArray[np.uint8]) -> Match:
    return matched(open_images(images), open_images(reference), FRAMING)


def test_an_emulator_is_cached_by_every_number_of_its_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numbers = {k: v for k, v in vars(emulator).items() if isinstance(v, int | float | np.number)}
    assert {"SIMULATIONS", "MOST"} < set(numbers)
    versions = {emulator.version()}
    for name, value in numbers.items():
        with monkeypatch.context() as patch:
            patch.setattr(emulator, name, value + 1)
            versions.add(emulator.version())
    assert len(versions) == len(numbers) + 1
    functions = ast.parse(Path(emulator.__file__).read_text(encoding="utf-8")).body
    nodes = [node for f in functions if isinstance(f, ast.FunctionDef) for node in ast.walk(f)]
    literals = {node.value for node in nodes if isinstance(node, ast.Constant)}
    assert {each for each in literals if isinstance(each, int | float)} <= {0, 1, 2}


@pytest.mark.parametrize(
    ("strengths", "named"),
    [
        ({"darkness": 0.5}, "darkness"),
        ({"gaussian_noise": 0.3}, "gaussian_noise"),
        ({"contrast": 0.6, "vignetting": 0.01}, "contrast"),
    ],
)
def test_a_perturbation_is_estimated_and_one_that_is_not_needed_not_named(
    reference: NDArray[np.uint8], strengths: dict[str, float], named: str
) -> None:
    found = answer(perturbed(textures(40, 6), **strengths), reference)
    assert found.different
    assert set(found.strengths) == {named}
    assert found.strengths[named] == pytest.approx(strengths[named], abs=0.1)
    (part,) = (part for part in found.perturbations if part.perturbation == named)
    assert part.low <= part.strength <= part.high
    assert len(found.conditions) == matching.CONDITIONS
    assert not found.expected_accuracy  # no labels, no model
    assert json.dumps(found.as_dict(), allow_nan=False)


def answers(pixels: NDArray[np.uint8], needs_light: bool) -> TopPredictions:
    """A model that is right as often as it says: in the dark seldom, if it needs light."""
    draws = np.stack([np.random.default_rng(int(image.sum())).random(2) for image in pixels])
    light = np.clip(2 * from_uint8(pixels).mean((1, 2, 3)).astype(np.float64), 0.05, 1)
    confidences = 0.95 * (light if needs_light else np.ones(len(pixels)))
    confidences = np.clip(confidences - 0.6 * draws[:, 0], 0.02, 0.95)
    cues = np.stack([np.log(confidences / (1 - confidences)), -confidences, confidences], 1)
    classes = np.where(draws[:, 1] < confidences, 0, 1)
    return TopPredictions(classes, confidences, cues, np.zeros((len(pixels), 0)))


@pytest.mark.parametrize("explained", [True, False])
def test_a_cause_explains_what_the_model_loses_or_is_none(
    reference: NDArray[np.uint8], explained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The images are darker. If that costs the model nothing on the reference, it is no cause."""
    monkeypatch.setattr(models, "load", lambda _name, side: SimpleNamespace(key=None))
    path = "robustness.matching.reference.top_predictions"
    monkeypatch.setattr(path, lambda _name, pixels: answers(pixels, explained))
    monkeypatch.setitem(
        first_answer.__globals__, "top_predictions", lambda _name, pixels: answers(pixels, True)
    )
    found = matched(
        open_images(perturbed(textures(40, 6), darkness=0.5)),
        open_images((reference, ["tench"] * len(reference))),
        MatchSettings(models=("SqueezeNet",), fit="squash", side=SIDE),
    )
    assert found.different
    assert found.matched == explained
    assert bool(found.conditions) == explained
    document = json.dumps(found.as_dict(), allow_nan=False)
    assert "simulat" not in document.partition("expected_accuracy")[2].partition("]")[0]
    said = " ".join(report_match.sentences(found))
    assert ("The cause is unknown" in said) != explained
    assert [part.model for part in found.expected_accuracy] == ["SqueezeNet"]


@pytest.mark.parametrize("kind", ["stripes", "varied"])
def test_no_composition_is_named_that_is_farther_than_none(
    reference: NDArray[np.uint8], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "MOST", 1)  # the longest search is for what nothing explains
    images, draws = textures(40, 5), np.random.default_rng(0)
    if kind == "stripes":
        images[:, ::3, ::2] = 255 - images[:, ::3, ::2]
    else:
        strengths = draws.uniform(0.1, 0.8, 40).tolist()
        pairs = zip(images, strengths, strict=True)
        images = np.concatenate([perturbed(image[None], darkness=x) for image, x in pairs])
    side = ReferenceImages(reference, 0)
    side.learn(lambda _what, _done, _total: None)
    originals = side.emulator.originals
    scaled = side.emulator.scaled(batch_statistics(lambda k: from_uint8(images[k]), 40))
    cause = search_cause(scaled, side, lambda _what, _done, _total: None)
    before = difference(scaled, originals, originals, 0).distance
    after = difference(scaled, cause.simulated, originals, 0).distance
    assert after <= before
    assert bool(cause.estimate.strengths) == (after < before)
    if kind == "varied":
        assert cause.estimate.share == 1, "strengths that vary are no share"


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_a_share_is_a_group_of_images_apart_from_the_others(
    reference: NDArray[np.uint8], share: float
) -> None:
    side = ReferenceImages(reference, 0)
    side.learn(lambda _what, _done, _total: None)
    images = textures(40, 7)
    strengths = np.where(np.arange(40) < 40 * share, 0.6, 0.0)
    if share == 1:
        strengths = np.random.default_rng(0).uniform(0.2, 0.7, 40)
    for row, strength in enumerate(strengths.tolist()):
        images[row : row + 1] = perturbed(images[row : row + 1], darkness=strength)
    scaled = side.emulator.scaled(batch_statistics(lambda k: from_uint8(images[k]), 40))
    vector = np.array([0.6 * (name == "darkness") for name in side.emulator.names])
    probabilities, decided = find_affected(scaled, side.emulator, vector)
    assert decided
    assert probabilities.mean() == pytest.approx(share, abs=0.05)


@pytest.mark.slow
def test_the_share_of_affected_images_is_estimated(reference: NDArray[np.uint8]) -> None:
    images = textures(40, 4)
    images[:20] = perturbed(images[:20], darkness=0.6)
    match = answer(images, reference)
    assert match.share == pytest.approx(0.5, abs=0.1)
    assert match.strengths["darkness"] == pytest.approx(0.6, abs=0.1)
    assert report_match.sentences(match)[0].startswith("50% of your images")
    idle = [condition.idle for condition in match.conditions]
    assert np.mean(idle) == pytest.approx(0.5, abs=0.1)
    assert len(match.pairs) == 5
    for production, simulation in match.pairs:
        affected = any(production == to_png(from_uint8(image)) for image in images[:20])
        assert affected != any(simulation == to_png(from_uint8(image)) for image in reference)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.55, 0.7, 0.95, 1.0])
def test_a_profile_leaves_the_unaffected_share_unchanged(share: float) -> None:
    compositions = [rb.Condition.of({"fog": step / 100}) for step in range(1, 21)]
    names = ("darkness", "brightness", "contrast", "gaussian_blur", "fog", "jpeg_compression")
    conditions = profile_conditions(compositions, share, names)
    assert len(set(conditions)) == len(conditions) <= matching.CONDITIONS
    least = 1 / (1 + len(names))  # one composition beside one condition a name
    unchanged = np.mean([condition.idle for condition in conditions])
    assert unchanged == pytest.approx(1 - max(share, least), abs=0.05)


def test_like_images_have_no_difference(reference: NDArray[np.uint8]) -> None:
    found = answer(textures(40, 2), reference)
    assert not found.different
    assert found.matched
    assert not found.perturbations
    assert found.conditions == ()
    assert report_match.sentences(found)[0].startswith("No difference found")


def test_what_no_perturbation_explains_is_named(
    reference: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "MOST", 1)  # the longest search is for what nothing explains
    images = textures(40, 3)
    images[:, ::3, ::2] = 255 - images[:, ::3, ::2]
    found = answer(images, reference)
    assert found.different
    assert not found.matched
    assert set(found.unexplained) <= set(NAMES)
    assert found.conditions == ()
    said = " ".join(report_match.sentences(found))
    assert not any(name in said for name in found.unexplained), "names of statistics, not words"
    left = {row["statistic"]: row["left"] for row in found.statistics}
    assert all(phrase in said for phrase in phrases(found.unexplained, left))
    assert "correct on" not in said, "no accuracy"


def test_a_difference_of_few_images_is_not_explained_because_they_are_few() -> None:
    """60 images do not give the covariance of 61 statistics."""
    draws = np.random.default_rng(0)
    originals, images = (draws.normal(size=(n, len(NAMES))).astype(np.float32) for n in (60, 40))
    changed = difference(images + 3, originals, originals, 0)

    def is_explained(strength: float = 1.0) -> bool:
        left = difference(images, originals, originals, 0)
        strengths = np.full(1, strength)
        dark = Estimate(("darkness",), (Fit((0,), strengths, 0.0),), strengths[None])
        return Cause(dark, changed, left, originals, np.zeros(0, np.int64)).explained

    images[:, :5] += 2  # what no perturbation changed
    assert not is_explained()
    images[:, :5] -= 2
    assert is_explained()
    assert not is_explained(0.001), "a strength that rounds to 0.00 is named nowhere"


def test_only_perturbations_of_the_best_fit_have_others_in_their_place() -> None:
    best = Fit((0, 1), np.array([0.4, 0.2, 0.0]), 1.0)
    other = Fit((0, 2), np.array([0.5, 0.0, 0.3]), 2.0)
    fitted = Estimate(("fog", "darkness", "contrast"), (best, other), best.strengths[None])
    assert fitted.group("darkness") == {"darkness": 0.2, "contrast": 0.3}
    assert fitted.group("contrast") == {}


def test_few_images_are_refused(reference: NDArray[np.uint8]) -> None:
    with pytest.raises(ParameterError, match="at least 20 readable production images, got 5"):
        answer(reference[:5], reference)


def example(strength: float, accuracy: float) -> Match:
    """A match made by hand."""
    part = MatchedPerturbation("fog", strength, strength - 0.05, strength + 0.05, 1.0, {})
    estimate = AccuracyEstimate(accuracy, accuracy - 0.05, accuracy + 0.05, 0.025)
    model = ExpectedAccuracy("SqueezeNet", 0.7, estimate)
    conditions = as_profile([rb.Condition.of({"fog": strength + step / 100}) for step in range(3)])
    blank = to_png(np.zeros((SIDE, SIDE, 3), np.float32))
    return Match(
        images=50,
        reference_images=60,
        settings=MatchSettings(models=("SqueezeNet",)),
        framing=Framing(),
        different=True,
        matched=True,
        perturbations=(part,),
        expected_accuracy=(model,),
        conditions=conditions,
        pairs=((blank, blank),),
    )


@pytest.mark.parametrize(("name", "light"), [("darkness", "dark"), ("exposure", "bright")])
def test_light_alone_is_told_in_stops(name: str, light: str) -> None:
    match = example(0.3, 0.5)
    parts = (replace(match.perturbations[0], perturbation=name),)
    said = report_match.sentences(replace(match, perturbations=parts))
    assert f"stops too {light}" in said[0]


def test_a_profile_is_a_request_and_a_suite(tmp_path: Path) -> None:
    match, file = example(0.3, 0.5), tmp_path / "camera.toml"
    file.write_text(matching.as_toml(match))
    assert read_request(file).conditions == match.conditions
    assert suite_conditions(str(file)) == match.conditions
    assert rb.make_spec(["SqueezeNet"], suite=str(file)).conditions == match.conditions
    with pytest.raises(ParameterError, match="fixed conditions"):
        suite_conditions(str(file), severities=[1])


def test_a_profile_at_another_side_than_it_was_matched_at_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    match, file = example(0.3, 0.5), tmp_path / "camera.toml"
    file.write_text(matching.as_toml(match))
    rb.make_spec(["SqueezeNet"], suite=str(file))
    assert not recwarn
    with pytest.warns(ModelWarning, match=r"camera\.toml was matched at 224 px, which SqueezeNet"):
        rb.make_spec(["SqueezeNet"], suite=str(file), side=96)
    plan = ["evaluate", "samples", "--models", "SqueezeNet", "--suite", str(file), "--plan"]
    assert main(plan) == 0
    assert "was matched at" not in capsys.readouterr().err
    assert main([*plan, "--side", "96"]) == 0
    assert "was matched at 224 px, which SqueezeNet (96 px)" in capsys.readouterr().err
    file.write_text("[[condition]]\nfog = 0.2\n")  # no profile
    assert main([*plan, "--side", "96"]) == 0
    assert "was matched at" not in capsys.readouterr().err


@pytest.mark.parametrize("different", [False, True])
def test_a_profile_without_conditions_is_for_comparison_alone(
    different: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    match = replace(example(0.3, 0.5), matched=not different, different=different, conditions=())
    if different:
        match = replace(match, expected_accuracy=(), unexplained=("blocks",))
    else:
        match = replace(match, perturbations=())
    file = tmp_path / "camera.toml"
    file.write_text(matching.as_toml(match))
    written = tomllib.loads(file.read_text())
    assert "condition" not in written
    assert written["models"] == ["SqueezeNet"]
    assert (written["match"]["fit"], written["match"]["side"]) == ("crop", 224)
    assert not {"fit", "side"} & written.keys(), "each model keeps its own preprocessing"
    before = matching.read_profile(file, Framing())
    assert len(before.perturbations) == len(match.perturbations)
    strengths, _ = matching.changes(example(0.6, 0.3), before)
    assert [change.name for change in strengths] == ["fog"]
    for option in ("--suite", "--request"):
        assert main(["evaluate", "samples", option, str(file), "--out", str(tmp_path)]) == 2
        assert "expected conditions, got the profile of a match" in capsys.readouterr().err
    with pytest.raises(ParameterError, match=r"camera\.toml: expected conditions"):
        rb.make_spec(["SqueezeNet"], suite=str(file))
    for text in ("", "condition = []\n", "seed = 1\n"):
        file.write_text(text)
        with pytest.raises(ParameterError, match="expected one or more tables"):
            read_request(file)


def test_changes_since_a_profile_are_tested(tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(matching.as_toml(example(0.3, 0.5)))
    before = matching.read_profile(file, Framing())
    (fog,), (model,) = matching.changes(example(0.6, 0.3), before)
    assert fog.significant
    assert model.significant
    assert model.loss == pytest.approx(0.2)
    (fog,), (model,) = matching.changes(example(0.31, 0.49), before)
    assert not fog.significant
    assert not model.significant
    assert all(
        text.endswith("(not significant).")
        for text in report_match.change_sentences([fog], [model])
    )


def test_unaffected_images_count_with_the_accuracy_of_originals() -> None:
    correct, wrong = np.ones(40), np.zeros(40)
    answer = simulated_estimate(correct, wrong, np.zeros((3, 20)), 0.25, 50)
    assert answer.value == pytest.approx(0.75)
    assert answer.low < 0.75 < answer.high
    hardly_any = np.array([1.0, *[0.0] * 59])
    answer = simulated_estimate(hardly_any, hardly_any, np.zeros((3, 20)), 1.0, 20)
    assert answer.low == 0  # 20 images of 2 % may all be incorrect


def test_the_limit_decides_the_exit_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(matching.as_toml(example(0.3, 0.5)))
    sources = ["match", "samples", "--reference", "samples"]
    words = [*sources, "--since", str(file), "--max-loss", "0.05"]
    for accuracy, status in ((0.48, 0), (0.4, 1)):
        monkeypatch.setattr(matching, "match", lambda *_, a=accuracy, **__: example(0.3, a))
        assert main(words) == status
        printed = capsys.readouterr().out
        assert ("broken" in printed) == bool(status)
        assert "5 points" in printed, "a difference of two shares is in points"
    assert main([*words, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["since"]["expected_accuracy"][0]["significant"] is True
    assert main([*sources, "--max-loss", "0.05"]) == 2
    capsys.readouterr()
    assert main([*words, "--fit", "squash"]) == 2
    assert "--fit crop --side 224" in capsys.readouterr().err
    assert main([*sources, "--out", str(tmp_path / "camera.csv")]) == 2
    assert "ends in .toml" in capsys.readouterr().err
