"""A run in figures: per model, per model and condition, per model and severity.

Every figure ``x`` stands beside ``x_low`` and ``x_high``, by ``estimates.INTERVAL_RULE``. What
needs labels is None without them. Accuracies count the labelled images only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.metrics.features import RESCALED
from robustness.statistics.calibration import (
    KINDS,
    ConditionErrors,
    bins,
    calibration_error,
    condition_errors,
    estimated_error,
    predictions,
)
from robustness.statistics.estimates import (
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
    Measured,
    Places,
    grids,
    map_grids,
    mean_of_groups,
    profile_groups,
)
from robustness.statistics.robust_accuracy import success, under_attack

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

_CELLS = 250_000  # of a column worked on at once: some arrays of 2 MB
_TOPS, _SIDES = ("", "_top5"), ("clean", "perturbed")
_ONCE = {"clean_correct", "clean_correct5"}  # of the image alone, whatever the condition


def summary(measured: Measured) -> list[dict[str, Any]]:
    """Per model, by falling ``ranked_by`` among those with the same classes.

    Keys: ``model``, ``label_set``, ``ranked_by`` ("robust_accuracy" for attacks alone on labelled
    images, else "perturbed_accuracy" where at least half of the images have a label, else
    "consistency"), ``n_images``, the figures of ``robust_accuracy.under_attack``, and
    with their intervals ``consistency`` (the mean over the conditions, where some count more images
    than others),
    ``flip_rate``, the accuracies of ``RATES``, ``drop`` and ``relative_drop`` (of the accuracy;
    also ``..._top5``), the means of ``MEANS``, the expected calibration errors ``clean_ece`` (of
    each image once), ``perturbed_ece`` (of all rows together, where too sure under one condition
    makes up for too unsure under another) and ``condition_ece`` (the mean of those of the
    conditions), and ``clean_overconfidence`` and ``overconfidence``: mean confidence less accuracy.
    All over all rows of the model. Without intervals as in ``by_perturbation``
    ``clean_ece_by_chance`` and ``condition_ece_by_chance``.
    """
    some = grids(measured)
    return ranked(some, [model_tables.summary for model_tables in tables(some)])


def ranked(some: Sequence[Grid], wholes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The summary from the entry of each of ``some`` models, as ``tables`` has them."""
    entries = {grid.model: whole for grid, whole in zip(some, wholes, strict=True)}
    attacks_alone = all(key.is_attack for grid in some for key in grid.conditions)
    unknown = [(grid.flags("correct") == UNKNOWN).all(axis=1).mean() for grid in some]
    labelled = all(share <= MOST_UNLABELLED for share in unknown)
    robust = attacks_alone and all(e["robust_accuracy"] is not None for e in entries.values())
    by = "robust_accuracy" if robust else "perturbed_accuracy" if labelled else "consistency"
    ranks: list[dict[str, Any]] = []
    for labels, names in models.by_labels(entries):
        group = [{"label_set": labels.title, "ranked_by": by, **entries[name]} for name in names]
        ranks += sorted(group, key=lambda entry: -(entry[by] or 0.0))
    return ranks


@dataclass(frozen=True)
class ModelTables:
    """The tables of one model: its entry of the summary without a rank, conditions, severities,
    and bins of ``reliability``."""

    summary: dict[str, Any]
    by_perturbation: list[dict[str, Any]]
    by_severity: list[dict[str, Any]]
    reliability: list[dict[str, Any]]


def tables(some: Sequence[Grid]) -> list[ModelTables]:
    """``summary``, ``by_perturbation``, ``by_severity`` and ``reliability`` of each model.

    A column is read once, of all models, as not all columns fit into memory.
    """
    some = grids(some)
    severities = [_severities(grid) for grid in some]
    columns = [
        _Columns(grid, [slice(None), *levels.values()])
        for grid, levels in zip(some, severities, strict=True)
    ]
    own = some[0].own if some else ()
    for name, column in {**FIGURES, **dict(zip(own, own, strict=True))}.items():
        map_grids(partial(_add, name=name, column=column), some, columns)
    calibrations = [map_grids(partial(_calibration, kind=kind), some) for kind in KINDS]
    return map_grids(_tables, some, severities, columns, *calibrations)


def _tables(
    grid: Grid,
    severities: Mapping[int, Places],
    columns: _Columns,
    *calibrations: _Calibration,
) -> ModelTables:
    calibrated = dict(zip(KINDS, calibrations, strict=True))
    whole, *levels = columns.of_groups()
    return ModelTables(
        _whole(grid, whole, calibrated),
        _by_condition(grid, columns.condition_entries(), calibrated),
        _by_severity(grid, severities, levels),
        [entry for calibration in calibrations for entry in calibration.bins],
    )


def _whole(
    grid: Grid, figures: dict[str, Any], calibrated: Mapping[str, _Calibration]
) -> dict[str, Any]:
    """The entry of a model over all its rows."""
    return {
        "model": grid.model,
        "n_images": grid.n_images,
        **figures,
        **_consistency(grid),
        **under_attack(grid),
        **_overall_calibration(calibrated),
    }


def _consistency(grid: Grid) -> dict[str, float | None]:
    consistency = over_conditions(grid.values("consistent"), grid.there, shares).named(
        "consistency", 0
    )
    return {**consistency, **complement(consistency, "consistency", "flip_rate")}


def by_perturbation(measured: Measured) -> list[dict[str, Any]]:
    """Per model and condition, in the order of the models and conditions.

    Keys: ``model``, ``condition``, ``series`` (the label of all that differ from it in strength
    alone), ``perturbation``, ``strength``, ``severity`` (of ImageNet-C, where the strength is
    exactly one), ``n_images``, ``n_attacked`` (of an attack: the images that consistency counts,
    those that the model had right, without labels all), ``attack_success`` with its interval, the
    figures of ``summary``, the expected calibration errors ``clean_ece`` and ``perturbed_ece``, and
    without intervals ``clean_ece_by_chance`` and ``perturbed_ece_by_chance``: what so few images
    give a perfectly calibrated model.
    """
    return [
        entry for model_tables in tables(grids(measured)) for entry in model_tables.by_perturbation
    ]


def _by_condition(
    grid: Grid, figures: Sequence[dict[str, Any]], calibrated: Mapping[str, _Calibration]
) -> list[dict[str, Any]]:
    rows = grid.there.sum(axis=0).tolist()
    counted = (grid.flags("consistent") != UNKNOWN).sum(axis=0).tolist()
    broken = success(grid)
    return [
        {
            "model": grid.model,
            **_condition(key),
            "n_images": count,
            "n_attacked": counted[at] if key.is_attack else None,
            **broken[at],
            **estimates,
            **{
                name: value
                for kind, table in calibrated.items()
                for name, value in (
                    *table.errors.by_condition.named(f"{kind}_ece", at).items(),
                    (f"{kind}_ece_by_chance", number(table.errors.by_chance[at])),
                )
            },
        }
        for at, (key, count, estimates) in enumerate(
            zip(grid.conditions, rows, figures, strict=True)
        )
        if count
    ]


def _condition(key: ConditionKey) -> dict[str, Any]:
    return {
        "condition": key.id,
        "series": key.series,
        "perturbation": key.perturbation,
        "strength": key.strength,
        "severity": key.severity,
    }


@dataclass(frozen=True)
class _Calibration:
    """How well calibrated the predictions of a model of one of ``KINDS`` are.

    ``errors`` are those of the conditions, ``whole`` that of all predictions with
    ``whole_by_chance``; ``overconfidence`` is mean confidence less accuracy.
    """

    errors: ConditionErrors
    whole: Estimates
    whole_by_chance: float
    overconfidence: Estimates
    bins: list[dict[str, Any]]


def _calibration(grid: Grid, kind: str) -> _Calibration:
    """Bins hold single predictions, also those under the compositions of a profile."""
    parts = grid.compositions or grid
    groups = None if parts is grid else [*profile_groups(parts.conditions).values()]
    every = tuple(map(parts.values, KINDS[kind]))
    errors = condition_errors(every[0], every[1], groups)
    sure, right = predictions(kind, *every)
    del every  # these arrays are large, as the next ones
    gaps = sure - right
    if kind != "clean" and groups is not None:
        gaps = mean_of_groups(gaps, groups)
    present = ~np.isnan(gaps)
    gaps[~present] = 0.0
    sums, counts = (values.sum(axis=1, keepdims=True, dtype=float) for values in (gaps, present))
    del gaps, present
    return _Calibration(
        errors,
        estimated_error(sure, right),
        # Rows of one image are not independent: what chance would give over them is not known.
        calibration_error(sure[:, 0], right[:, 0])[1] if kind == "clean" else np.nan,
        differences(picture_values(sums, counts)),
        bins(grid.model, kind, sure, right),
    )


def _overall_calibration(calibrated: Mapping[str, _Calibration]) -> dict[str, float | None]:
    clean, perturbed = calibrated.values()
    chance = perturbed.errors.by_chance
    present = chance[~np.isnan(chance)]
    return {
        **clean.whole.named("clean_ece", 0),
        "clean_ece_by_chance": number(clean.whole_by_chance),
        **perturbed.whole.named("perturbed_ece", 0),
        **perturbed.errors.mean.named("condition_ece", 0),
        "condition_ece_by_chance": float(present.mean()) if len(present) else None,
        **clean.overconfidence.named("clean_overconfidence", 0),
        **perturbed.overconfidence.named("overconfidence", 0),
    }


def by_severity(measured: Measured) -> list[dict[str, Any]]:
    """Per model and ImageNet-C severity, the mean over the perturbations that have all of them.

    ``all of them`` are the severities that occur in the run. Keys as ``by_perturbation`` without
    what tells of one condition and without calibration, with ``severity`` and ``perturbations``
    (their names). Empty if no perturbation has two severities or more.
    """
    return [entry for model_tables in tables(grids(measured)) for entry in model_tables.by_severity]


def _severities(grid: Grid) -> dict[int, list[int]]:
    """The conditions of each severity, of the perturbations that have all; {} if there is one."""
    names, levels = graded(grid.conditions)
    if len(levels) < 2 or not names:
        return {}
    return {
        level: [
            place
            for place, key in enumerate(grid.conditions)
            if key.perturbation in names and key.severity == level
        ]
        for level in levels
    }


def _by_severity(
    grid: Grid, groups: Mapping[int, Places], figures: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    return [
        {
            "model": grid.model,
            "severity": level,
            "perturbations": graded(grid.conditions)[0],
            "n_images": grid.n_images,
            **figure,
        }
        for level, figure in zip(groups, figures, strict=True)
    ]


def over_models(measured: Measured) -> list[dict[str, Any]]:
    """Per perturbation, over all strengths, the mean of the models; the lowest consistency first.

    What differs in more than strength, such as an attack in two norms, is told apart. Keys:
    ``series`` (its label), ``perturbation``, ``n_strengths``, ``n_images`` (those that consistency
    counts) and ``consistency`` with its interval.
    """
    entries = [entry for entry in _by_series(grids(measured)) if entry["n_images"]]
    return sorted(entries, key=lambda entry: float(entry["consistency"]))


def _by_series(some: Sequence[Grid]) -> list[dict[str, Any]]:
    """An entry a series: the mean of the models of ``some``.

    A series of strength 0 alone, as in the profile of a match, says nothing of its perturbation.
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
    return [
        {
            "series": name,
            "perturbation": perturbation,
            "n_strengths": len(of_series[place]),
            "n_images": int((~np.isnan(joint[:, place])).sum()),
            **estimates.named("consistency", place),
        }
        for place, (name, perturbation) in enumerate(names.items())
    ]


def graded(conditions: Sequence[ConditionKey]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(perturbations that have every severity that occurs, those severities)."""
    levels: dict[str, set[int]] = {}
    for key in conditions:
        if key.severity is not None:
            levels.setdefault(key.perturbation, set()).add(key.severity)
    every = set().union(*levels.values())
    names = tuple(name for name, mine in levels.items() if mine == every)
    return names, tuple(sorted(every))


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

    def condition_entries(self) -> list[dict[str, Any]]:
        blocks, lost = self.grid.blocks(_CELLS), {}
        for suffix in _TOPS:
            columns = (RATES[f"{kind}_accuracy{suffix}"] for kind in _SIDES)
            parts = (self.grid.parts(column, blocks) for column in columns)
            pairs = zip(*map(drops, *parts), strict=True)
            lost[suffix] = [side_by_side(*some) for some in pairs]
        labelled = (self.grid.flags("correct") != UNKNOWN).sum(axis=0)
        return _entries(self.condition_figures, lost, labelled)


def _add(grid: Grid, columns: _Columns, name: str, column: str) -> None:
    """Add the figure ``name``."""
    values = _of_images(grid, column, columns.groups)
    if name in RATES:
        columns.rates[name], columns.group_figures[name] = values, shares(values)
        columns.condition_figures[name] = _rates(grid, column)
    else:
        limits = _limits(column)
        columns.group_figures[name] = means(values, *limits)
        parts = grid.parts(column, grid.blocks(_CELLS))
        columns.condition_figures[name] = side_by_side(*(means(part, *limits) for part in parts))


def _rates(grid: Grid, column: str) -> Estimates:
    """The rate of each condition; of a profile an image counts with its share."""
    if grid.compositions is not None:
        parts = grid.parts(column, grid.blocks(_CELLS))
        return side_by_side(*map(shares, parts))
    flags = grid.flags(column)
    return flag_shares((flags == 1).sum(axis=0), (flags != UNKNOWN).sum(axis=0))


def _limits(column: str) -> tuple[float, float]:
    """The bounds of the metric in ``column``; a rescaled similarity is at most 1."""
    if column in RESCALED.values():
        return -math.inf, 1.0
    if column not in metrics.REGISTRY:  # of a plugin that is gone
        return -math.inf, math.inf
    return metrics.REGISTRY[column].low, metrics.REGISTRY[column].high


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
