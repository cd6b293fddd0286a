"""Which rows of an attack count: those with a prediction to break."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.attacks import REGISTRY as ATTACKS
from robustness.evaluation.condition import readable

Flags = NDArray[np.bool_]


def breakable(before: NDArray[Any], top1: NDArray[Any] | int, aims: NDArray[Any]) -> Flags:
    """Whether attacks that aim at the classes ``aims`` (NaN: at none) have a prediction to break.

    An attack on a labelled image leads away from the true class: it has nothing to break if the
    model was incorrect ``before`` (0), or predicts the target already. ``top1`` are the predictions
    before. A row without a prediction to break is neither changed nor unchanged.
    """
    return np.asarray((before != 0) & (top1 != aims))


_BREAKABLE = """(NOT list_contains($attacks, perturbation) OR (
    clean_correct IS DISTINCT FROM false
    AND NOT coalesce(list_extract($aims, list_position($aimed, condition)) = clean_top1, false)
))"""


def counted_in_sql(conditions: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """SQL that says which rows of the ``conditions`` count, by ``breakable``, and its values."""
    aims = {text: int(aim) for text in conditions if not math.isnan(aim := _target(text))}
    if not any(name in text for text in conditions for name in ATTACKS.names):
        return "true", {}
    return _BREAKABLE, {
        "attacks": list(ATTACKS.names),
        "aimed": [*aims] or [""],
        "aims": [*aims.values()] or [-1],
    }


def as_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` without ``consistent`` in the rows whose attack had no prediction to break."""
    attacked = frame["perturbation"].isin(ATTACKS.names).to_numpy(bool)
    if not attacked.any():
        return frame
    ids = frame["condition"].astype(str)
    aims = ids.map({text: _target(text) for text in ids.unique()}).to_numpy(float)
    top1 = frame.get("clean_top1", pd.Series(np.nan, frame.index)).to_numpy(float, na_value=np.nan)
    before = frame["clean_correct"].astype("boolean").fillna(True).to_numpy(bool)
    idle = attacked & ~breakable(before, top1, aims)
    return frame.assign(consistent=frame["consistent"].astype("boolean").mask(idle))


def targets(ids: Sequence[str]) -> NDArray[np.float64]:
    """The class that each attack aims at; NaN for a condition without one."""
    return np.array([_target(text) for text in ids], np.float64)


def _target(text: str) -> float:
    """The class that the attack with the id ``text`` aims at; NaN without one."""
    condition = readable(text)
    aims = [] if condition is None else [attack.target for attack in condition.attacks]
    return float(aims[0]) if aims and aims[0] is not None else np.nan
