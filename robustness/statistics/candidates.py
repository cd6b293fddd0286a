"""Candidates of a choice beside the models of a run: models behind remedies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness.statistics.criteria import Cost
from robustness.statistics.grid import UNKNOWN, Grid


@dataclass(frozen=True)
class Candidate:
    """A model behind a remedy, or several models together, weighed as a further model.

    ``grid`` has the candidate's id in place of a model's name, and the column that the run is
    ranked by. ``remedy`` is a ``Chain.id``. ``model`` is the model, or one of several, whose
    classes it predicts. ``accuracy`` is that of the originals, None without labels.
    """

    grid: Grid
    label: str
    remedy: str
    model: str
    accuracy: float | None
    cost: Cost

    @property
    def id(self) -> str:
        return self.grid.model

    def weakest(self, column: str) -> dict[str, Any]:
        """The perturbation of the condition with the lowest mean of ``column``, and that mean."""
        flags = self.grid.flags(column)
        known = (flags != UNKNOWN).sum(axis=0)
        if not known.any():
            return {"weakest": None, "weakest_value": None}
        good = (flags == 1).sum(axis=0)
        means = np.divide(good, known, out=np.full(len(known), np.inf), where=known > 0)
        at = int(means.argmin())
        key = self.grid.conditions[at]
        return {"weakest": key.perturbation, "weakest_value": float(means[at])}
