"""Gradient masking: gradients that mislead, so that a model only seems robust."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from robustness.attacks.attack_loop import Step
from robustness.attacks.attack_method import AttackSpec
from robustness.attacks.smallest_epsilon import succeeds
from robustness.models import Classifier
from robustness.pictures.picture import Picture


@dataclass(frozen=True)
class Masking:
    """Two signs that the gradients of ``model`` mislead: Athalye, Carlini & Wagner, ICML 2018.

    ``flat``: the gradient at the original is zero. ``epsilon`` is the smallest tried at which
    ``black_box``, an attack without gradients, succeeds and ``gradient``, one with them, fails;
    None if there is none.
    """

    model: str
    gradient: str
    black_box: str
    norm: str
    flat: bool
    epsilon: float | None


def gradient_masking(
    picture: Picture,
    classifier: Classifier,
    gradient: AttackSpec,
    black_box: AttackSpec,
    epsilons: Iterable[float],
) -> Iterator[Step | Masking]:
    """Try both attacks on ``picture`` at ``epsilons``; yield the steps, then the signs.

    The epsilons of the attacks are not used. Closing the iterator stops within one step. Raises
    ``GradientError`` for a model without gradients.
    """
    label = gradient.target
    if label is None:
        label = int(classifier(picture.image[None]).probabilities[0].argmax())
    slope = classifier.gradients(picture.image[None], np.array([label], np.int32))
    masked: float | None = None
    for epsilon in sorted({*epsilons}):
        fooled = yield from succeeds(picture, classifier, replace(black_box, epsilon=epsilon))
        if fooled and not (
            yield from succeeds(picture, classifier, replace(gradient, epsilon=epsilon))
        ):
            masked = epsilon
            break
    yield Masking(
        model=classifier.record.name,
        gradient=gradient.name,
        black_box=black_box.name,
        norm=gradient.norm,
        flat=not slope.gradient.any(),
        epsilon=masked,
    )
