"""Which model of a run to choose: the best or the tied ones, and with what certainty.

Criteria for the choice of a model: weights of perturbations, and limits of cost.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.text import counted, figure_text, join_names, milliseconds, points, share
from robustness.base.turns import FEWEST_TURNS
from robustness.metrics.intervals import FEWEST
from robustness.perturbations import REGISTRY
from robustness.perturbations.record import find
from robustness.statistics.failures import hardest
from robustness.statistics.grid import ConditionKey, Grid, grids
from robustness.statistics.means import SMALLEST, condition_shares, over_conditions, shares
from robustness.statistics.pairs import (
    FEWEST_TO_PLAN,
    MISSING,
    ModelPair,
    budgets,
    outcomes,
    pair_differences,
    round_up,
)

Floats = NDArray[np.float64]

OTHERS = "others"
"""The name for the weight of every other perturbation."""

MARGIN = 0.01
"""Default of the smallest difference that matters: 1 point."""

EQUIVALENCE = 0.02
"""Two models are as good as each other if the 95% interval of their difference lies within 2 points
to either side."""

CLEARLY_FASTER = 1.1
"""How many times as fast a model is in every turn for its speed to decide."""


@dataclass(frozen=True)
class Criteria:
    """The criteria of a choice.

    ``weights`` (0 or more) are by perturbation, risk, family or a word that finds perturbations;
    ``OTHERS`` is for all others, 1 by default. ``min_accuracy`` is a share of the
    originals, ``max_latency_ms`` milliseconds an image, ``max_megabytes`` the size of the weights
    (1 MB = 10**6 bytes). A latency whose spread reaches down to ``max_latency_ms`` meets it. A
    difference below ``margin``, a share, is a tie.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    max_megabytes: float | None = None
    margin: float = MARGIN

    @property
    def equivalence(self) -> float:
        """The largest difference of models that are as good as each other."""
        return max(EQUIVALENCE, self.margin)

    def __post_init__(self) -> None:
        for name, value, most in (
            ("min_accuracy", self.min_accuracy, 1.0),
            ("max_latency_ms", self.max_latency_ms, math.inf),
            ("max_megabytes", self.max_megabytes, math.inf),
            ("margin", self.margin, 1.0),
            *((f"weight of {name}", weight, math.inf) for name, weight in self.weights.items()),
        ):
            if value is not None and not 0 <= value <= most:
                up_to = "" if math.isinf(most) else f" to {most:g}"
                raise ParameterError(f"Expected {name} to be a number from 0{up_to}, got {value}.")


@dataclass(frozen=True)
class Cost:
    """The cost of a model; None if unknown.

    ``turns_ms`` are milliseconds of a pass over one image, in each turn of all models that were
    ``measured`` together: when, in UTC, or "". ``latency_ms`` is their median, ``latency_low_ms``
    and ``latency_high_ms`` are the fastest and the slowest turn; ``waiting`` is the share of the
    time in which the ``machine`` (processor, cores, engine) had no core free for them.
    ``megabytes`` are those of the weights, ``memory_megabytes`` those of the loaded model.
    """

    latency_ms: float | None = None
    megabytes: float | None = None
    memory_megabytes: float | None = None
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None
    waiting: float | None = None
    turns_ms: tuple[float, ...] = ()
    measured: str = ""
    machine: str = ""

    @property
    def least_ms(self) -> float | None:
        """The latency that a free machine may have at best; None if unknown."""
        low = self.latency_low_ms
        return None if low is None else low * (1 - (self.waiting or 0.0))


def reasons_against(
    accuracies: Mapping[str, float | None], criteria: Criteria, costs: Mapping[str, Cost]
) -> dict[str, str]:
    """The reasons why models are ruled out, by model; ``accuracies`` are of the originals."""
    reasons = {}
    floor = criteria.min_accuracy
    if floor is not None and all(accuracy is None for accuracy in accuracies.values()):
        raise ParameterError(
            "A floor of accuracy needs labelled images, and this run has none: leave out "
            "min_accuracy, or evaluate images with labels."
        )
    for name, accuracy in accuracies.items():
        cost = costs.get(name, Cost())
        if floor is not None and (accuracy is None or accuracy < floor):
            measured = "unknown" if accuracy is None else share(accuracy)
            reasons[name] = f"accuracy {measured}, wanted at least {share(floor)}"
        for most, value, least, what, unit in (
            (criteria.max_latency_ms, cost.latency_ms, cost.least_ms, "latency", "ms"),
            (criteria.max_megabytes, cost.megabytes, cost.megabytes, "size", "MB"),
        ):
            if most is not None and (least is None or least > most):
                measured = "unknown" if least is None else f"{value:.1f} {unit}"
                reasons[name] = f"{what} {measured}, wanted at most {most:g} {unit}"
    return reasons


def weights_of(
    keys: Sequence[ConditionKey], weight_by_name: Mapping[str, float], quantity: str
) -> tuple[Floats, dict[str, list[str]]]:
    """The weights (conditions,), and the perturbations that each name stands for."""
    if quantity == "robust_accuracy":
        if weight_by_name:
            raise ParameterError(
                "Weights are for perturbations, and this run has attacks alone: leave them out."
            )
        return np.ones(len(budgets(keys))), {}
    present = dict.fromkeys(key.perturbation for key in keys)
    weights = np.full(len(keys), weight_by_name.get(OTHERS, 1.0))
    meant: dict[str, list[str]] = {}
    for word, weight in weight_by_name.items():
        if word == OTHERS:
            continue
        # Called so, or of that risk or family, or else found by a search.
        texts = [(r.name, {r.name, r.label, r.risk, r.family}) for r in REGISTRY]
        names = {name for name, own in texts if word.casefold() in map(str.casefold, own)}
        names = names or {record.name for record in find(word).records} or {word}
        meant[word] = [name for name in present if name in names]
        if not meant[word]:
            raise ParameterError(
                f"There is nothing called {word!r} among the run's perturbations: "
                f"{', '.join(present)}. A weight is for a perturbation, or for a risk: "
                f"{', '.join(dict.fromkeys(record.risk for record in REGISTRY))}."
            )
        weights[[key.perturbation in meant[word] for key in keys]] = weight
    if not weights.any():
        raise ParameterError("Every weight is 0: expected one above 0.")
    return weights, meant


RESAMPLES = 1_000
_DRAWN = 5_000
"""Images up to which resamples draw each of them."""


BEST = "best"
TIED = "tied"
WORSE = "worse"
RULED_OUT = "ruled out"
NOT_COMPARED = "not compared"

_NAMED = 5
"""Names in a sentence; of more, the others are counted."""

_NAMED_IN_A_TIE = 3
"""Names in a recommendation, which is short."""

NAMES = {
    "consistency": "consistency",
    "perturbed_accuracy": "perturbed accuracy",
    "robust_accuracy": "robust accuracy",
}

UNDECIDED = {**NAMES, "perturbed_accuracy": "accuracy"}
"""What is undecided between tied models."""


@dataclass(frozen=True)
class Candidate:
    """A model behind a remedy, or several models together, weighed as a further model.

    ``grid`` has the candidate's id in place of a model's name, and the column that the run is
    ranked by. ``remedy`` is a ``Chain.id``. ``model`` is the model, or one of several, whose
    classes it predicts. ``accuracy`` is that of the originals, None without labels.
    """

    grid: Grid
    label: str
    remedy: str
    model: str
    accuracy: float | None
    cost: Cost

    @property
    def id(self) -> str:
        return self.grid.model


class ChoiceTables(Protocol):
    """The tables of a run that a choice needs; ``Figures`` has them."""

    @property
    def grids(self) -> Sequence[Grid]: ...
    @property
    def ranked_by(self) -> str: ...
    @property
    def summary(self) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class ModelChoice:
    """The answer.

    ``best`` is one model, or several tied ones; empty if none meets the criteria.
    ``certainty`` is the share of resamples of the images in which the first of ``best`` scores
    highest, None for one candidate or too few images. ``worse`` names the models that any other is
    significantly better than, by ``margin`` or more. ``models`` has an entry per
    candidate, best first: ``model``, ``label``, ``remedy`` ("" without one), ``status``, ``reason``
    (of one ruled out), ``accuracy`` of the originals,
    ``robust`` (the weighted score) with its interval, ``certainty``, ``place_low`` and
    ``place_high`` (simultaneous 95%), ``hardest`` (the ids of the conditions that lead, as
    ``Hardest.leaders``), and the fields of ``Cost``. One that is not ranked has no ``robust``,
    but ``own``, the score on its own images, with its interval. ``gaps`` has by worse candidate
    the first that is better by the margin, and its lead. ``more_images`` would show a
    difference of the margin (1 point, if that is 0) between the first two of a tie.
    ``weighted`` says which perturbations each weight was for. ``unshared`` tells that
    predictions that count for some candidates alone are left out. ``equivalent`` has the pairs of
    tied models that are as good as each other: the 95% interval of their difference lies within
    ``equivalence`` to either side (two one-sided tests).
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
    unshared: bool
    gaps: Mapping[str, tuple[str, float]]
    equivalence: float
    equivalent: tuple[tuple[str, str], ...]

    @property
    def compared(self) -> bool:
        """Whether there were two models or more to choose from."""
        return sum(entry["robust"] is not None for entry in self.models) > 1

    @property
    def leading(self) -> str:
        """The model that the answer names first: the best, or the fastest of tied ones; else ""."""
        if len(self.best) > 1:
            found = _fastest(self) if self.images >= FEWEST_TO_PLAN else None
            return "" if found is None else str(found[0]["model"])
        statuses = {entry["status"] for entry in self.models}
        has_beaten_others = bool(statuses & {WORSE, RULED_OUT})
        return self.best[0] if self.best and has_beaten_others else ""

    @property
    def recommended(self) -> str:
        """The model to ship: the best one, or the fastest if it is as good as the others; or ""."""
        return self.leading if self.is_as_good(self.leading) else ""

    def in_order(self, names: Sequence[str]) -> list[str]:
        """``names`` of models as every map and table has them: the leading one, then by score."""
        leading = self.leading
        places = {entry["model"]: place for place, entry in enumerate(self.models)}
        return sorted(names, key=lambda name: (name != leading, places.get(name, len(places))))

    def with_costs(self, costs: Mapping[str, Cost]) -> ModelChoice:
        """The same choice where the models cost that: of tied ones, the fastest is recommended."""
        entries = [
            {**entry, **vars(costs[entry["model"]])} if entry["model"] in costs else entry
            for entry in self.models
        ]
        return replace(self, models=tuple(entries))

    def score(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """The score of ``entry`` with its interval, as the quantity that it is of."""
        ends = ("", "_low", "_high")
        name = "own" if "own" in entry else "robust"
        by_end = {f"{self.quantity}{end}": entry[f"{name}{end}"] for end in ends}
        return {"model": entry["model"], **by_end}

    def is_as_good(self, model: str) -> bool:
        """Whether ``model`` is equivalent to every other of ``best``."""
        pairs = {frozenset(pair) for pair in self.equivalent}
        return all(frozenset((model, other)) in pairs for other in self.best if other != model)

    @property
    def fastest(self) -> dict[str, Any] | None:
        """Of tied models the ``model`` that is clearly faster, and by how many ``times``."""
        found = _fastest(self)
        return None if found is None else {"model": found[0]["model"], "times": found[1]}

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer in words: the recommendation, then what it leaves out."""
        return tuple(_sentences(self))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        inner = {"unshared", "gaps"}
        values = {name: value for name, value in vars(self).items() if name not in inner}
        models = [dict(entry) for entry in self.models]
        return {
            **values,
            "models": models,
            "fastest": self.fastest,
            "sentences": self.sentences,
        }


def choose(
    figures: ChoiceTables,
    criteria: Criteria | None = None,
    costs: Mapping[str, Cost] | None = None,
    ruled_out: Mapping[str, str] | None = None,
    more: Sequence[Candidate] = (),
) -> ModelChoice:
    """The choice among the models of ``figures`` and the candidates ``more``.

    Models score by what the run ranks them by: accuracy on labelled images, robust accuracy under
    attacks alone, else consistency; only rows that every candidate has count. Candidates have the
    same classes. ``ruled_out`` gives reasons why models are none.

    A model is worse if its paired difference from any other is significant (as in ``compare``) and
    at least the margin; the others are the best. Raises ``ParameterError`` for criteria that the
    run cannot answer.
    """
    criteria = criteria or Criteria()
    further = {candidate.id: candidate for candidate in more}
    costs = {**(costs or {}), **{name: candidate.cost for name, candidate in further.items()}}
    quantity = figures.ranked_by
    every = [*figures.grids, *(candidate.grid for candidate in more)]
    of = {grid.model: grid for grid in grids(every)}
    accuracies = {entry["model"]: entry["clean_accuracy"] for entry in figures.summary}
    accuracies |= {name: candidate.accuracy for name, candidate in further.items()}
    reasons = {**reasons_against(accuracies, criteria, costs), **(ruled_out or {})}
    group = _largest([name for name in of if name not in reasons], further)
    keys = next(iter(of.values())).conditions
    weights, weighted = weights_of(keys, criteria.weights, quantity)
    scored = _Scored([outcomes(of[name], quantity) for name in group], weights)
    ranked, gaps, more_images, equivalent = _ranked(group, scored, criteria)

    def unranked(name: str) -> dict[str, Any]:
        own = _Scored([outcomes(of[name], quantity)], weights)
        return {
            "model": name,
            "status": RULED_OUT if name in reasons else NOT_COMPARED,
            "reason": reasons.get(name, "it has other classes"),
            **(own.named("own", 0) if own.images else {}),
        }

    def described(entry: Mapping[str, Any]) -> dict[str, Any]:
        name = entry["model"]
        candidate = further.get(name)
        return {
            **dict.fromkeys(_SCORES),
            **entry,
            "label": candidate.label if candidate else models.label(name),
            "remedy": candidate.remedy if candidate else "",
            "accuracy": accuracies[name],
            "hardest": list(hardest([of[name]], quantity).leaders),
            **vars(costs.get(name, Cost())),
        }

    others = [unranked(name) for name in of if name not in group]
    entries = tuple(described(entry) for entry in [*ranked, *others])
    best = [entry for entry in entries if entry["status"] in (BEST, TIED)]
    return ModelChoice(
        best=tuple(entry["model"] for entry in best),
        certainty=best[0]["certainty"] if best else None,
        worse=tuple(entry["model"] for entry in entries if entry["status"] == WORSE),
        models=entries,
        quantity=quantity,
        images=scored.images,
        margin=criteria.margin,
        more_images=more_images,
        weighted=weighted,
        unshared=scored.unshared,
        gaps=gaps,
        equivalence=criteria.equivalence,
        equivalent=equivalent,
    )


def _largest(allowed: Sequence[str], further: Mapping[str, Candidate]) -> list[str]:
    """The largest set of ``allowed`` with the same classes."""
    like = {name: further[name].model if name in further else name for name in allowed}
    sets = [
        [name for name in allowed if like[name] in names]
        for _, names in models.by_labels(dict.fromkeys(like.values()))
    ]
    return max(sets, key=len, default=[])


_ROUNDING = 1e-9  # of sums


def _ranked(
    group: Sequence[str], scored: _Scored, criteria: Criteria
) -> tuple[
    list[dict[str, Any]],
    dict[str, tuple[str, float]],
    int | None,
    tuple[tuple[str, str], ...],
]:
    """The candidates' entries, best first; by worse one, a better one and the difference between
    them; how many more images would separate a tie; and the pairs of it that are equivalent.
    """
    margin = criteria.margin
    order = np.argsort(-scored.scores, kind="stable").tolist()
    place = {candidate: at for at, candidate in enumerate(order)}
    pairs = pair_differences(scored.outcomes, scored.weights)
    significant = [pair for pair in pairs if pair.established]
    decisive = [pair for pair in significant if pair.difference >= margin - _ROUNDING]
    above: dict[int, ModelPair] = {}  # the first candidate that is significantly better
    for pair in sorted(decisive, key=lambda pair: -place[pair.better]):
        above[pair.worse] = pair
    best = [candidate for candidate in order if candidate not in above] or order[:1]
    firsts = _resampled(scored)
    compared = len(order) > 1 and scored.images >= FEWEST
    status_of_best = BEST if len(best) == 1 else TIED
    entries = [
        {
            "model": group[candidate],
            "status": status_of_best if candidate in best else WORSE,
            "reason": "",
            **scored.named("robust", candidate),
            "certainty": float(firsts[candidate]) if compared else None,
            "place_low": 1 + sum(pair.worse == candidate for pair in significant),
            "place_high": len(order) - sum(pair.better == candidate for pair in significant),
        }
        for candidate in order
    ]
    gaps = {group[c]: (group[pair.better], pair.difference) for c, pair in above.items()}
    tie = [pair for pair in pairs if {pair.better, pair.worse} == {*best[:2]}]
    more_images = tie[0].more_images(margin or SMALLEST) if tie else None
    equivalent = tuple(
        (group[pair.better], group[pair.worse])
        for pair in pairs
        if {pair.better, pair.worse} <= {*best} and pair.is_within(criteria.equivalence)
    )
    return entries, gaps, more_images, equivalent


_SCORES = (
    "robust",
    "robust_low",
    "robust_high",
    "certainty",
    "place_low",
    "place_high",
    "hardest",
)


class _Scored:
    """Scores of models by weighted conditions, on the rows that count for all models.

    ``outcomes`` (models, images, conditions) are of the conditions with a weight, ``images`` counts
    the images with such a row, and ``gained`` (models, images) adds up to the ``scores`` (models,).
    """

    def __init__(self, values: Sequence[NDArray[Any]], weights: Floats) -> None:
        used = weights > 0
        self.weights = weights[used]
        none = np.zeros((0, 0, len(self.weights)), np.int8)
        self.outcomes = np.stack([value[:, used] for value in values]) if values else none
        self._there = np.logical_and.reduce(self.outcomes != MISSING)
        self._present = np.logical_and.reduce(self.outcomes >= 0)
        self.unshared = bool(((self.outcomes >= 0) & ~self._present).any())
        counts = np.logical_or.reduce(self._present, axis=1)
        self.images = int(counts.sum())
        share = condition_shares(self._present, self._there, self.weights) / self.weights.sum()
        gained = [(np.where(self._present, rows, 0) @ share)[counts] for rows in self.outcomes]
        self.gained: Floats = np.array(gained, float).reshape(len(values), self.images)
        self.scores: Floats = self.gained.sum(axis=1)

    def named(self, name: str, place: int) -> dict[str, float | None]:
        """The score of the model in ``place`` with its interval."""
        values = np.where(self._present, self.outcomes[place], np.nan)
        return over_conditions(values, self._there, shares, self.weights).named(name, 0)


def _resampled(scored: _Scored) -> Floats:
    """(models,) share of resamples of the images in which each scores highest; ties are shared."""
    count, images = scored.gained.shape
    if count < 2 or not images:
        return np.ones(count)
    rng = np.random.default_rng(0)
    if images <= _DRAWN:
        drawn = rng.multinomial(images, np.full(images, 1 / images), size=RESAMPLES)
        scores = drawn @ scored.gained.T
    else:  # means of so many images are normal, and need no draws of each
        spread = np.atleast_2d(np.cov(scored.gained)) * images
        scores = rng.multivariate_normal(scored.scores, spread, size=RESAMPLES)
    top = scores >= scores.max(axis=1, keepdims=True) - _ROUNDING
    firsts: Floats = (top / top.sum(axis=1, keepdims=True)).mean(axis=0)
    return firsts


def times_faster(entry: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """How many times as fast ``entry`` is as ``other``, if that is clear in every turn; else None.

    Only latencies that were measured together, turn by turn, compare.
    """
    if not entry["measured"] or entry["measured"] != other["measured"]:
        return None
    turns = zip(entry["turns_ms"], other["turns_ms"], strict=False)
    ratios = [slow / fast for fast, slow in turns]
    if len(ratios) < FEWEST_TURNS or min(ratios) < CLEARLY_FASTER:
        return None
    return statistics.median(ratios)


def _fastest(choice: ModelChoice) -> tuple[Mapping[str, Any], float] | None:
    """The fastest of tied models, and how many times as fast as any other it is at least."""
    tied = [entry for entry in choice.models if entry["status"] == TIED]
    for entry in tied:
        times = [times_faster(entry, other) for other in tied if other is not entry]
        clear = [ratio for ratio in times if ratio is not None]
        if clear and len(clear) == len(times):
            return entry, min(clear)
    return None


def _sentences(choice: ModelChoice) -> Iterator[str]:
    entries = choice.models
    best = [entry for entry in entries if entry["status"] in (BEST, TIED)]
    worse = [entry for entry in entries if entry["status"] == WORSE]
    others = {entry["status"] for entry in entries} - {BEST}
    if len(best) == 1:
        robustness = figure_text(choice.score(best[0]), choice.quantity, ".1%")
        score = f"{NAMES[choice.quantity]} {robustness}"
    if not best:
        yield "No model meets the criteria."
    elif len(best) > 1:
        yield from _tie(choice, best)
    elif WORSE not in others:
        name = best[0]["label"]
        if others == {RULED_OUT}:
            yield f"Only {name} meets the criteria: {score}."
        else:
            yield f"{name}: {score}."
    elif choice.gaps[(first := worse[0])["model"]][0] == best[0]["model"]:
        _, gap = choice.gaps[first["model"]]
        form = ".0f" if gap >= SMALLEST else ".1f"  # below a point a digit more
        lead = _gap(choice, worse.pop(0)["model"], form)
        yield f"Ship {best[0]['label']}: {lead} ahead of {first['label']}."
    else:
        yield f"Ship {best[0]['label']}: {score}."
    yield from _worse_sentences(worse, choice, best)
    out = [entry for entry in entries if entry["status"] in (RULED_OUT, NOT_COMPARED)]
    named = out if len(out) <= _NAMED else out[: _NAMED - 1]
    for entry in named:
        yield f"{entry['label']} is {entry['status']}: {entry['reason']}."
    if rest := out[len(named) :]:
        statuses = " or ".join(dict.fromkeys(entry["status"] for entry in rest))
        yield f"{len(rest)} more are {statuses}."


def _gap(choice: ModelChoice, name: str, form: str = ".0f") -> str:
    """How many points the candidate ``name`` is behind the one that is better."""
    _, lead = choice.gaps[name]
    return counted(points(lead, form), "point")


def _tie(choice: ModelChoice, best: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The fastest of the ``best``, to ship if it is as good as the others; else what is open."""
    found = _fastest(choice) if choice.images >= FEWEST_TO_PLAN else None
    if found is None:
        names = [entry["label"] for entry in best]
        tied = join_names(names) if len(names) <= _NAMED_IN_A_TIE else f"{len(names)} models"
        on = "" if choice.more_images is not None else f" on {counted(choice.images, 'image')}"
        yield f"{tied} tie{on}."
        yield from _plan(choice)
    else:
        first, ratio = found
        times = f"{ratio:.1f} times"
        if choice.is_as_good(first["model"]):
            rest = [entry["label"] for entry in best if entry is not first]
            others = rest[0] if len(rest) == 1 else f"{len(rest)} others"
            within = counted(f"{100 * choice.equivalence:g}", "point")
            yield (f"Ship {first['label']}: as good as {others} within {within}, {times} as fast.")
            yield _latencies(first, best)
        else:
            yield f"{first['label']} is fastest ({times}); {UNDECIDED[choice.quantity]} undecided."
            yield _latencies(first, best)
            yield from _plan(choice)
    margin = choice.margin
    if margin and any(entry["place_low"] > 1 for entry in best):
        yield f"Differences below {counted(f'{100 * margin:g}', 'point')} count as ties."


def _plan(choice: ModelChoice) -> Iterator[str]:
    """How many more images would tell a tie apart, if that is known."""
    if choice.more_images is not None:
        least = f"{100 * (choice.margin or SMALLEST):.3g}-point"
        needed = counted(round_up(choice.more_images), "more image")
        yield f"To detect a {least} gap: about {needed}."


def _latencies(first: Mapping[str, Any], best: Sequence[Mapping[str, Any]]) -> str:
    """The latency of the fastest, and those of the others."""
    others = sorted(
        (entry for entry in best if entry is not first), key=lambda entry: entry["latency_ms"]
    )
    mine = figure_text(first, "latency_ms", milliseconds)
    texts = [figure_text(entry, "latency_ms", milliseconds) for entry in others]
    if len(texts) == 1:
        return f"{mine} ms; the other {texts[0]}."
    if len(texts) > _NAMED_IN_A_TIE:
        texts = [texts[0], texts[-1]]
        return f"{mine} ms; the others {texts[0]} to {texts[1]}."
    return f"{mine} ms; the others {join_names(texts)}."


def _worse_sentences(
    worse: Sequence[Mapping[str, Any]],
    choice: ModelChoice,
    best: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    if len(worse) > _NAMED:
        order = sorted((entry["model"] for entry in worse), key=lambda name: choice.gaps[name][1])
        least, most = (_gap(choice, name) for name in (order[0], order[-1]))
        span = f"{least.partition(' ')[0]} to " if least != most else ""
        yield f"{len(worse)} others are worse by {span}{most}."
    elif worse:
        than = {entry["model"]: f" than {entry['label']}" for entry in choice.models}
        if len(best) == 1:
            than[best[0]["model"]] = ""
        said = []
        for entry in worse:
            better, _ = choice.gaps[entry["model"]]
            by = _gap(choice, entry["model"])
            said.append(f"{entry['label']} is worse{than[better]} by {by}")
        yield f"{join_names(said, _NAMED)}."


# --- the robustness that accuracy predicts --------------------------------------------------------

FEWEST_MODELS = 3
"""Models from which a line is fitted: two always lie on one."""


def expected_robustness(entries: Sequence[Mapping[str, Any]]) -> Callable[[float], float] | None:
    """The score ``robust`` that ``accuracy`` predicts, both as shares; None for too few models.

    A least-squares line through the logits of the ``entries`` of a choice, without those behind a
    remedy, as Taori et al., *Measuring Robustness to Natural Distribution Shifts in Image
    Classification*, NeurIPS 2020.
    """
    from scipy.special import expit, logit  # slow to import

    points = [(e["accuracy"], e["robust"]) for e in entries if not e.get("remedy")]
    inside = [(x, y) for x, y in points if None not in (x, y) and 0 < x < 1 and 0 < y < 1]
    if len(inside) < FEWEST_MODELS or len({x for x, _ in inside}) < 2:
        return None
    x, y = logit(np.transpose(inside))
    slope, start = np.polyfit(x, y, 1)
    return lambda share: float(expit(start + slope * logit(share)))


def above_expected(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By model, how far it is above what its accuracy predicts; {} where nothing is fitted."""
    line = expected_robustness(entries)
    measured = [e for e in entries if None not in (e["accuracy"], e["robust"])]
    return {
        e["model"]: e["robust"] - line(e["accuracy"])
        for e in measured
        if line and 0 < e["accuracy"] < 1
    }
