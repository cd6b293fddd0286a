"""What other models make of an image that was made against one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from robustness import models
from robustness.attacks.loop import Step
from robustness.attacks.outcome import Outcome, craft
from robustness.attacks.spec import AttackSpec
from robustness.base.errors import GradientError, ParameterError
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.pictures.picture import Picture


@dataclass(frozen=True)
class Transfer:
    """The answer of ``model`` to an image made against ``source``.

    ``success`` says whether the attack worked here too: the model's own clean answer is gone, or
    the target is reached. It is None where the target is not among the model's classes.
    ``retained_probability`` is what is left for the model's own clean answer. ``label`` is the true
    class of the image among the model's, where that is known.
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


def judged(
    picture: Picture,
    image: Images,
    spec: AttackSpec,
    source: str,
    names: Sequence[str],
    *,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Transfer]:
    """The answers of the models ``names`` to ``image`` (S, S, 3), made of ``picture`` by ``spec``.

    Raises ``WeightsError`` when a model cannot be loaded.
    """
    classes = models.REGISTRY[source].labels().key
    for name in names:
        classifier = load(name, side=len(picture.image))
        before = classifier(picture.image[None]).probabilities[0]
        own = int(before.argmax())
        answer = classifier(image[None]).probabilities[0]
        top1 = int(answer.argmax())
        known = spec.target is None or classifier.record.labels().key == classes
        success = bool(spec.reached(top1, own)) if known else None
        yield Transfer(
            source=source,
            model=name,
            success=success,
            clean_top1=own,
            clean_probability=float(before[own]),
            top1=top1,
            probability=float(answer[top1]),
            retained_probability=float(answer[own]),
        )


def attackable(names: Sequence[str], spec: AttackSpec, of: str) -> list[str]:
    """Those of the models ``names`` that ``spec`` may be tried on: with a target, which was chosen
    among the classes of the model ``of``, those that tell the same classes apart."""
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
    """Attacks each of the models ``names`` and has all of them judge the result.

    Yields the steps of each attack, its outcome, and then its judgements; nothing of a model that
    gives no gradients to an attack that needs them, that does not have the target, which is one of
    the model ``of``, or that gives it to the clean image already. Closing the iterator stops the
    work within one step.
    """
    for source in attackable(names, spec, of):
        try:
            for event in craft(picture, load(source, side=len(picture.image)), spec):
                yield event
                if isinstance(event, Outcome):
                    yield from judged(picture, event.image, spec, source, names, load=load)
        except (GradientError, ParameterError):
            continue
