"""The smallest epsilon, signs of gradient masking, and transfer to other models."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import AttackSpec, Outcome, Step
from robustness.attacks.image import (
    FIRST_GUESS,
    TOLERANCE,
    Masking,
    Smallest,
    Transfer,
    attackable,
    gradient_masking,
    judge_transfer,
    smallest_epsilon,
    succeeds,
    transfers,
)
from robustness.base.errors import ParameterError, WeightsError
from robustness.images.framing import Picture
from robustness.models import Classifier
from robustness.report.blocks import Titled
from robustness.report.image import epsilon_section
from tests.conftest import register

PGD = AttackSpec.of("pgd", steps=5)
FAST = replace(PGD, steps=2)
SQUARE = AttackSpec.of("square", steps=100)


@pytest.fixture(scope="module")
def coffee(photographs: NDArray[np.float32]) -> Picture:
    return Picture.of("coffee", photographs[0])


def smallest(picture: Picture, classifier: Classifier, spec: AttackSpec) -> Smallest:
    *_, found = smallest_epsilon(picture, classifier, spec)
    assert isinstance(found, Smallest)
    return found


def outcome(attempt: Generator[Step, None, bool]) -> bool:
    while True:
        try:
            next(attempt)
        except StopIteration as end:
            return bool(end.value)


def test_a_target_that_is_no_class_of_the_model_is_refused(
    little: list[Picture], small: Classifier
) -> None:
    with pytest.raises(ParameterError, match="from 0 to 11, got 12"):
        next(smallest_epsilon(little[0], small, replace(PGD, target=12)))


@pytest.mark.parametrize("spec", [replace(PGD, norm="l2"), replace(PGD, target=2), SQUARE])
def test_the_smallest_epsilon_succeeds_and_a_little_less_was_seen_to_fail(
    little: list[Picture], small: Classifier, spec: AttackSpec
) -> None:
    found = smallest(little[0], small, spec)
    assert (found.model, found.attack, found.norm) == (small.record.name, spec.name, spec.norm)
    assert found.epsilon is not None
    assert (
        found.failing_epsilon
        < found.epsilon
        <= max(found.failing_epsilon * (1 + TOLERANCE), FIRST_GUESS / 16)
    )
    for epsilon, success in ((found.epsilon, True), (found.failing_epsilon, False)):
        assert outcome(succeeds(little[0], small, replace(spec, epsilon=epsilon))) is success


# --- gradient masking -----------------------------------------------------------------------------


class Masked:
    """A model whose gradients are ``factor`` times what they should be."""

    exact = True

    def __init__(self, classifier: Classifier, factor: float) -> None:
        self.record = classifier.record
        self._classifier, self._factor = classifier, np.float32(factor)
        self.untempered = self

    def __call__(self, images: NDArray[np.float32]) -> models.Outputs:
        return self._classifier(images)

    def gradients(self, *arguments: Any, **options: Any) -> Any:
        slope = self._classifier.gradients(*arguments, **options)
        return replace(slope, gradient=self._factor * slope.gradient)


def masking(
    picture: Picture, classifier: Any, epsilons: Sequence[float], black_box: AttackSpec = SQUARE
) -> Masking:
    *_, found = gradient_masking(picture, classifier, PGD, black_box, epsilons)
    assert isinstance(found, Masking)
    return found


def test_a_model_whose_gradients_lead_somewhere_shows_no_sign(
    little: list[Picture], small: Classifier
) -> None:
    for picture in little[:2]:
        own = smallest(picture, small, PGD)
        assert own.epsilon is not None
        found = masking(picture, small, (8 / 255, own.failing_epsilon))
        assert (found.flat, found.epsilon) == (False, None)


def test_square_that_succeeds_where_gradients_lead_astray_is_a_sign(
    little: list[Picture], small: Classifier
) -> None:
    picture = little[0]
    astray: Any = Masked(small, -1)
    own = smallest(picture, small, SQUARE).epsilon
    assert own is not None
    found = masking(picture, astray, (0.0, 2 * own, own))
    assert (found.flat, found.epsilon) == (False, own)
    assert (found.gradient, found.black_box, found.norm) == ("pgd", "square", "linf")
    failing = smallest(picture, small, SQUARE).failing_epsilon
    assert masking(picture, astray, (failing,)).epsilon is None, "both fail there"


def test_a_gradient_of_zero_is_a_sign(little: list[Picture], small: Classifier) -> None:
    flat: Any = Masked(small, 0)
    assert masking(little[0], flat, (1e-6,)).flat


def test_the_report_has_the_sizes_and_the_signs_of_each_model() -> None:
    def sign(flat: bool, epsilon: float | None) -> Masking:
        return Masking("SqueezeNet", "apgd", "square", "linf", flat, epsilon)

    never = Smallest("EfficientNetLite0", "apgd", "linf", None, 1.0)
    sizes = [Smallest("SqueezeNet", "apgd", "linf", 0.1 / 255, 0.09 / 255), never]
    table, flat, masked, _ = epsilon_section([*sizes, sign(True, 2 / 255)]).blocks
    assert isinstance(table, Titled)
    assert [row[1] for row in table.table.rows] == ["0.1/255", "never"]
    assert "SqueezeNet 1.1: the gradient is zero" in str(flat)
    assert "succeeds at 2/255" in str(masked)


# --- transfer -------------------------------------------------------------------------------------


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
        list(judge_transfer(coffee, coffee.image, PGD, "SqueezeNet", ["VGG16"]))
