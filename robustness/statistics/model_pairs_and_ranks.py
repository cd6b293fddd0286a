"""Which models differ significantly, and how many more images the other pairs need."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted
from robustness.statistics.measurement_grid import UNKNOWN, Grid
from robustness.statistics.paired_differences import (
    SMALLEST,
    established,
    holm,
    images_needed,
    overall,
)
from robustness.statistics.robust_accuracy_under_attack import attack_survivors, budgets

Floats = NDArray[np.float64]

QUANTITIES: Mapping[str, str] = {
    "consistency": "consistent",
    "perturbed_accuracy": "correct",
    "robust_accuracy": "correct",
}
"""Quantities of a ranking, with their columns: under every condition, the last under all attacks
of one norm and epsilon at once."""

NEITHER = UNKNOWN
"""Instead of 0 or 1: a row that counts as neither unchanged nor changed."""

MISSING = -2
"""Instead of 0 or 1: no row, or no label."""

FEWEST_TO_PLAN = 20
"""Below this many images no number of further ones is given: their spread is hardly known."""

RANK_RULE = "Rank counts significant differences only; ties share a range."

TEST_SUMMARY = "Significant: corrected p below 0.05, and an interval that excludes 0."

TEST_RULE = (
    "Exact sign-flip test over images (McNemar's test for one condition, Durkalski's "
    "cluster-adjusted form for large runs) with Holm's correction over all pairs. Each interval "
    "covers one pair. The number of more images given shows a true difference of 1 point in at "
    "least three of four runs."
)
"""How differences are tested, for a help text."""


def compare(grids: Sequence[Grid], quantity: str) -> list[dict[str, Any]]:
    """Every pair of models with the same classes, over all conditions.

    Only rows that every model of the group has count (with an accuracy: and that have a label).
    Consistency compares a pair where an attack had a prediction of both to break. Keys:
    ``quantity``, ``label_set``, ``better``, ``worse``, ``n_images``, ``difference`` (better minus
    worse, in [0, 1]) with its paired interval ``difference_low`` and ``..._high``, ``p``,
    ``p_holm``, ``established``, and ``more_images``: how many more would show a difference of
    1 point, by ``images_needed``; None if it is significant, these images are enough for that, or
    too few to plan.
    The pairs of one group stand together; [] where nothing can be compared.
    """
    by_name: dict[str, Grid] = {grid.model: grid for grid in grids}
    entries = []
    for labels, names in models.by_labels(by_name):
        if len(names) < 2:
            continue
        values = np.stack([outcomes(by_name[name], quantity) for name in names])
        shared = (values != MISSING).all(axis=0).any(axis=1)
        if not shared.any():
            continue
        entries += [
            {
                "quantity": quantity,
                "label_set": labels.title,
                "better": names[pair.better],
                "worse": names[pair.worse],
                "n_images": pair.images,
                "difference": pair.difference,
                "difference_low": pair.low,
                "difference_high": pair.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "established": pair.established,
                "more_images": pair.more_images(),
            }
            for pair in pair_differences(values[:, shared])
        ]
    return entries


class ModelPair(NamedTuple):
    """Two models by their places; ``difference``, 0 or more, is of the better from the worse."""

    better: int
    worse: int
    difference: float
    low: float | None
    high: float | None
    images: int
    p: float
    p_holm: float
    tests: int

    @property
    def established(self) -> bool:
        return established(self.p_holm, self.low, self.high)

    def is_within(self, margin: float) -> bool:
        """Whether the interval lies within ``margin`` to either side: an equivalence test."""
        if self.low is None or self.high is None:
            return False
        return -margin <= self.low and self.high <= margin

    def more_images(self, smallest: float = SMALLEST) -> int | None:
        """How many more images would show a difference of ``smallest``; None if that is unknown."""
        if self.low is None or not self.difference or self.images < FEWEST_TO_PLAN:
            return None
        if self.established:
            return None
        needed = images_needed(self.difference, self.low, self.images, self.tests, smallest)
        return None if needed is None else needed - self.images


def pair_differences(values: NDArray[Any], weights: Floats | None = None) -> list[ModelPair]:
    """Every pair of models; ``values`` (models, images, conditions) as by ``outcomes``.

    A row counts where no model's is MISSING. Without ``weights`` conditions weigh alike.
    """
    places = list(itertools.combinations(range(len(values)), 2))
    there = (values != MISSING).all(axis=0)
    pairs = []
    for a, b in places:
        counted = there & (values[a] != NEITHER) & (values[b] != NEITHER)
        pairs.append(overall(np.where(counted, values[a] - values[b], 0), counted, there, weights))
    adjusted = holm([gap.p for gap in pairs])
    ordered = []
    for (a, b), (value, low, high, p, images, _), p_holm in zip(
        places, pairs, adjusted, strict=True
    ):
        if value is None:  # no attack had a prediction of both to break
            continue
        if value < 0:
            a, b, value = b, a, -value
            low, high = (None if bound is None else 0.0 - bound for bound in (high, low))
        ordered.append(ModelPair(a, b, value, low, high, images, p, p_holm, len(places)))
    return ordered


def advice(pair: Mapping[str, Any]) -> str:
    """Whether a pair of ``compare`` differs significantly, and how many more images to take."""
    if pair["established"]:
        return "significant"
    if pair["difference"] == 0:
        return "no difference"
    if pair["n_images"] < FEWEST_TO_PLAN:
        return f"not significant; needs at least {FEWEST_TO_PLAN} images"
    if pair["more_images"] is None:
        return "not significant"
    more = counted(round_up(pair["more_images"]), "more image")
    return f"not significant; about {more} would show a difference of 1 point"


def round_up(number: int) -> int:
    """``number`` with two leading digits, rounded up: it rests on an estimate."""
    step = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step


def ranking(
    summary: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The entries of ``summary`` with their ranks, best first.

    Per group of models with the same classes: by falling quantity of the ``pairs`` (as ``compare``
    gives them), which replaces ``ranked_by``. Adds ``place_low`` and ``place_high``: a model ranks
    behind those significantly better and ahead of those significantly worse.
    """
    quantity = pairs[0]["quantity"] if pairs else summary[0]["ranked_by"]
    ranked: list[dict[str, Any]] = []
    for title, group in itertools.groupby(summary, key=lambda entry: entry["label_set"]):
        entries = sorted((entry for entry in group), key=lambda entry: -(entry[quantity] or 0.0))
        significant = [pair for pair in pairs if pair["label_set"] == title and pair["established"]]
        for entry in entries:
            losses = sum(pair["worse"] == entry["model"] for pair in significant)
            ahead = sum(pair["better"] == entry["model"] for pair in significant)
            places = {"place_low": 1 + losses, "place_high": len(entries) - ahead}
            ranked.append({**entry, "ranked_by": quantity, **places})
    return ranked


def outcomes(grid: Grid, quantity: str) -> NDArray[Any]:
    """(images, conditions) of 0, 1 and NEITHER; MISSING where there is no row, or no label.

    They are bytes, but floats where a profile is a condition, of which they are shares. Attacks of
    one norm and epsilon count together for the robust accuracy.
    """
    if quantity == "robust_accuracy":
        survivors = attack_survivors(grid.values(QUANTITIES[quantity]), budgets(grid.conditions))
        return np.where(np.isnan(survivors), MISSING, survivors).astype(np.int8)
    flags = grid.flags(QUANTITIES[quantity])
    missing = flags == UNKNOWN
    if quantity == "consistency":
        missing &= ~grid.there
    return np.where(missing, np.int8(MISSING), flags)
