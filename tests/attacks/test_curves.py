"""Transfer, success over epsilon, the smallest epsilon, and signs of masking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import AttackSpec, Outcome, Step
from robustness.attacks.epsilon_sweep import (
    EPSILONS,
    FIRST_GUESS,
    TOLERANCE,
    Point,
    Smallest,
    over_epsilon,
    smallest_epsilon,
)
from robustness.attacks.gradient_masking import masking_signs
from robustness.attacks.transfer import Transfer, attackable, judged, transfers
from robustness.base.errors import ParameterError, WeightsError
from robustness.models import Classifier
from robustness.pictures.picture import Picture
from tests.conftest import register

PGD = AttackSpec.of("pgd", steps=5)
FAST = replace(PGD, steps=2)


@pytest.fixture(scope="module")
def coffee(photographs: NDArray[np.float32]) -> Picture:
    return Picture.of("coffee", photographs[0])


def smallest(picture: Picture, classifier: Classifier, spec: AttackSpec) -> Smallest:
    *_, found = smallest_epsilon(picture, classifier, spec)
    assert isinstance(found, Smallest)
    return found


def test_a_curve_to_no_class_of_the_model_is_refused(
    little: list[Picture], small: Classifier
) -> None:
    for study in (over_epsilon, smallest_epsilon):
        with pytest.raises(ParameterError, match="from 0 to 11, got 12"):
            next(study(little[0], small, replace(PGD, target=12)))


@pytest.mark.parametrize("place", [0, 2])
def test_a_curve_starts_clean_and_falls(
    little: list[Picture], small: Classifier, place: int
) -> None:
    events = list(over_epsilon(little[place], small, PGD))
    points = [event for event in events if isinstance(event, Point)]
    assert sum(isinstance(event, Step) for event in events) == PGD.steps
    assert [point.epsilon for point in points] == [0.0, *EPSILONS["linf"]]
    clean = small(little[place].image[None]).probabilities[0]
    assert points[0].retained_probability == clean.max()
    assert not points[0].success
    left = [point.retained_probability for point in points]
    assert left == sorted(left, reverse=True)
    assert points[-1].success
    assert not masking_signs(points)


@pytest.mark.parametrize("spec", [PGD, replace(PGD, norm="l2"), replace(PGD, target=2)])
def test_the_smallest_epsilon_succeeds_and_a_little_less_was_seen_to_fail(
    little: list[Picture], small: Classifier, spec: AttackSpec
) -> None:
    own = small(little[0].image[None]).probabilities.argmax()
    found = smallest(little[0], small, spec)
    assert found.epsilon is not None
    assert (
        found.failing_epsilon
        < found.epsilon
        <= max(found.failing_epsilon * (1 + TOLERANCE), FIRST_GUESS / 16)
    )
    assert {"linf": found.linf, "l2": found.l2}[found.norm] <= found.epsilon + 1e-7
    top1 = small(found.picture[None]).probabilities.argmax()
    assert top1 == spec.target if spec.target is not None else top1 != own


def test_a_minimal_attack_s_own_size_is_its_answer(
    little: list[Picture], small: Classifier
) -> None:
    for picture in little:
        deepfool = smallest(picture, small, AttackSpec.of("deepfool"))
        pgd = smallest(picture, small, replace(PGD, norm="l2", steps=10))
        assert deepfool.epsilon == deepfool.l2
        assert pgd.epsilon is not None
        assert 0.5 < deepfool.l2 / pgd.epsilon < 2


def points(attack: str, *successes: bool, flat: bool = False) -> list[Point]:
    return [
        Point("m", "i", attack, epsilon / 255, success, 0, 0.5, flat)
        for epsilon, success in enumerate(successes)
    ]


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (points("pgd", False, False, True, True), []),
        (points("pgd", False, True, False, True), ["succeeds at 1/255 but not at 2/255"]),
        (points("pgd", False, False, flat=True), ["gradient at the original is zero"]),
        (
            points("pgd", False, False, True) + points("square", False, True, True),
            ["Square (black box), which uses predictions only, succeeds at 1/255"],
        ),
        (points("pgd", False, True, True) + points("square", False, False, True), []),
        (points("square", False, True, True), []),
    ],
)
def test_signs_of_masking(measured: list[Point], words: list[str]) -> None:
    signs = masking_signs(measured)
    assert len(signs) == len(words)
    for sign, word in zip(signs, words, strict=True):
        assert word in sign


def test_a_transferred_picture_is_judged_by_each_model_on_its_own(
    coffee: Picture, classifiers: Mapping[str, Classifier]
) -> None:
    names = ["SqueezeNet", "EfficientNetLite0"]
    events = list(
        transfers(coffee, names, FAST, names[0], load=lambda name, side: classifiers[name])
    )
    outcomes = [event for event in events if isinstance(event, Outcome)]
    found = [event for event in events if isinstance(event, Transfer)]
    assert [(entry.source, entry.model) for entry in found] == [
        (source, judge) for source in names for judge in names
    ]
    for entry in found:
        (made,) = (outcome for outcome in outcomes if outcome.model == entry.source)
        answer = classifiers[entry.model](made.image[None]).probabilities[0]
        assert (entry.top1, entry.probability) == (answer.argmax(), answer.max())
        assert entry.retained_probability == answer[entry.clean_top1]
        assert entry.success is bool(answer.argmax() != entry.clean_top1)
        if entry.source == entry.model:
            assert entry.success is made.success


def test_a_model_that_gives_the_target_already_does_not_end_the_others_transfer(
    photographs: NDArray[np.float32], classifiers: Mapping[str, Classifier]
) -> None:
    """Two models that see different things in one image, and the target is what one sees."""
    names = ["SqueezeNet", "EfficientNetLite0"]
    tops = [classifiers[name](photographs).probabilities.argmax(1) for name in names]
    place = int(np.flatnonzero(tops[0] != tops[1])[0])
    picture = Picture.of("odd", photographs[place])
    spec = AttackSpec.of("pgd", steps=1, target=int(tops[0][place]))
    found = [e for e in transfers(picture, names, spec, names[1]) if isinstance(e, Transfer)]
    assert [(entry.source, entry.model) for entry in found] == [(names[1], n) for n in names]


def test_a_target_is_tried_on_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index means another class, or none, where other classes are told apart."""
    digits = models.Labels("digits", tuple("0123456789"))
    names = ["SqueezeNet", "EfficientNetLite0", "Digits"]
    record = replace(models.REGISTRY["SqueezeNet"], name="Digits", labels=lambda: digits)
    register(monkeypatch, record)
    assert attackable(names, PGD, "SqueezeNet") == names
    assert attackable(names, replace(PGD, target=3), "SqueezeNet") == names[:2]
    assert attackable(names, replace(PGD, target=3), "Digits") == names[2:]


def test_a_judge_that_cannot_be_loaded_says_so(coffee: Picture) -> None:
    with pytest.raises(WeightsError):
        list(judged(coffee, coffee.image, PGD, "SqueezeNet", ["VGG16"]))
