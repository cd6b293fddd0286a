"""Bands: what one model predicts for one image along the strength of one perturbation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np

from robustness.base.errors import ParameterError
from robustness.evaluation import STEPS
from robustness.evaluation.breaking_strength_sweep import grid
from robustness.evaluation.labels_and_correctness import label_index
from robustness.evaluation.perturbation_and_attack_conditions import Condition
from robustness.models.classifier_with_probabilities_and_features import Floats
from robustness.perturbations import REGISTRY, Perturbation

COARSE = 5
"""Cells of a band that shows first where a model breaks, and is refined between them."""

ROUNDS = tuple(range(COARSE, STEPS + 1, COARSE - 1))
"""Cells of a band at first, and after each refinement, up to ``STEPS``."""


@dataclass(frozen=True)
class Cell:
    """The top-1 class, an index, and its ``probability`` at one ``strength``."""

    strength: float
    top1: int
    probability: float


@dataclass(frozen=True)
class Band:
    """The ``cells`` of one ``model`` under one ``perturbation``, by ascending strength.

    ``original`` is the cell of the unperturbed image, which differs from the first cell where other
    perturbations stand beside this one. ``label`` is the true class; None if it is unknown.
    """

    model: str
    perturbation: str
    cells: tuple[Cell, ...]
    original: Cell
    label: int | None = None

    def good(self, cell: Cell) -> bool:
        """Whether ``cell`` is correct or, without a true class, unchanged."""
        return cell.top1 == (self.original.top1 if self.label is None else self.label)

    @cached_property
    def breakable(self) -> bool:
        """Whether the model can break: its original is correct, or has no true class."""
        return self.good(self.original)

    @cached_property
    def breaks_at(self) -> float | None:
        """The strength of the first incorrect (changed) cell; None if there is none.

        None, too, unless ``breakable``.
        """
        bad = (cell.strength for cell in self.cells if not self.good(cell))
        return next(bad, None) if self.breakable else None

    @property
    def words(self) -> tuple[str, str]:
        """What a good cell is called, and any other."""
        return ("unchanged", "changed") if self.label is None else ("correct", "incorrect")

    @property
    def text(self) -> str:
        """Such as "correct up to 0.35, incorrect from 0.4, correct again at 0.6"."""
        if not REGISTRY[self.perturbation].graded:
            return f"{self._word(self.cells[0])}; {self._word(self.cells[-1])} when on"
        parts: list[str] = []
        for _, group in groupby(self.cells, key=self.good):
            first, *rest = group
            last = [first, *rest][-1]
            if not rest:
                where = f"at {first.strength:g}"
            elif first is self.cells[0]:
                where = "always" if last is self.cells[-1] else f"up to {last.strength:g}"
            else:
                where = f"from {first.strength:g}"
                where += "" if last is self.cells[-1] else f" to {last.strength:g}"
            again = " again" if len(parts) > 1 else ""
            parts.append(f"{self._word(first)}{again} {where}")
        return ", ".join(parts)

    def _word(self, cell: Cell) -> str:
        return self.words[not self.good(cell)]

    def labelled(self, truth: str | None) -> Band:
        """The band with the true class ``truth``, if the model has it."""
        return replace(self, label=label_index(self.model, truth))


def strengths(record: Perturbation, count: int = STEPS) -> tuple[float, ...]:
    """The first ``count`` strengths of a band, in the order in which they are computed.

    The first ``COARSE`` are even; each further four lie between them. A switch has two: off and on.
    Raises ``ParameterError`` unless ``count`` is one of ``ROUNDS``.
    """
    if count not in ROUNDS:
        known = ", ".join(map(str, ROUNDS))
        raise ParameterError(f"Expected one of {known} as the strengths of a band, got {count}.")
    every = grid(record, STEPS)
    if not record.graded:
        return every
    step = (STEPS - 1) // (COARSE - 1)
    # Every other strength first, so that each refinement spreads over the gaps.
    firsts = [*range(2, step, 2), *range(1, step, 2)]
    between = [strength for first in firsts for strength in every[first::step]]
    return (*every[::step], *between)[:count]


def conditions(others: Condition, name: str, strengths: Sequence[float]) -> list[Condition]:
    """The perturbation ``name`` at each of ``strengths``, with the ``others`` as they stand."""
    steps = {step: strength for step, strength in others.steps if step != name}
    return [Condition.of({**steps, name: strength}) for strength in strengths]


def cells(strengths: Sequence[float], probabilities: Floats) -> list[Cell]:
    """The cells at ``strengths`` from a row of ``probabilities`` each."""
    top1 = probabilities.argmax(axis=1)
    best = probabilities[np.arange(len(top1)), top1]
    return [Cell(*each) for each in zip(strengths, top1.tolist(), best.tolist(), strict=True)]
