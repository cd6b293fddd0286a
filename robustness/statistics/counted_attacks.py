"""Which rows of an attack count: those with a prediction to break."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness.attacks import REGISTRY as ATTACKS
from robustness.evaluation.perturbation_and_attack_conditions import readable

Flags = NDArray[np.bool_]


def breakable(before: NDArray[Any], top1: NDArray[Any] | int, aims: NDArray[Any]) -> Flags:
    """Whether attacks that aim at the classes ``aims`` (NaN: at none) have a prediction to break.

    An attack on a labelled image leads away from the true class: it has nothing to break if the
    model was incorrect ``before`` (0), or predicts the target already. ``top1`` are the predictions
    before. A row without a prediction to break is neither changed nor unchanged.
    """
    return np.asarray((before != 0) & (top1 != aims))


def attacks_in_sql(conditions: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """SQL of two columns of rows of the ``conditions``, and the values that it names.

    ``attacked`` says which rows are of an attack, ``counted`` all but those of one that has no
    prediction to break, by ``breakable``.
    """
    if not any(name in text for text in conditions for name in ATTACKS.names):
        return "false AS attacked, true AS counted", {}
    aims = dict(zip(conditions, targets(conditions).tolist(), strict=True))
    return _ATTACKS, {
        "attacks": list(ATTACKS.names),
        "aimed": list(aims),
        "aims": [None if math.isnan(aim) else int(aim) for aim in aims.values()],
    }


_ATTACKS = """
    list_contains($attacks, perturbation) AS attacked,
    NOT list_contains($attacks, perturbation) OR (
        clean_correct IS DISTINCT FROM false
        AND NOT coalesce(list_extract($aims, list_position($aimed, condition)) = clean_top1, false)
    ) AS counted
"""


def targets(ids: Sequence[str]) -> NDArray[np.float64]:
    """The class that the attack of each condition aims at; NaN for a condition without one."""
    aims = []
    for text in ids:
        condition = readable(text)
        own = [] if condition is None else [attack.target for attack in condition.attacks]
        aims.append(own[0] if own and own[0] is not None else np.nan)
    return np.array(aims, np.float64)
