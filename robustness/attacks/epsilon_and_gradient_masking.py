"""An attack at several epsilons: the smallest that succeeds, and signs of gradient masking."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from robustness.attacks.attack_and_settings import AttackSpec
from robustness.attacks.batch_attack_and_loop import Step, any_success, attack_steps
from robustness.attacks.norms import REGISTRY as NORMS
from robustness.models import Classifier
from robustness.pictures.eight_bits import LEVELS
from robustness.pictures.framed_picture import Picture

FIRST_GUESS = 0.25 / LEVELS
TOLERANCE = 0.05
"""Bisection ends when the ends of its interval differ by this share."""


@dataclass(frozen=True)
class Smallest:
    """The smallest epsilon at which ``attack`` succeeds on ``model``; None if it never does.

    ``failing_epsilon`` is the largest smaller epsilon at which it fails. Both are of the image
    before it is rounded to 8 bits.
    """

    model: str
    attack: str
    norm: str
    epsilon: float | None
    failing_epsilon: float


def smallest_epsilon(
    picture: Picture, classifier: Classifier, spec: AttackSpec
) -> Iterator[Step | Smallest]:
    """Double epsilon until the attack succeeds, then bisect; yield the steps, then the result.

    The epsilon of ``spec`` is not used. Closing the iterator stops within one step. Raises
    ``ParameterError`` for a target that is no class of the model, and ``GradientError`` for a model
    that the attack cannot use.
    """
    failing_epsilon, broken = 0.0, None
    guess: float | None = FIRST_GUESS
    while guess is not None:
        if (yield from succeeds(picture, classifier, replace(spec, epsilon=guess))):
            broken = guess
        else:
            failing_epsilon = guess
        if broken is None:
            most = NORMS[spec.norm].most
            guess = min(most, 2 * failing_epsilon) if failing_epsilon < most else None
        else:
            narrow = broken <= failing_epsilon * (1 + TOLERANCE) or broken < FIRST_GUESS / 16
            guess = None if narrow else (failing_epsilon + broken) / 2
    yield Smallest(classifier.record.name, spec.name, spec.norm, broken, failing_epsilon)


def succeeds(
    picture: Picture, classifier: Classifier, spec: AttackSpec
) -> Generator[Step, None, bool]:
    """Attack ``picture`` and yield the steps; return whether it succeeds, before rounding."""
    own = int(classifier(picture.image[None]).probabilities[0].argmax())
    scaled = spec.scaled_to(picture.side)
    best = yield from attack_steps(
        classifier, picture.image, own, scaled, picture.stream, enough=any_success
    )
    top1 = int(classifier(best.images).probabilities[0].argmax())
    return bool(spec.reached(top1, own))


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
