"""An attack on an image, whose result is rounded to 8 bits, evaluated and compared with noise.

Beside it: the smallest epsilon at which an attack succeeds, signs of gradient masking, and the
transfer of an image made against one model to others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.attacks.loop import (
    BestImages,
    Enough,
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
"""Number of noise draws: an attack is news only if it beats them all. It is also the number of
sizes at which the change of a minimal attack is rounded."""

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
        """The label of the member of an ensemble that succeeded; "" for others and failures."""
        if not self.success or self.by == self.spec.name:
            return ""
        return REGISTRY[self.by].label

    @property
    def beats_noise(self) -> bool:
        """Whether the attack succeeded and no noise of its size did."""
        return self.success and not self.control.success

    @property
    def gain(self) -> int:
        """The factor that amplifies the largest change to half the range of a pixel."""
        if self.linf == 0:
            return 1
        return max(1, round(0.5 / self.linf))

    def as_row(self) -> dict[str, Any]:
        """Return the outcome as the command's JSON has it, without its image and ``transfer``."""
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
    """Attack ``image`` (S, S, 3), and return it rounded to 8 bits within epsilon at its side.

    The attack aims at the target of ``spec`` or, without one, away from the class ``label``.
    """
    steps = _attack_and_round(classifier, image, label, spec.scaled_to(len(image)), digest)
    return run_to_end(steps).images[0]


def _attack_and_round(
    classifier: Classifier, image: Images, label: int, spec: AttackSpec, digest: str
) -> Generator[Step, None, BestImages]:
    """Attack ``image`` (S, S, 3) and round the result to 8 bits.

    An eager attack continues until a success holds in 8 bits.
    """
    clean = image[None]
    if spec.epsilon * LEVELS < NOTHING:
        return BestImages.nothing(clean, spec.name)

    def succeeds_rounded(record: Attack, task: Task, images: Images) -> NDArray[np.bool_]:
        rounded = [_rounded(record, classifier, clean, one[None], label, spec) for one in images]
        return spec.reached(classifier(np.concatenate(rounded)).probabilities.argmax(1), label)

    enough: Enough | None = None
    if spec.record.eager:
        enough = succeeds_rounded
    best = yield from attack_steps(classifier, image, label, spec, digest, enough=enough)
    record = REGISTRY[best.by[0]]
    best.images = _rounded(record, classifier, clean, best.images, label, spec)
    return best


def _rounded(
    record: Attack,
    classifier: Classifier,
    clean: Images,
    attacked: Images,
    label: int,
    spec: AttackSpec,
) -> Images:
    """``attacked`` (1, S, S, 3), which the attack ``record`` made of ``clean``, in 8 bits.

    It is within the epsilon of ``spec``. The change of a minimal attack may be too small for 8
    bits: it is enlarged, up to epsilon, until it succeeds.
    """
    norm = NORMS[spec.norm]
    change = attacked - clean
    size = float(norm.size(change)[0])
    if size == 0:
        return attacked
    if not record.minimal:
        return to_eight_bits(clean, attacked, norm, np.array([spec.epsilon], np.float32))
    sizes = np.geomspace(size, spec.epsilon, DRAWS).astype(np.float32)
    factors = column(sizes / np.float32(size))
    repeated = np.repeat(clean, DRAWS, axis=0)
    enlarged = np.clip(repeated + factors * change, 0, 1)
    candidates = to_eight_bits(repeated, enlarged, norm, sizes)
    succeeds = spec.reached(classifier(candidates).probabilities.argmax(1), label)
    chosen = DRAWS - 1  # the largest, if none succeeds
    if succeeds.any():
        chosen = int(succeeds.argmax())
    return candidates[chosen : chosen + 1]


def craft(picture: Picture, classifier: Classifier, spec: AttackSpec) -> Iterator[Step | Outcome]:
    """Attack ``picture``: yield the steps, then the outcome.

    The attack leaves the model's prediction on the original, correct or not. Closing the iterator
    stops within one step. Raises ``ParameterError`` for an invalid target and ``GradientError`` for
    a model that the attack cannot use.
    """
    clean_probabilities = classifier(picture.image[None]).probabilities[0]
    clean_top1 = int(clean_probabilities.argmax())
    if spec.target is not None:
        check_class(classifier, spec.target)
    if spec.target == clean_top1:
        class_name = classifier.record.class_name(clean_top1)
        raise ParameterError(
            f"{classifier.record.label} already predicts {class_name!r} "
            "for the original; choose another target."
        )
    best = yield from _attack_and_round(
        classifier, picture.image, clean_top1, spec.scaled_to(picture.side), picture.stream
    )
    image = best.images[0]
    probabilities = classifier(best.images).probabilities[0]
    top1 = int(probabilities.argmax())
    measured = distances(picture.image, image)
    yield Outcome(
        spec=spec,
        model=classifier.record.name,
        image=image,
        success=bool(spec.reached(top1, clean_top1)),
        linf=measured.linf,
        l2=measured.l2,
        ssim=measured.ssim,
        clean_top1=clean_top1,
        clean_probability=float(clean_probabilities[clean_top1]),
        top1=top1,
        probability=float(probabilities[top1]),
        by=str(best.by[0]),
        control=_noise_control(picture, classifier, spec, image, clean_top1),
    )


class Distances(NamedTuple):
    """The distances of two images in both norms, in [0, 1] pixels, and their SSIM."""

    linf: float
    l2: float
    ssim: float


def distances(clean: Images, image: Images) -> Distances:
    """Return the distances of ``image`` from ``clean``, both (S, S, 3)."""
    change = image.astype(np.float64) - clean
    levels = np.rint(change * LEVELS)
    # 8-bit images differ by whole levels, which single precision blurs.
    if np.abs(change * LEVELS - levels).max() < 1e-4:
        change = levels / LEVELS
    return Distances(
        linf=float(NORMS["linf"].size(change[None])[0]),
        l2=float(NORMS["l2"].size(change[None])[0]),
        ssim=float(ssim(clean[None], image[None])[0]),
    )


def _noise_control(
    picture: Picture, classifier: Classifier, spec: AttackSpec, image: Images, clean_top1: int
) -> Control:
    """Noise as large as the change of ``image`` (S, S, 3), rounded and evaluated like it."""
    norm = NORMS[spec.norm]
    size = norm.size((image - picture.image)[None])
    sizes = np.repeat(size, DRAWS)
    clean = np.repeat(picture.image[None], DRAWS, axis=0)
    random = stream(spec.seed, picture.stream, "attack control")
    noise = np.stack([norm.noise(random, picture.image.shape) for _ in range(DRAWS)])
    noisy = np.clip(clean + noise * column(sizes), 0, 1)
    if size[0] > 0:
        noisy = to_eight_bits(clean, noisy, norm, sizes)
    probabilities = classifier(noisy).probabilities
    succeeds = spec.reached(probabilities.argmax(1), clean_top1)
    if spec.target is None:
        closeness = -probabilities[:, clean_top1]
    else:
        closeness = probabilities[:, spec.target]
    # A success is closer than any failure.
    closest = int(np.lexsort((closeness, succeeds))[-1])
    measured = distances(picture.image, noisy[closest])
    return Control(
        success=bool(succeeds.any()),
        successes=int(succeeds.sum()),
        draws=DRAWS,
        linf=measured.linf,
        l2=measured.l2,
        ssim=measured.ssim,
        top1=int(probabilities[closest].argmax()),
        probability=float(probabilities[closest].max()),
    )


def to_eight_bits(clean: Images, images: Images, norm: Norm, sizes: Sizes) -> Images:
    """Return ``images`` (N, S, S, 3) in whole 255ths, within ``sizes`` (N,) of ``clean``.

    In L-infinity each value goes to the nearest level within its bound. In L2 nearly all changes
    may be below half a level, and plain rounding would undo them: a change is rounded up if its
    fraction of a level exceeds a threshold, the smallest with which the length stays within
    ``sizes``. ``clean`` need not be 8-bit itself.
    """
    if norm.name == "linf":
        reach = column(sizes).astype(np.float64)
        lowest = np.ceil((clean - reach) * LEVELS - _SLACK)
        highest = np.floor((clean + reach) * LEVELS + _SLACK)
        nearest = np.clip(np.rint(images * np.float64(LEVELS)), lowest, highest)
        # No level may be within the bound of an original that is not 8-bit.
        rounded_clean = np.rint(clean * np.float64(LEVELS))
        return _from_levels(np.where(lowest <= highest, nearest, rounded_clean))
    rounded = []
    for original, image, size in zip(clean, images, sizes, strict=True):
        rounded.append(_rounded_within_length(original, image, norm, size))
    return np.stack(rounded)


def _rounded_within_length(clean: Images, image: Images, norm: Norm, size: np.float32) -> Images:
    """``image`` (S, S, 3) in 8 bits; the threshold of its change is found by bisection."""
    base = np.rint(clean * np.float64(LEVELS))
    change = image * np.float64(LEVELS) - base
    signs = np.sign(change)
    lengths = np.abs(change)

    def rounded(threshold: float) -> Images:
        return _from_levels(base + signs * np.floor(lengths + 1 - threshold))

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


def _from_levels(levels: NDArray[np.float64]) -> Images:
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
    largest = NORMS[spec.norm].most
    failing: float = 0.0
    succeeding: float | None = None
    epsilon: float | None = FIRST_GUESS
    while epsilon is not None:
        is_broken = yield from succeeds(picture, classifier, replace(spec, epsilon=epsilon))
        if is_broken:
            succeeding = epsilon
        else:
            failing = epsilon
        epsilon = _next_epsilon(failing, succeeding, largest)
    yield Smallest(classifier.record.name, spec.name, spec.norm, succeeding, failing)


def _next_epsilon(failing: float, succeeding: float | None, largest: float) -> float | None:
    """The epsilon to try after these; None if it is known well enough."""
    if succeeding is None:
        if failing >= largest:
            return None
        return min(largest, 2 * failing)
    if succeeding <= failing * (1 + TOLERANCE):
        return None
    if succeeding < FIRST_GUESS / 16:
        # Without a failure, bisection would go on towards 0.
        return None
    return (failing + succeeding) / 2


def succeeds(
    picture: Picture, classifier: Classifier, spec: AttackSpec
) -> Generator[Step, None, bool]:
    """Attack ``picture`` and yield the steps; return whether it succeeds, before rounding."""
    clean_top1 = int(classifier(picture.image[None]).probabilities[0].argmax())
    scaled = spec.scaled_to(picture.side)
    best = yield from attack_steps(
        classifier, picture.image, clean_top1, scaled, picture.stream, enough=any_success
    )
    top1 = int(classifier(best.images).probabilities[0].argmax())
    return bool(spec.reached(top1, clean_top1))


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
    for epsilon in sorted(set(epsilons)):
        by_black_box = yield from succeeds(picture, classifier, replace(black_box, epsilon=epsilon))
        if not by_black_box:
            continue
        by_gradient = yield from succeeds(picture, classifier, replace(gradient, epsilon=epsilon))
        if not by_gradient:
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
        """Return the transfer as one JSON-ready row."""
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
    """Yield how each of the models ``names`` predicts ``image`` (S, S, 3), made against ``source``.

    ``image`` is ``picture`` attacked by ``spec``. Raises ``WeightsError`` when a model cannot be
    loaded.
    """
    for name in names:
        classifier = load(name, side=len(picture.image))
        clean_probabilities = classifier(picture.image[None]).probabilities[0]
        clean_top1 = int(clean_probabilities.argmax())
        probabilities = classifier(image[None]).probabilities[0]
        top1 = int(probabilities.argmax())
        yield Transfer(
            source=source,
            model=name,
            success=is_fooled(spec, source, name, top1, clean_top1),
            clean_top1=clean_top1,
            clean_probability=float(clean_probabilities[clean_top1]),
            top1=top1,
            probability=float(probabilities[top1]),
            retained_probability=float(probabilities[clean_top1]),
        )


def is_fooled(spec: AttackSpec, source: str, name: str, top1: int, clean_top1: int) -> bool | None:
    """Return whether the attack on the model ``source`` succeeds on the model ``name``, too.

    ``top1`` is the prediction of ``name``, and ``clean_top1`` that for the original. None if it
    does not have the target class.
    """
    if not attackable([name], spec, source):
        return None
    return bool(spec.reached(top1, clean_top1))


def attackable(names: Sequence[str], spec: AttackSpec, source: str) -> list[str]:
    """Return the models of ``names`` that ``spec`` can attack.

    A target is a class of the model ``source``: with one, these are the models with its classes.
    """
    if spec.target is None:
        return list(names)
    classes = models.REGISTRY[source].labels().key
    return [name for name in names if models.REGISTRY[name].labels().key == classes]


def transfers(
    picture: Picture,
    names: Sequence[str],
    spec: AttackSpec,
    target_of: str,
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Step | Outcome | Transfer]:
    """Attack each of the models ``names`` and test each result on all of them.

    Yields the steps of each attack, its outcome, and its ``Transfer`` records. Skips models without
    the gradients that the attack needs, without the target (a class of the model ``target_of``), or
    with the target as their original prediction. Closing the iterator stops within one step.
    """
    for source in attackable(names, spec, target_of):
        try:
            for event in craft(picture, load(source, side=len(picture.image)), spec):
                yield event
                if isinstance(event, Outcome):
                    yield from judge_transfer(picture, event.image, spec, source, names, load=load)
        except (GradientError, ParameterError):
            continue
