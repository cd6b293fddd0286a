"""Hardened models from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from robustness import hardening
from robustness import models as known_models
from robustness.api.argument_checks import checked_call
from robustness.api.dataset_argument import check_classes, open_images
from robustness.api.evaluated_run import open_run
from robustness.base.errors import ParameterError
from robustness.hardening import Hardening, Settings
from robustness.perturbations import REGISTRY
from robustness.runs import Run


@checked_call
def harden(
    model: str,
    *,
    images: Any,
    name: str,
    perturbations: Sequence[str] | None = None,
    run: Any = None,
    judge: Any = None,
    classes: Any = None,
    epochs: int = Settings.epochs,
    rate: float | None = None,
    seed: int = 0,
    note: Callable[[str, int, int], object] | None = None,
) -> Hardening:
    """Train ``model`` on unlabelled ``images``, judge the result, and add it as ``name``.

    It is trained on ``perturbations``, or on the five under which it is weakest in a ``run``.
    ``judge`` are labelled images that choose the interpolation and judge; without them a part of
    ``images`` does. Both are sources as for ``evaluate``, with its ``classes``. The answer has the
    ``judgement``: paired differences, and whether the model is ``recommended``. ``epochs``,
    ``rate`` and ``seed`` are those of the training. ``note`` receives what is computed, how much is
    done and how much there is; an exception from it cancels, and the same call then continues.
    Raises ``ParameterError`` for a model that cannot be trained, or with too few images.
    """
    check_classes(classes, images, images if judge is None else judge)
    if (perturbations is None) == (run is None):
        raise ParameterError("Expected either perturbations or a run to train on.")
    if perturbations is None:
        perturbations = weakest_perturbations(model, run if isinstance(run, Run) else open_run(run))
    if not perturbations:
        raise ParameterError("Expected at least one perturbation to train on, got none.")
    return hardening.harden(
        model,
        name,
        open_images(images, classes),
        perturbations,
        None if judge is None else open_images(judge, classes),
        Settings(epochs, rate, seed),
        note or (lambda *_: None),
    )


def weakest_perturbations(model: str, run: Run) -> tuple[str, ...]:
    """The up to five perturbations of ``run`` under which ``model`` is weakest."""
    model = known_models.REGISTRY[model].name
    figures = run.figures()
    (ranked_by,) = {entry["ranked_by"] for entry in figures.summary}
    totals: dict[str, list[float]] = {}
    for entry in figures.by_perturbation:
        name = entry["perturbation"]
        value = entry[ranked_by] if ranked_by in entry else entry["consistency"]
        if entry["model"] == model and value is not None and REGISTRY.find(name):
            totals.setdefault(name, []).append(value)
    if not totals:
        raise ParameterError(
            f"Expected a run of {model} under single perturbations, got {run.id}: choose another "
            "run, or name the perturbations."
        )
    means = {name: sum(values) / len(values) for name, values in totals.items()}
    return hardening.names_to_train(sorted(means, key=lambda name: means[name]))
