"""A condition's identity: all of what was asked, in a text that reads back."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.errors import ParameterError, RobustnessError
from robustness.measure import condition as texts
from robustness.measure.condition import Condition
from robustness.perturbations import REGISTRY, SAVED_AS_JPEG
from tests.support.property_tests import property_test


def conditions(st: Any) -> Any:
    """Any composition or attack."""
    strengths = st.floats(0, 1, exclude_min=True)
    names = st.sampled_from([record.name for record in REGISTRY])
    attacks = st.builds(
        lambda name, epsilon, share: Condition.attack(
            name, epsilon=epsilon, steps=1 + round(share * (ATTACKS[name].most_steps - 1))
        ),
        *(st.sampled_from(ATTACKS.names), st.floats(0, 1), st.floats(0, 1)),
    )
    return st.dictionaries(names, strengths, min_size=1, max_size=4).map(Condition.of) | attacks


@property_test(lambda st: [conditions(st)])
def test_an_id_and_a_dictionary_read_back_as_the_condition(condition: Condition) -> None:
    assert Condition.parse(condition.id) == condition
    assert Condition.from_dict(condition.as_dict()) == condition


@property_test(lambda st: [conditions(st), conditions(st)])
def test_ids_are_equal_where_the_conditions_are(one: Condition, other: Condition) -> None:
    assert (one.id == other.id) == (one == other)


PGD: dict[str, Any] = {"name": "pgd", "epsilon": 8 / 255}
APART = (
    Condition.attack(**PGD, steps=1),
    Condition.attack(**PGD, steps=100),
    Condition.attack(**PGD, norm="l2"),
    Condition.attack(**PGD, restarts=2),
    Condition.attack(**PGD, target=1),
    Condition.of({"fog": 0.2, "gaussian_blur": 0.4}),
    Condition.of({"fog": 0.4, "gaussian_blur": 0.2}),
    Condition.of({"fog": 0.2}),
)


@pytest.mark.parametrize("text", ["id", "short", "described", "series", "named"])
def test_what_was_asked_otherwise_is_told_apart(text: str) -> None:
    for one, other in combinations(APART, 2):
        assert getattr(one, text) != getattr(other, text)


def test_the_order_in_which_perturbations_are_named_does_not_matter() -> None:
    one = Condition.of({"gaussian_noise": 0.4, "fog": 0.2})
    assert one.id == Condition.of({"fog": 0.2, "gaussian_noise": 0.4}).id
    assert Condition.of({"fog": 0.2, "gaussian_noise": 0.0}).id == "fog=0.2"
    assert Condition.of({"fog": 0}).idle
    assert not one.idle


def test_a_switch_leaves_the_other_its_degrees() -> None:
    saved = [Condition.of({"fog": level / 5, SAVED_AS_JPEG: 1.0}) for level in range(1, 6)]
    assert saved[0].id == "fog=0.2+saved_as_jpeg=1.0"
    assert [condition.strength for condition in saved] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert [c.parameter for c in saved] == [
        Condition.of({"fog": s / 5}).parameter for s in range(1, 6)
    ]
    assert len({condition.series for condition in saved}) == 1
    assert [condition.setting for condition in saved][:2] == ["0.2", "0.4"]
    two = Condition.of({"fog": 0.2, "contrast": 0.2, SAVED_AS_JPEG: 1.0})
    assert two.strength is two.parameter is two.degree is None


def test_a_switch_that_is_on_has_one_effect_at_any_strength() -> None:
    half, whole = (Condition.of({"fog": 0.2, SAVED_AS_JPEG: s}) for s in (0.5, 1.0))
    assert half.id != whole.id
    assert half.effect == whole.effect == whole.id
    for other in (Condition.of({SAVED_AS_JPEG: 0.0}), *APART):
        assert texts.effect(other.id) == other.effect == other.id
    assert texts.effect("tornado=0.4") == "tornado=0.4"


@pytest.mark.parametrize("text", ["", "fog", "fog=", "fog=2", "fig=0.2", "fog=0.2+fog=0.6", "a(b)"])
def test_what_is_no_id_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(RobustnessError, match=r"\.$"):
        Condition.parse(text)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("fog=.60", Condition.of({"fog": 0.6})),
        ("gaussian_noise=0.4 + fog=0.2", Condition.of({"fog": 0.2, "gaussian_noise": 0.4})),
        ("pgd(epsilon=2/255)", Condition.attack("pgd", epsilon=2 / 255)),
        ("pgd(norm=l2, epsilon=1)", Condition.attack("pgd", epsilon=1.0, norm="l2")),
        ("pgd()", Condition.attack("pgd")),
    ],
)
def test_what_people_write_is_the_condition_that_it_means(text: str, same: Condition) -> None:
    assert Condition.parse(text) == same


def test_a_label_means_the_perturbation_or_attack_that_pages_call_so() -> None:
    for record in REGISTRY:
        for strength in (0.0, 1.0):
            expected = Condition.of({record.name: strength})
            assert Condition.of({record.label.upper(): strength}) == expected
            assert Condition.from_dict({record.label: strength}) == expected
    for attack in ATTACKS:
        assert Condition.attack(attack.label) == Condition.attack(attack.name)
    assert Condition.parse("underexposure=0.5 + Fog Effect=.2").id == "fog=0.2+darkness=0.5"
    with pytest.raises(RobustnessError, match="each perturbation once"):
        Condition.of({"darkness": 0.5, "Underexposure": 0.2})


def test_a_strength_that_is_no_number_is_refused_with_a_sentence() -> None:
    values: Any = {"fog": "0.6"}
    for read in (Condition.of, Condition.parse):
        with pytest.raises(ParameterError, match=r"got .*0\.6"):
            read(values)
