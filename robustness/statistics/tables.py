"""A run in figures: per model, and of each per condition, severity and class.

Every figure ``x`` stands beside ``x_low`` and ``x_high``, by ``estimates.INTERVAL_RULE``. What
needs labels is None without them. Accuracies count the labelled images only.

All tables of a run, for pages, reports, gate and command line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import metrics, models
from robustness.base.text import counted
from robustness.metrics.scores import RESCALED
from robustness.statistics.calibration import (
    KINDS,
    ConditionErrors,
    bins,
    condition_errors,
    group_errors,
)
from robustness.statistics.choice import ModelChoice, choose
from robustness.statistics.failures import Hardest, hardest_of_groups
from robustness.statistics.grid import (
    MEANS,
    UNKNOWN,
    ConditionKey,
    Grid,
    Measured,
    Places,
    contradictory,
    grids,
    map_grids,
    mean_of_groups,
    mean_of_rows,
    profile_groups,
)
from robustness.statistics.means import (
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
from robustness.statistics.pairs import (
    QUANTITIES,
    compare,
    ranking,
    robust_accuracy,
    success,
    under_attack,
)
from robustness.statistics.study import corruption_errors

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
_TOPS = ("", "_top5")
_SIDES = ("clean", "perturbed")
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
        sure = mean_of_rows(sure)[:, None]
        right = mean_of_rows(right)[:, None]
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
        blocks = self.grid.blocks(_CELLS)
        lost = {}
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
        columns.rates[name] = values
        columns.group_figures[name] = shares(values)
        if grid.compositions is not None:
            columns.condition_figures[name] = side_by_side(*map(shares, parts))
            return
        flags = grid.flags(column)
        total = (flags == 1).sum(axis=0)
        n = (flags != UNKNOWN).sum(axis=0)
        columns.condition_figures[name] = flag_shares(total, n)
        return
    low = -math.inf
    high = math.inf  # as a plugin that is gone may have them
    if column in RESCALED.values():
        high = 1.0
    elif column in metrics.REGISTRY:
        low = metrics.REGISTRY[column].low
        high = metrics.REGISTRY[column].high
    columns.group_figures[name] = means(values, low, high)
    columns.condition_figures[name] = side_by_side(*(means(part, low, high) for part in parts))


def _of_images(grid: Grid, column: str, groups: Sequence[Places]) -> Floats:
    """(images, groups): each image's value of ``column`` over the conditions of a group."""
    sums = []
    counts = []
    cells = grid.read(column)
    for places in groups:
        values = cells[:, places]
        there = values != UNKNOWN if cells.dtype.kind == "i" else ~np.isnan(values)
        count = there.sum(axis=1).astype(np.float64)
        total = (values if there.all() else np.where(there, values, 0)).sum(axis=1, dtype=float)
        if column in _ONCE:
            total = np.divide(total, np.maximum(count, 1))
            count = np.minimum(count, 1)
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


Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class FigureTables:
    """What ``Figures`` works out, to be stored; JSON-ready. ``pairs`` and ``tests`` by quantity."""

    images: int
    labelled: int
    copies: int
    contradictions: int
    summary: Entries
    by_perturbation: Entries
    by_severity: Entries
    over_models: Entries
    by_class: Entries
    corruption_errors: Entries
    robust_accuracy: Entries
    reliability: Entries
    choice: ModelChoice
    hardest: Sequence[Hardest]
    classes: Sequence[tuple[str, int]]
    pairs: Mapping[str, Entries]


_WORKED_OUT = tuple(field.name for field in fields(FigureTables) if field.name != "pairs")


class Figures:
    """The tables of measurements, each computed on first use.

    ``measured`` are rows as a frame, or grids, or what reads these once they are needed. An image
    that is present under several names counts once; ``copies`` are the other images, which a frame
    tells itself.
    """

    def __init__(
        self,
        measured: Measured | Callable[[], Sequence[Grid]],
        copies: int = 0,
        contradictions: int = 0,
    ) -> None:
        self._measured = measured
        self.contradictions = contradictions
        """Images that have copies with another label."""
        self.copies = copies
        """Images that are exact copies of others, and not counted."""
        if isinstance(measured, pd.DataFrame):
            counted = self.images  # raises for a frame that lacks columns
            self.copies = int(measured["image"].nunique()) - counted
            self.contradictions = contradictory(measured)
        self.classes: Sequence[tuple[str, int]] = ()
        """(model, class) of the images, where the rows were asked for them."""
        self._pairs: dict[str, Entries] = {}

    @classmethod
    def of_tables(cls, tables: FigureTables, read: Callable[[], Sequence[Grid]]) -> Figures:
        """The inverse of ``tables``; ``read`` returns the grids if they are needed."""
        figures = cls(read)
        vars(figures).update({name: getattr(tables, name) for name in _WORKED_OUT})
        figures._pairs = dict(tables.pairs)
        return figures

    def tables(self) -> FigureTables:
        """All tables, worked out."""
        return FigureTables(
            **{name: getattr(self, name) for name in _WORKED_OUT},
            pairs={quantity: self.pairs(quantity) for quantity in QUANTITIES},
        )

    @cached_property
    def grids(self) -> Sequence[Grid]:
        """One grid a model."""
        measured = self._measured() if callable(self._measured) else self._measured
        return grids(measured)

    @cached_property
    def images(self) -> int:
        """How many images count."""
        return len(self.grids[0].images) if self.grids else 0

    @cached_property
    def labelled(self) -> int:
        """How many images have a label that a model knows."""
        labelled = [(grid.flags("correct") != UNKNOWN).any(axis=1) for grid in self.grids]
        return int(np.logical_or.reduce(labelled).sum()) if labelled else 0

    @cached_property
    def _of_models(self) -> list[ModelTables]:
        return model_tables(self.grids)

    @cached_property
    def summary(self) -> Entries:
        """Per model, by falling ``ranked_by`` among those with the same classes.

        Keys: ``model``, ``label_set``, ``ranked_by`` ("robust_accuracy" for attacks alone on
        labelled images, else "perturbed_accuracy" where at least half of the images have a label,
        else "consistency"), ``n_images``, the figures of ``under_attack``, and with
        their intervals ``consistency`` (the mean over the conditions, where some count more images
        than others), ``flip_rate``, the accuracies of ``RATES``, ``drop`` and ``relative_drop`` (of
        the accuracy; also ``..._top5``), the means of ``MEANS``, the expected calibration errors
        ``clean_ece`` (of each image once), ``perturbed_ece`` (of all rows together, where too sure
        under one condition makes up for too unsure under another) and ``condition_ece`` (the mean
        of those of the conditions), and ``clean_overconfidence`` and ``overconfidence``: mean
        confidence less accuracy. All over all rows of the model. Without intervals as in
        ``by_perturbation`` ``clean_ece_by_chance`` and ``condition_ece_by_chance``.
        """
        return rank_models(self.grids, [tables.summary for tables in self._of_models])

    @cached_property
    def by_perturbation(self) -> Entries:
        """Per model and condition, in the order of the models and conditions.

        Keys: ``model``, ``condition``, ``series`` (the label shared by all conditions that differ
        only in strength), ``perturbation``, ``strength``, ``severity`` (of ImageNet-C, if the
        strength is exactly that of one), ``n_images``, ``n_attacked`` (under an attack, the images
        that consistency counts: those that the model predicts correctly, or all without labels),
        ``attack_success`` with its interval, the figures of ``summary``, the expected calibration
        errors ``clean_ece`` and ``perturbed_ece``, and without intervals ``clean_ece_by_chance``
        and ``perturbed_ece_by_chance``, which a perfectly calibrated model has on so few images.
        """
        return [entry for tables in self._of_models for entry in tables.by_perturbation]

    @cached_property
    def by_severity(self) -> Entries:
        """Per model and ImageNet-C severity, the mean over some perturbations.

        They are those that have every severity of the run. Keys as ``by_perturbation``, but those
        of a single condition and of calibration, with ``severity`` and ``perturbations`` (their
        names). Empty if no perturbation has two severities or more.
        """
        return [entry for tables in self._of_models for entry in tables.by_severity]

    @cached_property
    def reliability(self) -> Entries:
        """Per model, of clean and perturbed images, the bins as ``calibration.bins`` has them."""
        return [entry for tables in self._of_models for entry in tables.reliability]

    @cached_property
    def over_models(self) -> Entries:
        return over_models(self.grids)

    @cached_property
    def by_class(self) -> Entries:
        return by_class(self.grids)

    @cached_property
    def corruption_errors(self) -> Entries:
        return corruption_errors(self.grids)

    @cached_property
    def robust_accuracy(self) -> Entries:
        return robust_accuracy(self.grids)

    @property
    def copies_note(self) -> str:
        """A sentence on ``copies``; "" if there are none."""
        if not self.copies:
            return ""
        are = "is a copy of another" if self.copies == 1 else "are copies of others"
        note = f"{self.copies:,} of {self.images + self.copies:,} images {are} and not counted."
        if self.contradictions:
            images = counted(self.contradictions, "image")
            note += f" Copies of {images} have different labels; the first label counts."
        return note

    @cached_property
    def choice(self) -> ModelChoice:
        """The model to choose if every perturbation matters alike, whatever it costs."""
        return choose(self)

    @cached_property
    def hardest(self) -> Sequence[Hardest]:
        """What does most harm to each group of models with the same classes.

        By the quantity of the ranking.
        """
        return hardest_of_groups(self.grids, self.ranked_by)

    @property
    def quantities(self) -> list[str]:
        """The quantities for rankings; accuracies need labels."""
        return [q for q in QUANTITIES if any(entry[q] is not None for entry in self.summary)]

    @property
    def ranked_by(self) -> str:
        """The default quantity of the ranking."""
        return str(self.summary[0]["ranked_by"])

    def pairs(self, quantity: str = "") -> Entries:
        """Every pair of models, as ``compare`` gives it; by default by ``ranked_by``."""
        quantity = quantity or self.ranked_by
        if quantity not in self._pairs:
            self._pairs[quantity] = compare(self.grids, quantity)
        return self._pairs[quantity]

    @property
    def pairs_under_attack(self) -> Entries:
        """The pairs by robust accuracy, if models are ranked by something else."""
        robust = "robust_accuracy"
        return [] if self.ranked_by == robust else self.pairs(robust)

    def ranking(self, quantity: str = "") -> Entries:
        """The summary with ranks."""
        return ranking(self.summary, self.pairs(quantity))
