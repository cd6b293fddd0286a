"""Two runs side by side: what changed on the images and conditions that both have."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.base.columns import require
from robustness.evaluation.condition import effect
from robustness.evaluation.correctness import with_correctness
from robustness.statistics.estimates import differences, each_picture
from robustness.statistics.grid import Grid, laid_out, with_conditions
from robustness.statistics.paired import established, holm, sign_flip
from robustness.statistics.ranking import QUANTITIES

_KEYS = ["image_digest", "model", "condition"]
_TOLD = ["perturbation", "strength"]

DIFFERENCE_COLUMNS = (
    "image_digest",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "consistent",
    "clean_correct",
    "correct",
    "clean_correct5",
    "correct5",
)
"""What ``difference`` reads of a measurement; see ``grid.COLUMNS``."""

BETTER, WORSE, OPEN = "better", "worse", "not established"


def difference(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> list[dict[str, Any]]:
    """What the second run did better or worse than the first, on what they share.

    Images are matched by their digest, conditions by their effect. One entry a model over all
    shared conditions (``condition`` is None), then one a model and condition. Keys: ``model``,
    ``condition``, ``perturbation`` and ``strength`` (as the second has them), ``n_images``, and for
    each quantity q of ``consistency`` and ``perturbed_accuracy``: ``q_a``, ``q_b``,
    ``q_difference`` (b minus a) with its paired interval, ``q_moved`` (images that did better or
    worse), ``q_p`` and ``q_verdict`` (better, worse, not established; by ``paired.established``,
    with p after Holm's correction over the models, or over the models and conditions). None where
    labels are missing. [] if the runs share nothing.
    """
    entries = [entry for grid in laid_out(_shared(frame_a, frame_b)) for entry in _entries(grid)]
    for quantity in QUANTITIES:
        _settle([e for e in entries if e["condition"] is None], quantity)
        _settle([e for e in entries if e["condition"] is not None], quantity)
    order = [name for _, names in models.by_labels(e["model"] for e in entries) for name in names]
    return sorted(entries, key=lambda e: (e["condition"] is not None, order.index(e["model"])))


def _shared(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> pd.DataFrame:
    """The rows that both have; ``image`` is the digest, ``x_a`` and ``x_b`` the columns ``x``.

    Conditions have the ids of the second frame.
    """
    frames = [frame_a, frame_b]
    if not all("condition" in frame.columns for frame in frames):
        frames = [frame.drop(columns="condition", errors="ignore") for frame in frames]
    sides = []
    for frame in frames:
        require(frame, ("image_digest", "model", *_TOLD, "consistent"))
        whole = with_conditions(with_correctness(frame))[[*_KEYS, *_TOLD, *QUANTITIES.values()]]
        # One picture under two names gives the same rows twice.
        whole = whole.astype(dict.fromkeys(_KEYS, str)).drop_duplicates(_KEYS)
        effects = {text: effect(text) for text in whole["condition"].unique()}
        sides.append(whole.assign(effect=whole["condition"].map(effects)))
    keys = ["image_digest", "model", "effect"]
    first = sides[0].drop(columns=["condition", *_TOLD]).drop_duplicates(keys)
    both = first.merge(sides[1], on=keys, suffixes=("_a", "_b"))
    return both.rename(columns={"image_digest": "image"})


def _entries(grid: Grid) -> list[dict[str, Any]]:
    """Those of one model: over all conditions first, then each by itself."""
    keys = (None, *grid.conditions)
    rows = ~np.isnan(grid.values("consistent_a"))
    images = [rows.any(axis=1).sum(), *rows.sum(axis=0)]
    changes = {quantity: _changes(grid, quantity) for quantity in QUANTITIES}
    return [
        {
            "model": grid.model,
            "condition": key.id if key else None,
            "perturbation": key.perturbation if key else None,
            "strength": key.strength if key else None,
            "n_images": int(images[at]),
            **{name: value for found in changes.values() for name, value in found[at].items()},
        }
        for at, key in enumerate(keys)
        if images[at]
    ]


def _changes(grid: Grid, quantity: str) -> list[dict[str, Any]]:
    """The figures of ``quantity`` over all conditions, then under each."""
    a, b = (grid.values(f"{QUANTITIES[quantity]}_{side}") for side in "ab")
    known = ~np.isnan(a) & ~np.isnan(b)
    counts, of_a, of_b = (_with_total(np.where(known, x, 0.0)) for x in (known, a, b))
    rows = counts.sum(axis=0)
    net = of_b - of_a
    found = differences(each_picture(net, counts))
    with np.errstate(invalid="ignore"):  # undefined without labels
        rates = of_a.sum(axis=0) / rows, of_b.sum(axis=0) / rows
    return [
        {
            f"{quantity}_a": float(rates[0][at]) if rows[at] else None,
            f"{quantity}_b": float(rates[1][at]) if rows[at] else None,
            **found.named(f"{quantity}_difference", at),
            f"{quantity}_moved": int(np.count_nonzero(net[:, at])),
            f"{quantity}_p": sign_flip(net[:, at].astype(np.int64)) if rows[at] else None,
        }
        for at in range(len(rows))
    ]


def _with_total(values: NDArray[Any]) -> NDArray[np.float64]:
    """(n, 1 + conditions): the row's total ahead of ``values`` (n, conditions)."""
    return np.column_stack([values.sum(axis=1), values]).astype(np.float64)


def _settle(entries: list[dict[str, Any]], quantity: str) -> None:
    """Adds the verdicts on ``quantity``."""
    tested = [entry for entry in entries if entry[f"{quantity}_p"] is not None]
    adjusted = holm([entry[f"{quantity}_p"] for entry in tested])
    for entry in entries:
        entry[f"{quantity}_verdict"] = None
    for entry, p in zip(tested, adjusted, strict=True):
        direction = BETTER if entry[f"{quantity}_difference"] > 0 else WORSE
        bounds = (entry[f"{quantity}_difference_{side}"] for side in ("low", "high"))
        entry[f"{quantity}_verdict"] = direction if established(p, *bounds) else OPEN
