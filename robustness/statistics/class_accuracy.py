"""Accuracy and consistency of each class."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.statistics.estimates import drops, shares
from robustness.statistics.measurement_grid import Grid, Measured, grids

Floats = NDArray[np.float64]

_FIGURES = {
    "consistency": "consistent",
    "clean_accuracy": "clean_correct",
    "perturbed_accuracy": "correct",
}


def by_class(measured: Measured) -> list[dict[str, Any]]:
    """Per model and class, in the order of the class index; empty without labels.

    Keys: ``model``, ``label``, ``class_name`` (the index where the model is not registered),
    ``n_images``, and with intervals over the images of the class ``consistency``,
    ``clean_accuracy``, ``perturbed_accuracy`` and ``drop``; each over all conditions. Consistency
    may count fewer images, see ``count_attacks``.
    """
    return [entry for grid in grids(measured) for entry in _classes(grid)]


def _classes(grid: Grid) -> list[dict[str, Any]]:
    labels = grid.per_image("label")
    figures = np.column_stack([grid.per_image(column) for column in _FIGURES.values()])
    complete = np.flatnonzero(~np.isnan(labels) & ~np.isnan(figures[:, 1:]).any(axis=1))
    order = complete[np.argsort(labels[complete], kind="stable")]
    classes, starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)
    entries = []
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        rows = order[starts[alike][:, None] + np.arange(size)]
        entries += _of_one_size(grid.model, classes[alike].astype(int).tolist(), figures[rows])
    return sorted(entries, key=lambda entry: entry["label"])


def _of_one_size(model: str, labels: list[int], figures: Floats) -> list[dict[str, Any]]:
    """Entries of classes with the same number of images; ``figures`` (classes, images, 3)."""
    columns = dict(zip(_FIGURES, figures.transpose(2, 1, 0), strict=True))
    shares_by_column = {name: shares(values) for name, values in columns.items()}
    shares_by_column["drop"], _ = drops(columns["clean_accuracy"], columns["perturbed_accuracy"])
    return [
        {
            "model": model,
            "label": label,
            "class_name": models.class_name(model, label),
            "n_images": figures.shape[1],
            **{
                key: value
                for name, estimates in shares_by_column.items()
                for key, value in estimates.named(name, place).items()
            },
        }
        for place, label in enumerate(labels)
    ]
