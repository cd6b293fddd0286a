"""All tables of a run, for pages, reports, gate and command line."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from robustness import models
from robustness.evaluation.correctness import with_correctness
from robustness.statistics.attacked import as_counted
from robustness.statistics.calibration import reliability
from robustness.statistics.choosing import ModelChoice, choose
from robustness.statistics.classes import by_class
from robustness.statistics.estimates import number, over_conditions, shares
from robustness.statistics.grid import (
    grids,
    laid_out,
    with_conditions,
    without_copies,
)
from robustness.statistics.imagenet_c import corruption_errors
from robustness.statistics.ranking import QUANTITIES, compare, compare_by_condition, ranking
from robustness.statistics.robust_accuracy import robust_accuracy
from robustness.statistics.summaries import (
    by_perturbation,
    by_severity,
    over_models,
    over_strengths,
    summary,
)

Entries = list[dict[str, Any]]


def recount(frame: pd.DataFrame) -> str:
    """How the consistency of ``frame`` differs from that of versions up to 0.6.7; "" if not."""
    known = with_conditions(with_correctness(without_copies(frame)))
    found = []
    for before, now in zip(laid_out(known), grids(known), strict=True):
        told, counted = before.values("consistent"), now.values("consistent")
        if (~np.isnan(told) & np.isnan(counted)).any():
            after = number(over_conditions(counted, now.there, shares).value[0])
            became = "undefined" if after is None else f"{after:.1%}"
            found.append(f"{models.label(now.model)} {np.nanmean(told):.1%}, now {became}")
    if not found:
        return ""
    return (
        "Up to version 0.6.7, images that were incorrect before an attack counted as unchanged. "
        f"Consistency was different: {'; '.join(found)}."
    )


class Figures:
    """The tables of the measurements ``frame``, each computed on first use.

    An image that is present under several names counts once.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        # Without the column, so that no table looks for copies again.
        distinct = without_copies(frame).drop(columns="image_digest", errors="ignore")
        self._measured = with_conditions(with_correctness(distinct))
        self.frame = as_counted(self._measured)
        self.copies = 0
        """Images of ``frame`` that are exact copies of others, and not counted."""
        if len(distinct) < len(frame):
            self.copies = int(frame["image"].nunique()) - self.images
        self._pairs: dict[str, Entries] = {}
        self._tests: dict[str, Entries] = {}

    @cached_property
    def summary(self) -> Entries:
        return summary(self.frame)

    @cached_property
    def by_perturbation(self) -> Entries:
        return by_perturbation(self.frame)

    @cached_property
    def by_severity(self) -> Entries:
        return by_severity(self.frame)

    @cached_property
    def over_models(self) -> Entries:
        return over_models(self.frame)

    @cached_property
    def over_strengths(self) -> Entries:
        return over_strengths(self.frame)

    @cached_property
    def by_class(self) -> Entries:
        return by_class(self.frame)

    @cached_property
    def corruption_errors(self) -> Entries:
        return corruption_errors(self.frame)

    @cached_property
    def robust_accuracy(self) -> Entries:
        return robust_accuracy(self.frame)

    @cached_property
    def reliability(self) -> Entries:
        return reliability(self.frame)

    @property
    def images(self) -> int:
        return int(self.frame["image"].nunique())

    @property
    def copies_note(self) -> str:
        """A sentence on ``copies``; "" if there are none."""
        if not self.copies:
            return ""
        are = "is a copy of another" if self.copies == 1 else "are copies of others"
        return f"{self.copies:,} of {self.images + self.copies:,} images {are} and not counted."

    @cached_property
    def recount(self) -> str:
        """How the consistency differs from that of earlier versions; "" if not."""
        return recount(self._measured)

    @cached_property
    def choice(self) -> ModelChoice:
        """The model to choose if every perturbation matters alike, whatever it costs."""
        return choose(self)

    @property
    def quantities(self) -> list[str]:
        """What models can be ranked by; accuracies need labels."""
        return [q for q in QUANTITIES if any(entry[q] is not None for entry in self.summary)]

    @property
    def ranked_by(self) -> str:
        """The default quantity of the ranking."""
        return str(self.summary[0]["ranked_by"])

    def pairs(self, quantity: str = "") -> Entries:
        """Every pair of models, as ``compare`` gives it; by default by ``ranked_by``."""
        quantity = quantity or self.ranked_by
        if quantity not in self._pairs:
            self._pairs[quantity] = compare(self.frame, quantity)
        return self._pairs[quantity]

    @property
    def pairs_under_attack(self) -> Entries:
        """The pairs by robust accuracy, if models are ranked by something else."""
        robust = "robust_accuracy"
        return [] if self.ranked_by == robust else self.pairs(robust)

    def tests(self, quantity: str = "") -> Entries:
        """Every pair under every condition, as ``compare_by_condition`` gives it."""
        quantity = quantity or self.ranked_by
        if quantity not in self._tests:
            self._tests[quantity] = compare_by_condition(self.frame, quantity)
        return self._tests[quantity]

    def ranking(self, quantity: str = "") -> Entries:
        """The summary with ranks."""
        return ranking(self.summary, self.pairs(quantity))
