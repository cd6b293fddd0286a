"""The change of an image that changes a prediction, for perturbations and attacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robustness import models
from robustness.attacks import NORMS, AttackSpec, Step
from robustness.attacks import REGISTRY as ATTACKS
from robustness.attacks.curves import Smallest, smallest_epsilon
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import perturbed, picture_scores
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.sweep import Break, sweep
from robustness.perturbations import REGISTRY as PERTURBATIONS
from robustness.pictures.picture import Picture

NATURAL, ATTACK = "natural", "attack"


@dataclass(frozen=True)
class Reach:
    """The change of the image at which the prediction of ``model`` first changed.

    ``kind`` is NATURAL or ATTACK, ``setting`` the strength in words. ``l2`` is the length of the
    change of the study image in [0, 1], ``ssim`` the similarity to the original. If ``breaks`` is
    False, the prediction did not change, and the figures belong to the strongest setting tried.
    """

    model: str
    kind: str
    name: str
    label: str
    setting: str
    breaks: bool
    l2: float
    ssim: float

    def as_row(self) -> dict[str, Any]:
        """The record as one row of a table."""
        return asdict(self)


def natural_reach(
    picture: Picture, model: str, names: Sequence[str], seed: int
) -> Iterator[Measurement | Reach]:
    """Sweep each perturbation of ``names``; yield its points, then its reach.

    A random perturbation is swept with one ``seed``. Raises what ``sweep`` raises.
    """
    clean = picture.image[None]
    for event in sweep(picture, names, [model], repeats=1, seed=seed):
        if not isinstance(event, Break):
            yield event
            continue
        record = PERTURBATIONS[event.perturbation]
        strength = 1.0 if event.strength is None else event.strength
        images = perturbed(picture, [Condition.of({record.name: strength})], seed)
        yield Reach(
            model=model,
            kind=NATURAL,
            name=record.name,
            label=record.label,
            setting=record.value_text(strength),
            breaks=not event.never,
            l2=float(NORMS["l2"].size(images - clean)[0]),
            ssim=float(picture_scores(clean, images)["ssim"][0]),
        )


def attack_reach(
    picture: Picture, model: str, specs: Sequence[AttackSpec]
) -> Iterator[Step | Reach]:
    """Find the smallest successful epsilon of each attack; yield the steps, then its reach."""
    for spec in specs:
        classifier = models.load(model, side=len(picture.image))
        for event in smallest_epsilon(picture, classifier, spec):
            if not isinstance(event, Smallest):
                yield event
                continue
            epsilon = NORMS[spec.norm].most if event.epsilon is None else event.epsilon
            yield Reach(
                model=model,
                kind=ATTACK,
                name=f"{spec.name} {spec.norm}",
                label=f"{ATTACKS[spec.name].label}, {NORMS[spec.norm].label}",
                setting=AttackSpec.of(spec.name, norm=spec.norm, epsilon=epsilon).size_text,
                breaks=event.epsilon is not None,
                l2=event.l2,
                ssim=event.ssim,
            )


def comparison(reaches: Sequence[Reach]) -> str:
    """A sentence that compares the best attack with the nearest perturbation."""
    broken = [reach for reach in reaches if reach.breaks and reach.l2 > 0]
    attacks = [reach for reach in broken if reach.kind == ATTACK]
    natural = [reach for reach in broken if reach.kind == NATURAL]
    if not attacks:
        return "No attack changed the prediction."
    best = min(attacks, key=lambda reach: reach.l2)
    start = f"{best.label}, changes the prediction with a change of length {best.l2:.2g}"
    if not natural:
        return f"{start}; no perturbation changes it at all."
    nearest = min(natural, key=lambda reach: reach.l2)
    times = nearest.l2 / best.l2
    return (
        f"{start}; of all perturbations {nearest.label} needs the smallest change, "
        f"{nearest.l2:.2g}: {times:.{0 if times >= 10 else 1}f} times as much."
    )
