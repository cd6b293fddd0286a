"""The measurements to look at: failures, and predictions that survive."""

from __future__ import annotations

import numpy as np
import pandas as pd

from robustness import models
from robustness.evaluation.correctness import good_rows
from robustness.statistics.attacked import as_counted

CASE_COLUMNS = (
    "image",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_top1",
    "clean_probability",
    "top1",
    "probability",
    "retained_probability",
    "consistent",
    "ssim",
)
"""The columns of a case."""

WORST, SURVIVORS = "worst", "survivors"


def cases(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Rows of ``frame`` of one ``kind``, most interesting first, each image once.

    Rows of attacks without a prediction to break are left out.

    ``WORST``: predictions that are incorrect or, without a label, changed. Those that were correct
    before come first, by the fall of the confidence in the original class.
    ``SURVIVORS``: all others, by how visible the change is (lowest SSIM first).
    """
    counted = as_counted(frame)["consistent"]
    frame = frame[counted.notna()]
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


def class_names(frame: pd.DataFrame) -> pd.Series:
    """The class of every row's image: its label, else the prediction on the original."""
    index = frame["label"].astype("Int64").fillna(frame["clean_top1"].astype("Int64"))
    keys = pd.DataFrame({"model": frame["model"].astype(str), "index": index.astype(int)})
    names = {
        (model, place): models.class_name(model, place)
        for model, place in keys.drop_duplicates().itertuples(index=False)
    }
    titles = [names[key] for key in zip(keys["model"], keys["index"], strict=True)]
    return pd.Series(titles, index=frame.index)
