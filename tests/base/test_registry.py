"""The registry: order, look-up, and what it says about a name that it does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from robustness.base.errors import RobustnessError, UnknownNameError
from robustness.base.registry import Registry


@dataclass(frozen=True)
class Tree:
    name: str
    label: str


def test_a_record_is_also_found_by_the_label_that_no_other_has() -> None:
    trees: Registry[Tree] = Registry("tree")
    for name, label in (("malus", "Crab apple"), ("Pyrus", "malus"), ("a", "Oak"), ("b", "Oak")):
        trees.add(Tree(name, label))
    assert trees["crab_apple"] is trees["Crab  Apple"] is trees["malus"]
    assert trees["malus"].label == "Crab apple"  # a name goes before a label
    for unknown in ("oak", "", " ", "_"):
        assert trees.find(unknown) is None
        with pytest.raises(UnknownNameError):
            trees[unknown]
    assert "Crab apple" not in trees


@dataclass(frozen=True)
class Fruit:
    name: str
    colour: str = "green"


@pytest.fixture
def fruits() -> Registry[Fruit]:
    registry: Registry[Fruit] = Registry("fruit")
    for name in ("Pear", "Apple", "Quince"):
        registry.add(Fruit(name))
    return registry


def test_a_second_record_of_a_name_is_refused_and_the_first_stays(fruits: Registry[Fruit]) -> None:
    with pytest.raises(ValueError, match="the fruit 'Pear' is registered twice"):
        fruits.add(Fruit("Pear", "yellow"))
    assert fruits["Pear"].colour == "green"
    assert len(fruits) == 3


def test_a_decorated_function_is_registered_under_its_name_and_stays_what_it_is() -> None:
    @dataclass(frozen=True)
    class Recipe:
        name: str
        function: Callable[[], str]
        minutes: int

    recipes: Registry[Recipe] = Registry("recipe")

    @recipes.decorator(Recipe)(minutes=9)
    def crumble() -> str:
        return "crumble"

    assert recipes["crumble"] == Recipe("crumble", crumble, 9)
    assert crumble() == "crumble"


@pytest.mark.parametrize("typed", ["Aple", "apple"])
def test_a_near_miss_gets_a_suggestion_and_the_list(fruits: Registry[Fruit], typed: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        fruits[typed]
    assert str(caught.value) == (
        f"There is no fruit called '{typed}'. Did you mean 'Apple'? Known: Pear, Apple, Quince."
    )
    assert isinstance(caught.value, RobustnessError)
    assert caught.value.__context__ is None, "no KeyError beside the sentence"
    with pytest.raises(UnknownNameError, match=r"called 'spanner'\. Known: Pear, Apple, Quince"):
        fruits["spanner"]


def test_records_come_in_the_order_of_registration_until_they_are_arranged(
    fruits: Registry[Fruit],
) -> None:
    assert fruits.names == ("Pear", "Apple", "Quince")
    fruits.arrange(["Quince", "Pear"])
    assert [fruit.name for fruit in fruits] == ["Quince", "Pear", "Apple"]
    assert "Pear" in fruits
    assert "pear" not in fruits


def test_an_order_names_no_unknown_record(fruits: Registry[Fruit]) -> None:
    with pytest.raises(KeyError, match="Fig"):
        fruits.arrange(["Quince", "Fig"])
