"""Hardened models from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike, fspath
from typing import Any

from robustness import hardening
from robustness import models as known_models
from robustness.api.argument_checks import checked_call
from robustness.api.saved_runs import open_run
from robustness.api.sources import check_classes, opened
from robustness.base.errors import ParameterError
from robustness.evaluation.suites import suite_conditions
from robustness.hardening import Hardening, Settings, Subjects
from robustness.runs import Run


@checked_call
def harden(
    model: str,
    *,
    images: Any,
    name: str,
    perturbations: Sequence[str] | None = None,
    run: Any = None,
    suite: str | PathLike[str] | None = None,
    judge: Any = None,
    classes: Any = None,
    epochs: int = Settings.epochs,
    rate: float | None = None,
    seed: int = 0,
    note: Callable[[str, int, int], object] | None = None,
) -> Hardening:
    """Train ``model`` on unlabelled ``images``, judge the result, and add it as ``name``.

    It is trained on ``perturbations``, on the five under which it is weakest in a ``run``, or on
    the conditions of a ``suite``. ``judge`` are labelled images that choose the interpolation and
    judge; without them a part of ``images`` does. Both are sources as for ``evaluate``, with its
    ``classes``. The answer has the ``judgement``: paired differences, and whether the model is
    ``recommended``. ``epochs``, ``rate`` and ``seed`` are those of the training. ``note`` receives
    what is computed, how much is done and how much there is; an exception from it cancels, and the
    same call then continues.
    Raises ``ParameterError`` for a model that cannot be trained, or with too few images.
    """
    check_classes(classes, images, images if judge is None else judge)
    return hardening.harden(
        model,
        name,
        opened(images, classes),
        _subjects(model, perturbations, run, None if suite is None else fspath(suite)),
        judging=None if judge is None else opened(judge, classes),
        settings=Settings(epochs, rate, seed),
        note=note or (lambda *_: None),
    )


def _subjects(
    model: str, perturbations: Sequence[str] | None, run: Any, suite: str | None
) -> Subjects:
    """The subjects of training; raises ``ParameterError`` unless exactly one source is given."""
    if sum(source is not None for source in (perturbations, run, suite)) != 1:
        raise ParameterError("Expected one of perturbations, a run or a suite to train on.")
    if suite is not None:
        conditions = tuple(c for c in suite_conditions(suite) if not c.idle)
        if not conditions or any(condition.needs_model for condition in conditions):
            kind = "an attack" if conditions else "strengths of 0 alone"
            raise ParameterError(
                f"Expected perturbations to train on, got {kind} in {suite}: choose another suite."
            )
        return Subjects(conditions, vary=False)
    if perturbations is None:
        perturbations = weakest_perturbations(model, run if isinstance(run, Run) else open_run(run))
    if not perturbations:
        raise ParameterError("Expected at least one perturbation to train on, got none.")
    return Subjects.named(perturbations)


def weakest_perturbations(model: str, run: Run) -> tuple[str, ...]:
    """The up to five perturbations of ``run`` under which ``model`` is weakest.

    Under a profile these are all of its compositions'.
    """
    model = known_models.REGISTRY[model].name
    figures = run.figures()
    (ranked_by,) = {entry["ranked_by"] for entry in figures.summary}
    totals: dict[str, list[float]] = {}
    profiles: dict[str, dict[str, None]] = {}
    for condition in run.conditions:
        if condition.profile and not condition.idle:
            profiles.setdefault(condition.profile, {}).update(
                dict.fromkeys(condition.perturbations)
            )
    for entry in figures.by_perturbation:
        value = entry[ranked_by] if ranked_by in entry else entry["consistency"]
        single = "+" not in entry["perturbation"] and not entry["condition"].endswith(")")
        names = profiles.get(entry["condition"]) or ([entry["perturbation"]] if single else [])
        if entry["model"] == model and value is not None:
            for name in names:
                totals.setdefault(name, []).append(value)
    if not totals:
        raise ParameterError(
            f"Expected a run of {model} under single perturbations, got {run.id}: choose another "
            "run, or name the perturbations."
        )
    means = {name: sum(values) / len(values) for name, values in totals.items()}
    return hardening.names_to_train(sorted(means, key=lambda name: means[name]))
