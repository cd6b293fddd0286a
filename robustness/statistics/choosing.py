"""Which model of a run to choose: the best, or those that cannot be told apart, and how sure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.metrics.intervals import FEWEST, difference_bounds
from robustness.statistics.candidates import Candidate
from robustness.statistics.choice_told import BEST, NOT_COMPARED, RULED_OUT, TIED, WORSE, sentences
from robustness.statistics.criteria import Cost, Criteria, reasons_against, weights_of
from robustness.statistics.estimates import number, shares
from robustness.statistics.grid import UNKNOWN, Grid
from robustness.statistics.paired import SMALLEST, established, holm, images_needed, sign_flip
from robustness.statistics.ranking import FEWEST_TO_PLAN, QUANTITIES
from robustness.statistics.robust_accuracy import budgets, survived

Floats = NDArray[np.float64]

RESAMPLES = 1_000
_DRAWN = 5_000
"""Images up to which resamples draw each of them."""
_STEPS = 100  # weights are whole numbers of hundredths of the largest, for the exact test


class Told(Protocol):
    """What a choice reads of the tables on a run, which ``Figures`` has."""

    @property
    def grids(self) -> Sequence[Grid]: ...
    @property
    def ranked_by(self) -> str: ...
    @property
    def summary(self) -> list[dict[str, Any]]: ...
    @property
    def by_perturbation(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class ModelChoice:
    """The answer.

    ``best`` is one model, or those tied with the first; empty if none meets the criteria.
    ``certainty`` is the share of resamples of the images in which the first of ``best`` scores
    highest, None for one candidate or too few images. ``worse`` names the models that are
    significantly worse than the first, by ``margin`` or more. ``models`` has an entry per
    candidate, best first: ``model``, ``label``, ``remedy`` ("" without one), ``status``, ``reason``
    (of one ruled out), ``accuracy`` of the originals,
    ``robust`` (the weighted score) with its interval, ``certainty``, ``place_low`` and
    ``place_high`` (simultaneous 95%), ``weakest`` (perturbation) with ``weakest_value``,
    and the fields of ``Cost``. One that is not ranked has no ``robust``,
    but ``own``, the score on its own images, with its interval. ``more_images`` would show a
    difference of the margin (1 point, if that is 0) between the first two of a tie.
    ``weighted`` says which perturbations each weight was for. ``abstaining`` has an entry per model
    of a run that tried to abstain, outside the ranking: ``model``, ``label``, ``confidence``,
    ``answered`` (share of the images), ``accuracy_of_answered`` and ``accuracy_of_all``
    (consistencies without labels).
    """

    best: tuple[str, ...]
    certainty: float | None
    worse: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    quantity: str
    images: int
    margin: float
    more_images: int | None
    weighted: Mapping[str, Sequence[str]]
    sentences: tuple[str, ...]
    abstaining: tuple[Mapping[str, Any], ...] = ()

    @property
    def compared(self) -> bool:
        """Whether there were two models or more to choose from."""
        return sum(entry["robust"] is not None for entry in self.models) > 1

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        entries = {name: list(map(dict, getattr(self, name))) for name in ("models", "abstaining")}
        return {**vars(self), **entries}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> ModelChoice:
        """What ``as_dict`` told, also after a way through JSON."""
        names = ("best", "worse", "models", "sentences", "abstaining")
        return cls(**{**told, **{name: tuple(told[name]) for name in names}})


def choose(
    figures: Told,
    criteria: Criteria | None = None,
    costs: Mapping[str, Cost] | None = None,
    ruled_out: Mapping[str, str] | None = None,
    more: Sequence[Candidate] = (),
) -> ModelChoice:
    """The choice among the models of ``figures`` and the candidates ``more``.

    Models score by what the run ranks them by: accuracy on labelled images, robust accuracy under
    attacks alone, else consistency; only images that every candidate was asked about count.
    Candidates have the same classes. ``ruled_out`` gives reasons why models are none.

    A model is worse than the first if the paired difference is significant (as in ``compare``) and
    at least the margin. Raises ``ParameterError`` for criteria that the run cannot answer.
    """
    criteria, further = criteria or Criteria(), {each.id: each for each in more}
    costs = {**(costs or {}), **{name: each.cost for name, each in further.items()}}
    quantity = figures.ranked_by
    of = {grid.model: grid for grid in [*figures.grids, *(each.grid for each in more)]}
    accuracies = {entry["model"]: entry["clean_accuracy"] for entry in figures.summary}
    accuracies |= {name: each.accuracy for name, each in further.items()}
    reasons = {**reasons_against(accuracies, criteria, costs), **(ruled_out or {})}
    group = _largest([name for name in of if name not in reasons], further)
    keys = next(iter(of.values())).conditions
    weights, weighted = weights_of(keys, criteria.weights, quantity)
    scored = _Scored([_values(of[name], quantity) for name in group], weights)
    ranked = _ranked(group, scored, criteria.margin)
    others = [
        {
            "model": name,
            "status": RULED_OUT if name in reasons else NOT_COMPARED,
            "reason": reasons.get(name, "it has other classes"),
            **_own(_values(of[name], quantity), weights),
        }
        for name in of
        if name not in group
    ]
    told = tuple(
        {
            **dict.fromkeys(_SCORES),
            **entry,
            **_described(entry["model"], further.get(entry["model"])),
            "accuracy": accuracies[entry["model"]],
            **_weakest(figures, entry["model"], quantity, further.get(entry["model"])),
            **vars(costs.get(entry["model"], Cost())),
        }
        for entry in [*ranked.entries, *others]
    )
    return ModelChoice(
        best=tuple(entry["model"] for entry in told if entry["status"] in (BEST, TIED)),
        certainty=told[0]["certainty"],
        worse=tuple(entry["model"] for entry in told if entry["status"] == WORSE),
        models=told,
        quantity=quantity,
        images=scored.images,
        margin=criteria.margin,
        more_images=ranked.more,
        weighted=weighted,
        sentences=tuple(sentences(told, quantity, scored.images, ranked.more, criteria.margin)),
    )


def _described(name: str, further: Candidate | None) -> dict[str, str]:
    if further is None:
        return {"label": models.label(name), "remedy": ""}
    return {"label": further.label, "remedy": further.remedy}


def _largest(allowed: Sequence[str], further: Mapping[str, Candidate]) -> list[str]:
    """Those of ``allowed`` with the same classes, of the largest such set."""
    like = {name: further[name].model if name in further else name for name in allowed}
    sets = [
        [name for name in allowed if like[name] in known]
        for _, known in models.by_labels(dict.fromkeys(like.values()))
    ]
    return max(sets, key=len, default=[])


class _Ranked(NamedTuple):
    """The candidates' entries, best first, and how many more images would separate a tie."""

    entries: list[dict[str, Any]]
    more: int | None


def _ranked(group: Sequence[str], scored: _Scored, margin: float) -> _Ranked:
    order = np.argsort(-scored.scores, kind="stable").tolist()
    pairs, firsts = _pairs(scored), _resampled(scored)
    behind = [place for place in order[1:] if _is_worse(pairs, order[0], place, margin)]
    alone = len(behind) == len(order) - 1
    compared = len(order) > 1 and scored.images >= FEWEST
    entries = [
        {
            "model": group[place],
            "status": WORSE if place in behind else BEST if alone else TIED,
            "reason": "",
            **shares(scored.per_image[place][:, None]).named("robust", 0),
            "certainty": float(firsts[place]) if compared else None,
            "place_low": 1 + sum(_is_worse(pairs, other, place) for other in order),
            "place_high": len(order) - sum(_is_worse(pairs, place, other) for other in order),
        }
        for place in order
    ]
    second = None if alone or len(order) < 2 else order[1]
    return _Ranked(
        entries, None if second is None else _more(pairs[order[0], second], scored, margin)
    )


_SCORES = (
    *("robust", "robust_low", "robust_high", "certainty", "place_low", "place_high"),
    *("weakest", "weakest_value"),
)


def _own(values: NDArray[np.int8], weights: Floats) -> dict[str, float | None]:
    """The score of a model that is not ranked, on its own cells; {} if there are none."""
    scored = _Scored([values], weights)
    return shares(scored.per_image[0][:, None]).named("own", 0) if scored.images else {}


def _values(grid: Grid, quantity: str) -> NDArray[np.int8]:
    """(images, conditions or budgets of attacks): 0, 1 or UNKNOWN."""
    if quantity == "robust_accuracy":
        kept = survived(grid.values(QUANTITIES[quantity]), budgets(grid.conditions))
        return np.where(np.isnan(kept), UNKNOWN, kept).astype(np.int8)
    return grid.flags(QUANTITIES[quantity])


class _Scored:
    """Scores of models by weighted conditions, on the cells that all models have.

    ``images`` is how many images count; ``totals`` (images,) is the weight that each has, and
    ``gained`` (models, images) how much of it was correct or unchanged. ``steps`` (models, images)
    is ``gained`` in whole numbers, for the exact test.
    """

    def __init__(self, values: Sequence[NDArray[np.int8]], weights: Floats) -> None:
        used = weights > 0
        weights = weights[used] / weights.max()
        whole = np.maximum(1, np.rint(weights * _STEPS)).astype(np.int64)
        whole //= math.gcd(*whole.tolist())
        chosen = [each[:, used] for each in values] or [np.zeros((0, len(weights)), np.int8)]
        # Where an attack had no prediction of one model to break, none is compared there.
        shared = np.logical_and.reduce([each != UNKNOWN for each in chosen])
        kept = shared.any(axis=1)
        cells = [np.where(shared, each, np.int8(0))[kept] for each in chosen[: len(values)]]
        self.images = int(kept.sum())
        self.totals: Floats = shared[kept] @ weights
        self.gained: Floats = _products(cells, weights, self.images)
        self.steps = _products(cells, whole, self.images)

    @property
    def per_image(self) -> Floats:
        """(models, images), in [0, 1]."""
        return self.gained / self.totals

    @property
    def scores(self) -> Floats:
        """(models,), in [0, 1]."""
        found: Floats = self.gained.sum(axis=1) / max(float(self.totals.sum()), 1e-12)
        return found


def _products(cells: Sequence[NDArray[np.int8]], by: NDArray[Any], images: int) -> NDArray[Any]:
    """(models, images): the rows of each model's ``cells`` times ``by``."""
    return np.array([each @ by for each in cells], by.dtype).reshape(len(cells), images)


Pair = Mapping[str, Any]


def _pairs(scored: _Scored) -> dict[tuple[int, int], Pair]:
    """By (a, b) the difference of a minus b, its interval, and whether it is significant."""
    places = list(itertools.combinations(range(len(scored.gained)), 2))
    adjusted = holm([sign_flip(scored.steps[a] - scored.steps[b]) for a, b in places])
    found: dict[tuple[int, int], Pair] = {}
    for (a, b), p in zip(places, adjusted, strict=True):
        apart = scored.per_image[a] - scored.per_image[b]
        low, high = (number(bound[0]) for bound in difference_bounds(apart[:, None]))
        difference = float(scored.scores[a] - scored.scores[b])
        significant = established(p, low, high)
        for key, sign in (((a, b), 1), ((b, a), -1)):
            found[key] = {
                "difference": sign * difference,
                "low": low if sign > 0 else None if high is None else -high,
                "significant": significant,
                "tests": len(places),
            }
    return found


def _is_worse(
    pairs: Mapping[tuple[int, int], Pair], better: int, worse: int, margin: float = 0.0
) -> bool:
    pair = pairs.get((better, worse))
    if pair is None or not pair["significant"]:
        return False
    return bool(pair["difference"] > 0 and pair["difference"] >= margin)


def _resampled(scored: _Scored) -> Floats:
    """(models,) share of resamples of the images in which each scores highest; ties are shared."""
    count, images = scored.gained.shape[0], scored.images
    if count < 2 or not images:
        return np.ones(count)
    rng = np.random.default_rng(0)
    if images <= _DRAWN:
        drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
        scores = drawn @ scored.gained.T
    else:  # means of so many images are normal, and need no draws of each
        spread = np.atleast_2d(np.cov(scored.per_image)) / images
        scores = rng.multivariate_normal(scored.scores, spread, size=RESAMPLES)
    top = scores >= scores.max(axis=1, keepdims=True) - 1e-9
    found: Floats = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return found


def _more(pair: Pair, scored: _Scored, margin: float) -> int | None:
    """How many more images would show a difference of the margin; None if that is unknown."""
    images, low, difference = scored.images, pair["low"], pair["difference"]
    if images < FEWEST_TO_PLAN or pair["significant"] or low is None or difference <= 0:
        return None
    needed = images_needed(difference, low, images, pair["tests"], margin or SMALLEST)
    return None if needed is None else needed - images


def _weakest(figures: Told, model: str, quantity: str, further: Candidate | None) -> dict[str, Any]:
    if further is not None and quantity != "robust_accuracy":
        return further.weakest(QUANTITIES[quantity])
    known = [
        entry
        for entry in figures.by_perturbation
        if entry["model"] == model and entry.get(quantity) is not None
    ]
    if not known or 1 == len({entry[quantity] for entry in known}) < len(known):
        return {"weakest": None, "weakest_value": None}
    worst = min(known, key=lambda entry: float(entry[quantity]))
    return {"weakest": worst["perturbation"], "weakest_value": worst[quantity]}
