"""Success over epsilon, and the smallest epsilon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from robustness.attacks.attack_image import distances
from robustness.attacks.attack_loop import Step, any_success, attack_steps, make_task, search
from robustness.attacks.attack_method import AttackSpec
from robustness.attacks.norms import REGISTRY as NORMS
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.pictures.eight_bits import LEVELS
from robustness.pictures.picture import Picture

EPSILONS: Mapping[str, tuple[float, ...]] = {
    "linf": tuple(level / LEVELS for level in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)),
    "l2": (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0),
}
"""Epsilons of a curve, by norm. Those of L-infinity begin below the smallest 8-bit change."""

FIRST_GUESS = 0.25 / LEVELS
TOLERANCE = 0.05
"""Bisection ends when the ends of its interval differ by this share."""


@dataclass(frozen=True)
class Point:
    """The prediction of a model on the float image of an attack with ``epsilon``.

    ``retained_probability`` is the confidence in the original class. ``flat``: the gradient at the
    original is zero. ``label`` is the true class of the image, if known.
    """

    model: str
    image: str
    attack: str
    epsilon: float
    success: bool
    top1: int
    retained_probability: float
    flat: bool = False
    label: int | None = None

    def as_row(self) -> dict[str, Any]:
        """The record as one row of a table."""
        return asdict(self)


def over_epsilon(
    picture: Picture,
    classifier: Classifier,
    spec: AttackSpec,
    epsilons: Sequence[float] = (),
) -> Iterator[Step | Point]:
    """Attack ``picture`` at all ``epsilons`` in one batch; yield the steps, then a point each.

    They are at most 16, by default those of ``EPSILONS``; the epsilon of ``spec`` is not used.
    The points begin with epsilon 0, the original. Closing the iterator stops within one step.
    Raises ``ParameterError`` for a target that is no class of the model.
    """
    clean = picture.image[None]
    epsilons = epsilons or EPSILONS[spec.norm]
    before = classifier(clean).probabilities
    own = int(before[0].argmax())
    label = own if spec.target is None else spec.target
    rows = np.repeat(clean, len(epsilons), axis=0)
    task = make_task(classifier, rows, label, spec, epsilons, [picture.digest] * len(epsilons))
    enough = any_success if spec.record.rivals else None
    best = (yield from search(spec.record, task, spec.restarts, enough=enough)).images
    flat = False
    if spec.record.white_box:
        gradient = classifier.gradients(clean, np.array([label], np.int32)).gradient
        flat = not gradient.any()
    answers = np.concatenate([before, classifier(best).probabilities])
    for epsilon, answer in zip((0.0, *epsilons), answers, strict=True):
        top1 = int(answer.argmax())
        yield Point(
            model=classifier.record.name,
            image=picture.name,
            attack=spec.name,
            epsilon=float(epsilon),
            success=bool(spec.reached(top1, own)),
            top1=top1,
            retained_probability=float(answer[own]),
            flat=flat,
        )


@dataclass(frozen=True)
class Smallest:
    """The smallest epsilon at which an attack succeeds; None if it never does.

    ``failing_epsilon`` is the largest smaller epsilon at which it fails. ``picture`` (S, S, 3) is
    the float image at ``epsilon``, or the original; the other fields describe it.
    """

    model: str
    image: str
    attack: str
    norm: str
    epsilon: float | None
    failing_epsilon: float
    picture: Images
    linf: float
    l2: float
    ssim: float


def smallest_epsilon(
    picture: Picture, classifier: Classifier, spec: AttackSpec
) -> Iterator[Step | Smallest]:
    """Double epsilon until the attack succeeds, then bisect; yield the steps, then the result.

    The epsilon of ``spec`` is not used. A minimal attack runs once: its change is the result.
    Closing the iterator stops within one step.
    """
    own = int(classifier(picture.image[None]).probabilities[0].argmax())
    failing_epsilon, broken, best = 0.0, None, picture.image
    most = NORMS[spec.norm].most
    guess: float | None = most if spec.record.minimal else FIRST_GUESS
    while guess is not None:
        outcome = yield from attack_steps(
            classifier,
            picture.image,
            own,
            replace(spec, epsilon=guess),
            picture.digest,
            enough=None if spec.record.minimal else any_success,
        )
        image = outcome.images[0]
        top1 = int(classifier(image[None]).probabilities[0].argmax())
        if spec.reached(top1, own):
            broken, best = guess, image
        else:
            failing_epsilon = guess
        guess = None if spec.record.minimal else _next_guess(failing_epsilon, broken, most)
    sizes = distances(picture.image, best)
    if spec.record.minimal and broken is not None:
        broken = sizes[spec.norm]
    yield Smallest(
        model=classifier.record.name,
        image=picture.name,
        attack=spec.name,
        norm=spec.norm,
        epsilon=broken,
        failing_epsilon=failing_epsilon,
        picture=best,
        **sizes,
    )


def _next_guess(failing: float, broken: float | None, most: float) -> float | None:
    """The next epsilon after ``failing`` failed and ``broken`` succeeded; None at the end."""
    if broken is None:
        return min(most, 2 * failing) if failing < most else None
    narrow = broken <= failing * (1 + TOLERANCE) or broken < FIRST_GUESS / 16
    return None if narrow else (failing + broken) / 2
