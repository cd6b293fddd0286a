"""Measurements as dense arrays, images x conditions, one grid a model.

A frame has one row a measurement with at least ``COLUMNS``. ``image`` tells the images of a run
apart, ``condition`` its conditions. Images of one ``image_digest``, where there is such a column,
are copies of one image, which counts once: it is no further evidence.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics
from robustness.attacks import REGISTRY as ATTACKS
from robustness.base.columns import require
from robustness.evaluation.condition import degree, series, unspecified
from robustness.evaluation.correctness import CORRECTNESS, with_correctness
from robustness.metrics.features import RESCALED
from robustness.perturbations import REGISTRY
from robustness.statistics.attacked import as_counted

Floats = NDArray[np.float64]

MEANS = (
    *(m.name for m in metrics.REGISTRY if math.isfinite(m.high) and m.name != "consistent"),
    *RESCALED.values(),
)
"""Metrics of which a mean makes sense; a PSNR is infinite where nothing changed."""

COLUMNS = (
    "image",
    "label",
    "model",
    "condition",
    "perturbation",
    "strength",
    "clean_probability",
    "probability",
    "consistent",
    *MEANS,
    *CORRECTNESS,
)
"""What this package reads of a measurement. In place of ``CORRECTNESS`` a frame may have
``clean_top1``, ``top1``, ``clean_top5`` and ``top5``; without ``condition``, a perturbation at a
strength counts as one."""


@dataclass(frozen=True)
class ConditionKey:
    """A condition by its ``id``, with what that and its rows say of it.

    ``strength`` is None where several perturbations have one. ``severity`` is that of ImageNet-C, 1
    to 5, where the strength is exactly one.
    """

    id: str
    perturbation: str
    strength: float | None

    @property
    def is_attack(self) -> bool:
        return self.perturbation in ATTACKS.names

    @property
    def series(self) -> str:
        """The label of all conditions that differ from this one in strength alone."""
        return series(self.id)

    @property
    def severity(self) -> int | None:
        name, strength = degree(self.id) or (self.perturbation, self.strength)
        if strength is None or name not in REGISTRY:
            return None
        marks = REGISTRY[name].severity_strengths
        levels = [
            place
            for place, mark in enumerate(marks, start=1)
            if math.isclose(mark, strength, abs_tol=1e-9)
        ]
        return levels[0] if levels else None


@dataclass(frozen=True)
class Grid:
    """The rows of one model; every grid of a frame has the same ``images`` and ``conditions``.

    ``places`` are the rows' positions in ``frame``; ``image_of`` and ``condition_of`` say where
    in the grid each of them belongs.
    """

    model: str
    images: NDArray[np.object_]
    conditions: tuple[ConditionKey, ...]
    frame: pd.DataFrame
    places: NDArray[np.intp]
    image_of: NDArray[np.intp]
    condition_of: NDArray[np.intp]

    @property
    def there(self) -> NDArray[np.bool_]:
        """(images, conditions): whether there is a row."""
        found = np.zeros((len(self.images), len(self.conditions)), bool)
        found[self.image_of, self.condition_of] = True
        return found

    def values(self, column: str) -> Floats:
        """(images, conditions) of a number or truth value; NaN where there is none."""
        found = np.full((len(self.images), len(self.conditions)), np.nan)
        if column in RESCALED.values() and column not in self.frame:  # rows of earlier versions
            return found
        column_values = self.frame[column].iloc[self.places]
        found[self.image_of, self.condition_of] = column_values.to_numpy(float, na_value=np.nan)
        return found

    def per_image(self, column: str) -> Floats:
        """(images,): mean over the conditions that are there; NaN where there is none."""
        return mean_of_rows(self.values(column))


def mean_of_rows(values: Floats) -> Floats:
    """(n,): the mean of each row without its NaNs; NaN for a row of nothing else."""
    counts = (~np.isnan(values)).sum(axis=1)
    totals = np.nansum(values, axis=1)
    return np.divide(totals, counts, out=np.full(len(values), np.nan), where=counts > 0)


def grids(frame: pd.DataFrame) -> list[Grid]:
    """One grid a model, in order of appearance, with the columns ``CORRECTNESS``.

    Images are in the order of their ids, conditions by perturbation as they appear and by growing
    strength. ``consistent`` is as ``as_counted`` has it. Raises ``ParameterError`` if a column is
    missing.
    """
    require(frame, ("image", "model", "perturbation", "strength", "consistent"))
    return laid_out(as_counted(with_conditions(with_correctness(without_copies(frame)))))


def without_copies(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of ``frame`` of the first image, by its id, of each ``image_digest``."""
    if "image_digest" not in frame.columns:
        return frame
    image_of, images = pd.factorize(frame["image"], sort=True)
    digest_of, digests = pd.factorize(frame["image_digest"])
    if len(digests) == len(images) or (digest_of < 0).any():
        return frame
    first = np.full(len(digests), len(images))
    np.minimum.at(first, digest_of, image_of)
    return frame[first[digest_of] == image_of]


def laid_out(frame: pd.DataFrame) -> list[Grid]:
    """As ``grids``, of whatever else ``frame`` holds."""
    image_of, images = pd.factorize(frame["image"], sort=True)
    condition_of, conditions = _conditions(frame)
    model_of, names = pd.factorize(frame["model"])
    found = []
    for code, name in enumerate(names):
        places = np.flatnonzero(model_of == code)
        found.append(
            Grid(
                str(name),
                np.asarray(images, dtype=object),
                conditions,
                frame,
                places,
                image_of[places],
                condition_of[places],
            )
        )
    return found


def with_conditions(frame: pd.DataFrame) -> pd.DataFrame:
    """``frame`` with the column ``condition``: worked out as far as a row tells if it lacks it."""
    if "condition" in frame.columns:
        return frame
    require(frame, ("perturbation", "strength"))
    told = zip(frame["perturbation"], frame["strength"].astype(float), strict=True)
    ids = [unspecified(str(name), None if math.isnan(level) else level) for name, level in told]
    return frame.assign(condition=pd.Categorical(ids))


def _conditions(frame: pd.DataFrame) -> tuple[NDArray[np.intp], tuple[ConditionKey, ...]]:
    """(place of each row's condition, the conditions): by perturbation, then by strength."""
    condition_of, ids = pd.factorize(frame["condition"])
    first = np.unique(condition_of, return_index=True)[1]
    names_of, names = pd.factorize(frame["perturbation"])
    levels = frame["strength"].iloc[first].to_numpy(float, na_value=np.nan, copy=True)
    for at in np.flatnonzero(np.isnan(levels)).tolist():  # what rows of older runs do not tell
        _, levels[at] = degree(str(ids[at])) or ("", np.nan)
    order = np.lexsort((np.nan_to_num(levels, nan=-1.0), names_of[first]))
    keys = tuple(
        ConditionKey(
            str(ids[at]),
            str(names[names_of[first[at]]]),
            None if math.isnan(levels[at]) else float(levels[at]),
        )
        for at in order
    )
    place = np.empty(len(order), np.intp)
    place[order] = np.arange(len(order))
    return place[condition_of], keys
