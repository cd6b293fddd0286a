"""A run in figures: per model, and of each per condition, severity and class.

Every figure ``x`` stands beside ``x_low`` and ``x_high``, by ``estimates.INTERVAL_RULE``. What
needs labels is None without them. Accuracies count the labelled images only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.statistics.calibration import (
    KINDS,
    ConditionErrors,
    bins,
    condition_errors,
    group_errors,
)
from robustness.statistics.means_with_intervals import (
    Estimates,
    complement,
    differences,
    drops,
    flag_shares,
    mean_of_models,
    means,
    number,
    over_conditions,
    picture_values,
    shares,
    side_by_side,
)
from robustness.statistics.measurement_grid import (
    MEANS,
    UNKNOWN,
    ConditionKey,
    Grid,
    Places,
    map_grids,
    mean_of_groups,
    mean_of_rows,
    profile_groups,
)
from robustness.statistics.robust_accuracy_under_attack import success, under_attack

Floats = NDArray[np.float64]

RATES: Mapping[str, str] = {
    "consistency": "consistent",
    "clean_accuracy": "clean_correct",
    "perturbed_accuracy": "correct",
    "clean_accuracy_top5": "clean_correct5",
    "perturbed_accuracy_top5": "correct5",
}
"""Figures that are shares of images, with the column they count."""

FIGURES: Mapping[str, str] = {**RATES, **{name: name for name in MEANS}}
"""All figures that are means over rows, with their columns; a plugin's metric is a further one."""

MOST_UNLABELLED = 0.5
"""Beyond this share of images without a label, models are not ranked by accuracy."""

_OF_CLASSES = ("consistency", "clean_accuracy", "perturbed_accuracy")
_CELLS = 250_000  # of a column worked on at once: some arrays of 2 MB
_TOPS, _SIDES = ("", "_top5"), ("clean", "perturbed")
_ONCE = {"clean_correct", "clean_correct5"}  # of the image alone, whatever the condition


@dataclass(frozen=True)
class ModelTables:
    """The tables of one model; ``summary`` is its entry in that, without a rank."""

    summary: dict[str, Any]
    by_perturbation: list[dict[str, Any]]
    by_severity: list[dict[str, Any]]
    reliability: list[dict[str, Any]]


def model_tables(some: Sequence[Grid]) -> list[ModelTables]:
    """The tables of each model, whose keys ``Figures`` names.

    A column is read once, of all models, as not all columns fit into memory.
    """
    severities = [severity_places(grid.conditions) for grid in some]
    columns = [
        _Columns(grid, [slice(None), *levels.values()])
        for grid, (_, levels) in zip(some, severities, strict=True)
    ]
    own = some[0].own if some else ()
    for name, column in {**FIGURES, **dict(zip(own, own, strict=True))}.items():
        map_grids(partial(_add, name=name, column=column), some, columns)
    calibrations = [map_grids(partial(_calibration, kind=kind), some) for kind in KINDS]
    return map_grids(_tables, some, severities, columns, *calibrations)


def _tables(
    grid: Grid,
    severities: tuple[Sequence[str], Mapping[int, Places]],
    columns: _Columns,
    clean: _Calibration,
    perturbed: _Calibration,
) -> ModelTables:
    names, levels = severities
    whole, *of_levels = columns.of_groups()
    consistency = over_conditions(grid.values("consistent"), grid.there, shares)
    chance = perturbed.errors.by_chance[~np.isnan(perturbed.errors.by_chance)]
    summary = {
        "model": grid.model,
        "n_images": grid.n_images,
        **whole,
        **(rate := consistency.named("consistency", 0)),
        **complement(rate, "consistency", "flip_rate"),
        **under_attack(grid),
        **clean.whole.by_condition.named("clean_ece", 0),
        "clean_ece_by_chance": number(clean.whole.by_chance[0]),
        **perturbed.whole.by_condition.named("perturbed_ece", 0),
        **perturbed.errors.mean.named("condition_ece", 0),
        "condition_ece_by_chance": float(chance.mean()) if len(chance) else None,
        **clean.overconfidence.named("clean_overconfidence", 0),
        **perturbed.overconfidence.named("overconfidence", 0),
    }
    by_severity = [
        {
            "model": grid.model,
            "severity": level,
            "perturbations": names,
            "n_images": grid.n_images,
            **figures,
        }
        for level, figures in zip(levels, of_levels, strict=True)
    ]
    return ModelTables(
        summary,
        _by_condition(grid, columns.of_conditions(), {"clean": clean, "perturbed": perturbed}),
        by_severity,
        [*clean.bins, *perturbed.bins],
    )


def _by_condition(
    grid: Grid, figures: Sequence[dict[str, Any]], calibrated: Mapping[str, _Calibration]
) -> list[dict[str, Any]]:
    rows = grid.there.sum(axis=0).tolist()
    counted = (grid.flags("consistent") != UNKNOWN).sum(axis=0).tolist()
    broken = success(grid)
    entries = []
    for at, key in enumerate(grid.conditions):
        entry = {
            "model": grid.model,
            "condition": key.id,
            "series": key.series,
            "perturbation": key.perturbation,
            "strength": key.strength,
            "severity": key.severity,
            "n_images": rows[at],
            "n_attacked": counted[at] if key.is_attack else None,
            **broken[at],
            **figures[at],
        }
        for kind, table in calibrated.items():
            entry |= table.errors.by_condition.named(f"{kind}_ece", at)
            entry[f"{kind}_ece_by_chance"] = number(table.errors.by_chance[at])
        entries += [entry] if rows[at] else []
    return entries


def rank_models(some: Sequence[Grid], wholes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The summary from the entry of each of ``some`` models, as ``model_tables`` has them."""
    entries = {whole["model"]: whole for whole in wholes}
    attacks_alone = all(key.is_attack for grid in some for key in grid.conditions)
    unknown = [(grid.flags("correct") == UNKNOWN).all(axis=1).mean() for grid in some]
    labelled = all(share <= MOST_UNLABELLED for share in unknown)
    robust = attacks_alone and all(e["robust_accuracy"] is not None for e in wholes)
    if robust:
        by = "robust_accuracy"
    elif labelled:
        by = "perturbed_accuracy"
    else:
        by = "consistency"
    ranks: list[dict[str, Any]] = []
    for labels, names in models.by_labels(entries):
        group = [{"label_set": labels.title, "ranked_by": by, **entries[name]} for name in names]
        ranks += sorted(group, key=lambda entry: -(entry[by] or 0.0))
    return ranks


@dataclass(frozen=True)
class _Calibration:
    """How well calibrated the predictions of a model of one of ``KINDS`` are.

    ``errors`` are those of the conditions, ``whole`` that of all predictions; ``overconfidence`` is
    mean confidence less accuracy.
    """

    errors: ConditionErrors
    whole: ConditionErrors
    overconfidence: Estimates
    bins: list[dict[str, Any]]


def _calibration(grid: Grid, kind: str) -> _Calibration:
    """Bins hold single predictions, also those under the compositions of a profile."""
    parts = grid.compositions or grid
    groups = None if parts is grid else [*profile_groups(parts.conditions).values()]
    sure, right = map(parts.values, KINDS[kind])
    errors = condition_errors(sure, right, groups)
    if kind == "clean":  # an original, the same under every condition, counts once
        sure, right = mean_of_rows(sure)[:, None], mean_of_rows(right)[:, None]
    gaps = sure - right
    if kind != "clean" and groups is not None:
        gaps = mean_of_groups(gaps, groups)
    present = ~np.isnan(gaps)
    gaps[~present] = 0.0
    sums, counts = (values.sum(axis=1, keepdims=True, dtype=float) for values in (gaps, present))
    del gaps, present  # these arrays are large
    return _Calibration(
        errors,
        group_errors(sure, right, [slice(None)]),
        differences(picture_values(sums, counts)),
        bins(grid.model, kind, sure, right),
    )


def severity_places(
    conditions: Sequence[ConditionKey],
) -> tuple[tuple[str, ...], dict[int, list[int]]]:
    """(the perturbations that have every severity that occurs, their places by severity).

    No places if only one severity occurs, or none of them has all.
    """
    levels: dict[str, set[int]] = {}
    for key in conditions:
        if key.severity is not None:
            levels.setdefault(key.perturbation, set()).add(key.severity)
    every = set().union(*levels.values())
    names = tuple(name for name, mine in levels.items() if mine == every)
    if len(every) < 2 or not names:
        return names, {}
    keys = [(key.perturbation in names, key.severity) for key in conditions]
    places = {
        level: [at for at, key in enumerate(keys) if key == (True, level)]
        for level in sorted(every)
    }
    return names, places


def over_models(some: Sequence[Grid]) -> list[dict[str, Any]]:
    """Per perturbation, over all strengths, the mean of the models; the lowest consistency first.

    What differs in more than strength, such as an attack in two norms, is told apart. A series of
    strength 0 alone, as in the profile of a match, says nothing of its perturbation. Keys:
    ``series`` (its label), ``perturbation``, ``n_strengths``, ``n_images`` (those that consistency
    counts) and ``consistency`` with its interval.
    """
    conditions = some[0].conditions
    active = [key for key in conditions if key.strength != 0] or conditions
    names = {key.series: key.perturbation for key in active}
    series = [key.series for key in conditions]
    of_series = [[at for at, own in enumerate(series) if own == name] for name in names]
    values = np.full((len(some), len(some[0].images), len(names)), np.nan)
    for grid, mine in zip(some, values, strict=True):
        mine[:] = _of_images(grid, "consistent", of_series)
    joint = mean_of_models(values)
    estimates = shares(joint)
    entries = [
        {
            "series": name,
            "perturbation": perturbation,
            "n_strengths": len(of_series[place]),
            "n_images": int((~np.isnan(joint[:, place])).sum()),
            **estimates.named("consistency", place),
        }
        for place, (name, perturbation) in enumerate(names.items())
    ]
    counted = [entry for entry in entries if entry["n_images"]]
    return sorted(counted, key=lambda entry: float(entry["consistency"]))


def by_class(some: Sequence[Grid]) -> list[dict[str, Any]]:
    """Per model and class, in the order of the class index; empty without labels.

    Keys: ``model``, ``label``, ``class_name`` (the index where the model is not registered),
    ``n_images``, and with intervals over the images of the class ``consistency``,
    ``clean_accuracy``, ``perturbed_accuracy`` and ``drop``; each over all conditions. Consistency
    may count fewer images, as an attack on an incorrect prediction has nothing to break.
    """
    entries: list[dict[str, Any]] = []
    for grid in some:
        labels = grid.per_image("label")
        figures = np.column_stack([grid.per_image(RATES[name]) for name in _OF_CLASSES])
        complete = np.flatnonzero(~np.isnan(labels) & ~np.isnan(figures[:, 1:]).any(axis=1))
        order = complete[np.argsort(labels[complete], kind="stable")]
        classes, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
        of_model = []
        for size in np.unique(sizes):  # classes with as many images have their intervals at once
            alike = np.flatnonzero(sizes == size)
            values = figures[order[starts[alike][:, None] + np.arange(size)]].transpose(2, 1, 0)
            estimates = dict(zip(_OF_CLASSES, map(shares, values), strict=True))
            estimates["drop"], _ = drops(values[1], values[2])
            for place, label in enumerate(classes[alike].astype(int).tolist()):
                entry = {
                    "model": grid.model,
                    "label": label,
                    "class_name": models.class_name(grid.model, label),
                    "n_images": int(size),
                }
                for name, estimate in estimates.items():
                    entry |= estimate.named(name, place)
                of_model.append(entry)
        entries += sorted(of_model, key=lambda entry: entry["label"])
    return entries


@dataclass(frozen=True)
class _Columns:
    """The figures of ``groups`` of conditions of a model, and of each condition."""

    grid: Grid
    groups: Sequence[Places]
    group_figures: dict[str, Estimates] = field(default_factory=dict)
    condition_figures: dict[str, Estimates] = field(default_factory=dict)
    rates: dict[str, Floats] = field(default_factory=dict)
    """(images, groups): the values of the rates."""

    def of_groups(self) -> list[dict[str, Any]]:
        lost = {
            suffix: drops(*(self.rates[f"{kind}_accuracy{suffix}"] for kind in _SIDES))
            for suffix in _TOPS
        }
        labelled = (~np.isnan(self.rates["perturbed_accuracy"])).sum(axis=0)
        return _entries(self.group_figures, lost, labelled)

    def of_conditions(self) -> list[dict[str, Any]]:
        blocks, lost = self.grid.blocks(_CELLS), {}
        for suffix in _TOPS:
            columns = (RATES[f"{kind}_accuracy{suffix}"] for kind in _SIDES)
            parts = (self.grid.parts(column, blocks) for column in columns)
            pairs = zip(*map(drops, *parts), strict=True)
            lost[suffix] = [side_by_side(*some) for some in pairs]
        labelled = (self.grid.flags("correct") != UNKNOWN).sum(axis=0)
        return _entries(self.condition_figures, lost, labelled)


def _add(grid: Grid, columns: _Columns, name: str, column: str) -> None:
    """Add the figure ``name``; of a profile an image counts with its share."""
    values = _of_images(grid, column, columns.groups)
    parts = grid.parts(column, grid.blocks(_CELLS))
    if name in RATES:
        columns.rates[name], columns.group_figures[name] = values, shares(values)
        if grid.compositions is not None:
            columns.condition_figures[name] = side_by_side(*map(shares, parts))
            return
        flags = grid.flags(column)
        total, n = (flags == 1).sum(axis=0), (flags != UNKNOWN).sum(axis=0)
        columns.condition_figures[name] = flag_shares(total, n)
        return
    low, high = -math.inf, math.inf  # as a plugin that is gone may have them
    if column in RESCALED.values():
        high = 1.0
    elif column in metrics.REGISTRY:
        low, high = metrics.REGISTRY[column].low, metrics.REGISTRY[column].high
    columns.group_figures[name] = means(values, low, high)
    columns.condition_figures[name] = side_by_side(*(means(part, low, high) for part in parts))


def _of_images(grid: Grid, column: str, groups: Sequence[Places]) -> Floats:
    """(images, groups): each image's value of ``column`` over the conditions of a group."""
    sums, counts = [], []
    cells = grid.read(column)
    for places in groups:
        values = cells[:, places]
        there = values != UNKNOWN if cells.dtype.kind == "i" else ~np.isnan(values)
        count = there.sum(axis=1).astype(np.float64)
        total = (values if there.all() else np.where(there, values, 0)).sum(axis=1, dtype=float)
        if column in _ONCE:
            total, count = np.divide(total, np.maximum(count, 1)), np.minimum(count, 1)
        sums.append(total)
        counts.append(count)
    return picture_values(np.column_stack(sums), np.column_stack(counts))


def _entries(
    figures: Mapping[str, Estimates],
    lost: Mapping[str, Sequence[Estimates]],
    labelled: NDArray[np.intp],
) -> list[dict[str, Any]]:
    """One entry for each of the places in the estimates."""
    entries: list[dict[str, Any]] = []
    for place, count in enumerate(labelled.tolist()):
        entry: dict[str, Any] = {}
        for name, estimates in figures.items():
            entry |= estimates.named(name, place)
        entry["n_labelled"] = count
        entry |= complement(entry, "consistency", "flip_rate")
        for suffix, (drop, relative) in lost.items():
            entry |= drop.named(f"drop{suffix}", place)
            entry |= relative.named(f"relative_drop{suffix}", place)
        entries.append(entry)
    return entries
