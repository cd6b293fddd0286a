"""Maps of what a model sees: the features of originals and perturbed images in two dimensions.

Features are not among the rows of a run, so a map asks the model again. It is kept beside a
finished run, where pages and reports find it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robustness import models
from robustness.base.errors import ImageError, ParameterError, RunError
from robustness.measure.condition import Condition
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.runs import results
from robustness.runs.cases import RowSelection
from robustness.runs.run import Run

_VERSION = "maps 2"
"""Goes up when maps change. A model made them, so other statistics do not put them out of date."""

IMAGES = 100
MOST_IMAGES = 500
_BATCH = 8
_MAX_MAPS = 12

Features = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class EmbeddingMap:
    """The images of a run in the plane of the last stage of a ``model``; JSON-ready.

    Each of ``points`` has ``image``, ``before`` and ``after`` (x, y), ``well_before`` (None without
    a label) and ``well`` (correct or, without a label, unchanged), and its ``selection``.
    ``explained`` are the shares of the variance along both axes; ``left_out`` counts the images
    that could not be read again.
    """

    model: str
    condition: str
    points: Sequence[Mapping[str, Any]]
    explained: Sequence[float]
    left_out: int

    @property
    def name(self) -> str:
        """The name that identifies a map of a run."""
        return f"{self.model}, {self.condition}"


def read_maps(run: Run) -> list[EmbeddingMap]:
    """The saved maps of ``run``, newest first."""
    return results.read(run.folder, run.manifest, results.MAPS, list[EmbeddingMap], _VERSION) or []


def embedding_map(
    run: Run,
    chosen: RowSelection,
    images: int = IMAGES,
    note: Callable[[int, int], object] = lambda _done, _total: None,
) -> EmbeddingMap:
    """The map of ``images`` of the ``chosen`` cases, spread over the dataset; kept if it can be.

    ``chosen`` names a model and one condition. ``note`` is told how many images are done of how
    many. Raises ``ParameterError`` for another selection or a run of a table, ``RunError`` where
    the weights are others now or fewer than 3 images can be read, and ``WeightsError`` where the
    model cannot be loaded.
    """
    if run.is_from_table:
        raise ParameterError(
            "Expected a run of models for a map, got one of a table of predictions: a table has no "
            "features."
        )
    if not chosen.model or len(chosen.conditions) != 1:
        raise ParameterError("Expected a selection of one model and one condition for a map.")
    if compositions := run.manifest.spec.profiles.get(chosen.conditions[0]):
        raise ParameterError(
            f"Expected one condition for a map, got the profile {chosen.conditions[0]!r}: choose a "
            f"composition of it, such as {compositions[0]}."
        )
    if not 3 <= images <= MOST_IMAGES:
        raise ParameterError(f"Expected 3 to {MOST_IMAGES} images for a map, got {images}.")
    run.check_weights(chosen.model)
    rows = sorted(run.cases.both(chosen, 10 * MOST_IMAGES), key=lambda row: row["position"])
    places = np.unique(np.linspace(0, max(0, len(rows) - 1), min(images, len(rows))).astype(int))
    chosen_rows = [rows[at] for at in places]
    condition = Condition.parse(chosen.conditions[0])
    classifier = models.load(chosen.model, side=run.manifest.spec.framing_of(chosen.model).side)
    used: list[Mapping[str, Any]] = []
    parts: list[Features] = []  # (2, images, D)
    for start in range(0, len(chosen_rows), _BATCH):
        rows_here = chosen_rows[start : start + _BATCH]
        pairs = [(row, _pair(run, row["image"], condition, classifier)) for row in rows_here]
        if batch := [(row, pair) for row, pair in pairs if pair is not None]:
            used += [row for row, _ in batch]
            stacked = np.stack([pair for _, pair in batch], axis=1)  # originals, then perturbed
            stages = classifier(stacked.reshape(-1, *stacked.shape[2:])).features
            last = stages[list(stages)[-1]]
            parts.append(last.reshape(2, len(batch), -1).astype(np.float64))
        note(min(start + _BATCH, len(chosen_rows)), len(chosen_rows))
    if len(used) < 3:
        raise RunError(f"Expected at least 3 images that can be read again, got {len(used)}.")
    before, after = np.concatenate(parts, axis=1)
    plane, explained = principal_components(np.concatenate([before, after]))
    points = []
    for row, old, new in zip(used, plane[: len(used)], plane[len(used) :], strict=True):
        label = row["label"]
        own = RowSelection(chosen.model, conditions=chosen.conditions, positions=(row["position"],))
        points.append(
            {
                "image": row["image"],
                "before": old.tolist(),
                "after": new.tolist(),
                "well_before": None if label is None else row["clean_top1"] == label,
                "well": row["consistent"] if label is None else row["top1"] == label,
                "selection": own.text,
            }
        )
    embedding = EmbeddingMap(
        chosen.model, chosen.conditions[0], points, explained, len(chosen_rows) - len(used)
    )
    others = [other for other in read_maps(run) if other.name != embedding.name]
    maps = [embedding, *others][:_MAX_MAPS]
    results.write(run.folder, run.manifest, results.MAPS, maps, _VERSION)
    return embedding


def _pair(run: Run, name: str, condition: Condition, classifier: Classifier) -> Images | None:
    """The image called ``name`` and the perturbed one, (2, S, S, 3); None if one is unreadable."""
    try:
        picture = run.picture_for(name, classifier.record.name)
        if condition.needs_model:
            changed = condition.against(picture, run.seed, classifier)
        else:
            changed = run.perturbed(picture, condition)
    except ImageError:
        return None
    return np.stack([picture.image, changed])


def principal_components(features: Features) -> tuple[Features, tuple[float, float]]:
    """The first two principal components (n, 2) of ``features`` (n, D), and their shares of the
    variance.

    The sign of a component makes its largest loading positive.
    """
    centred = features - features.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1, keepdims=True), axis=1)
    axes = (axes * np.sign(largest))[:2]
    coordinates = np.zeros((len(features), 2))
    shares = np.zeros(2)
    coordinates[:, : len(axes)] = centred @ axes.T
    if total := float((sizes**2).sum()):
        shares[: len(axes)] = sizes[:2] ** 2 / total
    return coordinates, (float(shares[0]), float(shares[1]))
