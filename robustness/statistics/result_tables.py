"""All tables of a run, for pages, reports, gate and command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from robustness.base.text import counted
from robustness.statistics.corruption_errors_and_literature import corruption_errors
from robustness.statistics.hardest_conditions import Hardest, hardest_of_groups
from robustness.statistics.measurement_grid import UNKNOWN, Grid, Measured, contradictory, grids
from robustness.statistics.model_choice import ModelChoice, choose
from robustness.statistics.model_pairs_and_ranks import (
    QUANTITIES,
    compare,
    ranking,
)
from robustness.statistics.model_tables import (
    ModelTables,
    by_class,
    model_tables,
    over_models,
    rank_models,
)
from robustness.statistics.robust_accuracy_under_attack import robust_accuracy

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
