"""What a choice weighs beside the models of a run: models behind its remedies, and abstaining."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from robustness import models
from robustness.runs.behind_remedies import Behind, models_behind
from robustness.runs.remedied import milliseconds, remedy_figures
from robustness.runs.run import Run
from robustness.statistics import QUANTITIES, Cost, Figures, ModelChoice
from robustness.statistics.candidates import Candidate
from robustness.statistics.criteria import weights_of
from robustness.statistics.grid import UNKNOWN, ConditionKey


def costs(run: Run) -> dict[str, Cost]:
    """The costs of each model of ``run``, from its manifest."""
    return {
        name: Cost(**{str(field): cost[field] for field in cost})
        for name, cost in run.manifest.costs.items()
    }


def candidates(run: Run, figures: Figures) -> list[Candidate]:
    """Every model of ``run`` behind each of its remedies, as ``models_behind`` has them."""
    spent, added = costs(run), milliseconds(run)
    found = []
    for each in models_behind(run, figures.grids, (QUANTITIES[figures.ranked_by], "clean_correct")):
        clean = each.grid.flags("clean_correct")
        known = clean[clean != UNKNOWN]
        cost = _cost(
            [spent.get(name, Cost()) for name in each.names],
            added.get((each.chain.id, each.names[0])),
        )
        accuracy = float(known.mean()) if len(known) else None
        label = _label(run, each)
        found.append(Candidate(each.grid, label, each.chain.id, each.names[0], accuracy, cost))
    return found


def _label(run: Run, candidate: Behind) -> str:
    chain, (first, *_) = candidate.chain, candidate.names
    if not chain.several_models:
        return f"{models.label(first)} + {chain.label}"
    groups = models.by_labels(run.manifest.spec.model_names)
    title = next(labels.title for labels, known in groups if first in known)
    return chain.label if len(groups) == 1 else f"{chain.label} ({title})"


def _cost(each: Sequence[Cost], added: float | None) -> Cost:
    """The cost of models together behind a remedy that adds ``added`` milliseconds to the first.

    Its latency spreads in proportion as that of the first.
    """
    first = each[0]
    more = None if added is None or not first.latency_ms else 1 + added / first.latency_ms
    scaled = {
        name: None if more is None or value is None else more * value
        for name in ("latency_ms", "latency_low_ms", "latency_high_ms")
        for value in [getattr(first, name)]
    }
    return Cost(
        **scaled,
        waiting=first.waiting,
        megabytes=_sum([cost.megabytes for cost in each]),
        memory_megabytes=_sum([cost.memory_megabytes for cost in each]),
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
