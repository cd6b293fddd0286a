"""Maps of what a model sees: the features of originals and perturbed images in two dimensions.

Features are not among the rows of a run, so a map asks the model again. It is kept beside a
finished run, where pages and reports find it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from robustness import models
from robustness.base.errors import ImageError, ParameterError, RunError
from robustness.measure.condition import Condition
from robustness.models import Classifier
from robustness.perturbations import Images
from robustness.runs.analysis import Analysis, EmbeddingMap
from robustness.runs.cases import RowSelection
from robustness.runs.run import Run

IMAGES = 100
MOST_IMAGES = 500
_BATCH = 8

Features = np.ndarray[Any, np.dtype[np.float64]]


def embedding_map(
    run: Run,
    chosen: RowSelection,
    images: int = IMAGES,
    note: Callable[[int, int], object] | None = None,
) -> EmbeddingMap:
    """The map of ``images`` of the ``chosen`` cases, spread over the dataset; kept if it can be.

    ``chosen`` names a model and one condition. ``note`` is told how many images are done of how
    many. Raises ``ParameterError`` for another selection or a run of a table, ``RunError`` where
    the weights are others now or fewer than 3 images can be read, and ``WeightsError`` where the
    model cannot be loaded.
    """
    _check(run, chosen, images)
    run.check_weights(chosen.model)
    cases = sorted(run.cases.both(chosen, 10 * MOST_IMAGES), key=lambda row: row["position"])
    last = max(0, len(cases) - 1)
    spread = np.unique(np.linspace(0, last, min(images, len(cases))).astype(int))
    cases = [cases[index] for index in spread]
    condition = Condition.parse(chosen.conditions[0])
    classifier = models.load(chosen.model, side=run.manifest.spec.framing_of(chosen.model).side)

    shown: list[Mapping[str, Any]] = []  # the cases whose images can be read again
    features: list[Features] = []  # of each batch, (2, images, D)
    for start in range(0, len(cases), _BATCH):
        batch = cases[start : start + _BATCH]
        pairs = []
        for case in batch:
            pair = _pair(run, case["image"], condition, classifier)
            if pair is not None:
                shown.append(case)
                pairs.append(pair)
        if pairs:
            features.append(_last_features(classifier, np.stack(pairs, axis=1)))
        if note is not None:
            note(start + len(batch), len(cases))
    if len(shown) < 3:
        raise RunError(f"Expected at least 3 images that can be read again, got {len(shown)}.")

    original_features, perturbed_features = np.concatenate(features, axis=1)
    plane, explained = principal_components(np.concatenate([original_features, perturbed_features]))
    before = plane[: len(shown)]
    after = plane[len(shown) :]
    embedding = EmbeddingMap(
        model=chosen.model,
        condition=chosen.conditions[0],
        points=[
            _point(case, chosen, before[index], after[index]) for index, case in enumerate(shown)
        ],
        explained=explained,
        left_out=len(cases) - len(shown),
    )
    Analysis(run).add_map(embedding)
    return embedding


def _check(run: Run, chosen: RowSelection, images: int) -> None:
    if run.is_from_table:
        raise ParameterError(
            "Expected a run of models for a map, got one of a table of predictions: a table has no "
            "features."
        )
    if not chosen.model or len(chosen.conditions) != 1:
        raise ParameterError("Expected a selection of one model and one condition for a map.")
    name = chosen.conditions[0]
    compositions = run.manifest.spec.profiles.get(name)
    if compositions:
        raise ParameterError(
            f"Expected one condition for a map, got the profile {name!r}: choose a composition of "
            f"it, such as {compositions[0]}."
        )
    if not 3 <= images <= MOST_IMAGES:
        raise ParameterError(f"Expected 3 to {MOST_IMAGES} images for a map, got {images}.")


def _point(
    case: Mapping[str, Any], chosen: RowSelection, before: Features, after: Features
) -> dict[str, Any]:
    label = case["label"]
    if label is None:
        well_before = None
        well = case["consistent"]
    else:
        well_before = case["clean_top1"] == label
        well = case["top1"] == label
    selection = RowSelection(
        chosen.model, conditions=chosen.conditions, positions=(case["position"],)
    )
    return {
        "image": case["image"],
        "before": before.tolist(),
        "after": after.tolist(),
        "well_before": well_before,
        "well": well,
        "selection": selection.text,
    }


def _pair(run: Run, name: str, condition: Condition, classifier: Classifier) -> Images | None:
    """The image called ``name`` and the perturbed one, (2, S, S, 3); None if one is unreadable."""
    try:
        picture = run.picture_for(name, classifier.record.name)
        if condition.needs_model:
            perturbed = condition.against(picture, run.seed, classifier)
        else:
            perturbed = run.perturbed(picture, condition)
    except ImageError:
        return None
    return np.stack([picture.image, perturbed])


def _last_features(classifier: Classifier, pairs: Images) -> Features:
    """The features (2, images, D) of the last stage, for ``pairs`` (2, images, S, S, 3)."""
    stages = classifier(pairs.reshape(-1, *pairs.shape[2:])).features
    last_stage = list(stages)[-1]
    return stages[last_stage].reshape(2, pairs.shape[1], -1).astype(np.float64)


def principal_components(features: Features) -> tuple[Features, tuple[float, float]]:
    """The first two principal components (n, 2) of ``features`` (n, D), and their shares of the
    variance.

    The sign of a component makes its largest loading positive. With fewer than two components, the
    others are 0.
    """
    centred = features - features.mean(axis=0)
    _, singular_values, loadings = np.linalg.svd(centred, full_matrices=False)
    largest_index = np.abs(loadings).argmax(axis=1, keepdims=True)
    signs = np.sign(np.take_along_axis(loadings, largest_index, axis=1))
    loadings = (loadings * signs)[:2]
    coordinates = np.zeros((len(features), 2))
    coordinates[:, : len(loadings)] = centred @ loadings.T
    shares = np.zeros(2)
    variances = singular_values**2
    total = float(variances.sum())
    if total:
        shares[: len(loadings)] = variances[:2] / total
    return coordinates, (float(shares[0]), float(shares[1]))
