"""A run in figures: per model, per model and condition, per model and severity.

Every figure ``x`` stands beside ``x_low`` and ``x_high``, by ``bootstrap.INTERVAL_RULE``. What
needs labels is None without them. Accuracies count the labelled images only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.statistics.bootstrap import Estimates, complement, derived, means
from robustness.statistics.calibration import calibration_error
from robustness.statistics.grid import MEANS, ConditionKey, Grid, grids

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
"""All figures that are means over rows, with their columns."""

_CELLS = 16_000_000  # of the figures of conditions worked on at once: 128 MB
_ONCE = {"clean_correct", "clean_correct5"}  # of the image alone, whatever the condition


def summary(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model, by falling consistency among those with the same classes.

    Keys: ``model``, ``label_set``, ``n_images``, and with their intervals ``consistency``,
    ``flip_rate``, the accuracies of ``RATES``, ``drop`` and ``relative_drop`` (of the accuracy;
    also ``..._top5``), and the means of ``MEANS``. All over all rows of the model. Without
    interval the expected calibration errors ``clean_ece`` (of each picture once) and
    ``perturbed_ece``, and ``clean_ece_by_chance`` as in ``by_perturbation``.
    """
    entries = {}
    for grid in grids(frame):
        found = means(*_totals(grid), rates=_is_rate(1))
        entries[grid.model] = {
            "model": grid.model,
            "n_images": len(np.unique(grid.image_of)),
            **_figures(found, 0),
            **_overall_calibration(grid),
        }
    ranked: list[dict[str, Any]] = []
    for labels, names in models.by_labels(entries):
        group = [{"label_set": labels.title, **entries[name]} for name in names]
        ranked += sorted(group, key=lambda entry: -entry["consistency"])
    return ranked


def by_perturbation(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model and condition, in the order of the models and conditions.

    Keys: ``model``, ``condition``, ``series`` (the label of all that differ from it in strength
    alone), ``perturbation``, ``strength``, ``severity`` (of ImageNet-C, where the strength is
    exactly one), ``n_images``, the figures of ``summary``, and without intervals the expected
    calibration error ``clean_ece`` and ``perturbed_ece``, each with ``..._by_chance``: what so few
    images give a perfectly calibrated model.
    """
    return [entry for grid in grids(frame) for entry in _by_condition(grid)]


def _by_condition(grid: Grid) -> list[dict[str, Any]]:
    at_once = max(1, _CELLS // (len(grid.images) * len(FIGURES)))
    figures: list[dict[str, Any]] = []
    for start in range(0, len(grid.conditions), at_once):
        columns = [grid.values(name)[:, start : start + at_once] for name in FIGURES.values()]
        size = columns[0].shape[1]
        values = np.hstack(columns)
        there = ~np.isnan(values)
        found = means(np.where(there, values, 0.0), there.astype(float), rates=_is_rate(size))
        figures += [_figures(found, place, size) for place in range(size)]
    rows = (~np.isnan(grid.values("consistent"))).sum(axis=0).tolist()
    return [
        {"model": grid.model, **_condition(key), "n_images": count, **found, **calibration}
        for key, count, found, calibration in zip(
            grid.conditions, rows, figures, _calibration(grid), strict=True
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
    columns = ("clean_probability", "clean_correct", "probability", "correct")
    values = [grid.values(column) for column in columns]
    found = []
    for place in range(len(grid.conditions)):
        clean_sure, clean_right, sure, right = (each[:, place] for each in values)
        found.append(_ece("clean", clean_sure, clean_right) | _ece("perturbed", sure, right))
    return found


def _overall_calibration(grid: Grid) -> dict[str, float | None]:
    clean = _ece("clean", grid.per_image("clean_probability"), grid.per_image("clean_correct"))
    perturbed = _ece(
        "perturbed", *(grid.values(name).ravel() for name in ("probability", "correct"))
    )
    # Rows of one image are not independent: what chance would give over them is not known.
    return clean | {"perturbed_ece": perturbed["perturbed_ece"]}


def _ece(kind: str, confidence: Floats, correct: Floats) -> dict[str, float | None]:
    names = (f"{kind}_ece", f"{kind}_ece_by_chance")
    values = calibration_error(confidence, correct)
    return {
        name: None if np.isnan(value) else value for name, value in zip(names, values, strict=True)
    }


def by_severity(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model and ImageNet-C severity, the mean over the perturbations that have all of them.

    ``all of them`` are the severities that occur in the run. Keys as ``by_perturbation`` without
    what tells of one condition and without calibration, with ``severity`` and ``perturbations``
    (their names). Empty if no perturbation has two severities or more.
    """
    found = []
    for grid in grids(frame):
        names, levels = graded(grid.conditions)
        if len(levels) < 2 or not names:
            continue
        places = [
            [
                place
                for place, key in enumerate(grid.conditions)
                if key.perturbation in names and key.severity == level
            ]
            for level in levels
        ]
        groups = [_totals(grid, chosen) for chosen in places]
        size = len(levels)
        sums, counts = (_interleaved([group[side] for group in groups]) for side in (0, 1))
        estimates = means(sums, counts, rates=_is_rate(size))
        found += [
            {
                "model": grid.model,
                "severity": level,
                "perturbations": names,
                "n_images": len(np.unique(grid.image_of)),
                **_figures(estimates, place, size),
            }
            for place, level in enumerate(levels)
        ]
    return found


def over_models(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per perturbation, over all models and strengths together; the lowest consistency first.

    What differs in more than strength, such as an attack in two norms, is told apart. Keys:
    ``series`` (its label), ``perturbation``, ``n_images``, and ``consistency`` with its interval.
    """
    every = grids(frame)
    conditions = every[0].conditions
    names = {key.series: key.perturbation for key in conditions}
    kept = np.stack([grid.values("consistent") for grid in every])
    sums, counts = [], []
    for name in names:
        chosen = kept[:, :, [key.series == name for key in conditions]]
        sums.append(np.nansum(chosen, axis=(0, 2)))
        counts.append((~np.isnan(chosen)).sum(axis=(0, 2)).astype(np.float64))
    found = means(np.column_stack(sums), np.column_stack(counts), rates=True)
    entries = [
        {
            "series": name,
            "perturbation": perturbation,
            "n_images": int((counts[place] > 0).sum()),
            **found.named("consistency", place),
        }
        for place, (name, perturbation) in enumerate(names.items())
    ]
    return sorted(entries, key=lambda entry: entry["consistency"])


def graded(conditions: Sequence[ConditionKey]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """(perturbations that have every severity that occurs, those severities)."""
    levels: dict[str, set[int]] = {}
    for key in conditions:
        if key.severity is not None:
            levels.setdefault(key.perturbation, set()).add(key.severity)
    every = set().union(*levels.values())
    names = tuple(name for name, mine in levels.items() if mine == every)
    return names, tuple(sorted(every))


def _totals(grid: Grid, conditions: Sequence[int] | None = None) -> tuple[Floats, Floats]:
    """(sums, counts) of each image over ``conditions``, (n, number of figures) each."""
    sums, counts = [], []
    for column in FIGURES.values():
        values = grid.values(column)
        values = values if conditions is None else values[:, list(conditions)]
        there = ~np.isnan(values)
        count = there.sum(axis=1).astype(np.float64)
        total = np.where(there, values, 0.0).sum(axis=1)
        if column in _ONCE:
            total, count = np.divide(total, np.maximum(count, 1)), np.minimum(count, 1)
        sums.append(total)
        counts.append(count)
    return np.column_stack(sums), np.column_stack(counts)


def _interleaved(groups: Sequence[Floats]) -> Floats:
    """(n, figures x groups), the groups of a figure side by side, from (n, figures) a group."""
    return np.stack(groups, axis=2).reshape(len(groups[0]), -1)


def _is_rate(size: int) -> NDArray[np.bool_]:
    return np.repeat([name in RATES for name in FIGURES], size)


def _figures(found: Estimates, place: int, size: int = 1) -> dict[str, Any]:
    """The figures of group ``place`` of ``size`` from columns ordered by figure, then group."""
    at = {name: number * size + place for number, name in enumerate(FIGURES)}
    entry: dict[str, Any] = {}
    for name in FIGURES:
        entry |= found.named(name, at[name])
    entry |= complement(entry, "consistency", "flip_rate")
    for suffix in ("", "_top5"):
        entry |= _drops(
            found, at[f"clean_accuracy{suffix}"], at[f"perturbed_accuracy{suffix}"], suffix
        )
    return entry


def _drops(found: Estimates, clean: int, perturbed: int, suffix: str) -> dict[str, Any]:
    """What the perturbation took of the accuracy: as a difference, and as a share of the clean."""
    before, after = found.value[clean], found.value[perturbed]
    befores, afters = found.replicates[:, clean], found.replicates[:, perturbed]
    with np.errstate(divide="ignore", invalid="ignore"):  # undefined where nothing was right
        value = np.array([before - after, (before - after) / before])
        replicates = np.column_stack([befores - afters, (befores - afters) / befores])
    replicates[~np.isfinite(replicates)] = np.nan
    drops = derived(value, replicates)
    return drops.named(f"drop{suffix}", 0) | drops.named(f"relative_drop{suffix}", 1)
