"""Transfer: the image of an attack on one model, tried on other models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robustness import models
from robustness.attacks.attack_and_settings import AttackSpec
from robustness.attacks.attack_image import Outcome, craft
from robustness.attacks.batch_attack_and_loop import Step
from robustness.base.errors import GradientError, ParameterError
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.pictures.framed_picture import Picture


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
