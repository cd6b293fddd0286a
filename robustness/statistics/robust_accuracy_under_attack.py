"""Robust accuracy: the images that no attack of a run breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.perturbation_and_attack_conditions import AttackCondition, readable
from robustness.statistics.means_with_intervals import picture_values, shares
from robustness.statistics.measurement_grid import UNKNOWN, ConditionKey, Grid

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class AttackBudget:
    """An epsilon in one norm, with positions of conditions in a grid.

    ``of_norm`` are all attacks in that norm, ``allowed`` those with this epsilon or a smaller one,
    ``here`` those with this one.
    """

    norm: str
    epsilon: float
    of_norm: Sequence[int]
    allowed: Sequence[int]
    here: Sequence[int]


def budgets(conditions: Sequence[ConditionKey]) -> list[AttackBudget]:
    """Every norm and epsilon of the attacks among ``conditions``, by norm and growing epsilon."""
    tried: dict[str, dict[int, float]] = {}
    for place, key in enumerate(conditions):
        condition = readable(key.id)
        if isinstance(condition, AttackCondition):
            tried.setdefault(condition.spec.norm, {})[place] = condition.spec.epsilon
    return [
        AttackBudget(
            norm,
            epsilon,
            list(sizes),
            [place for place, size in sizes.items() if size <= epsilon],
            [place for place, size in sizes.items() if size == epsilon],
        )
        for norm, sizes in tried.items()
        for epsilon in sorted(set(sizes.values()))
    ]


def attack_survivors(left: Floats, budgets: Sequence[AttackBudget]) -> Floats:
    """Whether an image is ``left`` by every attack that a budget allows: (images, budgets).

    ``left`` (images, conditions) is 1 or 0. NaN for an image without every attack of the norm.
    """
    survivors = np.full((len(left), len(budgets)), np.nan)
    for at, budget in enumerate(budgets):
        met = ~np.isnan(left[:, budget.of_norm]).any(axis=1)
        survivors[met, at] = left[met][:, budget.allowed].min(axis=1)
    return survivors


def robust_accuracy(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """The share of images that every attack leaves correct, per model, norm and epsilon.

    An image is broken at an epsilon if any attack in that norm breaks it at that epsilon or a
    smaller one. Keys: ``model``, ``norm``, ``epsilon``, ``of`` ("accuracy", or "consistency"
    without labels: unchanged predictions), ``n_images``, ``attacks`` (how many conditions),
    ``robust`` with its interval, ``n_attacked`` (images correct before; without labels all) and
    ``success`` with its interval, the share of these that is broken; ``strongest``, the condition
    id of the attack that breaks most at that epsilon, and ``strongest_left``, the share that it
    leaves. ``unchanged``, with its interval, is the share of all ``n_unchanged`` images, labelled
    or not, whose prediction no attack changes; one without a prediction to break counts as changed.
    Only images with every attack count. [] without attacks.
    """
    entries = []
    for grid in grids:
        if not (attacks := budgets(grid.conditions)):
            continue
        left = _left(grid)
        survivors, broken = _survivors(grid, left, attacks)
        kept = np.where(grid.there, np.nan_to_num(grid.values("consistent")), np.nan)
        unchanged = attack_survivors(kept, attacks)
        for at, budget in enumerate(attacks):
            met = ~np.isnan(survivors[:, at])
            if not met.any():
                continue
            strongest = min(budget.here, key=lambda place: float(left[met, place].sum()))
            entries.append(
                {
                    "model": grid.model,
                    "norm": budget.norm,
                    "epsilon": budget.epsilon,
                    "of": "accuracy" if is_labelled(grid) else "consistency",
                    "n_images": int(met.sum()),
                    "attacks": len(budget.allowed),
                    **shares(survivors[:, [at]]).named("robust", 0),
                    "n_attacked": int((~np.isnan(broken[:, at])).sum()),
                    **shares(broken[:, [at]]).named("success", 0),
                    "strongest": grid.conditions[strongest].id,
                    "strongest_left": float(left[met, strongest].mean()),
                    "n_unchanged": int((~np.isnan(unchanged[:, at])).sum()),
                    **shares(unchanged[:, [at]]).named("unchanged", 0),
                }
            )
    return entries


def under_attack(grid: Grid) -> dict[str, float | None]:
    """The keys of ``summary`` on attacks, all None without any.

    ``robust_accuracy`` (None without labels) and ``attack_success``, each with its interval, as
    means over every norm and epsilon, and ``n_attacked``: see ``robust_accuracy``.
    """
    epsilons = budgets(grid.conditions)
    if not epsilons:
        names = ("robust_accuracy", "attack_success")
        bounds = [f"{name}{bound}" for name in names for bound in ("", "_low", "_high")]
        return dict.fromkeys([*bounds, "n_attacked"])
    survivors, broken = _survivors(grid, _left(grid), epsilons)
    robust = survivors if is_labelled(grid) else np.full_like(survivors, np.nan)
    figures: dict[str, float | None] = {}
    for name, values in (("robust_accuracy", robust), ("attack_success", broken)):
        present = ~np.isnan(values)
        sums = np.where(present, values, 0.0).sum(axis=1, keepdims=True)
        counts = present.sum(axis=1, keepdims=True).astype(float)
        figures |= shares(picture_values(sums, counts)).named(name, 0)
    return {**figures, "n_attacked": int((~np.isnan(broken)).any(axis=1).sum())}


def success(grid: Grid) -> list[dict[str, float | None]]:
    """By condition ``attack_success`` with its interval; all None without an attack."""
    attacks = np.array([key.is_attack for key in grid.conditions])
    broken = np.full(grid.there.shape, np.nan)
    if attacks.any():
        counted = attacks & ~np.isnan(grid.values("consistent"))
        broken = np.where(counted, 1 - _left(grid), np.nan)
    estimates = shares(broken)
    return [estimates.named("attack_success", at) for at in range(len(attacks))]


def is_labelled(grid: Grid) -> bool:
    """Whether any image of the grid has a label."""
    return bool((grid.flags("correct") != UNKNOWN).any())


def _left(grid: Grid) -> Floats:
    return grid.values("correct" if is_labelled(grid) else "consistent")


def _survivors(grid: Grid, left: Floats, budgets: Sequence[AttackBudget]) -> tuple[Floats, Floats]:
    """(images, budgets): who survives, and of those with a prediction to break who does not."""
    survivors = attack_survivors(left, budgets)
    counted = ~np.isnan(grid.values("consistent"))
    attacked = np.column_stack([counted[:, each.allowed].any(axis=1) for each in budgets])
    return survivors, np.where(attacked, 1 - survivors, np.nan)
