"""The study's ranking and verdicts, and its published figures."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness import models
from robustness.base.text import counted
from robustness.evaluation.measurement_and_image_batch import Measurement
from robustness.metrics.cosine_and_euclidean_similarity import RESCALED
from robustness.metrics.proportion_and_difference_intervals import FEWEST
from robustness.statistics.means_with_intervals import picture_values, shares


def summarise(rows: Sequence[Measurement]) -> list[dict[str, Any]]:
    """Per model, in order of falling consistency: the study's ranking with intervals over images.

    Models with other classes have a separate ranking, named by ``label_set``; its entries are
    consecutive. ``n`` counts the perturbed images; ``cosine`` and ``euclidean`` are means of the
    embedding's similarity over them, ``cosine_rescaled`` and ``euclidean_rescaled`` of the rescaled
    ones (0: unrelated image). ``consistency_low`` and ``consistency_high`` are None with fewer than
    ``FEWEST`` images. ``clean_accuracy`` and ``perturbed_accuracy`` are None unless every row has a
    label.
    """
    by_model: dict[str, list[Measurement]] = {}
    for row in rows:
        by_model.setdefault(row.model, []).append(row)
    summary = []
    for model, group in by_model.items():
        of_picture: dict[str, list[bool]] = {}
        for row in group:
            of_picture.setdefault(row.image_digest, []).append(row.consistent)
        counts = np.array([[sum(same), len(same)] for same in of_picture.values()], np.float64)
        consistency = shares(picture_values(counts[:, :1], counts[:, 1:]))
        labelled = all(row.label is not None for row in group)
        clean = {row.image_digest: row.clean_top1 == row.label for row in group}  # once each
        right = sum(row.top1 == row.label for row in group)
        summary.append(
            {
                "model": model,
                "n": len(group),
                **consistency.named("consistency", 0),
                "clean_accuracy": sum(clean.values()) / len(clean) if labelled else None,
                "perturbed_accuracy": right / len(group) if labelled else None,
                **{
                    name: float(np.mean([row.scores[name] for row in group]))
                    for pair in RESCALED.items()
                    for name in pair
                },
            }
        )
    ranked: list[dict[str, Any]] = []
    for labels, names in models.by_labels(by_model):
        entries = [{**e, "label_set": labels.title} for e in summary if e["model"] in names]
        ranked += sorted(entries, key=lambda entry: -entry["consistency"])
    return ranked


EVEN = 0.5

STABLE_FEATURES = 0.5
"""Rescaled cosine similarity below which features count as moved: halfway between the original (1)
and an unrelated image (0)."""

UNSURE = 0.3
"""Top-1 probability on the original below which a change means little."""

VERDICT_RULE = (
    "Robust: the 95% interval of consistency lies above 50%. Fragile: it lies below 50%, or "
    "inconsistent if the features stay similar (mean rescaled cosine of 0.5 or more). Undecided: "
    f"it includes 50%, or there are fewer than {FEWEST} images."
)


@dataclass(frozen=True)
class Published:
    """The study's figures for one of its models: shares and similarities in [0, 1]."""

    consistency: float
    cosine: float
    euclidean: float
    verdict: str


PUBLISHED: Mapping[str, Published] = {
    "DenseNet121": Published(0.90, 0.65, 0.94, "most robust"),
    "VGG16": Published(0.40, 0.62, 0.91, "moderate"),
    "EfficientNetB0": Published(0.20, 0.27, 0.85, "least robust"),
    "ResNet50": Published(0.00, 0.47, 0.95, "inconsistent"),
}
"""One image, ten perturbations; strengths and the Euclidean formula were not published."""

PUBLISHED_NOTE = (
    "The study scored one image under ten perturbations. It published neither its strengths nor "
    "its Euclidean formula, so measured figures may differ."
)


def verdict(entry: Mapping[str, Any]) -> str:
    """The verdict on one entry of ``summarise`` by ``VERDICT_RULE``."""
    if entry["consistency_low"] is None:
        return "undecided"
    if entry["consistency_low"] > EVEN:
        return "robust"
    if entry["consistency_high"] < EVEN:
        return "inconsistent" if entry["cosine_rescaled"] >= STABLE_FEATURES else "fragile"
    return "undecided"


def ends(
    ranking: Sequence[Mapping[str, Any]], quantity: str = "consistency"
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """All entries with the largest ``quantity``, and all with the smallest; none if all are equal.

    ``ranking`` is one of models with the same classes.
    """
    values = [entry[quantity] for entry in ranking]
    best, worst = (
        [entry for entry in ranking if abs(entry[quantity] - end) < _SAME]
        for end in (max(values), min(values))
    )
    return best, worst if worst != best else []


_SAME = 1e-12
"""Smaller differences of shares are due to rounding."""


def has_intervals(summary: Sequence[Mapping[str, Any]]) -> bool:
    """Whether ``summarise`` has enough images for intervals."""
    return all(entry["consistency_low"] is not None for entry in summary)


def rankings(summary: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """``summary`` in its separate rankings, one for each set of classes."""
    return [
        list(group) for _, group in itertools.groupby(summary, key=lambda entry: entry["label_set"])
    ]


def unsure(rows: Sequence[Measurement]) -> list[tuple[str, str, float]]:
    """(image, model, clean top-1 probability) wherever that is below ``UNSURE``."""
    names = {
        (row.image, row.model): row.clean_probability
        for row in rows
        if row.clean_probability < UNSURE
    }
    return [(image, model, probability) for (image, model), probability in names.items()]


def moved(row: Measurement) -> str:
    """The quadrant of a measurement: whether the features moved and the prediction changed.

    Features count as moved below a rescaled cosine similarity of ``STABLE_FEATURES``, the decision
    if the top-1 class changed.
    """
    features = "moved" if row.scores["cosine_rescaled"] < STABLE_FEATURES else "stayed"
    decision = "stayed" if row.consistent else "moved"
    return f"features {features}, decision {decision}"


def insight(rows: Sequence[Measurement]) -> str:
    """How often features and prediction disagree: the study's insight."""
    quadrants = [moved(row) for row in rows]
    surprising = quadrants.count("features stayed, decision moved")
    reassuring = quadrants.count("features moved, decision stayed")
    return (
        f"In {surprising} of {counted(len(rows), 'case')} the prediction changed although the "
        f"features barely moved; in {reassuring or 'none'} it stayed although they moved."
        if surprising or reassuring
        else f"Features and prediction changed together in {counted(len(rows), 'case')}."
    )
