"""Whether models fail on the same images: pairs of models, and what a majority would do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.statistics.means_with_intervals import differences, number, shares
from robustness.statistics.measurement_grid import (
    UNKNOWN,
    Grid,
    map_grids,
    mean_of_groups,
    mean_of_rows,
    pool_profiles,
    profile_groups,
)

Floats = NDArray[np.float64]

_CELLS = 100_000  # of each model worked on at once


def by_pair(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Every pair of models with the same classes; ``column`` says whether a row went well.

    Keys: ``model``, ``other``, ``n_predictions`` (images times conditions that count for both),
    and of these ``model_only`` and ``other_only``, on which this model alone fails, and ``both``.
    Attacks do not count.
    """
    some = _with_conditions(some)
    pairs = [
        pair
        for _, names in models.by_labels([grid.model for grid in some])
        for pair in itertools.combinations([g for g in some if g.model in names], 2)
    ]
    ones, others = [one for one, _ in pairs], [other for _, other in pairs]
    return map_grids(partial(_pair, column=column), ones, others)


def _with_conditions(some: Sequence[Grid]) -> list[Grid]:
    """``some`` without attacks, and without those that have attacks alone."""
    return [part for grid in some if (part := without_attacks(grid)).conditions]


def without_attacks(grid: Grid) -> Grid:
    """``grid`` without attacks, which make an image of their own for each model."""
    places = [at for at, key in enumerate(grid.conditions) if not key.is_attack]
    if len(places) == len(grid.conditions):
        return grid
    return replace(
        grid,
        conditions=tuple(grid.conditions[at] for at in places),
        there=grid.there[:, places],
        read=lambda column: grid.read(column)[:, places],
    )


def _pair(one: Grid, other: Grid, column: str) -> dict[str, Any]:
    a, b = one.flags(column), other.flags(column)
    present = (a != UNKNOWN) & (b != UNKNOWN)
    fails, other_fails = present & (a == 0), present & (b == 0)
    return {
        "model": one.model,
        "other": other.model,
        "n_predictions": int(present.sum()),
        "model_only": int((fails & ~other_fails).sum()),
        "other_only": int((other_fails & ~fails).sum()),
        "both": int((fails & other_fails).sum()),
    }


def majorities(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """The majority prediction of three or more models with the same classes.

    A tie goes to the most confident of the tied predictions. ``column`` is "correct" or
    "consistent", which compares with the majority on the original. Keys: ``label_set``,
    ``n_models``, ``n_images``, ``rate`` of the majority and its interval, ``best`` (the model with
    the highest rate), ``best_rate``, and the paired ``difference`` with its interval. Attacks do
    not count.
    """
    votes, some = [], _with_conditions(some)
    for labels, names in models.by_labels([grid.model for grid in some]):
        group = [grid for grid in some if grid.model in names]
        if len(group) < 3:
            continue
        groups = [*profile_groups(group[0].conditions).values()]
        rates = [pool_profiles(grid).per_image(column) for grid in group]
        voted = _majority(group, "top1", "probability")
        if column == "correct":
            label = group[0].values("label")
            well = np.where(np.isnan(label) | np.isnan(voted), np.nan, voted == label)
        else:
            before = _majority(group, "clean_top1", "clean_probability")
            well = np.where(np.isnan(before) | np.isnan(voted), np.nan, voted == before)
        mine = mean_of_rows(mean_of_groups(well, groups))
        if np.isnan(mine).all():
            continue
        best = int(np.argmax([float(np.nanmean(rate)) for rate in rates]))
        votes.append(
            {
                "label_set": labels.title,
                "n_models": len(group),
                "n_images": int((~np.isnan(mine)).sum()),
                **shares(mine[:, None]).named("rate", 0),
                "best": group[best].model,
                "best_rate": number(float(np.nanmean(rates[best]))),
                **differences((mine - rates[best])[:, None]).named("difference", 0),
            }
        )
    return votes


def _majority(group: Sequence[Grid], column: str, confidence: str) -> Floats:
    """(images, conditions): the class that most models predict; NaN where one has no row."""
    every = [[grid.values(name) for grid in group] for name in (column, confidence)]
    majority = np.empty(group[0].there.shape, order="F")
    for block in group[0].blocks(_CELLS):
        votes, sure = (np.stack([values[:, block] for values in of]) for of in every)
        support = (votes[:, None] == votes[None]).sum(axis=1)  # models that agree with each
        best = (support + 0.999 * np.nan_to_num(sure)).argmax(axis=0)
        chosen = np.take_along_axis(votes, best[None], axis=0)[0]
        majority[:, block] = np.where(np.isnan(votes).any(axis=0), np.nan, chosen)
    return majority
