"""Candidates of a choice beside the models of a run: models behind remedies."""

from __future__ import annotations

from dataclasses import dataclass

from robustness.statistics.criteria import Cost
from robustness.statistics.grid import Grid


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
