"""An attack on an image: rounded, evaluated, and compared with noise.

An attack at several epsilons: the smallest that succeeds, and signs of gradient masking.

Transfer: the image of an attack on one model, tried on other models.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.attacks import norms
from robustness.attacks.loop import (
    BestImages,
    Step,
    any_success,
    attack_steps,
    check_class,
    run_to_end,
)
from robustness.attacks.norms import REGISTRY as NORMS
from robustness.attacks.norms import Norm, Sizes, column
from robustness.attacks.record import REGISTRY, Attack, AttackSpec, Task
from robustness.base.errors import GradientError, ParameterError
from robustness.images.framing import Picture
from robustness.images.pixels import LEVELS
from robustness.metrics.scores import ssim
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.perturbations.record import stream

DRAWS = 16
"""Number of noise draws: an attack is news only if it beats them all. Also the number of sizes at
which the change of a minimal attack is rounded."""

_SLACK = 1e-4
"""Tolerance for rounding in single precision, in levels."""

NOTHING = 1 - _SLACK
"""Size in levels below which only the original is an 8-bit image, in either norm."""

_HALVINGS = 12


@dataclass(frozen=True)
class Control:
    """The noise control: random noise of the size of the attack's change, ``draws`` times.

    ``success``: any draw reaches the goal of the attack; ``successes`` counts them. The other
    fields describe the draw that came closest.
    """

    success: bool
    successes: int
    draws: int
    linf: float
    l2: float
    ssim: float
    top1: int
    probability: float


@dataclass(frozen=True)
class Outcome:
    """The result of an attack; all fields describe the image rounded to 8 bits.

    ``image`` (S, S, 3) is that image; ``linf`` and ``l2`` are its distance from the original.
    ``top1`` and ``probability`` are the prediction for it. ``by`` names the attack that made it:
    for an ensemble, the member that succeeded or came closest.
    """

    spec: AttackSpec
    model: str
    image: Images
    success: bool
    linf: float
    l2: float
    ssim: float
    clean_top1: int
    clean_probability: float
    top1: int
    probability: float
    by: str
    control: Control

    @property
    def by_label(self) -> str:
        """The readable name of the member of an ensemble that succeeded; else ""."""
        return REGISTRY[self.by].label if self.success and self.by != self.spec.name else ""

    @property
    def beats_noise(self) -> bool:
        """Whether the attack succeeded and no noise of its size did."""
        return self.success and not self.control.success

    @property
    def gain(self) -> int:
        """The factor that amplifies the largest change to half the range of a pixel."""
        return max(1, round(0.5 / self.linf)) if self.linf else 1

    def as_row(self) -> dict[str, Any]:
        """The outcome as JSON of the command, without images and ``transfer``."""
        return {
            "success": self.success,
            "by": self.by,
            "epsilon": self.spec.epsilon,
            "epsilon_at_side": self.spec.at_side(len(self.image)),
            "linf": self.linf,
            "l2": self.l2,
            "ssim": self.ssim,
            "clean_top1": self.clean_top1,
            "top1": self.top1,
            "probability": self.probability,
            "noise_control": asdict(self.control),
        }


def adversarial(
    classifier: Classifier, image: Images, label: int, spec: AttackSpec, digest: str
) -> Images:
    """``image`` (S, S, 3) attacked, and rounded to 8 bits within epsilon at its side.

    The attack aims at the target of ``spec`` or, without one, away from the class ``label``.
    """
    steps = _saved(classifier, image, label, spec.scaled_to(len(image)), digest)
    return run_to_end(steps).images[0]


def _saved(
    classifier: Classifier, image: Images, label: int, spec: AttackSpec, digest: str
) -> Generator[Step, None, BestImages]:
    """Attack ``image`` (S, S, 3) and round the result to 8 bits.

    An eager attack continues until a success holds in 8 bits.
    """
    clean = image[None]
    norm = norms.REGISTRY[spec.norm]

    def rounded(record: Attack, attacked: Images) -> Images:
        """``attacked`` (1, S, S, 3) in 8 bits, within epsilon.

        The change of a minimal attack may be too small for 8 bits. It is then enlarged, up to
        epsilon, until it succeeds.
        """
        size = float(norm.size(attacked - clean)[0])
        if size == 0:
            return attacked
        if not record.minimal:
            return to_eight_bits(clean, attacked, norm, np.array([spec.epsilon], np.float32))
        sizes = np.geomspace(size, spec.epsilon, DRAWS).astype(np.float32)
        repeated = np.repeat(clean, DRAWS, axis=0)
        enlarged = np.clip(repeated + column(sizes / np.float32(size)) * (attacked - clean), 0, 1)
        candidates = to_eight_bits(repeated, enlarged, norm, sizes)
        success = spec.reached(classifier(candidates).probabilities.argmax(1), label)
        first = int(success.argmax()) if success.any() else DRAWS - 1
        return candidates[first : first + 1]

    def enough(record: Attack, task: Task, images: Images) -> NDArray[np.bool_]:
        eight_bit = np.concatenate([rounded(record, image[None]) for image in images])
        return spec.reached(classifier(eight_bit).probabilities.argmax(1), label)

    if spec.epsilon * LEVELS < NOTHING:
        return BestImages.nothing(clean, spec.name)
    best = yield from attack_steps(
        classifier, image, label, spec, digest, enough=enough if spec.record.eager else None
    )
    best.images = rounded(REGISTRY[best.by[0]], best.images)
    return best


def craft(picture: Picture, classifier: Classifier, spec: AttackSpec) -> Iterator[Step | Outcome]:
    """Attack ``picture``: yield the steps, then the outcome.

    The attack leaves the model's prediction on the original, correct or not. Closing the iterator
    stops within one step. Raises ``ParameterError`` for an invalid target and ``GradientError`` for
    a model that the attack cannot use.
    """
    clean = picture.image[None]
    before = classifier(clean).probabilities[0]
    own = int(before.argmax())
    if spec.target is not None:
        check_class(classifier, spec.target)
    if spec.target == own:
        raise ParameterError(
            f"{classifier.record.label} already predicts {classifier.record.class_name(own)!r} "
            "for the original; choose another target."
        )
    scaled = spec.scaled_to(picture.side)
    best = yield from _saved(classifier, picture.image, own, scaled, picture.stream)
    image = best.images
    after = classifier(image).probabilities
    yield Outcome(
        spec=spec,
        model=classifier.record.name,
        image=image[0],
        success=bool(spec.reached(after.argmax(1), own)[0]),
        clean_top1=own,
        clean_probability=float(before[own]),
        top1=int(after[0].argmax()),
        probability=float(after[0].max()),
        by=str(best.by[0]),
        control=_control(picture, classifier, spec, image, own),
        **distances(picture.image, image[0]),
    )


def distances(clean: Images, image: Images) -> dict[str, float]:
    """The distances of ``image`` and ``clean``, both (S, S, 3), in every norm, and their SSIM."""
    change = image.astype(np.float64) - clean
    levels = np.rint(change * LEVELS)
    if np.abs(change * LEVELS - levels).max() < 1e-4:  # 8-bit images differ by whole levels
        change = levels / LEVELS
    sizes = {norm.name: float(norm.size(change[None])[0]) for norm in norms.REGISTRY}
    return {**sizes, "ssim": float(ssim(clean[None], image[None])[0])}


def _control(
    picture: Picture, classifier: Classifier, spec: AttackSpec, image: Images, own: int
) -> Control:
    """Noise as large as the change of ``image``, rounded and evaluated in the same way."""
    norm = norms.REGISTRY[spec.norm]
    size = norm.size(image - picture.image)
    sizes = np.repeat(size, DRAWS)
    clean = np.repeat(picture.image[None], DRAWS, axis=0)
    noise = stream(spec.seed, picture.stream, "attack control")
    draws = np.stack([norm.noise(noise, picture.image.shape) for _ in range(DRAWS)])
    noisy = np.clip(clean + draws * column(sizes), 0, 1)
    if size[0] > 0:
        noisy = to_eight_bits(clean, noisy, norm, sizes)
    answers = classifier(noisy).probabilities
    success = spec.reached(answers.argmax(1), own)
    towards = -answers[:, own] if spec.target is None else answers[:, spec.target]
    nearest = int(np.lexsort((towards, success))[-1])
    return Control(
        success=bool(success.any()),
        successes=int(success.sum()),
        draws=DRAWS,
        top1=int(answers[nearest].argmax()),
        probability=float(answers[nearest].max()),
        **distances(picture.image, noisy[nearest]),
    )


def to_eight_bits(clean: Images, images: Images, norm: Norm, sizes: Sizes) -> Images:
    """``images`` rounded to whole 255ths within ``sizes`` of ``clean``.

    In L-infinity each value goes to the nearest level within its bound. In L2 nearly all changes
    may be below half a level, and plain rounding would undo them: a change is rounded up if its
    fraction of a level exceeds a threshold, the smallest with which the length stays within
    ``sizes``. ``clean`` need not be 8-bit itself. Shapes (N, S, S, 3), sizes (N,).
    """
    if norm.name == "linf":
        reach = column(sizes).astype(np.float64)
        low = np.ceil((clean - reach) * LEVELS - _SLACK)
        high = np.floor((clean + reach) * LEVELS + _SLACK)
        nearest = np.clip(np.rint(images * np.float64(LEVELS)), low, high)
        return _as_images(np.where(low <= high, nearest, np.rint(clean * np.float64(LEVELS))))
    return np.stack(
        [
            _within_length(one, image, norm, size)
            for one, image, size in zip(clean, images, sizes, strict=True)
        ]
    )


def _within_length(clean: Images, image: Images, norm: Norm, size: np.float32) -> Images:
    base = np.rint(clean * np.float64(LEVELS))
    change = image * np.float64(LEVELS) - base
    signs = np.sign(change)
    length = np.abs(change)

    def rounded(threshold: float) -> Images:
        return _as_images(base + signs * np.floor(length + 1 - threshold))

    low = 0.0
    high = 1.0  # at 1 every change is rounded towards the original
    best = rounded(high - _SLACK)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        candidate = rounded(middle)
        if norm.size((candidate - clean)[None])[0] <= size:
            best = candidate
            high = middle
        else:
            low = middle
    return best


def _as_images(levels: np.ndarray) -> Images:
    return np.clip(levels, 0, LEVELS).astype(np.float32) / np.float32(LEVELS)


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
    failing_epsilon = 0.0
    broken = None
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


@dataclass(frozen=True)
class Transfer:
    """The prediction of ``model`` for an image made against ``source``.

    ``success``: the attack changes the prediction of this model too, or reaches the target; None if
    the model does not have the target class. ``retained_probability`` is the confidence in the
    model's original class. ``label`` is the true class among the model's classes, if known.
    """

    source: str
    model: str
    success: bool | None
    clean_top1: int
    clean_probability: float
    top1: int
    probability: float
    retained_probability: float
    label: int | None = None

    def as_row(self) -> dict[str, Any]:
        """The record as one JSON-ready row."""
        return asdict(self)


def judge_transfer(
    picture: Picture,
    image: Images,
    spec: AttackSpec,
    source: str,
    names: Sequence[str],
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Transfer]:
    """The predictions of the models ``names`` for ``image`` (S, S, 3), ``picture`` under ``spec``.

    Raises ``WeightsError`` when a model cannot be loaded.
    """
    for name in names:
        classifier = load(name, side=len(picture.image))
        before = classifier(picture.image[None]).probabilities[0]
        own = int(before.argmax())
        answer = classifier(image[None]).probabilities[0]
        top1 = int(answer.argmax())
        yield Transfer(
            source=source,
            model=name,
            success=is_fooled(spec, source, name, top1, own),
            clean_top1=own,
            clean_probability=float(before[own]),
            top1=top1,
            probability=float(answer[top1]),
            retained_probability=float(answer[own]),
        )


def is_fooled(spec: AttackSpec, source: str, name: str, top1: int, before: int) -> bool | None:
    """Whether the attack on ``source`` succeeds on ``name`` too; None without the target class.

    ``top1`` is the prediction of ``name`` and ``before`` that for the original.
    """
    if not attackable([name], spec, source):
        return None
    return bool(spec.reached(top1, before))


def attackable(names: Sequence[str], spec: AttackSpec, of: str) -> list[str]:
    """The models of ``names`` that ``spec`` can attack.

    With a target, a class of the model ``of``, these are the models with the same classes.
    """
    classes = models.REGISTRY[of].labels().key
    return [
        name
        for name in names
        if spec.target is None or models.REGISTRY[name].labels().key == classes
    ]


def transfers(
    picture: Picture,
    names: Sequence[str],
    spec: AttackSpec,
    of: str,
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Step | Outcome | Transfer]:
    """Attack each of the models ``names`` and test each result on all of them.

    Yields the steps of each attack, its outcome, and its ``Transfer`` records. Skips models without
    the gradients that the attack needs, without the target (a class of the model ``of``), or with
    the target as their original prediction. Closing the iterator stops within one step.
    """
    for source in attackable(names, spec, of):
        try:
            for event in craft(picture, load(source, side=len(picture.image)), spec):
                yield event
                if isinstance(event, Outcome):
                    yield from judge_transfer(picture, event.image, spec, source, names, load=load)
        except (GradientError, ParameterError):
            continue
