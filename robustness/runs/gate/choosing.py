"""The choice among the models of a saved run, by its figures, costs and the limits of a gate."""

from __future__ import annotations

from robustness.base.errors import ParameterError
from robustness.base.text import some
from robustness.runs import gate
from robustness.runs.store import Run
from robustness.statistics import Cost, Criteria, ModelChoice
from robustness.statistics import choose as choose_among

_NAMED = 2
"""Limits of a budget that are named in the reason why a model is ruled out."""


def choose(
    run: Run, criteria: Criteria | None = None, budget: gate.Budget | None = None
) -> ModelChoice:
    """The best model of ``run`` by ``criteria``, or those tied; ``budget`` rules out who breaks it.

    Raises ``ParameterError`` for criteria or a budget that the run cannot answer.
    """
    if not run.images:
        raise ParameterError(f"The run {run.id} has no image that could be read.")
    return choose_among(run.figures(), criteria, costs(run), _ruled_out(run, budget))


def costs(run: Run) -> dict[str, Cost]:
    """What each model of ``run`` costs, as its manifest tells."""
    return {
        name: Cost(cost.get("latency_ms"), cost.get("megabytes"))
        for name, cost in run.manifest.costs.items()
    }


def _ruled_out(run: Run, budget: gate.Budget | None) -> dict[str, str]:
    broken: dict[str, list[str]] = {}
    for verdict in gate.check(budget, run).broken if budget else ():
        broken.setdefault(verdict.model, []).append(f"{verdict.limit}, {verdict.where}")
    return {name: f"it breaks {some(limits, _NAMED)}" for name, limits in broken.items()}
