"""Films: one perturbation from strength 0 to 1, with the predictions of every model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from robustness import models
from robustness.evaluation.condition import Condition
from robustness.evaluation.loop import measured, of_shown, perturbed, prepare
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.spec import make_spec
from robustness.evaluation.sweep import grid
from robustness.models import Classifier
from robustness.perturbations import REGISTRY, Images
from robustness.pictures.fitting import DEFAULT_FIT, STUDY_SIDE
from robustness.pictures.picture import Picture

STEPS = 41
"""Frames of a film, 1/40 of the range apart; a switch has two."""

_AT_ONCE = 8
"""Frames per forward pass, between two checks whether the film is still wanted."""


@dataclass(frozen=True)
class Frame:
    """One image of a film: ``image`` (S, S, 3) at ``strength``."""

    strength: float
    image: Images


@dataclass(frozen=True)
class FilmRows:
    """Frames by increasing strength, and the rows of each model, one per frame.

    The strength of ``perturbation`` changes; ``fixed`` are the other steps of the condition.
    """

    perturbation: str
    fixed: Mapping[str, float]
    frames: Sequence[Frame]
    rows: Mapping[str, Sequence[Measurement]]

    @property
    def breaks(self) -> dict[str, float | None]:
        """By model, the strength of the first frame with a changed prediction."""
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
    """``condition`` with ``perturbation`` at each of ``steps`` even strengths.

    Raises ``UnknownNameError`` for a perturbation that does not exist.
    """
    return [
        Condition.of({**fixed(condition, perturbation), perturbation: strength})
        for strength in grid(REGISTRY[perturbation], steps)
    ]


def fixed(condition: Condition, perturbation: str) -> dict[str, float]:
    """The steps of ``condition`` other than ``perturbation``."""
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
    side: int | str = STUDY_SIDE,
    load: Callable[..., Classifier] = models.load,
) -> Iterator[Frame | Measurement]:
    """Yield the frames of a film and the rows of each model; ``assembled`` joins them.

    Models of one side share the images, and all images the seed. The frames are those of
    ``picture`` as shown. Closing the iterator stops the work.
    Raises what ``conditions``, ``make_spec`` and ``load`` raise.
    """
    asked = conditions(condition, perturbation, steps)
    spec = make_spec(model_names, asked, seed=seed, fit=fit, side=side)
    strengths = grid(REGISTRY[perturbation], steps)
    sides = spec.by_side()
    clean = {
        name: load(name, side=one.side)(picture.at(one.side).image[None])
        for one in sides
        for name in one.model_names
    }
    for start in range(0, len(asked), _AT_ONCE):
        wanted = spec.conditions[start : start + _AT_ONCE]
        yield from map(Frame, strengths[start:], perturbed(picture, wanted, seed))
        for part in (replace(one, conditions=wanted) for one in sides):
            batch = prepare([picture.at(part.side)], wanted, seed)
            for name in part.model_names:
                classifier = load(name, side=part.side)  # again if memory ran short
                (rows,) = measured(part, batch, classifier, clean=[clean[name]])
                yield from of_shown(rows, picture)


def assembled(
    condition: Condition, perturbation: str, events: Iterable[Frame | Measurement]
) -> FilmRows:
    """The film from everything that ``shoot`` yielded."""
    frames, rows = [], dict[str, list[Measurement]]()
    for event in events:
        if isinstance(event, Frame):
            frames.append(event)
        else:
            rows.setdefault(event.model, []).append(event)
    return FilmRows(perturbation, fixed(condition, perturbation), frames, rows)


def of_sweep(picture: Picture, perturbation: str, found: Iterable[object], seed: int) -> FilmRows:
    """The film from the results of ``sweep`` with ``seed``, without new predictions."""
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
