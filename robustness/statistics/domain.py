"""Where models hold within a domain: the outcome under each of its conditions and in each cell.

The figure is the accuracy or the consistency that the domain limits, each with its own 95%
interval. A cell, such as a pair of perturbations, is as good as the worse of its two conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness.measure.condition import Condition
from robustness.measure.domain import Cell, Domain
from robustness.statistics.interactions import Interaction
from robustness.statistics.limits import BROKEN, KEPT, NOT_SHOWN, UNTESTED, outcome
from robustness.statistics.means import flag_shares

Entry = Mapping[str, Any]
"""A record of ``Figures.by_perturbation``."""

FIGURES = {"min_accuracy": "perturbed_accuracy", "min_consistency": "consistency"}
"""The figure that each kind of limit is on."""

PASSED = {"min_accuracy": "correct", "min_consistency": "consistent"}
"""The column of the rows that such a figure counts."""

OUTCOMES = (BROKEN, UNTESTED, NOT_SHOWN, KEPT)
"""From the worst to the best."""


@dataclass(frozen=True)
class Judged:
    """A model under one condition of a domain.

    ``value`` is a share in [0, 1] with its bounds, None where it was not measured or has no
    interval; ``images`` is how many it counts.
    """

    model: str
    condition: Condition
    value: float | None
    low: float | None
    high: float | None
    images: int
    outcome: str

    @property
    def sort_key(self) -> tuple[int, float]:
        """Sorts the worst first: by outcome, then by value."""
        return OUTCOMES.index(self.outcome), 1.0 if self.value is None else self.value

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "condition": self.condition.id}


@dataclass(frozen=True)
class JudgedCell:
    """A model in a cell: under both its conditions, which are the same for switches alone."""

    cell: Cell
    middle: Judged
    limit: Judged

    @property
    def worst(self) -> Judged:
        return min(self.limit, self.middle, key=lambda judged: judged.sort_key)

    @property
    def outcome(self) -> str:
        return self.worst.outcome


@dataclass(frozen=True)
class JudgedDomain:
    """A model in all of a domain: ``singles`` and ``pairs`` in its order, and the ``array``.

    ``worst`` is the worst composition that was found, judged on the images that did not choose it;
    None if none was searched. ``interactions`` are those of pairs, the largest first.
    """

    domain: Domain
    model: str
    singles: tuple[JudgedCell, ...]
    pairs: tuple[JudgedCell, ...]
    array: tuple[Judged, ...]
    worst: Judged | None = None
    interactions: tuple[Interaction, ...] = ()

    def pairs_with(self, outcome: str) -> list[JudgedCell]:
        """The pairs with that outcome, the worst first."""
        cells = [each for each in self.pairs if each.outcome == outcome]
        return sorted(cells, key=lambda each: each.worst.sort_key)

    def rows_with(self, outcome: str) -> list[Judged]:
        """The rows of the array with that outcome, the worst first."""
        rows = [each for each in self.array if each.outcome == outcome]
        return sorted(rows, key=lambda each: each.sort_key)

    @property
    def all(self) -> tuple[Judged, ...]:
        """The model under every condition, each once."""
        judged: dict[str, Judged] = {}
        for each in (*self.singles, *self.pairs):
            judged.setdefault(each.limit.condition.id, each.limit)
            judged.setdefault(each.middle.condition.id, each.middle)
        for row in self.array:
            judged.setdefault(row.condition.id, row)
        if self.worst is not None:
            judged.setdefault(self.worst.condition.id, self.worst)
        return tuple(judged.values())


def judge_count(
    domain: Domain, model: str, condition: Condition, passed: int, images: int
) -> Judged:
    """Return a model under a ``condition`` of which ``passed`` of the ``images`` went well."""
    estimates = flag_shares(np.array([passed]), np.array([images]))
    interval = estimates.interval
    kind, bound = domain.limit
    return Judged(
        model=model,
        condition=condition,
        value=interval["value"],
        low=interval["low"],
        high=interval["high"],
        images=images,
        outcome=outcome(kind, bound, interval["low"], interval["high"]),
    )


def judge_domain(
    domain: Domain,
    entries: Iterable[Entry],
    models: Sequence[str],
    worst: Iterable[Judged] = (),
) -> tuple[JudgedDomain, ...]:
    """Return where each of the ``models`` holds within ``domain``.

    ``entries`` are those of ``Figures.by_perturbation``; a condition without one is untested.
    ``worst`` are the worst compositions that were found of models.
    """
    worst_of = {judged.model: judged for judged in worst}
    kind, bound = domain.limit
    figure = FIGURES[kind]
    entry_of = {(entry["model"], entry["condition"]): entry for entry in entries}

    def judge(model: str, condition: Condition) -> Judged:
        entry = entry_of.get((model, condition.id))
        if entry is None:
            return Judged(model, condition, None, None, None, 0, UNTESTED)
        low = entry.get(f"{figure}_low")
        high = entry.get(f"{figure}_high")
        return Judged(
            model=model,
            condition=condition,
            value=entry[figure],
            low=low,
            high=high,
            images=entry["n_images" if figure == "consistency" else "n_labelled"],
            outcome=outcome(kind, bound, low, high),
        )

    def cells(model: str, all_cells: Iterable[Cell]) -> tuple[JudgedCell, ...]:
        return tuple(
            JudgedCell(each, middle=judge(model, each.middle), limit=judge(model, each.limit))
            for each in all_cells
        )

    results = []
    for model in models:
        result = JudgedDomain(
            domain=domain,
            model=model,
            singles=cells(model, domain.singles),
            pairs=cells(model, domain.pairs),
            array=tuple(judge(model, condition) for condition in domain.array),
            worst=worst_of.get(model),
        )
        results.append(result)
    return tuple(results)
