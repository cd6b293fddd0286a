"""Which rows of an attack count: those with a prediction to break."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.attacks import REGISTRY as ATTACKS
from robustness.evaluation.condition import readable


def as_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` without ``consistent`` in the rows whose attack had no prediction to break.

    An attack on a labelled image leads away from the true class: it has nothing to break if the
    model was incorrect before, or predicts the target already. Such a row is neither changed nor
    unchanged.
    """
    attacked = frame["perturbation"].isin(ATTACKS.names).to_numpy(bool)
    if not attacked.any():
        return frame
    idle = frame["clean_correct"].astype("boolean").eq(False).fillna(False).to_numpy(bool)
    if "clean_top1" in frame.columns:
        ids = frame["condition"].astype(str)
        aims = ids.map({text: _target(text) for text in ids.unique()})
        idle |= aims.to_numpy(float) == frame["clean_top1"].to_numpy(float, na_value=np.nan)
    idle &= attacked
    if not idle.any():
        return frame
    return frame.assign(consistent=frame["consistent"].astype("boolean").mask(idle))


def targets(ids: Sequence[str]) -> NDArray[np.float64]:
    """The class that each attack aims at; NaN for a condition without one."""
    return np.array([_target(text) for text in ids], np.float64)


def _target(text: str) -> float:
    """The class that the attack with the id ``text`` aims at; NaN without one."""
    found = readable(text)
    aims = [] if found is None else [attack.target for attack in found.attacks]
    return float(aims[0]) if aims and aims[0] is not None else np.nan
