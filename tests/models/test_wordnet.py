"""Groups of classes by WordNet."""

from __future__ import annotations

from collections import Counter

from robustness.models import Labels, imagenet, wordnet


def index(name: str) -> int:
    return imagenet().index(name)


def test_every_class_is_in_one_group_of_few_classes() -> None:
    sizes = Counter(wordnet.groups(imagenet()))
    assert sum(sizes.values()) == 1000
    assert max(sizes.values()) <= wordnet.MOST_OF_A_GROUP
    assert 50 < len(sizes) < 200


def test_a_terrier_is_nearer_to_a_terrier_than_to_a_doormat() -> None:
    groups = wordnet.groups(imagenet())
    one, other, mat = index("Yorkshire terrier"), index("Airedale"), index("doormat")
    assert groups[one] == groups[other] != groups[mat]
    assert wordnet.word(groups[one]) == "terrier"
    assert wordnet.shared(imagenet(), one, other) == "terrier"
    assert wordnet.shared(imagenet(), one, index("tabby")) == "carnivore"
    assert wordnet.shared(imagenet(), one, mat) == "whole"


def test_classes_without_synsets_have_no_groups() -> None:
    assert wordnet.groups(Labels("shapes", ("circle", "square"))) == ()
    assert wordnet.shared(Labels("shapes", ("circle", "square")), 0, 1) == ""
