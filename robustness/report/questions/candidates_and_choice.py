"""The choice among models, those with remedies, and those of several runs."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from robustness import models
from robustness.base.errors import ParameterError
from robustness.runs import Run
from robustness.runs.compare import shared_grids
from robustness.runs.remedy_figures_and_models import RemediedModel, added_turns, remedied_models
from robustness.statistics import QUANTITIES, Cost, Criteria, Figures, ModelChoice
from robustness.statistics import choose as choose_among
from robustness.statistics.measurement_grid import UNKNOWN, Grid
from robustness.statistics.model_choice import Candidate

RuleOut = Callable[[Run], Mapping[str, str]]
"""Why models of a run are no candidates, by their ids."""


def choose(
    several: Sequence[Run],
    criteria: Criteria | None = None,
    rule_out: RuleOut | None = None,
    *,
    remedies: bool = False,
) -> ModelChoice:
    """The best model of a run, or of ``several`` of the same images, by ``criteria``.

    Several runs count on the images and conditions that all have; a model of more than one is
    taken from the first. With ``remedies`` each model behind each remedy of a run is a candidate,
    too. Raises ``ParameterError`` for criteria that a run cannot answer, and for runs that share
    nothing.
    """
    if remedies:
        _check_remedies(several)
    for run in several:
        if not run.images:
            raise ParameterError(f"The run {run.id} has no image that could be read.")
    if not several:
        raise ParameterError("Expected at least one run to choose from, got none.")
    if len(several) == 1:
        (run,) = several
        out = rule_out(run) if rule_out else {}
        return choose_of_run(run, run.figures(), criteria, out, remedies=remedies)
    spent: dict[str, Cost] = {}
    reasons: dict[str, str] = {}
    for run in reversed(several):  # the first run that has a model counts
        spent |= run.manifest.costs
        own = run.manifest.spec.model_names
        reasons = {name: why for name, why in reasons.items() if name not in own}
        reasons |= rule_out(run) if rule_out else {}
    return choose_among(Figures(_grids_of_all(several)), criteria, spent, reasons)


def choose_of_run(
    run: Run,
    figures: Figures,
    criteria: Criteria | None = None,
    out: Mapping[str, str] | None = None,
    *,
    remedies: bool = False,
) -> ModelChoice:
    """Like ``choose``, for one run with known ``figures`` and reasons ``out`` to rule out."""
    more = candidates(run, figures) if remedies else ()
    return choose_among(figures, criteria, run.manifest.costs, out, more)


def _check_remedies(several: Sequence[Run]) -> None:
    if len(several) > 1:
        raise ParameterError(
            f"Expected one run to choose from with remedies, got {len(several)}: choose from each "
            "run alone."
        )
    for run in several:
        if not run.manifest.spec.remedies:
            raise ParameterError(
                f"Expected a run that tried remedies, got {run.id}: evaluate with "
                "remedies, or choose without them."
            )


def _grids_of_all(several: Sequence[Run]) -> list[Grid]:
    """One grid a model of ``several`` runs, on the images and conditions that all have."""
    _check_weights(several)
    shared = shared_grids(
        [run.rows.grids() for run in several], [run.rows.axes.digests for run in several]
    )
    first = shared[0][0]
    if not first.there.size:
        what = "condition" if len(first.images) else "image"
        raise ParameterError(
            f"Expected runs of the same images and conditions, got runs without a shared {what}: "
            "choose among runs of one dataset, fit and side."
        )
    by_name: dict[str, Grid] = {}
    for grid in chain.from_iterable(shared):  # the first run that has a model counts
        by_name.setdefault(grid.model, replace(grid, conditions=first.conditions))
    return list(by_name.values())


def _check_weights(several: Sequence[Run]) -> None:
    weights: dict[str, tuple[str, str]] = {}
    for run in several:
        for name, digest in run.manifest.spec.models:
            before, first = weights.setdefault(name, (digest, run.id))
            if before != digest:
                raise ParameterError(
                    f"Expected one {name}, got two with different weights, in {first} and "
                    f"{run.id}: give one of them another name, or compare the runs."
                )


def candidates(run: Run, figures: Figures) -> list[Candidate]:
    """Every model of ``run`` behind each of its remedies, as ``remedied_models`` has them."""
    costs = run.manifest.costs
    added = added_turns(run)
    entries = []
    for model in remedied_models(
        run, run.rows.grids(), (QUANTITIES[figures.ranked_by], "clean_correct")
    ):
        clean = model.grid.flags("clean_correct")
        labelled = clean[clean != UNKNOWN]
        cost = _cost(
            [costs.get(name, Cost()) for name in model.names],
            added.get((model.chain.id, model.names[0])),
        )
        accuracy = float(labelled.mean()) if len(labelled) else None
        label = _label(run, model)
        entries.append(Candidate(model.grid, label, model.chain.id, model.names[0], accuracy, cost))
    return entries


def _label(run: Run, candidate: RemediedModel) -> str:
    chain, (first, *_) = candidate.chain, candidate.names
    if not chain.several_models:
        return f"{models.label(first)} + {chain.label}"
    groups = models.by_labels(run.manifest.spec.model_names)
    title = next(labels.title for labels, names in groups if first in names)
    return chain.label if len(groups) == 1 else f"{chain.label} ({title})"


def _cost(costs: Sequence[Cost], added: Sequence[float] | None) -> Cost:
    """The cost of models together behind a remedy.

    ``added`` are the milliseconds that it adds to those of the first model in each turn.
    """
    first = costs[0]
    sizes = Cost(
        megabytes=_sum([cost.megabytes for cost in costs]),
        memory_megabytes=_sum([cost.memory_megabytes for cost in costs]),
    )
    if added is None:
        return sizes
    turns = [own + more for own, more in zip(first.turns_ms, added, strict=False)]
    return replace(
        sizes,
        latency_ms=statistics.median(turns),
        latency_low_ms=min(turns),
        latency_high_ms=max(turns),
        waiting=first.waiting,
        turns_ms=tuple(turns),
        measured=first.measured,
        machine=first.machine,
    )


def _sum(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) if len(present) == len(values) else None
