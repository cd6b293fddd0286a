"""What each condition costs a model: its accuracy on the originals less that under the condition.

The tests are McNemar's exact test over images, a sign-flip test under a profile, with Holm's
correction over all conditions of the model.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness.statistics.grid import UNKNOWN, ConditionKey, Grid
from robustness.statistics.means import (
    ALPHA,
    PairedDifference,
    by_condition,
    holm,
    sign_flip,
    whole_numbers,
)

EQUIVALENT = 0.02
"""A loss whose 95% interval lies within this, to either side, is none that matters."""


class Loss(NamedTuple):
    """The accuracy that a model loses under ``key``; ``p`` is adjusted for all conditions."""

    key: ConditionKey
    difference: PairedDifference
    p: float

    @property
    def significant(self) -> bool:
        """Whether the model is less accurate than on the originals."""
        value = self.difference.value
        return value is not None and value > 0 and self.p < ALPHA

    @property
    def negligible(self) -> bool:
        """Whether the interval excludes any change of accuracy that matters."""
        low = self.difference.low
        high = self.difference.high
        return low is not None and high is not None and -EQUIVALENT <= low <= high <= EQUIVALENT


def losses(grid: Grid) -> list[Loss]:
    """The loss under each condition of ``grid`` but attacks, on the labelled images."""
    before = grid.flags("clean_correct")
    after = grid.flags("correct")
    gaps, is_known = _gaps(before, after)
    differences = by_condition(gaps, is_known)
    natural = [
        (key, difference)
        for key, difference in zip(grid.conditions, differences, strict=True)
        if not key.is_attack
    ]
    corrected = holm([difference.p for _, difference in natural])
    return [Loss(*each, p) for each, p in zip(natural, corrected, strict=True)]


def is_harder(grid: Grid, harder: str, other: str) -> bool:
    """Whether the model is significantly less accurate under ``harder`` than under ``other``.

    Both are ids of conditions of ``grid``.
    """
    column_of = {key.id: column for column, key in enumerate(grid.conditions)}
    flags = grid.flags("correct")
    net, _ = _gaps(flags[:, column_of[other]], flags[:, column_of[harder]])
    return bool(net.sum() > 0) and sign_flip(whole_numbers(net)) < ALPHA


def _gaps(first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """(``first`` less ``second``, 0 where either is unknown; where both are known)."""
    is_known = (first != UNKNOWN) & (second != UNKNOWN)
    return np.where(is_known, first - second, 0), is_known
