"""Which rows of an attack count: those with a prediction to break."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robustness.attacks import REGISTRY as ATTACKS
from robustness.evaluation.condition import readable


def as_counted(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` without ``consistent`` in the rows whose attack had no prediction to break.

    An attack on a labelled image leads away from the true class, so it has nothing to break where
    the model was wrong before; nor has an attack whose target the model predicts already. Such a
    row is neither kept nor changed.
    """
    attacked = frame["perturbation"].isin(ATTACKS.names).to_numpy(bool)
    if not attacked.any():
        return frame
    idle = frame["clean_correct"].astype("boolean").eq(False).fillna(False).to_numpy(bool)
    if "clean_top1" in frame.columns:
        ids = frame["condition"].astype(str)
        targets = ids.map({text: _target(text) for text in ids.unique()})
        idle |= targets.to_numpy(float) == frame["clean_top1"].to_numpy(float, na_value=np.nan)
    idle &= attacked
    if not idle.any():
        return frame
    return frame.assign(consistent=frame["consistent"].astype("boolean").mask(idle))


def _target(text: str) -> float:
    """The class that the attack with the id ``text`` aims at; NaN without one."""
    found = readable(text)
    targets = [] if found is None else [attack.target for attack in found.attacks]
    return float(targets[0]) if targets and targets[0] is not None else np.nan
