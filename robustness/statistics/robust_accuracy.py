"""What no attack of a run broke: the accuracy that is left under the strongest of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.evaluation.condition import AttackCondition, readable
from robustness.statistics.estimates import shares
from robustness.statistics.grid import Grid, grids

Floats = NDArray[np.float64]


def robust_accuracy(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model, norm and epsilon: the share of pictures that every attack tried left right.

    A picture counts as broken at an epsilon where any attack in that norm broke it at that epsilon
    or a smaller one, whose change is allowed, too. Keys: ``model``, ``norm``, ``epsilon``,
    ``of`` ("accuracy", or "consistency" without labels: answers that stayed), ``n_images``,
    ``attacks`` (how many conditions), ``robust`` with its interval, and of the attack that broke
    most at that epsilon ``strongest`` (its condition's id) and ``strongest_left`` (what it left by
    itself). Only pictures that met every attack count. [] where there is none.
    """
    return [entry for grid in grids(frame) for entry in _of_model(grid)]


def _of_model(grid: Grid) -> Iterator[dict[str, Any]]:
    tried: dict[str, dict[int, AttackCondition]] = {}
    for place, key in enumerate(grid.conditions):
        found = readable(key.id)
        if isinstance(found, AttackCondition):
            tried.setdefault(found.spec.norm, {})[place] = found
    labelled = not np.isnan(grid.values("correct")).all()
    left = grid.values("correct" if labelled else "consistent")
    for norm, attacks in tried.items():
        met = left[~np.isnan(left[:, list(attacks)]).any(axis=1)]
        if not len(met):
            continue
        for epsilon in sorted({attack.spec.epsilon for attack in attacks.values()}):
            allowed = [at for at, attack in attacks.items() if attack.spec.epsilon <= epsilon]
            here = [at for at in allowed if attacks[at].spec.epsilon == epsilon]
            strongest = min(here, key=lambda at: float(met[:, at].sum()))
            yield {
                "model": grid.model,
                "norm": norm,
                "epsilon": epsilon,
                "of": "accuracy" if labelled else "consistency",
                "n_images": len(met),
                "attacks": len(allowed),
                **shares(met[:, allowed].min(axis=1, keepdims=True)).named("robust", 0),
                "strongest": attacks[strongest].id,
                "strongest_left": float(met[:, strongest].mean()),
            }
