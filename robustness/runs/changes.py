"""Into which classes predictions change, and how many changes stay within a group of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.models import Labels, wordnet
from robustness.runs.queries import Rows
from robustness.runs.selection import Chosen
from robustness.statistics.estimates import shares
from robustness.statistics.grid import Grid, mean_of_rows

MOST = 20
"""Changes that are kept of each model and condition."""

_QUERY = """SELECT {under} AS under, clean_top1, top1, count(*) AS images,
    sum(count(*)) OVER (PARTITION BY under) AS every
    FROM (SELECT {columns}, clean_top1, top1 FROM rows
        WHERE model = $model AND top1 <> clean_top1
        AND position IN (SELECT unnest($positions::INTEGER[])))
    GROUP BY under, clean_top1, top1
    QUALIFY row_number() OVER
        (PARTITION BY under ORDER BY images DESC, clean_top1, top1) <= $most
    ORDER BY under, images DESC, clean_top1, top1"""

_UNDER = {"''": "DISTINCT position", "condition": "condition"}
"""Under any condition an image counts once; under one condition it has one row."""


def by_condition(rows: Rows, positions: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The most frequent changes of each model under each condition, and under any ("").

    Images at ``positions`` count.

    Keys: ``model``, ``condition``, ``before`` and ``after`` (names of classes), ``n_images``,
    ``share`` (of all changes), ``shared`` (what WordNet calls both), ``same_group`` (None if that
    is not known) and ``selection``.
    """
    if not rows.paths:
        return []
    sets = models.by_labels(rows.axes.models)
    known = {name: labels for labels, names in sets for name in names}
    return [
        {
            "model": model,
            "condition": condition,
            "before": models.class_name(model, before),
            "after": models.class_name(model, after),
            "n_images": images,
            "share": images / int(every),
            **_kinship(known[model], before, after),
            "selection": Chosen(
                model=model,
                conditions=(condition,) if condition else (),
                became=(before, after),
            ).text,
        }
        for under, columns in _UNDER.items()
        for model in sorted(rows.axes.models)
        for condition, before, after, images, every in rows.ask(
            _QUERY.format(under=under, columns=columns),
            model=model,
            positions=positions.tolist(),
            most=MOST,
        )
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
    return [entry for grid in grids for entry in _of_model(grid)]


def _of_model(grid: Grid) -> Iterator[dict[str, Any]]:
    ((labels, _),) = models.by_labels([grid.model])
    groups = wordnet.groups(labels)
    if not groups:
        return
    place = {group: at for at, group in enumerate(dict.fromkeys(groups))}
    group_of = np.array([place[group] for group in groups])
    before, after = grid.values("clean_top1"), grid.values("top1")
    known = ~(np.isnan(before) | np.isnan(after))
    if not known.any():
        return
    old, new = (np.where(known, each, 0).astype(int) for each in (before, after))
    same = np.where(known, old == new, np.nan)
    alike = np.where(known, group_of[old] == group_of[new], np.nan)
    names = [key.perturbation for key in grid.conditions]
    for name in ["", *dict.fromkeys(names)]:
        chosen = [at for at, each in enumerate(names) if name in ("", each)]
        yield {
            "model": grid.model,
            "perturbation": name,
            "n_groups": len(place),
            **shares(mean_of_rows(same[:, chosen])[:, None]).named("consistency", 0),
            **shares(mean_of_rows(alike[:, chosen])[:, None]).named("group_consistency", 0),
        }
