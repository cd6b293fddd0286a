"""Two runs compared on the images and conditions that both have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.base.columns import require
from robustness.evaluation.condition import effect
from robustness.evaluation.correctness import with_correctness
from robustness.statistics.attacked import as_counted
from robustness.statistics.estimates import (
    differences,
    number,
    over_conditions,
    shares,
    side_by_side,
)
from robustness.statistics.grid import Grid, laid_out, mean_of_rows, with_conditions
from robustness.statistics.paired import established, holm, sign_flip
from robustness.statistics.ranking import QUANTITIES
from robustness.statistics.robust_accuracy import budgets, survived

Sides = list[NDArray[np.float64]]
"""Values (images, k) of the first run and of the second."""

_KEYS = ["image_digest", "model", "condition"]
_TOLD = ["perturbation", "strength"]

DIFFERENCE_COLUMNS = (
    "image_digest",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_top1",
    "consistent",
    "clean_correct",
    "correct",
    "clean_correct5",
    "correct5",
)
"""What ``difference`` reads of a measurement; see ``grid.COLUMNS``."""

BETTER, WORSE, OPEN = "better", "worse", "not established"


def said(verdict: str) -> str:
    """A ``q_verdict`` in words for people."""
    return "not significant" if verdict == OPEN else f"significantly {verdict}"


def difference(frame_a: pd.DataFrame, frame_b: pd.DataFrame) -> list[dict[str, Any]]:
    """The differences of the second run from the first, on shared images and conditions.

    Images are matched by their digest, conditions by their effect. One entry per model over all
    shared conditions (``condition`` is None), then one per model and condition. Keys: ``model``,
    ``condition``, ``perturbation`` and ``strength`` (of the second), ``n_images``, and for each
    quantity q of ``QUANTITIES``: ``q_a``, ``q_b``, ``q_difference`` (b minus a) with its paired
    interval, ``q_images`` (counted images), ``q_moved`` (images that did better or worse), ``q_p``
    and ``q_verdict`` (better, worse, not established; by ``paired.established``, p with Holm's
    correction over the models, or over models and conditions). None where labels or attacks are
    missing. Consistency counts an attack where both runs had a prediction to break. ``judged_by``
    is the quantity of the verdict: robust accuracy for attacks on labelled images, else
    consistency. [] if the runs share nothing.
    """
    return changes(laid_out(_shared(frame_a, frame_b)))


def changes(shared: Iterable[Grid]) -> list[dict[str, Any]]:
    """As ``difference``, of grids with the columns ``x_a`` and ``x_b`` of both runs."""
    entries = [entry for grid in shared for entry in _entries(grid)]
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
        whole = as_counted(with_conditions(with_correctness(frame)))
        whole = whole[[*_KEYS, *_TOLD, *dict.fromkeys(QUANTITIES.values())]]
        # An image with two names gives the same rows twice.
        whole = whole.astype(dict.fromkeys(_KEYS, str)).drop_duplicates(_KEYS)
        effects = {text: effect(text) for text in whole["condition"].unique()}
        sides.append(whole.assign(effect=whole["condition"].map(effects)))
    keys = ["image_digest", "model", "effect"]
    first = sides[0].drop(columns=["condition", *_TOLD]).drop_duplicates(keys)
    both = first.merge(sides[1], on=keys, suffixes=("_a", "_b"))
    return both.rename(columns={"image_digest": "image"})


def _entries(grid: Grid) -> list[dict[str, Any]]:
    """The entries of one model: over all conditions, then each condition."""
    keys = (None, *grid.conditions)
    attacks = [key.is_attack for key in grid.conditions]
    images = [grid.there.any(axis=1).sum(), *grid.there.sum(axis=0)]
    kept = _shared_by(grid, "consistent")
    changes = {"consistency": _changes(kept, kept, grid.there)}
    del kept  # these arrays are large
    right = _shared_by(grid, "correct")
    changes["perturbed_accuracy"] = _changes(right, right)
    robust = [survived(each, budgets(grid.conditions)) for each in right]
    for each in right:
        each[:, np.logical_not(attacks)] = np.nan
    changes["robust_accuracy"] = _changes(robust, right)
    entries: list[dict[str, Any]] = []
    for at, key in enumerate(keys):
        by_robust = attacks[at - 1] if key else all(attacks)
        by_robust &= changes["robust_accuracy"][at]["a"] is not None
        entry = {
            "model": grid.model,
            "condition": key.id if key else None,
            "perturbation": key.perturbation if key else None,
            "strength": key.strength if key else None,
            "n_images": int(images[at]),
            "judged_by": "robust_accuracy" if by_robust else "consistency",
        }
        for quantity, found in changes.items():
            entry |= {f"{quantity}_{name}": value for name, value in found[at].items()}
        entries += [entry] if images[at] else []
    return entries


def _shared_by(grid: Grid, column: str) -> Sides:
    """The values of ``column`` in both runs, where both have one."""
    a, b = (grid.values(f"{column}_{side}") for side in "ab")
    known = ~np.isnan(a) & ~np.isnan(b)
    return [np.where(known, x, np.nan) for x in (a, b)]


def _changes(
    whole: Sides, each: Sides, there: NDArray[np.bool_] | None = None
) -> list[dict[str, Any]]:
    """The figures over all of ``whole`` (images, k), then of each column of ``each``.

    ``there``: where ``whole`` has a row; by default where it is not NaN.
    """
    rows = ~np.isnan(whole[0]) if there is None else there
    total, a, b = (
        over_conditions(values, rows, kind)
        for values, kind in (
            (whole[1] - whole[0], differences),
            (whole[0], shares),
            (whole[1], shares),
        )
    )
    net = each[1] - each[0]
    found = side_by_side(total, differences(net))
    rates = [
        np.append(one.value, mean_of_rows(values.T))
        for one, values in zip((a, b), each, strict=True)
    ]
    known = [~np.isnan(values) for values in (whole[0], each[0])]
    counted = [known[0].any(axis=1).sum(), *known[1].sum(axis=0)]
    nets = np.column_stack([np.nansum(whole[1] - whole[0], axis=1), np.nan_to_num(net)])
    return [
        {
            "a": number(rates[0][at]),
            "b": number(rates[1][at]),
            **found.named("difference", at),
            "images": int(counted[at]),
            "moved": int(np.count_nonzero(nets[:, at])),
            "p": None if np.isnan(rates[0][at]) else sign_flip(nets[:, at].astype(np.int64)),
        }
        for at in range(nets.shape[1])
    ]


def _settle(entries: list[dict[str, Any]], quantity: str) -> None:
    """Add the verdicts on ``quantity``."""
    tested = [entry for entry in entries if entry[f"{quantity}_p"] is not None]
    adjusted = holm([entry[f"{quantity}_p"] for entry in tested])
    for entry in entries:
        entry[f"{quantity}_verdict"] = None
    for entry, p in zip(tested, adjusted, strict=True):
        direction = BETTER if entry[f"{quantity}_difference"] > 0 else WORSE
        bounds = (entry[f"{quantity}_difference_{side}"] for side in ("low", "high"))
        entry[f"{quantity}_verdict"] = direction if established(p, *bounds) else OPEN
