"""Which perturbations are trained on, and which of other kinds judge the result."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, zip_longest

from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition
from robustness.perturbations import REGISTRY
from robustness.perturbations.perturbation import BLUR, COLOUR, FAMILIES, LIGHTING, WEATHER

STRENGTH = 0.5
"""At which perturbations are judged."""

MOST_UNSEEN = 8
MOST_TRAINED = 5
_LEFT_OUT = 2
"""Kinds that the default leaves to the judgement."""

_OF_STUDY = {
    "gaussian_blur": BLUR,
    "defocus_blur": BLUR,
    "fog": WEATHER,
    "low_resolution": BLUR,
    LIGHTING: COLOUR,
}
"""Perturbations, and the study's family, whose effect belongs to another family."""


def kind(name: str) -> str:
    """The family that a perturbation belongs to by its effect."""
    family = REGISTRY[name].family
    return _OF_STUDY.get(name, _OF_STUDY.get(family, family))


def unseen_conditions(trained: Iterable[str]) -> tuple[Condition, ...]:
    """Up to ``MOST_UNSEEN`` perturbations of kinds that no perturbation in ``trained`` has.

    Those of ImageNet-C come first, the kinds in turns. Raises ``ParameterError`` if no kind is
    left.
    """
    trained_kinds = {kind(name) for name in trained}
    by_kind: dict[str, list[str]] = {}
    for record in sorted(REGISTRY, key=lambda record: record.imagenet_c != record.name):
        if record.family in FAMILIES and kind(record.name) not in trained_kinds:
            by_kind.setdefault(kind(record.name), []).append(record.name)
    names = [name for name in chain(*zip_longest(*by_kind.values())) if name]
    if not names:
        raise ParameterError(
            "Expected perturbations that leave a family out, as unseen ones judge the result; got "
            f"{len(trained_kinds)} families. Choose fewer perturbations."
        )
    return tuple(Condition.of({name: STRENGTH}) for name in names[:MOST_UNSEEN])


def names_to_train(names: Iterable[str]) -> tuple[str, ...]:
    """The first ``MOST_TRAINED`` of ``names``, weakest first, that leave ``_LEFT_OUT`` kinds."""
    every = {kind(record.name) for record in REGISTRY if record.family in FAMILIES}
    chosen: list[str] = []
    for name in dict.fromkeys(names):
        if len(every - {kind(other) for other in (*chosen, name)}) >= _LEFT_OUT:
            chosen.append(name)
    return tuple(chosen[:MOST_TRAINED])
