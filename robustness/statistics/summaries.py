"""A run in figures: per model, per model and condition, per model and severity.

Every figure ``x`` stands beside ``x_low`` and ``x_high``, by ``estimates.INTERVAL_RULE``. What
needs labels is None without them. Accuracies count the labelled images only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.metrics.intervals import difference_bounds
from robustness.statistics.calibration import (
    KINDS,
    calibration_error,
    condition_errors,
    estimated_error,
)
from robustness.statistics.estimates import (
    Estimates,
    complement,
    differences,
    drops,
    each_picture,
    means,
    number,
    over_conditions,
    shares,
    side_by_side,
)
from robustness.statistics.grid import (
    MEANS,
    UNKNOWN,
    ConditionKey,
    Grid,
    Measured,
    Places,
    grids,
)
from robustness.statistics.robust_accuracy import under_attack

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

_CELLS = 1_000_000  # of a column worked on at once: some arrays of 8 MB
_TOPS = ("", "_top5")
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
    wholes = [_columns(grid, [slice(None)], each=False).of_groups[0] for grid in some]
    return ranked(some, [_whole(grid, told) for grid, told in zip(some, wholes, strict=True)])


def ranked(some: Sequence[Grid], wholes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The summary from the entry of each of ``some`` models, as ``tables`` has them."""
    entries = {grid.model: whole for grid, whole in zip(some, wholes, strict=True)}
    attacks_alone = all(key.is_attack for grid in some for key in grid.conditions)
    unknown = [(grid.flags("correct") == UNKNOWN).all(axis=1).mean() for grid in some]
    labelled = all(share <= MOST_UNLABELLED for share in unknown)
    robust = attacks_alone and all(e["robust_accuracy"] is not None for e in entries.values())
    by = "robust_accuracy" if robust else "perturbed_accuracy" if labelled else "consistency"
    found: list[dict[str, Any]] = []
    for labels, names in models.by_labels(entries):
        group = [{"label_set": labels.title, "ranked_by": by, **entries[name]} for name in names]
        found += sorted(group, key=lambda entry: -(entry[by] or 0.0))
    return found


@dataclass(frozen=True)
class ModelTables:
    """The tables of one model: its entry of the summary without a rank, conditions, severities."""

    summary: dict[str, Any]
    by_perturbation: list[dict[str, Any]]
    by_severity: list[dict[str, Any]]


def tables(grid: Grid) -> ModelTables:
    """What ``summary``, ``by_perturbation`` and ``by_severity`` say, each column read once."""
    severities = _severities(grid)
    found = _columns(grid, [slice(None), *severities.values()], each=True)
    whole, *levels = found.of_groups
    return ModelTables(
        _whole(grid, whole),
        _by_condition(grid, found.of_each),
        _by_severity(grid, severities, levels),
    )


def _whole(grid: Grid, figures: dict[str, Any]) -> dict[str, Any]:
    """The entry of a model over all its rows."""
    return {
        "model": grid.model,
        "n_images": grid.n_images,
        **figures,
        **_consistency(grid),
        **under_attack(grid),
        **_overall_calibration(grid),
    }


def _consistency(grid: Grid) -> dict[str, float | None]:
    kept = over_conditions(grid.values("consistent"), grid.there, shares).named("consistency", 0)
    return {**kept, **complement(kept, "consistency", "flip_rate")}


def by_perturbation(measured: Measured) -> list[dict[str, Any]]:
    """Per model and condition, in the order of the models and conditions.

    Keys: ``model``, ``condition``, ``series`` (the label of all that differ from it in strength
    alone), ``perturbation``, ``strength``, ``severity`` (of ImageNet-C, where the strength is
    exactly one), ``n_images``, ``n_attacked`` (of an attack: the images that consistency counts,
    those that the model had right, without labels all), the figures of ``summary``, the expected
    calibration errors ``clean_ece`` and ``perturbed_ece``, and without intervals
    ``clean_ece_by_chance`` and ``perturbed_ece_by_chance``: what so few images give a perfectly
    calibrated model.
    """
    return [
        entry
        for grid in grids(measured)
        for entry in _by_condition(grid, _columns(grid, [], each=True).of_each)
    ]


def _by_condition(grid: Grid, figures: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = grid.there.sum(axis=0).tolist()
    counted = (~np.isnan(grid.values("consistent"))).sum(axis=0).tolist()
    return [
        {
            "model": grid.model,
            **_condition(key),
            "n_images": count,
            "n_attacked": counted[at] if key.is_attack else None,
            **found,
            **calibration,
        }
        for at, (key, count, found, calibration) in enumerate(
            zip(grid.conditions, rows, figures, _calibration(grid), strict=True)
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


def _calibration(grid: Grid) -> list[dict[str, float | None]]:
    found: list[dict[str, float | None]] = [{} for _ in grid.conditions]
    for kind, columns in KINDS.items():
        sure, right = map(grid.values, columns)
        errors = condition_errors(sure, right)
        for place, entry in enumerate(found):
            by_chance = calibration_error(sure[:, place], right[:, place])[1]
            entry |= errors.named(f"{kind}_ece", place)
            entry[f"{kind}_ece_by_chance"] = number(by_chance)
    return found


def _overall_calibration(grid: Grid) -> dict[str, float | None]:
    clean = [grid.per_image(name) for name in ("clean_probability", "clean_correct")]
    perturbed = [grid.values(name) for name in ("probability", "correct")]
    chance = [calibration_error(*pair)[1] for pair in zip(*(v.T for v in perturbed), strict=True)]
    known = [value for value in chance if not np.isnan(value)]
    return {
        **estimated_error(*(values[:, None] for values in clean)).named("clean_ece", 0),
        "clean_ece_by_chance": number(calibration_error(*clean)[1]),
        # Rows of one image are not independent: what chance would give over them is not known.
        **estimated_error(*perturbed).named("perturbed_ece", 0),
        **estimated_error(*perturbed, together=False).named("condition_ece", 0),
        "condition_ece_by_chance": float(np.mean(known)) if known else None,
        **_overconfidence(grid),
    }


def _overconfidence(grid: Grid) -> dict[str, float | None]:
    """Mean confidence less accuracy of the answers with a label, clean and perturbed."""
    clean = grid.per_image("clean_probability") - grid.per_image("clean_correct")
    gaps = grid.values("probability") - grid.values("correct")
    known = ~np.isnan(gaps)
    sums = np.where(known, gaps, 0.0).sum(axis=1, keepdims=True)
    perturbed = each_picture(sums, known.sum(axis=1, keepdims=True).astype(float))
    return {
        **differences(clean[:, None]).named("clean_overconfidence", 0),
        **differences(perturbed).named("overconfidence", 0),
    }


def by_severity(measured: Measured) -> list[dict[str, Any]]:
    """Per model and ImageNet-C severity, the mean over the perturbations that have all of them.

    ``all of them`` are the severities that occur in the run. Keys as ``by_perturbation`` without
    what tells of one condition and without calibration, with ``severity`` and ``perturbations``
    (their names). Empty if no perturbation has two severities or more.
    """
    found = []
    for grid in grids(measured):
        groups = _severities(grid)
        told = _columns(grid, list(groups.values()), each=False).of_groups if groups else []
        found += _by_severity(grid, groups, told)
    return found


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
            **told,
        }
        for level, told in zip(groups, figures, strict=True)
    ]


def over_models(measured: Measured) -> list[dict[str, Any]]:
    """Per perturbation, over all models and strengths together; the lowest consistency first.

    What differs in more than strength, such as an attack in two norms, is told apart. Keys:
    ``series`` (its label), ``perturbation``, ``n_strengths``, ``n_images`` (those that consistency
    counts), ``consistency`` with its interval, and whether it is significantly above the lowest
    (``above_lowest``) and below the highest (``below_highest``): the interval of the paired
    difference, corrected for the number of pairs of perturbations, leaves out 0.
    """
    entries, values = _by_series(grids(measured))
    known = [at for at, entry in enumerate(entries) if entry["n_images"]]
    order = sorted(known, key=lambda at: entries[at]["consistency"])
    values = values[:, order]
    pairs = max(1, math.comb(len(order), 2))
    above, _ = difference_bounds(values - values[:, :1], tests=pairs)
    below, _ = difference_bounds(values[:, -1:] - values, tests=pairs)
    return [
        {**entries[at], "above_lowest": bool(low > 0), "below_highest": bool(high > 0)}
        for at, low, high in zip(order, above, below, strict=True)
    ]


def over_strengths(measured: Measured) -> list[dict[str, Any]]:
    """Per model and perturbation, over all strengths together.

    Keys as ``over_models``, with ``model``.
    """
    return [
        {"model": grid.model, **entry}
        for grid in grids(measured)
        for entry in _by_series([grid])[0]
        if entry["n_images"]
    ]


def _by_series(some: Sequence[Grid]) -> tuple[list[dict[str, Any]], Floats]:
    """(An entry a series, each image's value in its consistency (images, series))."""
    conditions = some[0].conditions
    names = {key.series: key.perturbation for key in conditions}
    of_series = [[key.series == name for key in conditions] for name in names]
    sums, counts = np.zeros((2, len(some[0].images), len(names)))
    for grid in some:
        flags = grid.flags("consistent")
        for at, chosen in enumerate(of_series):
            sums[:, at] += (flags[:, chosen] == 1).sum(axis=1)
            counts[:, at] += (flags[:, chosen] != UNKNOWN).sum(axis=1)
    values = each_picture(sums, counts)
    found = shares(values)
    entries = [
        {
            "series": name,
            "perturbation": perturbation,
            "n_strengths": sum(of_series[place]),
            "n_images": int((counts[:, place] > 0).sum()),
            **found.named("consistency", place),
        }
        for place, (name, perturbation) in enumerate(names.items())
    ]
    return entries, values


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
    """The figures of groups of conditions, by what every image has over them, and of each."""

    of_groups: list[dict[str, Any]]
    of_each: list[dict[str, Any]]


def _columns(grid: Grid, groups: Sequence[Places], *, each: bool) -> _Columns:
    """The figures of the ``groups`` and, if asked, of ``each`` condition.

    A column is read once, and one column is in memory at a time.
    """
    blocks = grid.blocks(_CELLS)
    values: dict[str, Floats] = {}
    of_each: dict[str, Estimates] = {}
    for name, column in {**FIGURES, **dict(zip(grid.own, grid.own, strict=True))}.items():
        if groups:
            values[name] = _of_images(grid, column, groups)
        if each:
            of_each[name] = side_by_side(*map(_estimate(name), grid.parts(column, blocks)))
    lost: dict[str, Sequence[Estimates]] = {}
    for suffix in _TOPS if each else ():
        columns = (RATES[f"{kind}_accuracy{suffix}"] for kind in ("clean", "perturbed"))
        parts = zip(*map(drops, *(grid.parts(column, blocks) for column in columns)), strict=True)
        lost[suffix] = [side_by_side(*some) for some in parts]
    labelled = (grid.flags("correct") != UNKNOWN).sum(axis=0)
    return _Columns(
        _of_groups(values) if groups else [],
        _entries(of_each, lost, labelled) if each else [],
    )


def _of_groups(values: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """The figures of each group from ``values`` (images, groups)."""
    found = {name: _estimate(name)(each) for name, each in values.items()}
    lost = {
        suffix: drops(values[f"clean_accuracy{suffix}"], values[f"perturbed_accuracy{suffix}"])
        for suffix in _TOPS
    }
    return _entries(found, lost, (~np.isnan(values["perturbed_accuracy"])).sum(axis=0))


def _of_images(grid: Grid, column: str, groups: Sequence[Places]) -> Floats:
    """(images, groups): each image's value of ``column`` over the conditions of a group."""
    sums, counts = [], []
    for values in grid.parts(column, groups):
        there = ~np.isnan(values)
        count = there.sum(axis=1).astype(np.float64)
        total = np.where(there, values, 0.0).sum(axis=1)
        if column in _ONCE:
            total, count = np.divide(total, np.maximum(count, 1)), np.minimum(count, 1)
        sums.append(total)
        counts.append(count)
    return each_picture(np.column_stack(sums), np.column_stack(counts))


def _estimate(name: str) -> Callable[[Floats], Estimates]:
    return shares if name in RATES else means


def _entries(
    found: Mapping[str, Estimates],
    lost: Mapping[str, Sequence[Estimates]],
    labelled: NDArray[np.intp],
) -> list[dict[str, Any]]:
    """One entry for each of the places in the estimates."""
    entries: list[dict[str, Any]] = []
    for place, count in enumerate(labelled.tolist()):
        entry: dict[str, Any] = {}
        for name, estimates in found.items():
            entry |= estimates.named(name, place)
        entry["n_labelled"] = count
        entry |= complement(entry, "consistency", "flip_rate")
        for suffix, (drop, relative) in lost.items():
            entry |= drop.named(f"drop{suffix}", place)
            entry |= relative.named(f"relative_drop{suffix}", place)
        entries.append(entry)
    return entries
