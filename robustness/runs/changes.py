"""Into which classes predictions change, and how many changes stay within a group of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.models import Labels, wordnet
from robustness.runs.selection import Chosen
from robustness.statistics.estimates import shares
from robustness.statistics.grid import Grid, each_grid, ratio

MOST = 20
"""Changes that are kept of each model and condition."""


def by_condition(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """The most frequent changes of each model under each condition, and under any ("").

    Under any condition an image counts once for each change.

    Keys: ``model``, ``condition``, ``before`` and ``after`` (names of classes), ``n_images``,
    ``share`` (of all changes), ``shared`` (what WordNet calls both), ``same_group`` (None if that
    is not known) and ``selection``.
    """
    counts = {grid.model: _counts(grid) for grid in grids}  # one at a time: its arrays are large
    known = {name: labels for labels, names in models.by_labels(counts) for name in names}
    return [
        {
            "model": model,
            "condition": condition,
            "before": models.class_name(model, before),
            "after": models.class_name(model, after),
            "n_images": images,
            "share": images / every,
            **_kinship(known[model], before, after),
            "selection": Chosen(
                model=model,
                conditions=(condition,) if condition else (),
                became=(before, after),
            ).text,
        }
        for conditions in ({""}, {key.id for grid in grids for key in grid.conditions})
        for model in sorted(counts)
        for condition in sorted(conditions)
        for before, after, images, every in counts[model][condition]
    ]


def _counts(grid: Grid) -> dict[str, list[tuple[int, int, int, int]]]:
    """By condition, "" is any: (before, after, images, all changes) of the ``MOST`` frequent."""
    before, after = grid.values("clean_top1"), grid.values("top1")
    changed = ~np.isnan(before) & ~np.isnan(after) & (before != after)
    classes = 1 + int(np.where(changed, np.maximum(before, after), 0).max(initial=0))
    codes = np.where(changed, before * classes + after, -1).astype(np.int64).T  # by conditions
    of_conditions = {key.id: own[own >= 0] for key, own in zip(grid.conditions, codes, strict=True)}
    images = np.nonzero(codes >= 0)[1]
    of_images = np.sort(images * classes**2 + codes[codes >= 0])  # np.unique is ten times slower
    of_images = of_images[np.diff(of_images, prepend=-1) > 0] % classes**2
    return {
        condition: _most_frequent(own, classes)
        for condition, own in {"": of_images, **of_conditions}.items()
    }


def _most_frequent(codes: NDArray[np.int64], classes: int) -> list[tuple[int, int, int, int]]:
    found, counts = np.unique(codes, return_counts=True)
    order = np.lexsort((found, -counts))[:MOST]
    return [
        (*divmod(code, classes), images, len(codes))
        for code, images in zip(found[order].tolist(), counts[order].tolist(), strict=True)
    ]


def _kinship(labels: Labels, before: int, after: int) -> dict[str, Any]:
    groups = wordnet.groups(labels)
    if max(before, after) >= len(groups):
        return {"shared": "", "same_group": None}
    same = groups[before] == groups[after]
    return {"shared": wordnet.shared(labels, before, after), "same_group": same}


def by_group(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """How many predictions stay in their class, and in their group, under each perturbation.

    Models whose classes have no synsets are left out. Keys: ``model``, ``perturbation`` ("" is
    all), ``n_groups``, ``consistency`` and ``group_consistency`` with their intervals.
    """
    return [entry for entries in each_grid(_of_model, grids) for entry in entries]


def _of_model(grid: Grid) -> list[dict[str, Any]]:
    ((labels, _),) = models.by_labels([grid.model])
    groups = wordnet.groups(labels)
    if not groups:
        return []
    place = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([place[group] for group in groups])
    before, after = grid.values("clean_top1"), grid.values("top1")
    known = ~(np.isnan(before) | np.isnan(after))
    if not known.any():
        return []
    old, new = (np.where(known, each, 0).astype(np.int32) for each in (before, after))
    flags = {"consistency": old == new, "group_consistency": group_of[old] == group_of[new]}
    names = [key.perturbation for key in grid.conditions]
    found = []
    for name in ["", *dict.fromkeys(names)]:
        chosen = [at for at, each in enumerate(names) if name in ("", each)]
        rows = known[:, chosen].sum(axis=1)
        entry = {"model": grid.model, "perturbation": name, "n_groups": len(place)}
        for figure, same in flags.items():
            kept = (same & known)[:, chosen].sum(axis=1)
            entry |= shares(ratio(kept, rows)[:, None]).named(figure, 0)
        found.append(entry)
    return found
