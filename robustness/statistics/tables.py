"""All tables of a run: figures per model, and of each model per condition, severity and class.

Every figure ``x`` stands beside its bounds ``x_low`` and ``x_high``, by ``means.INTERVAL_RULE``.
What needs labels is None without them. Accuracies count the labelled images only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from typing import Any, NamedTuple

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
    Columns,
    ConditionKey,
    Grid,
    Measured,
    contradictory,
    grids,
    map_grids,
    mean_of_groups,
    mean_of_rows,
    profile_groups,
)
from robustness.statistics.means import (
    Drops,
    Estimates,
    complement,
    differences,
    drops,
    flag_shares,
    image_values,
    mean_of_models,
    means,
    number,
    over_conditions,
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

_CLASS_FIGURES = ("consistency", "clean_accuracy", "perturbed_accuracy")
_CELLS = 250_000  # of a column worked on at once: some arrays of 2 MB
_TOPS = ("", "_top5")
_OF_IMAGE_ALONE = {"clean_correct", "clean_correct5"}  # the same under every condition

Entries = list[dict[str, Any]]


@dataclass(frozen=True)
class ModelTables:
    """The tables of one model; ``summary`` is its entry in that, without a rank."""

    summary: dict[str, Any]
    by_perturbation: Entries
    by_severity: Entries
    reliability: Entries


class SeverityColumns(NamedTuple):
    """The ``perturbations`` that have every severity, and their ``columns`` by severity."""

    perturbations: tuple[str, ...]
    columns: dict[int, list[int]]


def model_tables(grids: Sequence[Grid]) -> list[ModelTables]:
    """The tables of each model, whose keys ``Figures`` names.

    A column is read once, of all models, as not all columns fit into memory.
    """
    severities = [severity_columns(grid.conditions) for grid in grids]
    figures = []
    for grid, of_severity in zip(grids, severities, strict=True):
        figures.append(_ModelFigures(grid, [slice(None), *of_severity.columns.values()]))
    column_of = dict(FIGURES)
    if grids:
        column_of |= {name: name for name in grids[0].plugin_columns}
    for name, column in column_of.items():
        map_grids(partial(_add_figure, name=name, column=column), grids, figures)
    clean = map_grids(partial(_calibration, kind="clean"), grids)
    perturbed = map_grids(partial(_calibration, kind="perturbed"), grids)
    return map_grids(_tables_of_model, grids, severities, figures, clean, perturbed)


def _tables_of_model(
    grid: Grid,
    severities: SeverityColumns,
    figures: _ModelFigures,
    clean: _Calibration,
    perturbed: _Calibration,
) -> ModelTables:
    overall, *of_severities = figures.entries_of_groups()
    by_severity = []
    for severity, entry in zip(severities.columns, of_severities, strict=True):
        by_severity.append(
            {
                "model": grid.model,
                "severity": severity,
                "perturbations": severities.perturbations,
                "n_images": grid.n_images,
                **entry,
            }
        )
    return ModelTables(
        summary=_summary_entry(grid, overall, clean, perturbed),
        by_perturbation=_condition_entries(grid, figures, clean, perturbed),
        by_severity=by_severity,
        reliability=[*clean.bins, *perturbed.bins],
    )


def _summary_entry(
    grid: Grid, overall: Mapping[str, Any], clean: _Calibration, perturbed: _Calibration
) -> dict[str, Any]:
    """The entry of a model in ``Figures.summary``; ``overall`` has the figures over all rows."""
    # Conditions that count fewer images weigh as much as the others, unlike in ``overall``.
    estimate = over_conditions(grid.values("consistent"), grid.has_row, shares)
    consistency = estimate.named("consistency", 0)
    by_chance = perturbed.errors.by_chance
    known_by_chance = by_chance[~np.isnan(by_chance)]
    condition_by_chance = None
    if len(known_by_chance):
        condition_by_chance = float(known_by_chance.mean())
    return {
        "model": grid.model,
        "n_images": grid.n_images,
        **overall,
        **consistency,
        **complement(consistency, "consistency", "flip_rate"),
        **under_attack(grid),
        **clean.overall_error.by_condition.named("clean_ece", 0),
        "clean_ece_by_chance": number(clean.overall_error.by_chance[0]),
        **perturbed.overall_error.by_condition.named("perturbed_ece", 0),
        **perturbed.errors.mean.named("condition_ece", 0),
        "condition_ece_by_chance": condition_by_chance,
        **clean.overconfidence.named("clean_overconfidence", 0),
        **perturbed.overconfidence.named("overconfidence", 0),
    }


def _condition_entries(
    grid: Grid, figures: _ModelFigures, clean: _Calibration, perturbed: _Calibration
) -> Entries:
    """The entries of a model in ``Figures.by_perturbation``; conditions without a row have none."""
    image_counts = grid.has_row.sum(axis=0).tolist()
    counted_images = (grid.flags("consistent") != UNKNOWN).sum(axis=0).tolist()
    attack_success = success(grid)
    condition_figures = figures.entries_of_conditions()
    entries = []
    for index, key in enumerate(grid.conditions):
        if not image_counts[index]:
            continue
        entries.append(
            {
                "model": grid.model,
                "condition": key.id,
                "series": key.series,
                "perturbation": key.perturbation,
                "strength": key.strength,
                "severity": key.severity,
                "n_images": image_counts[index],
                "n_attacked": counted_images[index] if key.is_attack else None,
                **attack_success[index],
                **condition_figures[index],
                **clean.errors.by_condition.named("clean_ece", index),
                "clean_ece_by_chance": number(clean.errors.by_chance[index]),
                **perturbed.errors.by_condition.named("perturbed_ece", index),
                "perturbed_ece_by_chance": number(perturbed.errors.by_chance[index]),
            }
        )
    return entries


def rank_models(grids: Sequence[Grid], entries: Sequence[dict[str, Any]]) -> Entries:
    """The summary from the entry of each model, as ``model_tables`` has them."""
    quantity = _ranking_quantity(grids, entries)
    entry_of = {entry["model"]: entry for entry in entries}
    ranked: Entries = []
    for labels, names in models.by_labels(entry_of):
        group = [
            {"label_set": labels.title, "ranked_by": quantity, **entry_of[name]} for name in names
        ]
        group.sort(key=lambda entry: -(entry[quantity] or 0.0))
        ranked += group
    return ranked


def _ranking_quantity(grids: Sequence[Grid], entries: Sequence[Mapping[str, Any]]) -> str:
    """The key of an entry by which models are ranked, as ``Figures.summary`` explains."""
    are_attacks_alone = all(key.is_attack for grid in grids for key in grid.conditions)
    if are_attacks_alone and all(entry["robust_accuracy"] is not None for entry in entries):
        return "robust_accuracy"
    for grid in grids:
        is_unlabelled = (grid.flags("correct") == UNKNOWN).all(axis=1)
        if not is_unlabelled.mean() <= MOST_UNLABELLED:  # also NaN, of no images
            return "consistency"
    return "perturbed_accuracy"


@dataclass(frozen=True)
class _Calibration:
    """How well calibrated the predictions of a model of one of ``KINDS`` are.

    ``errors`` are those of the conditions, ``overall_error`` that of all predictions together;
    ``overconfidence`` is mean confidence less accuracy.
    """

    errors: ConditionErrors
    overall_error: ConditionErrors
    overconfidence: Estimates
    bins: Entries


def _calibration(grid: Grid, kind: str) -> _Calibration:
    # Bins hold single predictions, also those under the compositions of a profile.
    parts = grid.compositions or grid
    groups = None
    if grid.compositions is not None:
        groups = list(profile_groups(parts.conditions).values())
    confidence_column, correct_column = KINDS[kind]
    confidence = parts.values(confidence_column)
    correct = parts.values(correct_column)
    errors = condition_errors(confidence, correct, groups)
    if kind == "clean":  # an original, the same under every condition, counts once
        confidence = mean_of_rows(confidence)[:, None]
        correct = mean_of_rows(correct)[:, None]
    gaps = confidence - correct
    if kind != "clean" and groups is not None:
        gaps = mean_of_groups(gaps, groups)
    is_known = ~np.isnan(gaps)
    gaps[~is_known] = 0.0
    sums = gaps.sum(axis=1, keepdims=True, dtype=float)
    counts = is_known.sum(axis=1, keepdims=True, dtype=float)
    del gaps, is_known  # these arrays are large
    return _Calibration(
        errors=errors,
        overall_error=group_errors(confidence, correct, [slice(None)]),
        overconfidence=differences(image_values(sums, counts)),
        bins=bins(grid.model, kind, confidence, correct),
    )


def severity_columns(conditions: Sequence[ConditionKey]) -> SeverityColumns:
    """The perturbations that have every severity that occurs, and where in ``conditions``.

    There are no columns if only one severity occurs, or no perturbation has all.
    """
    severities_of: dict[str, set[int]] = {}
    for key in conditions:
        if key.severity is not None:
            severities_of.setdefault(key.perturbation, set()).add(key.severity)
    every = set().union(*severities_of.values())
    names = tuple(name for name, severities in severities_of.items() if severities == every)
    if len(every) < 2 or not names:
        return SeverityColumns(names, {})
    columns: dict[int, list[int]] = {severity: [] for severity in sorted(every)}
    for index, key in enumerate(conditions):
        if key.severity is not None and key.perturbation in names:
            columns[key.severity].append(index)
    return SeverityColumns(names, columns)


def over_models(grids: Sequence[Grid]) -> Entries:
    """Per perturbation, over all strengths, the mean of the models; the lowest consistency first.

    What differs in more than strength, such as an attack in two norms, is told apart. A series of
    strength 0 alone, as in the profile of a match, says nothing of its perturbation. Keys:
    ``series`` (its label), ``perturbation``, ``n_strengths``, ``n_images`` (those that consistency
    counts) and ``consistency`` with its interval.
    """
    conditions = grids[0].conditions
    columns_of: dict[str, list[int]] = {}
    for index, key in enumerate(conditions):
        columns_of.setdefault(key.series, []).append(index)
    active = [key for key in conditions if key.strength != 0] or conditions
    perturbation_of = {key.series: key.perturbation for key in active}
    columns = [columns_of[series] for series in perturbation_of]
    values = np.full((len(grids), len(grids[0].images), len(columns)), np.nan)
    for index, grid in enumerate(grids):
        values[index] = _values_of_images(grid, "consistent", columns)
    joint = mean_of_models(values)
    image_counts = (~np.isnan(joint)).sum(axis=0).tolist()
    estimates = shares(joint)
    entries: Entries = []
    for index, (series, perturbation) in enumerate(perturbation_of.items()):
        if image_counts[index]:
            entries.append(
                {
                    "series": series,
                    "perturbation": perturbation,
                    "n_strengths": len(columns[index]),
                    "n_images": image_counts[index],
                    **estimates.named("consistency", index),
                }
            )
    return sorted(entries, key=lambda entry: float(entry["consistency"]))


def by_class(grids: Sequence[Grid]) -> Entries:
    """Per model and class, in the order of the class index; empty without labels.

    Keys: ``model``, ``label``, ``class_name`` (the index where the model is not registered),
    ``n_images``, and with intervals over the images of the class ``consistency``,
    ``clean_accuracy``, ``perturbed_accuracy`` and ``drop``; each over all conditions. Consistency
    may count fewer images, as an attack on an incorrect prediction has nothing to break.
    """
    entries: Entries = []
    for grid in grids:
        entries += sorted(_class_entries(grid), key=lambda entry: entry["label"])
    return entries


def _class_entries(grid: Grid) -> Iterator[dict[str, Any]]:
    """The entries of one model in ``by_class``, classes of few images first."""
    labels = grid.per_image("label")
    consistency, clean, perturbed = (grid.per_image(RATES[name]) for name in _CLASS_FIGURES)
    is_complete = ~np.isnan(labels) & ~np.isnan(clean) & ~np.isnan(perturbed)
    images = np.flatnonzero(is_complete)
    images = images[np.argsort(labels[images], kind="stable")]
    classes, starts, sizes = np.unique(labels[images], return_index=True, return_counts=True)
    # Intervals of all classes with as many images are computed at once.
    for size in np.unique(sizes).tolist():
        of_size = np.flatnonzero(sizes == size)
        rows = images[starts[of_size][:, None] + np.arange(size)]  # (classes, images of each)
        clean_of_class = clean[rows].T
        perturbed_of_class = perturbed[rows].T
        estimates = {
            "consistency": shares(consistency[rows].T),
            "clean_accuracy": shares(clean_of_class),
            "perturbed_accuracy": shares(perturbed_of_class),
            "drop": drops(clean_of_class, perturbed_of_class).absolute,
        }
        for index, label in enumerate(classes[of_size].astype(int).tolist()):
            entry = {
                "model": grid.model,
                "label": label,
                "class_name": models.class_name(grid.model, label),
                "n_images": size,
            }
            for name, estimate in estimates.items():
                entry |= estimate.named(name, index)
            yield entry


@dataclass(frozen=True)
class _ModelFigures:
    """The figures of one model, by name: of ``groups`` of conditions, and of each condition."""

    grid: Grid
    groups: Sequence[Columns]
    of_groups: dict[str, Estimates] = field(default_factory=dict)
    of_conditions: dict[str, Estimates] = field(default_factory=dict)
    rates: dict[str, Floats] = field(default_factory=dict)
    """(images, groups): the values of the rates."""

    def entries_of_groups(self) -> Entries:
        losses = {}
        for top in _TOPS:
            clean = self.rates[f"clean_accuracy{top}"]
            losses[top] = drops(clean, self.rates[f"perturbed_accuracy{top}"])
        labelled = (~np.isnan(self.rates["perturbed_accuracy"])).sum(axis=0)
        return _figure_entries(self.of_groups, losses, labelled)

    def entries_of_conditions(self) -> Entries:
        blocks = self.grid.blocks(_CELLS)
        losses = {}
        for top in _TOPS:
            clean_parts = self.grid.parts(RATES[f"clean_accuracy{top}"], blocks)
            perturbed_parts = self.grid.parts(RATES[f"perturbed_accuracy{top}"], blocks)
            absolute = []
            relative = []
            for clean, perturbed in zip(clean_parts, perturbed_parts, strict=True):
                drop = drops(clean, perturbed)
                absolute.append(drop.absolute)
                relative.append(drop.relative)
            losses[top] = Drops(side_by_side(*absolute), side_by_side(*relative))
        labelled = (self.grid.flags("correct") != UNKNOWN).sum(axis=0)
        return _figure_entries(self.of_conditions, losses, labelled)


def _add_figure(grid: Grid, figures: _ModelFigures, name: str, column: str) -> None:
    """Add the figure ``name``, the mean of ``column`` over rows."""
    values = _values_of_images(grid, column, figures.groups)
    parts = grid.parts(column, grid.blocks(_CELLS))
    if name not in RATES:
        low, high = _range_of(column)
        figures.of_groups[name] = means(values, low, high)
        of_parts = [means(part, low, high) for part in parts]
        figures.of_conditions[name] = side_by_side(*of_parts)
        return
    figures.rates[name] = values
    figures.of_groups[name] = shares(values)
    flags = grid.flags(column)
    if flags.dtype.kind == "f":  # under a profile an image has a share, or it has a score
        figures.of_conditions[name] = side_by_side(*[shares(part) for part in parts])
    else:
        true_counts = (flags == 1).sum(axis=0)
        known_counts = (flags != UNKNOWN).sum(axis=0)
        figures.of_conditions[name] = flag_shares(true_counts, known_counts)


def _range_of(column: str) -> tuple[float, float]:
    """The smallest and the largest value of a metric; infinite for one of a plugin that is gone."""
    if column in RESCALED.values():
        return -math.inf, 1.0
    if column in metrics.REGISTRY:
        return metrics.REGISTRY[column].low, metrics.REGISTRY[column].high
    return -math.inf, math.inf


def _values_of_images(grid: Grid, column: str, groups: Sequence[Columns]) -> Floats:
    """(images, groups): each image's value of ``column`` over the conditions of a group."""
    cells = grid.read(column)
    sums = []
    counts = []
    for columns in groups:
        values = cells[:, columns]
        is_known = values != UNKNOWN if cells.dtype.kind == "i" else ~np.isnan(values)
        if not is_known.all():
            values = np.where(is_known, values, 0)
        total = values.sum(axis=1, dtype=float)
        count = is_known.sum(axis=1).astype(np.float64)
        if column in _OF_IMAGE_ALONE:
            total = np.divide(total, np.maximum(count, 1))
            count = np.minimum(count, 1)
        sums.append(total)
        counts.append(count)
    return image_values(np.column_stack(sums), np.column_stack(counts))


def _figure_entries(
    figures: Mapping[str, Estimates],
    losses: Mapping[str, Drops],
    labelled: NDArray[np.intp],
) -> Entries:
    """One entry for each of the estimates in ``figures``, which have as many each."""
    entries: Entries = []
    for index, labelled_count in enumerate(labelled.tolist()):
        entry: dict[str, Any] = {}
        for name, estimates in figures.items():
            entry |= estimates.named(name, index)
        entry["n_labelled"] = labelled_count
        entry |= complement(entry, "consistency", "flip_rate")
        for top, loss in losses.items():
            entry |= loss.absolute.named(f"drop{top}", index)
            entry |= loss.relative.named(f"relative_drop{top}", index)
        entries.append(entry)
    return entries


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
    score: str = ""


_STORED = tuple(field.name for field in fields(FigureTables) if field.name != "pairs")


class Figures:
    """The tables of measurements, each computed on first use.

    ``measured`` are rows as a frame, or grids, or what reads these once they are needed. An image
    that is present under several names counts once; ``copies`` are the other images, which a frame
    tells itself. ``score`` is the name of what accuracies are means of, if another system gave each
    image a score; "" where they are shares of correct predictions.
    """

    def __init__(
        self,
        measured: Measured | Callable[[], Sequence[Grid]],
        copies: int = 0,
        contradictions: int = 0,
        *,
        score: str = "",
    ) -> None:
        self._measured = measured
        self.score = score
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
        # In the place of the cached properties, which then need not be computed.
        vars(figures).update({name: getattr(tables, name) for name in _STORED})
        figures._pairs = dict(tables.pairs)
        return figures

    def tables(self) -> FigureTables:
        """All tables, worked out."""
        return FigureTables(
            **{name: getattr(self, name) for name in _STORED},
            pairs={quantity: self.pairs(quantity) for quantity in QUANTITIES},
        )

    @cached_property
    def grids(self) -> Sequence[Grid]:
        """One grid a model."""
        if callable(self._measured):
            return grids(self._measured())
        return grids(self._measured)

    @cached_property
    def images(self) -> int:
        """How many images count."""
        return len(self.grids[0].images) if self.grids else 0

    @cached_property
    def labelled(self) -> int:
        """How many images have a label that a model knows."""
        if not self.grids:
            return 0
        has_label = [(grid.flags("correct") != UNKNOWN).any(axis=1) for grid in self.grids]
        return int(np.logical_or.reduce(has_label).sum())

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
        are_copies = "are copies of others"
        if self.copies == 1:
            are_copies = "is a copy of another"
        total = self.images + self.copies
        note = f"{self.copies:,} of {total:,} images {are_copies} and not counted."
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
        known = []
        for quantity in QUANTITIES:
            if any(entry[quantity] is not None for entry in self.summary):
                known.append(quantity)
        return known

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
        if self.ranked_by == "robust_accuracy":
            return []
        return self.pairs("robust_accuracy")

    def ranking(self, quantity: str = "") -> Entries:
        """The summary with ranks."""
        return ranking(self.summary, self.pairs(quantity))
