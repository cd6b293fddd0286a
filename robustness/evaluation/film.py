"""A film: one perturbation of a condition from strength 0 to 1, and what every model answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustness import models
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import measured, perturbed, prepare
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import make_spec
from robustness.evaluation.sweep import grid
from robustness.models import Classifier
from robustness.perturbations import REGISTRY, Images
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE
from robustness.pictures.picture import Picture

STEPS = 41
"""Frames of a film, a fortieth of the range apart; a switch has two."""

_AT_ONCE = 8
"""Frames that a model is asked about between two looks at whether anybody still waits."""


@dataclass(frozen=True)
class Frame:
    """One image of a film: ``image`` (S, S, 3) at a ``strength`` of what moves."""

    strength: float
    image: Images


@dataclass(frozen=True)
class FilmRows:
    """Frames by rising strength, and the rows of each model, one a frame.

    ``perturbation`` moves; ``fixed`` are the other steps of the condition, which stay.
    """

    perturbation: str
    fixed: Mapping[str, float]
    frames: Sequence[Frame]
    rows: Mapping[str, Sequence[Measurement]]

    @property
    def breaks(self) -> dict[str, float | None]:
        """By model, the strength of the first frame whose top-1 is not the clean one."""
        return {
            model: next(
                (
                    frame.strength
                    for frame, row in zip(self.frames, rows, strict=True)
                    if not row.consistent
                ),
                None,
            )
            for model, rows in self.rows.items()
        }


def conditions(condition: Condition, perturbation: str, steps: int = STEPS) -> list[Condition]:
    """``condition`` with ``perturbation`` at each of ``steps`` even strengths, the rest as it is.

    Raises ``UnknownNameError`` for a perturbation that does not exist.
    """
    return [
        Condition.of({**fixed(condition, perturbation), perturbation: strength})
        for strength in grid(REGISTRY[perturbation], steps)
    ]


def fixed(condition: Condition, perturbation: str) -> dict[str, float]:
    """The steps of ``condition`` that stay while ``perturbation`` moves."""
    return {
        name: strength for name, strength in condition.steps if strength and name != perturbation
    }


def shoot(
    picture: Picture,
    condition: Condition,
    perturbation: str,
    model_names: Sequence[str],
    *,
    steps: int = STEPS,
    seed: int = 0,
    fit: str = DEFAULT_FIT,
    side: int = STUDY_SIDE,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Frame | Measurement]:
    """Yields each frame of a film and each model's row of it, as they come; ``assembled`` joins.

    Every image is made once and shared by all models, and all have one seed. Closing the
    iterator stops the work. Raises what ``conditions``, ``make_spec`` and ``load`` raise.
    """
    asked = conditions(condition, perturbation, steps)
    spec = make_spec(model_names, asked, seed=seed, fit=fit, side=side)
    strengths = grid(REGISTRY[perturbation], steps)
    clean = {name: load(name, side=side)(picture.image[None]) for name in spec.model_names}
    for start in range(0, len(asked), _AT_ONCE):
        part = replace(spec, conditions=spec.conditions[start : start + _AT_ONCE])
        batch = prepare([picture], part.conditions, seed)
        yield from map(Frame, strengths[start:], batch.frames[0, 1:])
        for name in spec.model_names:
            classifier = load(name, side=side)  # anew if the memory budget had it released
            yield from measured(part, batch, classifier, clean=[clean[name]])[0]


def assembled(
    condition: Condition, perturbation: str, events: Iterable[Frame | Measurement]
) -> FilmRows:
    """The film of all that ``shoot`` yielded."""
    frames, rows = [], dict[str, list[Measurement]]()
    for event in events:
        if isinstance(event, Frame):
            frames.append(event)
        else:
            rows.setdefault(event.model, []).append(event)
    return FilmRows(perturbation, fixed(condition, perturbation), frames, rows)


def of_sweep(picture: Picture, perturbation: str, found: Iterable[object], seed: int) -> FilmRows:
    """The film of what ``sweep`` found with ``seed``: no model is asked again."""
    rows: dict[str, list[Measurement]] = {}
    for event in found:
        if isinstance(event, Measurement) and (event.perturbation, event.seed) == (
            perturbation,
            seed,
        ):
            rows.setdefault(event.model, []).append(event)
    strengths = [row.strength or 0.0 for row in next(iter(rows.values()))]
    asked = [Condition.of({perturbation: strength}) for strength in strengths]
    images = perturbed(picture, asked, seed)
    return FilmRows(perturbation, {}, list(map(Frame, strengths, np.asarray(images))), rows)
