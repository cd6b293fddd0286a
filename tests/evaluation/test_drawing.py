"""Conditions drawn for an image: each as often, one strength of a perturbation, the same again."""

from __future__ import annotations

import itertools
from collections import Counter

from robustness.evaluation.random_order import FEW, drawn, shuffled
from robustness.evaluation.suites import suite_conditions


def test_every_condition_is_drawn_as_often_and_one_strength_of_a_perturbation() -> None:
    conditions = suite_conditions("imagenet-c", severities=(1, 2, 3, 4, 5))
    each = [drawn(conditions, 0, f"image {number}") for number in range(600)]
    assert all(len({condition.name for condition in own}) == FEW for own in each)
    counts = Counter(condition for own in each for condition in own)
    expected = 600 * FEW / len(conditions)
    assert len(counts) == len(conditions)
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())
    assert drawn(conditions, 0, "image 7") == each[7]
    assert drawn(conditions, 1, "image 7") != each[7]


def test_the_order_of_images_is_random_and_may_keep_classes_together() -> None:
    order = shuffled(None, 50, 3)
    assert sorted(order) == list(range(50)) != order == shuffled(None, 50, 3)
    classes = [place % 7 for place in range(50)]
    seen = [classes[place] for place in shuffled(classes, 50, 3)]
    assert len(seen) == 50
    assert len([a for a, b in itertools.pairwise(seen) if a != b]) == 6
