"""At which strength does each model's answer break: a coarse sweep, then bisection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robustness import models
from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import measured, perturbed, picture_scores, prepare
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import make_spec
from robustness.models import Classifier, Outputs
from robustness.perturbations import REGISTRY, Images, Perturbation
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE
from robustness.pictures.picture import Picture

DEFAULT_STEPS = 21
DEFAULT_REPEATS = 5
MAX_STEPS = 101
MAX_REPEATS = 50
TOLERANCE = 0.005
"""Width of the interval, in strength, to which bisection narrows a breaking point."""


@dataclass(frozen=True)
class Break:
    """Where one model's top-1 under one perturbation first differs from the clean top-1.

    ``strength`` is the median over the repeats (one repeat unless the perturbation is random),
    None when ``never``: at least half of the repeats keep their answer up to strength 1. ``low``
    and ``high`` are the range over the repeats, a repeat that never breaks counting as None, or
    for a single repeat the last strength that keeps the answer and the first that changes it.
    ``parameter`` (physical), ``severity`` (nearest ImageNet-C one) and ``ssim`` belong to
    ``strength``. ``returns`` are swept strengths beyond it at which the clean answer is back.
    """

    model: str
    perturbation: str
    strength: float | None
    parameter: float | None
    severity: int | None
    ssim: float | None
    low: float | None
    high: float | None
    never: bool
    returns: tuple[float, ...]
    repeats: int
    clean_top1: int
    clean_probability: float

    def as_row(self) -> dict[str, Any]:
        """The record as one JSON-ready row."""
        return asdict(self)


def grid(record: Perturbation, steps: int) -> tuple[float, ...]:
    """The strengths swept: ``steps`` even ones from 0 to 1, or 0 and 1 for a switch."""
    if not record.graded:
        return 0.0, 1.0
    return tuple(round(float(value), 6) for value in np.linspace(0.0, 1.0, steps))


def sweep(
    picture: Picture,
    names: Sequence[str],
    model_names: Sequence[str] | None = None,
    *,
    steps: int = DEFAULT_STEPS,
    repeats: int = DEFAULT_REPEATS,
    seed: int = 0,
    fit: str = DEFAULT_FIT,
    side: int = STUDY_SIDE,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Measurement | Break]:
    """Sweeps each perturbation of ``names``; yields its points as they come, then its breaks.

    A random perturbation is swept ``repeats`` times, with the seeds from ``seed`` on. Within one
    step of the sweep an answer that changes and comes back goes unseen. The clean pass is
    computed once a model. Closing the iterator stops the work. Raises what ``make_spec`` raises,
    and ``ParameterError`` for ``steps`` or ``repeats`` out of range.
    """
    if not 2 <= steps <= MAX_STEPS or not 1 <= repeats <= MAX_REPEATS:
        raise ParameterError(
            f"Expected 2 to {MAX_STEPS} steps and 1 to {MAX_REPEATS} repeats, got {steps} and "
            f"{repeats}."
        )
    records = [REGISTRY[name] for name in dict.fromkeys(names)]
    specs = {
        record.name: [
            make_spec(
                model_names,
                [Condition.of({record.name: strength}) for strength in grid(record, steps)],
                seed=seed + repeat,
                fit=fit,
                side=side,
            )
            for repeat in range(repeats if record.random else 1)
        ]
        for record in records
    }
    chosen = make_spec(model_names, [Condition.of({records[0].name: 0.0})]).model_names
    clean = {name: load(name, side=side)(picture.image[None]) for name in chosen}
    for record in records:
        found: dict[str, list[_Found]] = {name: [] for name in chosen}
        for spec in specs[record.name]:
            batch = prepare([picture], spec.conditions, spec.seed)
            for name in chosen:
                classifier = load(name, side=side)  # anew if the memory budget had it released
                (rows,) = measured(spec, batch, classifier, clean=[clean[name]])
                yield from rows
                found[name].append(_bisect(picture, classifier, rows, spec.seed, record))
        for name in chosen:
            yield _summary(record, name, found[name], clean[name])


@dataclass(frozen=True)
class _Found:
    """One repeat's break: last strength kept, first changed (None: never), its SSIM, returns."""

    kept: float
    changed: float | None
    ssim: float | None
    returns: tuple[float, ...]


def _bisect(
    picture: Picture,
    classifier: Classifier,
    rows: Sequence[Measurement],
    seed: int,
    record: Perturbation,
) -> _Found:
    strengths = [row.strength or 0.0 for row in rows]
    first = next((place for place, row in enumerate(rows) if not row.consistent), None)
    if first is None:
        return _Found(1.0, None, None, ())
    returns = tuple(
        strength
        for strength, row in zip(strengths[first:], rows[first:], strict=True)
        if row.consistent
    )
    kept, changed, ssim = strengths[first - 1], strengths[first], rows[first].scores["ssim"]
    while record.graded and changed - kept > TOLERANCE:
        middle = (kept + changed) / 2
        images = _at(picture, record, middle, seed)
        if classifier(images).probabilities[0].argmax() == rows[first].clean_top1:
            kept = middle
        else:
            changed = middle
            ssim = float(picture_scores(picture.image[None], images)["ssim"][0])
    return _Found(kept, changed, ssim, returns)


def _at(picture: Picture, record: Perturbation, strength: float, seed: int) -> Images:
    return perturbed(picture, [Condition.of({record.name: strength})], seed)


def _summary(record: Perturbation, model: str, found: Sequence[_Found], clean: Outputs) -> Break:
    broken = sorted((f for f in found if f.changed is not None), key=lambda f: f.changed or 0.0)
    never = 2 * len(broken) <= len(found)
    top1 = int(clean.probabilities[0].argmax())
    strength = ssim = low = high = None
    if not never:
        # A repeat that never breaks lies beyond all others, so the median is among the broken.
        median = broken[(len(found) - 1) // 2]
        strength, ssim = median.changed, median.ssim
    if len(found) == 1:
        low, high = found[0].kept, found[0].changed
    elif broken:
        low = broken[0].changed
        high = broken[-1].changed if len(broken) == len(found) else None
    return Break(
        model=model,
        perturbation=record.name,
        strength=strength,
        parameter=None if strength is None else record.parameter_at(strength),
        severity=None if strength is None else record.severity_at(strength),
        ssim=ssim,
        low=low,
        high=high,
        never=never,
        returns=tuple(sorted({value for f in found for value in f.returns})),
        repeats=len(found),
        clean_top1=top1,
        clean_probability=float(clean.probabilities[0, top1]),
    )


def most_fragile(breaks: Sequence[Break]) -> Break | None:
    """The break at the smallest strength; None if nothing breaks."""
    broken = [b for b in breaks if b.strength is not None]
    return min(broken, key=lambda b: b.strength or 0.0, default=None)
