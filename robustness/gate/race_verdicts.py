"""Verdicts on a race, which holds limits against bounds that are valid whenever it ends."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from robustness.base.errors import ParameterError
from robustness.evaluation.condition import Condition, named
from robustness.gate.budget import FIGURES, Budget
from robustness.gate.verdict import Verdict
from robustness.runs.racing import Limit, Race
from robustness.runs.run import Run

RACED: Mapping[str, Literal["consistent", "correct", "drop"]] = {
    "min_consistency": "consistent",
    "min_accuracy": "correct",
    "max_accuracy_drop": "drop",
}
"""Limits that a race can decide, with what they limit."""


def race_limits(
    budget: Budget, names: Sequence[str], conditions: Sequence[Condition]
) -> dict[tuple[str, str, str], Limit]:
    """The limits of ``budget`` for a race, by model, kind and condition, "" for all conditions.

    Raises ``ParameterError`` for a limit that a race cannot decide.
    """
    limits: dict[tuple[str, str, str], Limit] = {}
    for rule in budget.rules:
        budget.check_patterns(rule, names, conditions)
        for limit, bound in rule.limits.items():
            if limit not in RACED:
                raise ParameterError(
                    f"{budget.path}: expected limits among {', '.join(RACED)} for a race, got "
                    f"{limit}: evaluate all images instead.",
                    hint="Leave out --until.",
                )
            for model, condition in itertools.product(names, (None, *conditions)):
                name, strength = (condition.name, condition.strength) if condition else (None, None)
                if rule.fits(model, name, strength):
                    ids = (condition.id,) if condition else ()
                    limits[model, limit, "".join(ids)] = Limit(model, RACED[limit], ids, bound)
    return limits


def raced(budget: Budget, run: Run, unit: Literal["image", "class"]) -> Iterator[Verdict]:
    """The verdicts on a race: its bounds hold whenever it ended, also for another budget."""
    limits = race_limits(budget, run.manifest.spec.model_names, run.conditions)
    race = Race(goal="gate", unit=unit, limits=tuple(limits.values()))
    outcomes = run.track(race).outcome()["limits"]
    of = {condition.id: condition for condition in run.conditions}
    for (model, limit, id_), entry in zip(limits, outcomes, strict=True):
        condition = of.get(id_)
        yield Verdict(
            model=model,
            where="all conditions" if condition is None else named(condition.id),
            condition=None if condition is None else condition.id,
            perturbation=None if condition is None else condition.name,
            strength=None if condition is None else condition.strength,
            limit=limit,
            wanted=entry["wanted"],
            value=None,
            low=entry["low"],
            high=entry["high"],
            outcome=entry["outcome"],
            images=run.images,
            of=FIGURES[limit],
        )
