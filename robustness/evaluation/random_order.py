"""A few conditions per image, drawn at random, and images in random order: for races."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from robustness.evaluation.condition import Condition

FEW = 5
"""Most conditions per image: more of them say less about the models than other images do."""


def generator(*words: object) -> np.random.Generator:
    """A generator that depends on ``words`` alone."""
    text = "\n".join(map(str, words))
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


def drawn(conditions: Sequence[Condition], seed: int, digest: str) -> tuple[Condition, ...]:
    """Up to ``FEW`` of ``conditions`` for the image ``digest``, each with the same chance.

    A systematic sample of perturbations in random order: one strength of a perturbation, unless
    there are fewer perturbations than are drawn.
    """
    if len(conditions) <= FEW:
        return tuple(conditions)
    rng = generator("conditions", seed, digest)
    names = list(dict.fromkeys(condition.name for condition in conditions))
    rank = dict(zip(rng.permutation(len(names)).tolist(), names, strict=True))
    places = [
        place
        for at in range(len(names))
        for place, condition in enumerate(conditions)
        if condition.name == rank[at]
    ]
    step = len(places) / FEW
    start = rng.uniform(0, step)
    taken = sorted(places[int(start + step * turn)] for turn in range(FEW))
    return tuple(conditions[place] for place in taken)


def shuffled(classes: Sequence[object] | None, count: int, seed: int) -> list[int]:
    """The places 0 to ``count`` - 1 in random order; with ``classes``, class by class."""
    order: list[int] = generator("images", seed).permutation(count).tolist()
    if classes is None:
        return order
    first: dict[object, int] = {}
    for turn, place in enumerate(order):
        first.setdefault(classes[place], turn)
    return sorted(order, key=lambda place: first[classes[place]])
