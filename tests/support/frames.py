"""Cases and differences read from frames, as oracles of what is queried in the files of runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness.attacks import REGISTRY as ATTACKS
from robustness.measure.condition import effect, readable
from robustness.measure.labels import good_rows, with_correctness
from robustness.runs.cases import WORST
from robustness.statistics import QUANTITIES
from robustness.statistics.grid import laid_out, with_conditions
from robustness.statistics.pairs import changes

_KEYS = ["image_digest", "model", "condition"]
_TOLD = ["perturbation", "strength"]


def cases(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of ``frame`` of one ``kind``, most interesting first, each image once.

    A row with a label always counts, as in the accuracy under an attack.
    """
    frame = frame[frame["label"].notna() | ~is_idle(frame)]
    good = good_rows(frame).to_numpy(bool)
    if kind == WORST:
        chosen = frame[~good]
        fall = (chosen["retained_probability"] - chosen["clean_probability"]).to_numpy(float)
        before = chosen["label"].notna() & (chosen["clean_top1"] != chosen["label"])
        order = np.lexsort((fall, before.to_numpy(bool)))
    else:
        chosen = frame[good]
        order = np.argsort(chosen["ssim"].to_numpy(float), kind="stable")
    return chosen.iloc[order].drop_duplicates("image")


def is_idle(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Whether each row is of an attack that had no prediction to break."""
    targets = {text: target_of(text) for text in frame["condition"].astype(str).unique()}
    wrong = frame["clean_correct"].astype("boolean").eq(False).fillna(False)
    top1 = frame.get("clean_top1", pd.Series(-1, frame.index))
    rows = zip(frame["perturbation"], frame["condition"], wrong, top1, strict=True)
    idle = [
        name in ATTACKS.names and (bad or targets[text] == before)
        for name, text, bad, before in rows
    ]
    return np.array(idle, bool)


def target_of(condition: str) -> int | None:
    """The class that the attack with the id ``condition`` aims at, if any."""
    parsed = readable(condition)
    return next((attack.target for attack in parsed.attacks), None) if parsed else None


def difference(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> list[dict[str, Any]]:
    """``changes`` from the first run to the second.

    Images are matched by their digest, conditions by their effect.
    """
    return changes(laid_out(_shared(frame_a, frame_b)))


def _shared(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> pd.DataFrame:
    """The rows that both have; ``image`` is the digest, ``x_a`` and ``x_b`` the columns ``x``.

    Conditions have the ids of the second frame.
    """
    frames = [frame_a, frame_b]
    if not all("condition" in frame.columns for frame in frames):
        frames = [frame.drop(columns="condition", errors="ignore") for frame in frames]
    sides = []
    for frame in frames:
        whole = with_conditions(with_correctness(frame))
        whole["consistent"] = whole["consistent"].astype("boolean").mask(is_idle(whole))
        columns = dict.fromkeys(["clean_correct", *QUANTITIES.values()])
        whole = whole[[*_KEYS, *_TOLD, *columns]]
        # An image with two names gives the same rows twice.
        whole = whole.astype(dict.fromkeys(_KEYS, str)).drop_duplicates(_KEYS)
        effects = {text: effect(text) for text in whole["condition"].unique()}
        sides.append(whole.assign(effect=whole["condition"].map(effects)))
    keys = ["image_digest", "model", "effect"]
    first = sides[0].drop(columns=["condition", *_TOLD]).drop_duplicates(keys)
    both = first.merge(sides[1], on=keys, suffixes=("_a", "_b"))
    return both.rename(columns={"image_digest": "image"})
