"""What two runs share: images, models and conditions, as grids of the flags of both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from robustness.evaluation.condition import effect
from robustness.statistics.grid import ConditionKey, Grid, in_order

Images = Mapping[str, int]
"""The place in the grids of each image, by what identifies it in both runs."""


def shared_grids(
    grids: tuple[Sequence[Grid], Sequence[Grid]], images: tuple[Images, Images]
) -> list[Grid]:
    """One grid for each model of both runs, with the columns ``x_a`` and ``x_b`` of a flag ``x``.

    ``grids`` are those of each run. Images are in the order of the first run; conditions have the
    ids of the second run and equal effects. Conditions without a shared row are left out.
    """
    first, second = ({grid.model: grid for grid in each} for each in grids)
    models = [model for model in first if model in second]
    names = [name for name in images[0] if name in images[1]]
    if not models or not names:
        return []
    keys_of = [each[models[0]].conditions for each in (first, second)]
    known = {key.id: key for key in keys_of[1]}
    ids = _conditions(*([key.id for key in keys] for keys in keys_of))
    order, keys = in_order(
        list(ids),
        [known[text].perturbation for text in ids],
        [math.nan if (level := known[text].strength) is None else level for text in ids],
    )
    sides = [
        _Side(grids, [places[name] for name in names], columns)
        for grids, places, columns in (
            (first, images[0], [list(ids.values())[at] for at in order]),
            (second, images[1], [key.id for key in keys]),
        )
    ]
    there = {model: sides[0].there(model) & sides[1].there(model) for model in models}
    used = np.logical_or.reduce(list(there.values())).any(axis=0)
    return [
        Grid(
            model,
            np.array(names, object),
            tuple(key for key, some in zip(keys, used, strict=True) if some),
            rows_there[:, used],
            partial(_flags, sides, model, used),
        )
        for model, rows_there in there.items()
        if rows_there.any()
    ]


def _conditions(first: Sequence[str], second: Sequence[str]) -> dict[str, str]:
    """The id in the first run of each condition of the second run, in the order of the first."""
    by_effect: dict[str, list[str]] = {}
    for text in second:
        by_effect.setdefault(effect(text), []).append(text)
    found: dict[str, str] = {}
    for text in first:
        for same in by_effect.get(effect(text), ()):
            found.setdefault(same, text)
    return found


class _Side:
    """The cells of one run at some images and conditions."""

    def __init__(
        self, grids: Mapping[str, Grid], images: Sequence[int], conditions: Sequence[str]
    ) -> None:
        self._grids = grids
        keys: Sequence[ConditionKey] = next(iter(grids.values())).conditions
        place = {key.id: at for at, key in enumerate(keys)}
        self._cells = np.ix_(images, [place[text] for text in conditions])

    def there(self, model: str) -> NDArray[np.bool_]:
        return self._grids[model].there[self._cells]

    def flags(self, model: str, column: str) -> NDArray[np.int8]:
        return self._grids[model].flags(column)[self._cells]


def _flags(
    sides: Sequence[_Side], model: str, used: NDArray[np.bool_], column: str
) -> NDArray[np.int8]:
    name, _, side = column.rpartition("_")
    return sides["ab".index(side)].flags(model, name)[:, used]
