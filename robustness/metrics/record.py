"""The record of a metric and the registry of metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustness.base.registry import Registry
from robustness.base.validation import checked_array, read_only

Floats = NDArray[np.float32]
Scores = NDArray[np.float64]

PREDICTION = "prediction"
FEATURES = "features"
PICTURE = "image"

TABLES = "tables"
STRENGTHS = "strengths"
RUN = "run"
"""Where a metric appears, beside the glossary and the rows: in the tables of
models, in the curves over the strength, and in the map of a run."""


@dataclass(frozen=True)
class Metric:
    """A comparison of original images with their perturbed versions.

    ``function(clean, perturbed)`` takes two arrays of N rows and gives N scores; a single row of
    ``clean`` is compared with every perturbed one. By ``subject`` a row holds class probabilities
    (PREDICTION), stage features (FEATURES) or a study image (PICTURE). ``low`` and ``high`` bound
    the score in ``unit``; a score without a bound has no mean. ``formula`` and ``meaning`` are for
    people: one line, and a sentence or two for the glossary. ``title`` heads a column, by default
    the ``label``; ``form`` formats a score. ``views`` are where it appears. Two runs agree if their
    scores differ by at most ``tolerance``.
    """

    name: str
    function: Callable[[Floats, Floats], Scores]
    label: str
    subject: str
    higher_is_better: bool
    formula: str
    meaning: str = ""
    low: float = 0.0
    high: float = 1.0
    unit: str = ""
    title: str = ""
    form: str = ".3f"
    views: tuple[str, ...] = (TABLES, STRENGTHS, RUN)
    tolerance: float = 1e-4

    def scores(self, clean: Floats, perturbed: Floats) -> Scores:
        """The N scores of ``function``; raises ``PluginError`` for a result that is not N numbers.

        The function cannot write to either array.
        """
        result = self.function(read_only(clean), read_only(perturbed))
        subject = f"metric {self.name!r}"
        shape = (len(perturbed),)
        scores = checked_array(subject, result, shape, "numbers", "f", "i", "u", "b")
        return scores.astype(np.float64, copy=False)

    @property
    def column_title(self) -> str:
        return self.title or self.label


REGISTRY: Registry[Metric] = Registry("metric")
metric = REGISTRY.decorator(Metric)
"""A decorator that registers a function under its name; keywords are fields of ``Metric``."""
