"""The choice among the models of saved runs, by figures, costs and the limits of a gate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import gate, models
from robustness.base.errors import ParameterError
from robustness.base.text import some
from robustness.evaluation.condition import effect
from robustness.runs import racing
from robustness.runs.behind_remedies import weighable
from robustness.runs.candidates import candidates, costs, with_abstaining
from robustness.runs.run import Run
from robustness.statistics import Cost, Criteria, Figures, ModelChoice
from robustness.statistics import choose as choose_among
from robustness.statistics.choice_sentences import BEST, TIED, WORSE
from robustness.statistics.criteria import MARGIN
from robustness.statistics.grid import Grid

_NAMED = 2
"""Limits of a budget that are named in the reason why a model is ruled out."""


def choose(
    chosen: Run | Sequence[Run],
    criteria: Criteria | None = None,
    budget: gate.Budget | None = None,
    *,
    baseline: Run | None = None,
    remedies: bool = False,
) -> ModelChoice:
    """The best model of one run, or of several of the same images, by ``criteria``.

    ``budget`` rules out candidates that break it; ``baseline`` is the run that it names. Several
    runs count on the images and conditions that all have; a model of more than one is taken from
    the first. With ``remedies`` each model behind each remedy of a run is a candidate, too, and a
    limit on a model is one on these. Raises ``ParameterError`` for criteria or a budget that a run
    cannot answer, and for runs that share nothing.
    """
    several = [chosen] if isinstance(chosen, Run) else list(chosen)
    if remedies:
        _check_remedies(several)
    for run in several:
        if not run.images:
            raise ParameterError(f"The run {run.id} has no image that could be read.")
        if run.manifest.race is not None and len(several) > 1:
            raise ParameterError(
                f"Expected runs of all images, got the race {run.id}: choose from it alone."
            )
    if not several:
        raise ParameterError("Expected at least one run to choose from, got none.")
    if several[0].raced is not None:
        return _raced(several[0], several[0].raced, criteria, budget)
    if len(several) == 1:
        (run,) = several
        out = ruled_out(run, budget, baseline, remedies=remedies)
        return of_run(run, run.figures(), criteria, out, remedies=remedies)
    spent: dict[str, Cost] = {}
    out = {}
    for run in reversed(several):  # the first run that has a model counts
        spent |= costs(run)
        out = {name: why for name, why in out.items() if name not in run.manifest.spec.model_names}
        own = None if budget is None else gate.part(budget, run, several)
        out |= ruled_out(run, own, baseline)
    return choose_among(Figures(together(several)), criteria, spent, out)


def of_run(
    run: Run,
    figures: Figures,
    criteria: Criteria | None = None,
    out: Mapping[str, str] | None = None,
    *,
    remedies: bool = False,
) -> ModelChoice:
    """Like ``choose``, for one run with known ``figures``; ``out`` is what ``ruled_out`` gives."""
    more = candidates(run, figures) if remedies else ()
    chosen = choose_among(figures, criteria, costs(run), out, more)
    return with_abstaining(run, chosen, (criteria or Criteria()).weights)


def _check_remedies(several: Sequence[Run]) -> None:
    if len(several) > 1:
        raise ParameterError(
            f"Expected one run to choose from with remedies, got {len(several)}: choose from each "
            "run alone."
        )
    for run in several:
        if run.manifest.race is not None or not weighable(run):
            raise ParameterError(
                f"Expected a run of all images that tried remedies, got {run.id}: evaluate with "
                "remedies, or choose without them."
            )


def together(several: Sequence[Run]) -> list[Grid]:
    """One grid a model of ``several`` runs, on the images and conditions that all have."""
    _check_weights(several)
    grids = [run.rows.grids() for run in several]
    images = [_places(run.rows.axes.digests) for run in several]
    effects = [_places([effect(key.id) for key in each[0].conditions]) for each in grids]
    names, same = (
        [key for key in each[0] if all(key in other for other in each)]
        for each in (images, effects)
    )
    if not names or not same:
        what = "condition" if names else "image"
        raise ParameterError(
            f"Expected runs of the same images and conditions, got runs without a shared {what}: "
            "choose among runs of one dataset, fit and side."
        )
    keys = tuple(grids[0][0].conditions[effects[0][each]] for each in same)
    found: dict[str, Grid] = {}
    for mine, image_at, effect_at in zip(grids, images, effects, strict=True):
        cells = np.ix_([image_at[name] for name in names], [effect_at[each] for each in same])
        for grid in mine:
            shared = Grid(
                grid.model,
                np.array(names, object),
                keys,
                grid.there[cells],
                partial(_cells, grid, cells),
            )
            found.setdefault(grid.model, shared)
    return list(found.values())


def _places(keys: Iterable[str]) -> dict[str, int]:
    """The first place of each of ``keys``."""
    return {key: at for at, key in reversed(list(enumerate(keys)))}


def _cells(grid: Grid, cells: tuple[NDArray[Any], ...], column: str) -> Any:
    return grid.read(column)[cells]


def _check_weights(several: Sequence[Run]) -> None:
    known: dict[str, tuple[str, str]] = {}
    for run in several:
        for name, digest in run.manifest.spec.models:
            before, first = known.setdefault(name, (digest, run.id))
            if before != digest:
                raise ParameterError(
                    f"Expected one {name}, got two with different weights, in {first} and "
                    f"{run.id}: give one of them another name, or compare the runs."
                )


def _raced(
    run: Run, told: Mapping[str, Any], criteria: Criteria | None, budget: gate.Budget | None
) -> ModelChoice:
    """The choice that the race ``run`` made; raises ``ParameterError`` for criteria."""
    asked = criteria or Criteria()
    known = asked.margin in (MARGIN, told["margin"])
    if budget is not None or not known or replace(asked, margin=MARGIN) != Criteria():
        raise ParameterError(
            f"Expected no criteria for the race {run.id}, which asked only what its own result "
            "needs: leave them out, or evaluate all images."
        )
    if told["goal"] == "gate":
        raise ParameterError(
            f"Expected a race among models, got one of a gate, {run.id}: check it instead."
        )
    spent = costs(run)
    statuses = dict.fromkeys(told["worse"], WORSE)
    best = TIED if len(told["best"]) > 1 else BEST
    entries = [
        {"model": name, "status": statuses.get(name, best), "low": low, "high": high}
        for name, (low, high) in told["scores"].items()
    ]
    return ModelChoice(
        best=tuple(told["best"]),
        certainty=None,
        worse=tuple(told["worse"]),
        models=tuple(
            {
                **_UNKNOWN,
                **entry,
                "label": models.label(entry["model"]),
                "remedy": "",
                "robust_low": entry["low"],
                "robust_high": entry["high"],
                **vars(spent.get(entry["model"], Cost())),
            }
            for entry in entries
        ),
        quantity="perturbed_accuracy" if told["quantity"] == "accuracy" else "consistency",
        images=run.images,
        margin=told["margin"],
        more_images=None,
        weighted={},
        sentences=tuple(racing.sentences(told, run.manifest.dataset.pictures)),
    )


_UNKNOWN = dict.fromkeys(
    ("robust", "certainty", "accuracy", "weakest", "weakest_value", "latency_ms", "megabytes",
     "place_low", "place_high"),
) | {"reason": ""}  # fmt: skip
"""What a race does not tell of a model."""


def ruled_out(
    run: Run, budget: gate.Budget | None, baseline: Run | None = None, *, remedies: bool = False
) -> dict[str, str]:
    """Why ``budget`` rules out candidates of ``run``, by their ids; raises as ``gate.check``."""
    broken: dict[str, list[str]] = {}
    for verdict in gate.check(budget, run, baseline, remedies=remedies).broken if budget else ():
        broken.setdefault(verdict.model, []).append(f"{verdict.limit}, {verdict.where}")
    return {name: f"it breaks {some(limits, _NAMED)}" for name, limits in broken.items()}
