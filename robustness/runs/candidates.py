"""What a choice weighs beside the models of a run: models behind its remedies, and abstaining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.remedies import Chain
from robustness.runs.remedied import (
    by_condition,
    counted_rows,
    is_attack,
    milliseconds,
    remedy_figures,
    together,
    trial_classes,
)
from robustness.runs.saved import Run
from robustness.statistics import QUANTITIES, Cost, Figures, ModelChoice
from robustness.statistics.candidates import Candidate
from robustness.statistics.criteria import weights_of
from robustness.statistics.grid import UNKNOWN, ConditionKey, Grid

Flags = NDArray[np.int8]


def costs(run: Run) -> dict[str, Cost]:
    """The costs of each model of ``run``, from its manifest."""
    return {
        name: Cost(cost.get("latency_ms"), cost.get("megabytes"), cost.get("memory_megabytes"))
        for name, cost in run.manifest.costs.items()
    }


def weighable(run: Run) -> tuple[Chain, ...]:
    """The remedies of ``run`` that give candidates: all but abstaining."""
    return tuple(chain for chain in run.manifest.spec.remedies if not chain.abstains)


def candidates(run: Run, figures: Figures) -> list[Candidate]:
    """Every model of ``run`` behind each of its remedies.

    ``average`` and ``vote`` give one candidate for all models with the same classes, which is
    correct under an attack if it is so under the attack on each of them. Without labels a
    prediction is unchanged if it is that of the original without the remedy; that of several models
    together, if it is their own of the original.
    """
    found = _CandidatesOf(run, figures)
    for grid in figures.grids:
        found.add(grid)
    return [found.candidate(*key) for key in sorted(found.cells, key=found.place)]


class _CandidatesOf:
    """Candidates by the models that they ask and the id of their remedy.

    ``cells`` (images, conditions) and ``clean`` (images,) are 1, 0 or ``UNKNOWN``.
    """

    def __init__(self, run: Run, figures: Figures) -> None:
        self._run = run
        self._grids = {grid.model: grid for grid in figures.grids}
        self._column = QUANTITIES[figures.ranked_by]
        self._chains = {chain.id: chain for chain in weighable(run)}
        self._costs, self._milliseconds = costs(run), milliseconds(run)
        self.cells: dict[tuple[tuple[str, ...], str], Flags] = {}
        self.clean: dict[tuple[tuple[str, ...], str], Flags] = {}

    def place(self, key: tuple[tuple[str, ...], str]) -> tuple[int, int]:
        """Sorts by remedy, then by model."""
        return list(self._chains).index(key[1]), list(self._grids).index(key[0][0])

    def add(self, grid: Grid) -> None:
        """Read what the rows of the model of ``grid`` tell."""
        axes, name = self._run.rows.axes, grid.model
        at = {key.id: place for place, key in enumerate(grid.conditions)}
        # What is unknown of the model, such as without a label, is so behind a remedy, too.
        known = grid.flags(self._column) != UNKNOWN
        labelled = grid.flags("clean_correct") != UNKNOWN
        first = True  # the originals are the same under every condition
        for condition, found in by_condition(counted_rows(self._run, name)):
            images = axes.image_of[np.searchsorted(axes.positions, found["position"])]
            column, attack = at[condition], is_attack(condition)
            for chain_id, clean, top in trial_classes(name, condition, found, [*self._chains]):
                several = self._chains[chain_id].several_models
                names = together(self._run, name) if several else (name,)
                if several and len(names) == 1:
                    continue  # the model itself
                own = found["right"]
                if self._column == "consistent":
                    own = clean if several else found["clean_top1"]
                good = (top == own) & (clean == own) if attack else top == own
                key = names, chain_id
                cells = self.cells.setdefault(key, np.ones(grid.there.shape, np.int8))
                originals = self.clean.setdefault(key, np.ones(len(cells), np.int8))
                told = np.full(len(cells), UNKNOWN, np.int8)
                told[images] = np.where(known[images, column], good, UNKNOWN)
                cells[:, column] = np.minimum(cells[:, column], told)
                if first:
                    right = clean == found["right"]
                    told[images] = np.where(labelled[images, column], right, UNKNOWN)
                    originals[:] = np.minimum(originals, told)
            first = False

    def candidate(self, names: tuple[str, ...], chain_id: str) -> Candidate:
        first, chain = names[0], self._chains[chain_id]
        clean = self.clean[names, chain_id]
        return Candidate(
            replace(
                self._grids[first],
                model="+".join([*names, chain_id]),
                read={self._column: self.cells[names, chain_id]}.__getitem__,
                own=(),
            ),
            self._label(names, chain),
            chain_id,
            first,
            float((clean[clean != UNKNOWN] == 1).mean()) if (clean != UNKNOWN).any() else None,
            self._cost(names, chain),
        )

    def _label(self, names: tuple[str, ...], chain: Chain) -> str:
        if not chain.several_models:
            return f"{models.label(names[0])} + {chain.label}"
        groups = models.by_labels(self._grids)
        title = next(labels.title for labels, known in groups if names[0] in known)
        return chain.label if len(groups) == 1 else f"{chain.label} ({title})"

    def _cost(self, names: tuple[str, ...], chain: Chain) -> Cost:
        each = [self._costs.get(name, Cost()) for name in names]
        added = self._milliseconds.get((chain.id, names[0]))
        latency = each[0].latency_ms
        return Cost(
            None if added is None or latency is None else latency + added,
            _sum([cost.megabytes for cost in each]),
            _sum([cost.memory_megabytes for cost in each]),
        )


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def with_abstaining(run: Run, chosen: ModelChoice, weights: Mapping[str, float]) -> ModelChoice:
    """``chosen`` with the share and accuracy of answered images of each model of ``run``.

    Means over the conditions with the ``weights`` of the choice, on the half of the images that
    does not set the confidence. Nothing is added if ``run`` did not try to abstain, for attacks
    alone, and if only some images have a label.
    """
    if not any(chain.abstains for chain in run.manifest.spec.remedies):
        return chosen
    found = remedy_figures(run)
    if chosen.quantity == "robust_accuracy" or found.labelled is None:
        return chosen
    keys = [ConditionKey(each.id, each.name, each.strength) for each in run.conditions]
    weight_of = dict(
        zip([key.id for key in keys], weights_of(keys, weights, chosen.quantity)[0], strict=True)
    )
    entries = []
    for name in dict.fromkeys(each.model for each in found.abstentions):
        own = [each for each in found.abstentions if each.model == name]
        weight = np.array([weight_of[each.condition] for each in own])
        answered = weight * [each.answered for each in own]
        right = answered * [each.accuracy or 0.0 for each in own]
        entries.append(
            {
                "model": name,
                "label": f"{models.label(name)}, abstaining",
                "confidence": own[0].confidence,
                "answered": float(answered.sum() / weight.sum()),
                "accuracy_of_answered": (
                    float(right.sum() / answered.sum()) if answered.any() else None
                ),
                "accuracy_of_all": float(
                    weight @ [each.accuracy_of_all for each in own] / weight.sum()
                ),
            }
        )
    return replace(chosen, abstaining=tuple(entries))
