"""Which classes suffer: accuracy and consistency of the images of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustness import models
from robustness.statistics.bootstrap import derived, means
from robustness.statistics.grid import Grid, grids

Floats = NDArray[np.float64]

_FIGURES = {
    "consistency": "consistent",
    "clean_accuracy": "clean_correct",
    "perturbed_accuracy": "correct",
}
_CLASSES_AT_ONCE = 250  # bounds the replicates held: 2000 x 3 x 250 numbers, 12 MB


def by_class(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Per model and class, in the order of the class index; empty without labels.

    Keys: ``model``, ``label``, ``class_name`` (the index where the model is not registered),
    ``n_images``, and with intervals over the images of the class ``consistency``,
    ``clean_accuracy``, ``perturbed_accuracy`` and ``drop``; each over all conditions.
    """
    return [entry for grid in grids(frame) for entry in _classes(grid)]


def _classes(grid: Grid) -> list[dict[str, Any]]:
    labels = grid.per_image("label")
    figures = np.column_stack([grid.per_image(column) for column in _FIGURES.values()])
    known = np.flatnonzero(~np.isnan(labels) & ~np.isnan(figures).any(axis=1))
    order = known[np.argsort(labels[known], kind="stable")]
    found, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    entries = []
    for size in np.unique(sizes):  # classes of one size share one set of draws
        alike = np.flatnonzero(sizes == size)
        for start in range(0, len(alike), _CLASSES_AT_ONCE):
            some = alike[start : start + _CLASSES_AT_ONCE]
            rows = order[starts[some][:, None] + np.arange(size)]
            entries += _of_one_size(grid.model, found[some].astype(int).tolist(), figures[rows])
    return sorted(entries, key=lambda entry: entry["label"])


def _of_one_size(model: str, labels: list[int], figures: Floats) -> list[dict[str, Any]]:
    """Entries of classes with the same number of images; ``figures`` (classes, images, 3)."""
    classes, images, width = figures.shape
    columns = figures.transpose(1, 0, 2).reshape(images, classes * width)
    found = means(columns, np.ones_like(columns), rates=True)
    clean, perturbed = (list(_FIGURES).index(f"{kind}_accuracy") for kind in ("clean", "perturbed"))
    drops = derived(
        found.value[clean::width] - found.value[perturbed::width],
        found.replicates[:, clean::width] - found.replicates[:, perturbed::width],
    )
    return [
        {
            "model": model,
            "label": label,
            "class_name": models.class_name(model, label),
            "n_images": images,
            **{
                key: value
                for offset, name in enumerate(_FIGURES)
                for key, value in found.named(name, place * width + offset).items()
            },
            **drops.named("drop", place),
        }
        for place, label in enumerate(labels)
    ]
