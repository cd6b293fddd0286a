"""Interactions of a domain: what two perturbations cost together beyond the sum of their losses.

Let y be 1 where the prediction for an image goes well and else 0, or its score: under neither
perturbation, under each alone, and under both. The loss of both less the losses of each is the mean
over images of y(first) + y(second) - y(both) - y(neither), a number from -2 to 2. Half of it is a
difference, with the interval and the sign-flip test of one. Holm's correction is over all pairs of
a model, at the limit of their ranges and in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.measure.condition import Condition
from robustness.measure.domain import Domain
from robustness.statistics.grid import UNKNOWN, Grid
from robustness.statistics.means import by_condition, established, holm

_COLUMNS = {"min_accuracy": ("clean_correct", "correct"), "min_consistency": ("", "consistent")}
"""The columns of originals and of conditions, by the kind of limit. All originals are consistent,
and have no column."""


@dataclass(frozen=True)
class Interaction:
    """Two perturbations of a domain together, for one ``model``; shares of the ``images``.

    ``together`` is what ``condition`` costs, ``apart`` the sum of what both perturbations cost
    alone, and ``more`` their difference with its 95% interval, None with too few images. ``p`` is
    corrected for all pairs of the model.
    """

    model: str
    condition: Condition
    images: int
    together: float
    apart: float
    more: float
    more_low: float | None
    more_high: float | None
    p: float

    @property
    def significant(self) -> bool:
        return established(self.p, self.more_low, self.more_high)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "condition": self.condition.id, "significant": self.significant}


class _Trial(NamedTuple):
    """The ``condition`` of a pair, and each of its perturbations alone at the same strength."""

    condition: Condition
    first: Condition
    second: Condition


def interactions(domain: Domain, grid: Grid) -> tuple[Interaction, ...]:
    """Return the interactions of all pairs of ``domain`` for the model of ``grid``.

    The largest comes first. A pair of which the run lacks a condition has none.
    """
    column_of = {key.id: column for column, key in enumerate(grid.conditions)}
    original_column, column = _COLUMNS[domain.limit[0]]
    flags = grid.flags(column)

    lowest = domain.at({})
    if not lowest.idle:
        if lowest.id not in column_of:
            return ()
        neither = flags[:, column_of[lowest.id]]
    elif not original_column:
        neither = np.ones(len(flags))
    else:
        neither = grid.flags(original_column).max(axis=1)

    trials = []
    for trial in _trials(domain):
        if all(condition.id in column_of for condition in trial):
            trials.append(trial)
    if not trials:
        return ()

    def cells(conditions: list[Condition]) -> NDArray[np.float64]:
        columns = [column_of[condition.id] for condition in conditions]
        return flags[:, columns].astype(np.float64)

    both = cells([trial.condition for trial in trials])
    first = cells([trial.first for trial in trials])
    second = cells([trial.second for trial in trials])
    neither = np.broadcast_to(neither[:, None], both.shape)
    is_known = np.ones(both.shape, bool)
    for outcomes in (neither, first, second, both):
        is_known &= outcomes != UNKNOWN
    halves = np.where(is_known, first + second - both - neither, 0) / 2
    differences = by_condition(halves, is_known)
    corrected = holm([difference.p for difference in differences])

    def loss(outcomes: NDArray[Any], index: int) -> float:
        known = is_known[:, index]
        return float((neither[known, index] - outcomes[known, index]).mean())

    found = []
    for index, (trial, difference, p) in enumerate(
        zip(trials, differences, corrected, strict=True)
    ):
        if difference.value is None:
            continue
        interaction = Interaction(
            model=grid.model,
            condition=trial.condition,
            images=difference.images,
            together=loss(both, index),
            apart=loss(first, index) + loss(second, index),
            more=2 * difference.value,
            more_low=None if difference.low is None else 2 * difference.low,
            more_high=None if difference.high is None else 2 * difference.high,
            p=p,
        )
        found.append(interaction)
    return tuple(sorted(found, key=lambda each: -each.more))


def _trials(domain: Domain) -> Iterator[_Trial]:
    single_of = {cell.perturbations[0]: cell for cell in domain.singles}
    for cell in domain.pairs:
        first, second = (single_of[name] for name in cell.perturbations)
        yield _Trial(cell.limit, first.limit, second.limit)
        if cell.middle != cell.limit:
            yield _Trial(cell.middle, first.middle, second.middle)
