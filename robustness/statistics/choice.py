"""Which model of a run to choose, with what certainty, under which weights and limits of cost.

The choice is the best model, or several that are tied with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.errors import ParameterError
from robustness.base.text import counted, figure_text, join_names, milliseconds, points, share
from robustness.base.turns import FEWEST_TURNS
from robustness.measure.condition import named
from robustness.metrics.intervals import FEWEST
from robustness.models.variant import Variant
from robustness.perturbations import REGISTRY
from robustness.perturbations.record import find
from robustness.statistics.failures import hardest
from robustness.statistics.grid import UNKNOWN, ConditionKey, Grid, grids
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
Entry = Mapping[str, Any]
"""A candidate of a ``ModelChoice``, as ``ModelChoice.models`` has it."""

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
    difference below ``margin``, a share, is a tie. With ``worst_of``, which are ids of conditions,
    a model scores by the worst of them instead of by all.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    min_accuracy: float | None = None
    max_latency_ms: float | None = None
    max_megabytes: float | None = None
    margin: float = MARGIN
    worst_of: tuple[str, ...] = ()

    @property
    def equivalence(self) -> float:
        """The largest difference of models that are as good as each other."""
        return max(EQUIVALENCE, self.margin)

    def __post_init__(self) -> None:
        _check_range("min_accuracy", self.min_accuracy, 1.0)
        _check_range("max_latency_ms", self.max_latency_ms, math.inf)
        _check_range("max_megabytes", self.max_megabytes, math.inf)
        _check_range("margin", self.margin, 1.0)
        for name, weight in self.weights.items():
            _check_range(f"weight of {name}", weight, math.inf)


def _check_range(name: str, value: float | None, largest: float) -> None:
    """Raise ``ParameterError`` for a ``value`` that is not from 0 to ``largest``, such as NaN."""
    if value is None or 0 <= value <= largest:
        return
    up_to = "" if math.isinf(largest) else f" to {largest:g}"
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
        if self.latency_low_ms is None:
            return None
        return self.latency_low_ms * (1 - (self.waiting or 0.0))


def reasons_against(
    accuracies: Mapping[str, float | None],
    criteria: Criteria,
    costs: Mapping[str, Cost],
    score: str = "",
) -> dict[str, str]:
    """The reasons why models are ruled out, by model; ``accuracies`` are of the originals.

    In a run of scores they are means of the one that is called ``score``. Raises ``ParameterError``
    for a floor of accuracy where no model has an accuracy.
    """
    floor = criteria.min_accuracy
    if floor is not None and all(accuracy is None for accuracy in accuracies.values()):
        raise ParameterError(
            "A floor of accuracy needs labelled images, and this run has none: leave out "
            "min_accuracy, or evaluate images with labels."
        )
    reasons = {}
    for name, accuracy in accuracies.items():
        reason = _reason_against(accuracy, criteria, costs.get(name, Cost()), score)
        if reason:
            reasons[name] = reason
    return reasons


def _reason_against(accuracy: float | None, criteria: Criteria, cost: Cost, score: str = "") -> str:
    """Why a model does not meet the criteria; "" if it does. The size is named before the latency,
    and that before the accuracy."""
    most = criteria.max_megabytes
    if most is not None and (cost.megabytes is None or cost.megabytes > most):
        size = "unknown" if cost.megabytes is None else f"{cost.megabytes:.1f} MB"
        return f"size {size}, wanted at most {most:g} MB"
    most = criteria.max_latency_ms
    if most is not None and (cost.least_ms is None or cost.least_ms > most):
        latency = "unknown" if cost.least_ms is None else f"{cost.latency_ms:.1f} ms"
        return f"latency {latency}, wanted at most {most:g} ms"
    floor = criteria.min_accuracy
    if floor is not None and (accuracy is None or accuracy < floor):
        measured = "unknown" if accuracy is None else share(accuracy)
        name = f"original {score}" if score else "accuracy"
        return f"{name} {measured}, wanted at least {share(floor)}"
    return ""


def weights_of(
    keys: Sequence[ConditionKey], weight_by_name: Mapping[str, float], quantity: str
) -> tuple[Floats, dict[str, list[str]]]:
    """The weights (conditions,), and the perturbations that each name stands for.

    For the robust accuracy there is a weight for each norm and epsilon. Raises ``ParameterError``
    for a name that finds no perturbation of the run, for weights of attacks, and where all are 0.
    """
    if quantity == "robust_accuracy":
        if weight_by_name:
            raise ParameterError(
                "Weights are for perturbations, and this run has attacks alone: leave them out."
            )
        return np.ones(len(budgets(keys))), {}
    present = dict.fromkeys(key.perturbation for key in keys)
    weights = np.full(len(keys), weight_by_name.get(OTHERS, 1.0))
    perturbations_by_word: dict[str, list[str]] = {}
    for word, weight in weight_by_name.items():
        if word == OTHERS:
            continue
        meant = _perturbations_meant(word)
        chosen = [name for name in present if name in meant]
        if not chosen:
            raise ParameterError(
                f"There is nothing called {word!r} among the run's perturbations: "
                f"{', '.join(present)}. A weight is for a perturbation, or for a risk: "
                f"{', '.join(dict.fromkeys(record.risk for record in REGISTRY))}."
            )
        perturbations_by_word[word] = chosen
        weights[[key.perturbation in chosen for key in keys]] = weight
    if not weights.any():
        raise ParameterError("Every weight is 0: expected one above 0.")
    return weights, perturbations_by_word


def _perturbations_meant(word: str) -> set[str]:
    """The perturbations with ``word`` as name, label, risk or family, else those it finds.

    A word that finds none is taken for a name, such as that of a composition or a profile.
    """
    lower_word = word.casefold()
    exact = set()
    for record in REGISTRY:
        texts = (record.name, record.label, record.risk, record.family)
        if lower_word in [text.casefold() for text in texts]:
            exact.add(record.name)
    if exact:
        return exact
    return {record.name for record in find(word).records} or {word}


RESAMPLES = 1_000
_MOST_DRAWN = 5_000
"""Images up to which resamples draw each of them."""


BEST = "best"
TIED = "tied"
WORSE = "worse"
RULED_OUT = "ruled out"
NOT_COMPARED = "not compared"

_MOST_NAMED = 5
"""Names in a sentence; of more, the others are counted."""

_MOST_NAMED_IN_A_TIE = 3
"""Names in a recommendation, which is short."""

NAMES = {
    "consistency": "consistency",
    "perturbed_accuracy": "perturbed accuracy",
    "robust_accuracy": "robust accuracy",
}

UNDECIDED = {**NAMES, "perturbed_accuracy": "accuracy"}
"""What is undecided between tied models."""


class ChoiceTables(Protocol):
    """The tables of a run that a choice needs; ``Figures`` has them."""

    @property
    def grids(self) -> Sequence[Grid]: ...
    @property
    def ranked_by(self) -> str: ...
    @property
    def summary(self) -> list[dict[str, Any]]: ...
    @property
    def score(self) -> str: ...


class Fastest(NamedTuple):
    """The fastest of tied models, and how many times as fast as any other it is at least."""

    entry: Entry
    times: float


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
    ``equivalence`` to either side (two one-sided tests). ``score_name`` is that of the score
    which ``accuracy`` and ``robust`` are means of, "" for shares of correct predictions.
    """

    best: tuple[str, ...]
    certainty: float | None
    worse: tuple[str, ...]
    models: tuple[Entry, ...]
    quantity: str
    images: int
    margin: float
    more_images: int | None
    weighted: Mapping[str, Sequence[str]]
    unshared: bool
    gaps: Mapping[str, tuple[str, float]]
    equivalence: float
    equivalent: tuple[tuple[str, str], ...]
    score_name: str = ""

    @property
    def compared(self) -> bool:
        """Whether there were two models or more to choose from."""
        return sum(entry["robust"] is not None for entry in self.models) > 1

    @property
    def leading(self) -> str:
        """The model that the answer names first: the best, or the fastest of tied ones; else ""."""
        if len(self.best) > 1:
            fastest = self._fastest_to_name()
            return "" if fastest is None else str(fastest.entry["model"])
        statuses = {entry["status"] for entry in self.models}
        has_beaten_others = bool(statuses & {WORSE, RULED_OUT})
        if self.best and has_beaten_others:
            return self.best[0]
        return ""

    @property
    def recommended(self) -> str:
        """The model to ship: the best one, or the fastest if it is as good as the others; or ""."""
        if self.is_as_good(self.leading):
            return self.leading
        return ""

    def in_order(self, names: Sequence[str]) -> list[str]:
        """``names`` of models as every map and table has them: the leading one, then by score."""
        leading = self.leading
        rank_of = {entry["model"]: rank for rank, entry in enumerate(self.models)}
        return sorted(names, key=lambda name: (name != leading, rank_of.get(name, len(rank_of))))

    def with_costs(self, costs: Mapping[str, Cost]) -> ModelChoice:
        """The same choice where the models cost that: of tied ones, the fastest is recommended."""
        entries = []
        for entry in self.models:
            cost = costs.get(entry["model"])
            entries.append(entry if cost is None else {**entry, **vars(cost)})
        return replace(self, models=tuple(entries))

    def score(self, entry: Entry) -> dict[str, Any]:
        """The score of ``entry`` with its interval, under the name of ``quantity``."""
        name = "own" if "own" in entry else "robust"
        return {
            "model": entry["model"],
            self.quantity: entry[name],
            f"{self.quantity}_low": entry[f"{name}_low"],
            f"{self.quantity}_high": entry[f"{name}_high"],
        }

    def is_as_good(self, model: str) -> bool:
        """Whether ``model`` is equivalent to every other of ``best``."""
        pairs = {frozenset(pair) for pair in self.equivalent}
        return all(frozenset((model, other)) in pairs for other in self.best if other != model)

    @property
    def fastest(self) -> dict[str, Any] | None:
        """Of tied models the ``model`` that is clearly faster, and by how many ``times``."""
        fastest = _fastest(self)
        if fastest is None:
            return None
        return {"model": fastest.entry["model"], "times": fastest.times}

    def _fastest_to_name(self) -> Fastest | None:
        """The fastest of tied models, where there are images enough for speed to decide a tie."""
        if self.images < FEWEST_TO_PLAN:
            return None
        return _fastest(self)

    def name_of(self, names: Mapping[str, str]) -> str:
        """What ``names`` call the quantity, or the name of the score in place of the accuracy."""
        name = names[self.quantity]
        if self.score_name:
            return name.replace("accuracy", self.score_name)
        return name

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer in words: the recommendation, then what it leaves out."""
        return tuple(_sentences(self))

    def as_dict(self) -> dict[str, Any]:
        """The choice as a JSON-ready document."""
        document = {**vars(self), "models": [dict(entry) for entry in self.models]}
        # These serve the sentences, and are no part of the published document.
        del document["unshared"]
        del document["gaps"]
        del document["score_name"]
        if self.score_name:
            document["score"] = self.score_name
        return {**document, "fastest": self.fastest, "sentences": self.sentences}


def choose(
    figures: ChoiceTables,
    criteria: Criteria | None = None,
    costs: Mapping[str, Cost] | None = None,
    ruled_out: Mapping[str, str] | None = None,
    variants: Mapping[Variant, Grid] = MappingProxyType({}),
) -> ModelChoice:
    """The choice among the models of ``figures`` and their ``variants``, if these are given.

    Models score by what the run ranks them by: accuracy on labelled images, robust accuracy under
    attacks alone, else consistency; only rows that every candidate has count. Candidates have the
    same classes. ``ruled_out`` gives reasons why models are none.

    A model is worse if its paired difference from any other is significant (as in ``compare``) and
    at least the margin; the others are the best. Raises ``ParameterError`` for criteria that the
    run cannot answer.
    """
    criteria = criteria or Criteria()
    quantity = figures.ranked_by
    variant_of = {variant.name: variant for variant in variants}
    cost_of = costs or {}
    accuracy_of = {entry["model"]: entry["clean_accuracy"] for entry in figures.summary}
    for variant, grid in variants.items():
        accuracy_of[variant.name] = _accuracy(grid)
    reasons = {
        **reasons_against(accuracy_of, criteria, cost_of, figures.score),
        **(ruled_out or {}),
    }

    every_grid = grids([*figures.grids, *variants.values()])
    grid_of = {grid.model: grid for grid in every_grid}
    names = [grid.model for grid in figures.grids]
    label_of = {name: models.label(name) for name in names}
    for variant in variants:
        label_of[variant.name] = _label(variant, names)
    allowed = [name for name in grid_of if name not in reasons]
    compared = _largest_group(allowed, variant_of)
    conditions = next(iter(grid_of.values())).conditions
    weights, weighted = weights_of(conditions, criteria.weights, quantity)
    outcomes_of = {name: outcomes(grid, quantity) for name, grid in grid_of.items()}
    if criteria.worst_of:
        columns = _columns_to_search(conditions, criteria, quantity)
        chooses = next(iter(grid_of.values())).chooses
        worst = {name: _worst(cells, columns) for name, cells in outcomes_of.items()}
        outcomes_of = {
            name: _under_worst(cells, columns, chooses) for name, cells in outcomes_of.items()
        }
        weights = np.ones(1)
        for name, column in worst.items():
            weighted[f"worst pair of {label_of[name]}"] = [named(conditions[column].id)]
    scores = _Scores([outcomes_of[name] for name in compared], weights)
    ranking = _rank(compared, scores, criteria)

    entries = list(ranking.entries)
    for name in grid_of:
        if name in compared:
            continue
        scores_alone = _Scores([outcomes_of[name]], weights)
        entries.append(
            {
                "model": name,
                "status": RULED_OUT if name in reasons else NOT_COMPARED,
                "reason": reasons.get(name, "it has other classes"),
                **(scores_alone.named("own", 0) if scores_alone.image_count else {}),
            }
        )

    described = []
    for entry in entries:
        name = entry["model"]
        remedy = variant_of[name].chain.id if name in variant_of else ""
        described.append(
            {
                **dict.fromkeys(_SCORES),
                **entry,
                "label": label_of[name],
                "remedy": remedy,
                "accuracy": accuracy_of[name],
                "hardest": list(hardest([grid_of[name]], quantity).leaders),
                **vars(cost_of.get(name, Cost())),
            }
        )
    best = [entry for entry in described if entry["status"] in (BEST, TIED)]
    worse = [entry for entry in described if entry["status"] == WORSE]
    return ModelChoice(
        best=tuple(entry["model"] for entry in best),
        certainty=best[0]["certainty"] if best else None,
        worse=tuple(entry["model"] for entry in worse),
        models=tuple(described),
        quantity=quantity,
        images=scores.image_count,
        margin=criteria.margin,
        more_images=ranking.more_images,
        weighted=weighted,
        unshared=scores.unshared,
        gaps=ranking.gaps,
        equivalence=criteria.equivalence,
        equivalent=ranking.equivalent,
        score_name=figures.score,
    )


def _columns_to_search(
    conditions: Sequence[ConditionKey], criteria: Criteria, quantity: str
) -> list[int]:
    """The columns of the conditions ``worst_of``; raises ``ParameterError`` where none can be."""
    if criteria.weights:
        raise ParameterError("Expected either weights or the worst pair, got both.")
    columns = []
    for column, condition in enumerate(conditions):
        if condition.id in criteria.worst_of and quantity != "robust_accuracy":
            columns.append(column)
    if not columns:
        raise ParameterError("The run has no pair of its domain to rank by.")
    return columns


def _worst(cells: NDArray[Any], columns: Sequence[int]) -> int:
    """The one of ``columns`` of ``cells`` (images, conditions) with the lowest share."""
    searched = np.asarray(columns)
    chosen = cells[:, searched]
    is_counted = chosen >= 0
    sums = np.where(is_counted, chosen, 0).sum(axis=0)
    counts = is_counted.sum(axis=0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    return int(searched[means.argmin()])


def _under_worst(
    cells: NDArray[Any], columns: Sequence[int], chooses: NDArray[np.bool_]
) -> NDArray[Any]:
    """The outcomes (images, 1) under the worst of ``columns``, as the other half of images has it.

    ``chooses`` (images,) tells the halves apart, each of which chooses for the other.
    """
    judged = np.full((len(cells), 1), MISSING, cells.dtype)
    for half in (chooses, ~chooses):
        others = cells[~half]
        if not len(others):  # a single image has no other half
            others = cells
        judged[half, 0] = cells[half, _worst(others, columns)]
    return judged


def _accuracy(grid: Grid) -> float | None:
    """The accuracy of a variant on labelled originals; None without any."""
    correct = grid.flags("clean_correct")
    labelled = correct[correct != UNKNOWN]
    return float(labelled.mean()) if len(labelled) else None


def _label(variant: Variant, names: Sequence[str]) -> str:
    """The label of ``variant``, with its classes if it combines models and others have others."""
    groups = models.by_labels(names)
    if not variant.chain.several_models or len(groups) == 1:
        return variant.label
    title = next(labels.title for labels, alike in groups if variant.base in alike)
    return f"{variant.label} ({title})"


def _largest_group(names: Sequence[str], variant_of: Mapping[str, Variant]) -> list[str]:
    """The largest group of ``names`` with the same classes; the first of equally large ones."""
    model_of = {}
    for name in names:
        model_of[name] = variant_of[name].base if name in variant_of else name
    groups = []
    for _, models_alike in models.by_labels(dict.fromkeys(model_of.values())):
        groups.append([name for name in names if model_of[name] in models_alike])
    return max(groups, key=len, default=[])


_ROUNDING = 1e-9  # of sums

_SCORES = (
    "robust",
    "robust_low",
    "robust_high",
    "certainty",
    "place_low",
    "place_high",
    "hardest",
)
"""Keys that every entry has; None where a candidate is not ranked."""


class _Ranking(NamedTuple):
    """The entries of the compared candidates, best first, and fields of ``ModelChoice``."""

    entries: list[dict[str, Any]]
    gaps: dict[str, tuple[str, float]]
    more_images: int | None
    equivalent: tuple[tuple[str, str], ...]


def _rank(names: Sequence[str], scores: _Scores, criteria: Criteria) -> _Ranking:
    """Rank the candidates ``names``, whose ``scores`` are in the same order."""
    order = np.argsort(-scores.totals, kind="stable").tolist()
    rank_of = {candidate: rank for rank, candidate in enumerate(order)}
    pairs = pair_differences(scores.outcomes, scores.weights)
    significant = [pair for pair in pairs if pair.established]

    # From the last of the better candidates to the first, so that the first one is kept.
    pair_against: dict[int, ModelPair] = {}
    for pair in sorted(significant, key=lambda pair: rank_of[pair.better], reverse=True):
        if pair.difference >= criteria.margin - _ROUNDING:
            pair_against[pair.worse] = pair
    best = [candidate for candidate in order if candidate not in pair_against]
    if not best:
        best = order[:1]
    status_of_best = BEST if len(best) == 1 else TIED

    certainties = _shares_of_first_places(scores)
    are_compared = len(order) > 1 and scores.image_count >= FEWEST
    entries = []
    for candidate in order:
        losses = sum(pair.worse == candidate for pair in significant)
        wins = sum(pair.better == candidate for pair in significant)
        entries.append(
            {
                "model": names[candidate],
                "status": status_of_best if candidate in best else WORSE,
                "reason": "",
                **scores.named("robust", candidate),
                "certainty": float(certainties[candidate]) if are_compared else None,
                "place_low": 1 + losses,
                "place_high": len(order) - wins,
            }
        )

    more_images = None
    equivalent = []
    for pair in pairs:
        members = {pair.better, pair.worse}
        if members == set(best[:2]):
            more_images = pair.more_images(criteria.margin or SMALLEST)
        if members <= set(best) and pair.is_within(criteria.equivalence):
            equivalent.append((names[pair.better], names[pair.worse]))
    gaps = {}
    for worse, pair in pair_against.items():
        gaps[names[worse]] = (names[pair.better], pair.difference)
    return _Ranking(entries, gaps, more_images, tuple(equivalent))


class _Scores:
    """Scores of models by weighted conditions, on the rows that count for all models.

    ``outcomes`` (models, images, conditions) are those under conditions with a weight,
    ``image_count`` counts the images with such a row, and ``gained`` (models, images) adds up to
    the ``totals`` (models,).
    """

    def __init__(self, outcomes_of_models: Sequence[NDArray[Any]], weights: Floats) -> None:
        used = weights > 0
        self.weights = weights[used]
        if outcomes_of_models:
            self.outcomes = np.stack([cells[:, used] for cells in outcomes_of_models])
        else:
            self.outcomes = np.zeros((0, 0, len(self.weights)), np.int8)
        self._has_row = np.logical_and.reduce(self.outcomes != MISSING)
        self._is_counted = np.logical_and.reduce(self.outcomes >= 0)
        self.unshared = bool(((self.outcomes >= 0) & ~self._is_counted).any())
        is_image_counted = np.logical_or.reduce(self._is_counted, axis=1)
        self.image_count = int(is_image_counted.sum())
        row_weights = condition_shares(self._is_counted, self._has_row, self.weights)
        row_shares = row_weights / self.weights.sum()
        gained = []
        for cells in self.outcomes:
            gained_of_images = np.where(self._is_counted, cells, 0) @ row_shares
            gained.append(gained_of_images[is_image_counted])
        # The shape is stated, because NumPy cannot tell it without a model.
        shape = (len(outcomes_of_models), self.image_count)
        self.gained: Floats = np.array(gained, float).reshape(shape)
        self.totals: Floats = self.gained.sum(axis=1)

    def named(self, name: str, model: int) -> dict[str, float | None]:
        """The score of a model, by its index, with its interval."""
        values = np.where(self._is_counted, self.outcomes[model], np.nan)
        return over_conditions(values, self._has_row, shares, self.weights).named(name, 0)


def _shares_of_first_places(scores: _Scores) -> Floats:
    """(models,) share of resamples of the images in which each scores highest; ties are shared."""
    model_count, image_count = scores.gained.shape
    if model_count < 2 or not image_count:
        return np.ones(model_count)
    rng = np.random.default_rng(0)
    if image_count <= _MOST_DRAWN:
        chances = np.full(image_count, 1 / image_count)
        drawn = rng.multinomial(image_count, chances, size=RESAMPLES)
        totals = drawn @ scores.gained.T
    else:
        # Means of so many images are normal, and need no draws of each.
        spread = np.atleast_2d(np.cov(scores.gained)) * image_count
        totals = rng.multivariate_normal(scores.totals, spread, size=RESAMPLES)
    is_first = totals >= totals.max(axis=1, keepdims=True) - _ROUNDING
    first_shares: Floats = (is_first / is_first.sum(axis=1, keepdims=True)).mean(axis=0)
    return first_shares


def times_faster(entry: Entry, other: Entry) -> float | None:
    """How many times as fast ``entry`` is as ``other``, if it is faster in every turn; else None.

    That is the ratio of their latencies, which stand beside it. Only latencies that were measured
    together, turn by turn, compare.
    """
    if not entry["measured"] or entry["measured"] != other["measured"]:
        return None
    turns = zip(entry["turns_ms"], other["turns_ms"], strict=False)
    ratios = [other_ms / own_ms for own_ms, other_ms in turns]
    if len(ratios) < FEWEST_TURNS or min(ratios) < CLEARLY_FASTER:
        return None
    return float(other["latency_ms"] / entry["latency_ms"])


def _fastest(choice: ModelChoice) -> Fastest | None:
    """The tied model that is clearly faster than each of the others; None if there is none."""
    tied = [entry for entry in choice.models if entry["status"] == TIED]
    for entry in tied:
        times = [times_faster(entry, other) for other in tied if other is not entry]
        clear = [ratio for ratio in times if ratio is not None]
        if clear and len(clear) == len(times):
            return Fastest(entry, min(clear))
    return None


def _sentences(choice: ModelChoice) -> Iterator[str]:
    """The recommendation, the worse candidates, then those that were not ranked."""
    best = [entry for entry in choice.models if entry["status"] in (BEST, TIED)]
    worse = [entry for entry in choice.models if entry["status"] == WORSE]
    if not best:
        yield "No model meets the criteria."
    elif len(best) > 1:
        yield from _tie_sentences(choice, best)
    elif worse and _better_than(choice, worse[0]) == best[0]["model"]:
        second = worse.pop(0)  # is named here, and not again below
        _, lead = choice.gaps[second["model"]]
        form = ".0f" if lead >= SMALLEST else ".1f"  # below a point a digit more
        gap = _gap_text(choice, second, form)
        yield f"Ship {best[0]['label']}: {gap} ahead of {second['label']}."
    else:
        yield _score_sentence(choice, best[0])
    if worse:
        yield _worse_sentence(choice, worse, best)
    yield from _unranked_sentences(choice)


def _score_sentence(choice: ModelChoice, entry: Entry) -> str:
    """The sentence on the only best candidate ``entry``, with its score."""
    score = figure_text(choice.score(entry), choice.quantity, ".1%")
    told = f"{choice.name_of(NAMES)} {score}"
    other_statuses = {other["status"] for other in choice.models} - {BEST}
    if WORSE in other_statuses:
        return f"Ship {entry['label']}: {told}."
    if other_statuses == {RULED_OUT}:
        return f"Only {entry['label']} meets the criteria: {told}."
    return f"{entry['label']}: {told}."


def _unranked_sentences(choice: ModelChoice) -> Iterator[str]:
    """Why candidates were not ranked: a sentence for each reason; of many, the last are counted."""
    unranked = [entry for entry in choice.models if entry["status"] in (RULED_OUT, NOT_COMPARED)]
    named = unranked
    if len(unranked) > _MOST_NAMED:
        named = unranked[: _MOST_NAMED - 1]
    labels_of_reason: dict[str, list[str]] = {}
    for entry in named:
        reason = f"{entry['status']}: {entry['reason']}"
        labels_of_reason.setdefault(reason, []).append(entry["label"])
    for reason, labels in labels_of_reason.items():
        verb = "is" if len(labels) == 1 else "are"
        yield f"{join_names(labels, _MOST_NAMED)} {verb} {reason}."
    rest = unranked[len(named) :]
    if rest:
        statuses = " or ".join(dict.fromkeys(entry["status"] for entry in rest))
        yield f"{len(rest)} more are {statuses}."


def _better_than(choice: ModelChoice, entry: Entry) -> str:
    """The candidate that the worse one ``entry`` was compared with."""
    better, _ = choice.gaps[entry["model"]]
    return better


def _gap_text(choice: ModelChoice, entry: Entry, form: str = ".0f") -> str:
    """How many points the candidate ``entry`` is behind the one that is better."""
    _, lead = choice.gaps[entry["model"]]
    return counted(points(lead, form), "point")


def _tie_sentences(choice: ModelChoice, best: Sequence[Entry]) -> Iterator[str]:
    """The fastest of the ``best``, to ship if it is as good as the others; else what is open."""
    fastest = choice._fastest_to_name()
    if fastest is None:
        tied = f"{len(best)} models"
        if len(best) <= _MOST_NAMED_IN_A_TIE:
            tied = join_names([entry["label"] for entry in best])
        on_images = ""
        if choice.more_images is None:
            on_images = f" on {counted(choice.images, 'image')}"
        yield f"{tied} tie{on_images}."
        yield from _plan_sentences(choice)
    else:
        first = fastest.entry
        times = f"{fastest.times:.1f} times"
        if choice.is_as_good(first["model"]):
            others = f"{len(best) - 1} others"
            if len(best) == 2:
                (other,) = (entry for entry in best if entry is not first)
                others = other["label"]
            within = counted(f"{100 * choice.equivalence:g}", "point")
            yield f"Ship {first['label']}: as good as {others} within {within}, {times} as fast."
            yield _latency_sentence(first, best)
        else:
            fastest_of = "fastest"
            not_best = [entry for entry in choice.models if entry not in best]
            if any((entry["latency_ms"] or 0) <= first["latency_ms"] for entry in not_best):
                # A model that is worse is faster still, or its latency is not known.
                fastest_of = f"the fastest of the {len(best)} best"
            undecided = choice.name_of(UNDECIDED)
            yield f"{first['label']} is {fastest_of} ({times}); {undecided} undecided."
            yield _latency_sentence(first, best)
            yield from _plan_sentences(choice)
    margin = choice.margin
    if margin and any(entry["place_low"] > 1 for entry in best):
        yield f"Differences below {counted(f'{100 * margin:g}', 'point')} count as ties."


def _plan_sentences(choice: ModelChoice) -> Iterator[str]:
    """How many more images would tell a tie apart, if that is known."""
    if choice.more_images is not None:
        gap = f"{100 * (choice.margin or SMALLEST):.3g}-point"
        needed = counted(round_up(choice.more_images), "more image")
        yield f"To detect a {gap} gap: about {needed}."


def _latency_sentence(fastest: Entry, best: Sequence[Entry]) -> str:
    """The latency of the fastest, and those of the others."""
    others = [entry for entry in best if entry is not fastest]
    others.sort(key=lambda entry: entry["latency_ms"])
    lowest = figure_text(fastest, "latency_ms", milliseconds)
    texts = [figure_text(entry, "latency_ms", milliseconds) for entry in others]
    if len(texts) == 1:
        return f"{lowest} ms; the other {texts[0]}."
    if len(texts) > _MOST_NAMED_IN_A_TIE:
        return f"{lowest} ms; the others {texts[0]} to {texts[-1]}."
    return f"{lowest} ms; the others {join_names(texts)}."


def _worse_sentence(choice: ModelChoice, worse: Sequence[Entry], best: Sequence[Entry]) -> str:
    """By how much each of the candidates ``worse`` is worse; of many, the range."""
    if len(worse) > _MOST_NAMED:
        by_gap = sorted(worse, key=lambda entry: choice.gaps[entry["model"]][1])
        least = _gap_text(choice, by_gap[0])
        most = _gap_text(choice, by_gap[-1])
        if least == most:
            return f"{len(worse)} others are worse by {most}."
        least_number, _, _ = least.partition(" ")
        return f"{len(worse)} others are worse by {least_number} to {most}."
    label_of = {entry["model"]: entry["label"] for entry in choice.models}
    texts = []
    for entry in worse:
        better = _better_than(choice, entry)
        is_only_best = len(best) == 1 and better == best[0]["model"]
        than = "" if is_only_best else f" than {label_of[better]}"
        texts.append(f"{entry['label']} is worse{than} by {_gap_text(choice, entry)}")
    return f"{join_names(texts, _MOST_NAMED)}."


# --- the robustness that accuracy predicts --------------------------------------------------------

FEWEST_MODELS = 3
"""Models from which a line is fitted: two always lie on one."""


def expected_robustness(entries: Sequence[Entry]) -> Callable[[float], float] | None:
    """The score ``robust`` that ``accuracy`` predicts, both as shares; None for too few models.

    A least-squares line through the logits of the ``entries`` of a choice, without those behind a
    remedy, as Taori et al., *Measuring Robustness to Natural Distribution Shifts in Image
    Classification*, NeurIPS 2020.
    """
    from scipy.special import expit, logit  # slow to import

    accuracies = []
    robustnesses = []
    for entry in entries:
        accuracy = entry["accuracy"]
        robust = entry["robust"]
        if entry.get("remedy") or accuracy is None or robust is None:
            continue
        if 0 < accuracy < 1 and 0 < robust < 1:  # others have no logit
            accuracies.append(accuracy)
            robustnesses.append(robust)
    if len(accuracies) < FEWEST_MODELS or len(set(accuracies)) < 2:
        return None
    slope, intercept = np.polyfit(logit(accuracies), logit(robustnesses), 1)

    def expected(accuracy: float) -> float:
        return float(expit(intercept + slope * logit(accuracy)))

    return expected


def above_expected(entries: Sequence[Entry]) -> dict[str, float]:
    """By model, how far it is above what its accuracy predicts; {} where nothing is fitted."""
    expected = expected_robustness(entries)
    if expected is None:
        return {}
    above = {}
    for entry in entries:
        accuracy = entry["accuracy"]
        robust = entry["robust"]
        if accuracy is not None and robust is not None and 0 < accuracy < 1:
            above[entry["model"]] = robust - expected(accuracy)
    return above
