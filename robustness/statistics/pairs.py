"""Which models differ significantly, and how many more images the other pairs need.

Two runs compared on the images and conditions that both have.

Whether models fail on the same images: pairs of models, and what a majority would do.

Robust accuracy: the images that no attack of a run breaks.

What remedies gain: paired with the same model without them, on images that did not choose them.

The images are split at random into halves. For each model and condition, the remedy with the
largest gain on the first half is chosen, of equal ones the one that costs originals least. Gains
are measured on the second half alone, so that no figure is inflated by the choice. A chosen remedy
is helpful if its gain is significant: the exact paired test, with Holm's correction over the models
and conditions, and an interval above 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted
from robustness.measure.condition import AttackCondition, readable
from robustness.statistics.grid import (
    UNKNOWN,
    ConditionKey,
    Grid,
    map_grids,
    mean_of_groups,
    mean_of_rows,
    pool_profiles,
    profile_groups,
)
from robustness.statistics.means import (
    SMALLEST,
    by_condition,
    differences,
    established,
    holm,
    image_values,
    images_needed,
    number,
    over_conditions,
    overall,
    shares,
)

Floats = NDArray[np.float64]

_CELLS = 100_000  # of each model worked on at once


def by_pair(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Every pair of models with the same classes; ``column`` says whether a row went well.

    Keys: ``model``, ``other``, ``n_predictions`` (images times conditions that count for both),
    and of these ``model_only`` and ``other_only``, on which this model alone fails, and ``both``.
    Attacks do not count.
    """
    some = _with_conditions(some)
    pairs = [
        pair
        for _, names in models.by_labels([grid.model for grid in some])
        for pair in itertools.combinations([g for g in some if g.model in names], 2)
    ]
    ones = [one for one, _ in pairs]
    others = [other for _, other in pairs]
    return map_grids(partial(_pair, column=column), ones, others)


def _with_conditions(some: Sequence[Grid]) -> list[Grid]:
    """``some`` without attacks, and without those that have attacks alone."""
    return [part for grid in some if (part := without_attacks(grid)).conditions]


def without_attacks(grid: Grid) -> Grid:
    """``grid`` without attacks, which make an image of their own for each model."""
    places = [at for at, key in enumerate(grid.conditions) if not key.is_attack]
    if len(places) == len(grid.conditions):
        return grid
    return replace(
        grid,
        conditions=tuple(grid.conditions[at] for at in places),
        has_row=grid.has_row[:, places],
        read=lambda column: grid.read(column)[:, places],
    )


def _pair(one: Grid, other: Grid, column: str) -> dict[str, Any]:
    a = one.flags(column)
    b = other.flags(column)
    present = (a != UNKNOWN) & (b != UNKNOWN)
    fails = present & (a == 0)
    other_fails = present & (b == 0)
    return {
        "model": one.model,
        "other": other.model,
        "n_predictions": int(present.sum()),
        "model_only": int((fails & ~other_fails).sum()),
        "other_only": int((other_fails & ~fails).sum()),
        "both": int((fails & other_fails).sum()),
    }


def majorities(some: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """The majority prediction of three or more models with the same classes.

    A tie goes to the most confident of the tied predictions. ``column`` is "correct" or
    "consistent", which compares with the majority on the original. Keys: ``label_set``,
    ``n_models``, ``n_images``, ``rate`` of the majority and its interval, ``best`` (the model with
    the highest rate), ``best_rate``, and the paired ``difference`` with its interval. Attacks do
    not count.
    """
    votes = []
    some = _with_conditions(some)
    for labels, names in models.by_labels([grid.model for grid in some]):
        group = [grid for grid in some if grid.model in names]
        if len(group) < 3:
            continue
        groups = [*profile_groups(group[0].conditions).values()]
        rates = [pool_profiles(grid).per_image(column) for grid in group]
        voted = _majority(group, "top1", "probability")
        if column == "correct":
            label = group[0].values("label")
            well = np.where(np.isnan(label) | np.isnan(voted), np.nan, voted == label)
        else:
            before = _majority(group, "clean_top1", "clean_probability")
            well = np.where(np.isnan(before) | np.isnan(voted), np.nan, voted == before)
        mine = mean_of_rows(mean_of_groups(well, groups))
        if np.isnan(mine).all():
            continue
        best = int(np.argmax([float(np.nanmean(rate)) for rate in rates]))
        votes.append(
            {
                "label_set": labels.title,
                "n_models": len(group),
                "n_images": int((~np.isnan(mine)).sum()),
                **shares(mine[:, None]).named("rate", 0),
                "best": group[best].model,
                "best_rate": number(float(np.nanmean(rates[best]))),
                **differences((mine - rates[best])[:, None]).named("difference", 0),
            }
        )
    return votes


def _majority(group: Sequence[Grid], column: str, confidence: str) -> Floats:
    """(images, conditions): the class that most models predict; NaN where one has no row."""
    every = [[grid.values(name) for grid in group] for name in (column, confidence)]
    majority = np.empty(group[0].has_row.shape, order="F")
    for block in group[0].blocks(_CELLS):
        votes, sure = (np.stack([values[:, block] for values in of]) for of in every)
        support = (votes[:, None] == votes[None]).sum(axis=1)  # models that agree with each
        best = (support + 0.999 * np.nan_to_num(sure)).argmax(axis=0)
        chosen = np.take_along_axis(votes, best[None], axis=0)[0]
        majority[:, block] = np.where(np.isnan(votes).any(axis=0), np.nan, chosen)
    return majority


@dataclass(frozen=True)
class AttackBudget:
    """An epsilon in one norm, with positions of conditions in a grid.

    ``of_norm`` are all attacks in that norm, ``allowed`` those with this epsilon or a smaller one,
    ``here`` those with this one.
    """

    norm: str
    epsilon: float
    of_norm: Sequence[int]
    allowed: Sequence[int]
    here: Sequence[int]


def budgets(conditions: Sequence[ConditionKey]) -> list[AttackBudget]:
    """Every norm and epsilon of the attacks among ``conditions``, by norm and growing epsilon."""
    tried: dict[str, dict[int, float]] = {}
    for place, key in enumerate(conditions):
        condition = readable(key.id)
        if isinstance(condition, AttackCondition):
            tried.setdefault(condition.spec.norm, {})[place] = condition.spec.epsilon
    return [
        AttackBudget(
            norm,
            epsilon,
            list(sizes),
            [place for place, size in sizes.items() if size <= epsilon],
            [place for place, size in sizes.items() if size == epsilon],
        )
        for norm, sizes in tried.items()
        for epsilon in sorted(set(sizes.values()))
    ]


def attack_survivors(left: Floats, budgets: Sequence[AttackBudget]) -> Floats:
    """Whether an image is ``left`` by every attack that a budget allows: (images, budgets).

    ``left`` (images, conditions) is 1 or 0. NaN for an image without every attack of the norm.
    """
    survivors = np.full((len(left), len(budgets)), np.nan)
    for at, budget in enumerate(budgets):
        met = ~np.isnan(left[:, budget.of_norm]).any(axis=1)
        survivors[met, at] = left[met][:, budget.allowed].min(axis=1)
    return survivors


def robust_accuracy(grids: Sequence[Grid]) -> list[dict[str, Any]]:
    """The share of images that every attack leaves correct, per model, norm and epsilon.

    An image is broken at an epsilon if any attack in that norm breaks it at that epsilon or a
    smaller one. Keys: ``model``, ``norm``, ``epsilon``, ``of`` ("accuracy", or "consistency"
    without labels: unchanged predictions), ``n_images``, ``attacks`` (how many conditions),
    ``robust`` with its interval, ``n_attacked`` (images correct before; without labels all) and
    ``success`` with its interval, the share of these that is broken; ``strongest``, the condition
    id of the attack that breaks most at that epsilon, and ``strongest_left``, the share that it
    leaves. ``unchanged``, with its interval, is the share of all ``n_unchanged`` images, labelled
    or not, whose prediction no attack changes; one without a prediction to break counts as changed.
    Only images with every attack count. [] without attacks.
    """
    entries = []
    for grid in grids:
        if not (attacks := budgets(grid.conditions)):
            continue
        left = _left(grid)
        survivors, broken = _survivors(grid, left, attacks)
        kept = np.where(grid.has_row, np.nan_to_num(grid.values("consistent")), np.nan)
        unchanged = attack_survivors(kept, attacks)
        for at, budget in enumerate(attacks):
            met = ~np.isnan(survivors[:, at])
            if not met.any():
                continue
            strongest = min(budget.here, key=lambda place: float(left[met, place].sum()))
            entries.append(
                {
                    "model": grid.model,
                    "norm": budget.norm,
                    "epsilon": budget.epsilon,
                    "of": "accuracy" if is_labelled(grid) else "consistency",
                    "n_images": int(met.sum()),
                    "attacks": len(budget.allowed),
                    **shares(survivors[:, [at]]).named("robust", 0),
                    "n_attacked": int((~np.isnan(broken[:, at])).sum()),
                    **shares(broken[:, [at]]).named("success", 0),
                    "strongest": grid.conditions[strongest].id,
                    "strongest_left": float(left[met, strongest].mean()),
                    "n_unchanged": int((~np.isnan(unchanged[:, at])).sum()),
                    **shares(unchanged[:, [at]]).named("unchanged", 0),
                }
            )
    return entries


def under_attack(grid: Grid) -> dict[str, float | None]:
    """The keys of ``summary`` on attacks, all None without any.

    ``robust_accuracy`` (None without labels) and ``attack_success``, each with its interval, as
    means over every norm and epsilon, and ``n_attacked``: see ``robust_accuracy``.
    """
    epsilons = budgets(grid.conditions)
    if not epsilons:
        names = ("robust_accuracy", "attack_success")
        bounds = [f"{name}{bound}" for name in names for bound in ("", "_low", "_high")]
        return dict.fromkeys([*bounds, "n_attacked"])
    survivors, broken = _survivors(grid, _left(grid), epsilons)
    robust = survivors if is_labelled(grid) else np.full_like(survivors, np.nan)
    figures: dict[str, float | None] = {}
    for name, values in (("robust_accuracy", robust), ("attack_success", broken)):
        present = ~np.isnan(values)
        sums = np.where(present, values, 0.0).sum(axis=1, keepdims=True)
        counts = present.sum(axis=1, keepdims=True).astype(float)
        figures |= shares(image_values(sums, counts)).named(name, 0)
    return {**figures, "n_attacked": int((~np.isnan(broken)).any(axis=1).sum())}


def success(grid: Grid) -> list[dict[str, float | None]]:
    """By condition ``attack_success`` with its interval; all None without an attack."""
    attacks = np.array([key.is_attack for key in grid.conditions])
    broken = np.full(grid.has_row.shape, np.nan)
    if attacks.any():
        counted = attacks & ~np.isnan(grid.values("consistent"))
        broken = np.where(counted, 1 - _left(grid), np.nan)
    estimates = shares(broken)
    return [estimates.named("attack_success", at) for at in range(len(attacks))]


def is_labelled(grid: Grid) -> bool:
    """Whether any image of the grid has a label."""
    return bool((grid.flags("correct") != UNKNOWN).any())


def _left(grid: Grid) -> Floats:
    return grid.values("correct" if is_labelled(grid) else "consistent")


def _survivors(grid: Grid, left: Floats, budgets: Sequence[AttackBudget]) -> tuple[Floats, Floats]:
    """(images, budgets): who survives, and of those with a prediction to break who does not."""
    survivors = attack_survivors(left, budgets)
    counted = ~np.isnan(grid.values("consistent"))
    attacked = np.column_stack([counted[:, each.allowed].any(axis=1) for each in budgets])
    return survivors, np.where(attacked, 1 - survivors, np.nan)


QUANTITIES: Mapping[str, str] = {
    "consistency": "consistent",
    "perturbed_accuracy": "correct",
    "robust_accuracy": "correct",
}
"""Quantities of a ranking, with their columns: under every condition, the last under all attacks
of one norm and epsilon at once."""

NEITHER = UNKNOWN
"""Instead of 0 or 1: a row that counts as neither unchanged nor changed."""

MISSING = -2
"""Instead of 0 or 1: no row, or no label."""

FEWEST_TO_PLAN = 20
"""Below this many images no number of further ones is given: their spread is hardly known."""

RANK_RULE = "Rank counts significant differences only; ties share a range."

TEST_SUMMARY = "Significant: corrected p below 0.05, and an interval that excludes 0."

TEST_RULE = (
    "Exact sign-flip test over images (McNemar's test for one condition, Durkalski's "
    "cluster-adjusted form for large runs) with Holm's correction over all pairs. Each interval "
    "covers one pair. The number of more images given shows a true difference of 1 point in at "
    "least three of four runs."
)
"""How differences are tested, for a help text."""


def compare(grids: Sequence[Grid], quantity: str) -> list[dict[str, Any]]:
    """Every pair of models with the same classes, over all conditions.

    Only rows that every model of the group has count (with an accuracy: and that have a label).
    Consistency compares a pair where an attack had a prediction of both to break. Keys:
    ``quantity``, ``label_set``, ``better``, ``worse``, ``n_images``, ``difference`` (better minus
    worse, in [0, 1]) with its paired interval ``difference_low`` and ``..._high``, ``p``,
    ``p_holm``, ``established``, and ``more_images``: how many more would show a difference of
    1 point, by ``images_needed``; None if it is significant, these images are enough for that, or
    too few to plan.
    The pairs of one group stand together; [] where nothing can be compared.
    """
    by_name: dict[str, Grid] = {grid.model: grid for grid in grids}
    entries = []
    for labels, names in models.by_labels(by_name):
        if len(names) < 2:
            continue
        values = np.stack([outcomes(by_name[name], quantity) for name in names])
        shared = (values != MISSING).all(axis=0).any(axis=1)
        if not shared.any():
            continue
        entries += [
            {
                "quantity": quantity,
                "label_set": labels.title,
                "better": names[pair.better],
                "worse": names[pair.worse],
                "n_images": pair.images,
                "difference": pair.difference,
                "difference_low": pair.low,
                "difference_high": pair.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "established": pair.established,
                "more_images": pair.more_images(),
            }
            for pair in pair_differences(values[:, shared])
        ]
    return entries


class ModelPair(NamedTuple):
    """Two models by their places; ``difference``, 0 or more, is of the better from the worse."""

    better: int
    worse: int
    difference: float
    low: float | None
    high: float | None
    images: int
    p: float
    p_holm: float
    tests: int

    @property
    def established(self) -> bool:
        return established(self.p_holm, self.low, self.high)

    def is_within(self, margin: float) -> bool:
        """Whether the interval lies within ``margin`` to either side: an equivalence test."""
        if self.low is None or self.high is None:
            return False
        return -margin <= self.low and self.high <= margin

    def more_images(self, smallest: float = SMALLEST) -> int | None:
        """How many more images would show a difference of ``smallest``; None if that is unknown."""
        if self.low is None or not self.difference or self.images < FEWEST_TO_PLAN:
            return None
        if self.established:
            return None
        needed = images_needed(self.difference, self.low, self.images, self.tests, smallest)
        return None if needed is None else needed - self.images


def pair_differences(values: NDArray[Any], weights: Floats | None = None) -> list[ModelPair]:
    """Every pair of models; ``values`` (models, images, conditions) as by ``outcomes``.

    A row counts where no model's is MISSING. Without ``weights`` conditions weigh alike.
    """
    places = list(itertools.combinations(range(len(values)), 2))
    there = (values != MISSING).all(axis=0)
    pairs = []
    for a, b in places:
        counted = there & (values[a] != NEITHER) & (values[b] != NEITHER)
        pairs.append(overall(np.where(counted, values[a] - values[b], 0), counted, there, weights))
    adjusted = holm([gap.p for gap in pairs])
    ordered = []
    for (a, b), (value, low, high, p, images, _), p_holm in zip(
        places, pairs, adjusted, strict=True
    ):
        if value is None:  # no attack had a prediction of both to break
            continue
        if value < 0:
            a, b, value = b, a, -value
            low, high = (None if bound is None else 0.0 - bound for bound in (high, low))
        ordered.append(ModelPair(a, b, value, low, high, images, p, p_holm, len(places)))
    return ordered


def advice(pair: Mapping[str, Any]) -> str:
    """Whether a pair of ``compare`` differs significantly, and how many more images to take."""
    if pair["established"]:
        return "significant"
    if pair["difference"] == 0:
        return "no difference"
    if pair["n_images"] < FEWEST_TO_PLAN:
        return f"not significant; needs at least {FEWEST_TO_PLAN} images"
    if pair["more_images"] is None:
        return "not significant"
    more = counted(round_up(pair["more_images"]), "more image")
    return f"not significant; about {more} would show a difference of 1 point"


def round_up(number: int) -> int:
    """``number`` with two leading digits, rounded up: it rests on an estimate."""
    step = 10 ** max(0, len(str(number)) - 2)
    return -(-number // step) * step


def ranking(
    summary: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The entries of ``summary`` with their ranks, best first.

    Per group of models with the same classes: by falling quantity of the ``pairs`` (as ``compare``
    gives them), which replaces ``ranked_by``. Adds ``place_low`` and ``place_high``: a model ranks
    behind those significantly better and ahead of those significantly worse.
    """
    quantity = pairs[0]["quantity"] if pairs else summary[0]["ranked_by"]
    ranked: list[dict[str, Any]] = []
    for title, group in itertools.groupby(summary, key=lambda entry: entry["label_set"]):
        entries = sorted((entry for entry in group), key=lambda entry: -(entry[quantity] or 0.0))
        significant = [pair for pair in pairs if pair["label_set"] == title and pair["established"]]
        for entry in entries:
            losses = sum(pair["worse"] == entry["model"] for pair in significant)
            ahead = sum(pair["better"] == entry["model"] for pair in significant)
            places = {"place_low": 1 + losses, "place_high": len(entries) - ahead}
            ranked.append({**entry, "ranked_by": quantity, **places})
    return ranked


def outcomes(grid: Grid, quantity: str) -> NDArray[Any]:
    """(images, conditions) of 0, 1 and NEITHER; MISSING where there is no row, or no label.

    They are bytes, but floats where a profile is a condition, of which they are shares. Attacks of
    one norm and epsilon count together for the robust accuracy.
    """
    if quantity == "robust_accuracy":
        survivors = attack_survivors(grid.values(QUANTITIES[quantity]), budgets(grid.conditions))
        return np.where(np.isnan(survivors), MISSING, survivors).astype(np.int8)
    flags = grid.flags(QUANTITIES[quantity])
    missing = flags == UNKNOWN
    if quantity == "consistency":
        missing &= ~grid.has_row
    return np.where(missing, np.int8(MISSING), flags)


Sides = list[NDArray[np.float64]]
"""Values (images, k) of the first run and of the second."""

CLEAN = "clean_accuracy"

BETTER = "better"
WORSE = "worse"
OPEN = "not established"


def verdict_text(verdict: str) -> str:
    """A ``q_verdict`` in words for people."""
    return "not significant" if verdict == OPEN else f"significantly {verdict}"


def changes(shared: Iterable[Grid]) -> list[dict[str, Any]]:
    """The differences of the second run from the first, on ``shared`` images and conditions.

    ``shared`` are grids with the columns ``x_a`` and ``x_b`` of both runs. One entry per model over
    all conditions (``condition`` is None), then one per model and condition. Keys: ``model``,
    ``condition``, ``perturbation`` and ``strength`` (of the second), ``n_images``, and for each
    quantity q of ``QUANTITIES``: ``q_a``, ``q_b``, ``q_difference`` (b minus a) with its paired
    interval, ``q_images`` (counted images), ``q_moved`` (images that did better or worse), ``q_p``
    and ``q_verdict`` (better, worse, not established; by ``established``, p with Holm's
    correction over the models, or over models and conditions). None where labels or attacks are
    missing. Consistency counts an attack where both runs had a prediction to break. ``judged_by``
    is the quantity of the verdict: robust accuracy for attacks on labelled images, else
    consistency. Entries over all conditions have the same keys of ``clean_accuracy``, that of the
    originals.
    """
    entries = [entry for grid in shared for entry in _entries(pool_profiles(grid))]
    wholes = [entry for entry in entries if entry["condition"] is None]
    for quantity in QUANTITIES:
        _settle(wholes, quantity)
        _settle([e for e in entries if e["condition"] is not None], quantity)
    _settle(wholes, CLEAN)
    order = [name for _, names in models.by_labels(e["model"] for e in entries) for name in names]
    return sorted(entries, key=lambda e: (e["condition"] is not None, order.index(e["model"])))


def _entries(grid: Grid) -> list[dict[str, Any]]:
    """The entries of one model: over all conditions, then each condition."""
    keys = (None, *grid.conditions)
    attacks = [key.is_attack for key in grid.conditions]
    images = [grid.has_row.any(axis=1).sum(), *grid.has_row.sum(axis=0)]
    originals = [mean_of_rows(flags)[:, None] for flags in _shared_by(grid, "clean_correct")]
    whole = _changes(originals, originals)[0]
    clean = {f"{CLEAN}_{name}": value for name, value in whole.items()}
    shared = _shared_by(grid, "consistent")
    changes = {"consistency": _changes(shared, shared, grid.has_row)}
    del shared  # these arrays are large
    right = _shared_by(grid, "correct")
    changes["perturbed_accuracy"] = _changes(right, right)
    robust = [attack_survivors(flags, budgets(grid.conditions)) for flags in right]
    for flags in right:
        flags[:, np.logical_not(attacks)] = np.nan
    changes["robust_accuracy"] = _changes(robust, right)
    entries: list[dict[str, Any]] = []
    for at, key in enumerate(keys):
        by_robust = attacks[at - 1] if key else all(attacks)
        by_robust &= changes["robust_accuracy"][at]["a"] is not None
        entry = {
            "model": grid.model,
            "condition": key.id if key else None,
            "perturbation": key.perturbation if key else None,
            "strength": key.strength if key else None,
            "n_images": int(images[at]),
            "judged_by": "robust_accuracy" if by_robust else "consistency",
        }
        for quantity, estimates in changes.items():
            entry |= {f"{quantity}_{name}": value for name, value in estimates[at].items()}
        entry |= {} if key else clean
        entries += [entry] if images[at] else []
    return entries


def _shared_by(grid: Grid, column: str) -> Sides:
    """The values of ``column`` in both runs, where both have one."""
    a, b = (grid.values(f"{column}_{side}") for side in "ab")
    present = ~np.isnan(a) & ~np.isnan(b)
    return [np.where(present, x, np.nan) for x in (a, b)]


def _changes(
    whole: Sides, columns: Sides, there: NDArray[np.bool_] | None = None
) -> list[dict[str, Any]]:
    """The figures over all of ``whole`` (images, k), then of each column of ``columns``.

    ``there``: where ``whole`` has a row; by default where it is not NaN.
    """
    present, present_each = (~np.isnan(values[0]) for values in (whole, columns))
    rows = present if there is None else there
    changes = [overall(_gaps(whole), present, rows), *by_condition(_gaps(columns), present_each)]
    rates = [
        np.append(over_conditions(some, rows, shares).value, mean_of_rows(values.T))
        for some, values in zip(whole, columns, strict=True)
    ]
    return [
        {
            "a": number(a),
            "b": number(b),
            "difference": gap.value,
            "difference_low": gap.low,
            "difference_high": gap.high,
            "images": gap.images,
            "moved": gap.moved,
            "p": None if gap.value is None else gap.p,
        }
        for gap, a, b in zip(changes, *rates, strict=True)
    ]


def _gaps(sides: Sides) -> NDArray[Any]:
    """Bytes, unless a profile is a condition."""
    gaps = np.nan_to_num(sides[1] - sides[0])
    whole = gaps.astype(np.int8)
    return whole if np.array_equal(whole, gaps) else gaps


def _settle(entries: list[dict[str, Any]], quantity: str) -> None:
    """Add the verdicts on ``quantity``."""
    tested = [entry for entry in entries if entry[f"{quantity}_p"] is not None]
    adjusted = holm([entry[f"{quantity}_p"] for entry in tested])
    for entry in entries:
        entry[f"{quantity}_verdict"] = None
    for entry, p in zip(tested, adjusted, strict=True):
        direction = BETTER if entry[f"{quantity}_difference"] > 0 else WORSE
        bounds = (entry[f"{quantity}_difference_{side}"] for side in ("low", "high"))
        entry[f"{quantity}_verdict"] = direction if established(p, *bounds) else OPEN


_ROUNDING = 1e-9  # of sums

Truths = NDArray[np.bool_] | NDArray[np.float64]
"""Truth values by image, (images,); under a profile the means over its compositions."""


@dataclass(frozen=True)
class PairedTruths:
    """One remedy on one model under one condition: truth values by image, (images,) each.

    ``before`` and ``after`` say whether the prediction under the condition is correct (or, without
    labels, that of the original), without and with the remedy; ``clean_before`` and
    ``clean_after`` say so of the original.
    """

    remedy: str
    model: str
    condition: str
    before: Truths
    after: Truths
    clean_before: Truths
    clean_after: Truths


@dataclass(frozen=True)
class Gain:
    """The gain of a remedy in accuracy, as a share, on the images that measure it.

    ``gain_low`` and ``gain_high`` are its 95% interval, None with too few images;
    ``cost_on_originals`` is the accuracy lost on the originals. ``chosen`` marks the remedy that
    was best on the other images for this model and condition, and ``helpful`` a chosen one whose
    gain is significant. ``p`` is corrected for the number of chosen ones, None for the others.
    """

    remedy: str
    model: str
    condition: str
    images: int
    gain: float
    gain_low: float | None
    gain_high: float | None
    cost_on_originals: float
    chosen: bool
    helpful: bool
    p: float | None


def gains(trials: Sequence[PairedTruths]) -> list[Gain]:
    """The gain of each of ``trials``, which share their images; [] with fewer than 2 images."""
    count = len(trials[0].before) if trials else 0
    if count < 2:
        return []
    order = np.random.default_rng(0).permutation(count)
    choosing = order[: count // 2]
    telling = order[count // 2 :]
    best: dict[tuple[str, str], tuple[float, float, int]] = {}
    for place, trial in enumerate(trials):
        gain = float(_net(trial.before, trial.after)[choosing].sum())
        net = float(_net(trial.clean_before, trial.clean_after)[choosing].sum())
        key = trial.model, trial.condition
        if gain > _ROUNDING and (key not in best or (gain, net) > best[key][:2]):
            best[key] = gain, net, place
    chosen = [place for *_, place in best.values()]
    nets = np.column_stack([_net(trial.before, trial.after)[telling] for trial in trials])
    bounds = by_condition(nets, np.ones(nets.shape, bool))
    p_values = dict(zip(chosen, holm([bounds[place].p for place in chosen]), strict=True))
    results = []
    for place, (trial, gap) in enumerate(zip(trials, bounds, strict=True)):
        gain = gap.value or 0.0
        p = p_values.get(place)
        cost = -float(_net(trial.clean_before, trial.clean_after)[telling].mean())
        results.append(
            Gain(
                remedy=trial.remedy,
                model=trial.model,
                condition=trial.condition,
                images=gap.images,
                gain=gain,
                gain_low=gap.low,
                gain_high=gap.high,
                cost_on_originals=cost + 0.0,  # no negative zero
                chosen=p is not None,
                helpful=p is not None and gain > 0 and established(p, gap.low, gap.high),
                p=p,
            )
        )
    return results


def _net(before: Truths, after: Truths) -> NDArray[np.float64]:
    return np.subtract(after, before, dtype=np.float64)
