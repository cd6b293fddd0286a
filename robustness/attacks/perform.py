"""Attacks on batches of images, one image at a time."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import norms
from robustness.attacks.attack_record import Task
from robustness.attacks.loop import BestImages, Enough, Step, any_success, search
from robustness.attacks.spec import AttackSpec
from robustness.base.errors import ParameterError
from robustness.models import Classifier
from robustness.models.in_tensorflow.gradients import ALL_OTHERS
from robustness.perturbations import Images
from robustness.perturbations.compose import stream
from robustness.pictures.picture import image_digest


def attack(
    classifier: Classifier,
    images: Images,
    labels: NDArray[Any] | None = None,
    spec: AttackSpec | None = None,
    *,
    digests: Sequence[str] | None = None,
    report: Callable[[Step], None] | None = None,
) -> Images:
    """The adversarial versions of ``images`` (N, S, S, 3), float32 in [0, 1]; failures included.

    ``labels`` (N,) are the classes to leave, by default the model's predictions; a ``target`` of
    ``spec`` takes precedence. Without ``spec`` the attack is PGD. ``digests`` seed the random
    streams, by default those of the images. Each image passes through the model alone, since the
    batch size changes the last bits of sums: results do not depend on other images. ``report`` is
    called at every step; an exception from it ends the work. Raises ``ParameterError`` for another
    shape or an invalid label, and ``GradientError`` for a model that the attack cannot use.
    """
    classifier.check_images(images)
    spec = spec or AttackSpec.of("pgd")
    digests = digests if digests is not None else [image_digest(image) for image in images]
    results = []
    for row, digest in enumerate(digests):
        label = None if labels is None else int(labels[row])
        enough = any_success if spec.record.eager else None
        steps = attack_steps(classifier, images[row], label, spec, digest, enough=enough)
        results.append(drained(steps, report).images[0])
    return np.stack(results)


def drained(
    steps: Generator[Step, None, BestImages], report: Callable[[Step], None] | None = None
) -> BestImages:
    """The return value of ``steps``; calls ``report`` at every step."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if report is not None:
            report(step)


def attack_steps(
    classifier: Classifier,
    image: Images,
    label: int | None,
    spec: AttackSpec,
    digest: str,
    *,
    enough: Enough | None = None,
) -> Generator[Step, None, BestImages]:
    """Attack one image (S, S, 3) with ``enough`` as in ``search``: yield the steps.

    Returns the best image of this row. Labels and exceptions as in ``attack``.
    """
    clean = image[None]
    if spec.epsilon == 0:
        return BestImages.nothing(clean, spec.name)
    if spec.target is not None:
        label = spec.target
    if label is None:
        label = int(classifier(clean).probabilities[0].argmax())
    task = make_task(classifier, clean, label, spec, [spec.epsilon], [digest])
    return (yield from search(spec.record, task, spec.restarts, enough=enough))


def make_task(
    classifier: Classifier,
    clean: Images,
    label: int,
    spec: AttackSpec,
    sizes: Sequence[float],
    digests: Sequence[str],
) -> Task:
    """The task of ``spec`` for rows ``clean``, each with its own largest change.

    Raises ``ParameterError`` for a ``label`` that is no class of the model.
    """
    check_class(classifier, label)
    return Task(
        classifier=classifier,
        clean=clean,
        classes=np.full(len(clean), label, np.int32),
        rivals=np.full(len(clean), ALL_OTHERS, np.int32),
        targeted=spec.target is not None,
        norm=norms.REGISTRY[spec.norm],
        sizes=np.asarray(sizes, np.float32),
        steps=spec.steps,
        streams=[stream(spec.seed, digest, f"attack {spec.name}") for digest in digests],
    )


def check_class(classifier: Classifier, index: int) -> None:
    """Raise ``ParameterError`` unless the model has a class ``index``."""
    count = len(classifier.record.labels())
    if not 0 <= index < count:
        raise ParameterError(
            f"Expected a class of {classifier.record.label} from 0 to {count - 1}, got {index}."
        )
