"""The outcome of an attack, and what models predict for the attacked image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from robustness import models
from robustness.attacks import AttackSpec, Outcome, Step, craft
from robustness.evaluation.condition import AttackCondition
from robustness.evaluation.correctness import labelled
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.request import Request
from robustness.pictures.picture import Picture
from robustness.ui.computation import cache
from robustness.ui.computation.cache import work_key
from robustness.ui.computation.progress import Measuring


def measure(picture: Picture, model: str, spec: AttackSpec) -> Outcome:
    """The outcome of the attack, cached or computed with progress; stops the page if cancelled."""
    outcome: Outcome
    (outcome,) = Measuring(
        "Attacking",
        attack_key("attack", picture, [model], spec),
        [picture],
        lambda nameless: _events(nameless[0], model, spec),
        spec.total_steps + 1,
        (Outcome,),
    ).at_once()
    return outcome


def _events(picture: Picture, model: str, spec: AttackSpec) -> Iterator[Step | Outcome]:
    yield from craft(picture, models.load(model, side=picture.side), spec)


def attack_key(what: str, picture: Picture, names: Sequence[str], spec: AttackSpec) -> str:
    """The key of work ``what`` with ``spec`` on ``picture`` and the models ``names``."""
    condition = AttackCondition.of_spec(spec)
    return work_key(f"{what} {spec}", [picture], names, [condition], spec.seed)


def adversarial(picture: Picture, outcome: Outcome) -> Picture:
    """The attacked image as an image with its own name."""
    return Picture.of(f"{picture.name}, adversarial", outcome.image, framing=picture.framing)


def row(
    picture: Picture, changed: Picture, model: str, spec: AttackSpec, truth: str | None
) -> Measurement:
    """The prediction of ``model`` for ``changed``, with that for ``picture``.

    ``truth`` is the true class of both.
    """
    hashed = ((model, models.digest(models.REGISTRY[model])),)
    conditions = (AttackCondition.of_spec(spec),)
    run = Request(hashed, conditions, ((model, picture.framing),), spec.seed)
    return labelled(cache.comparison(run, picture, model, changed), truth)
