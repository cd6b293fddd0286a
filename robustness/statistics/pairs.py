"""Pairs on the same images: two models, two runs, or a model with a remedy and without it.

Pairs of models tell which differ significantly, how many more images the others need, whether two
fail on the same images, and what a majority would predict. Two runs are compared on the images and
conditions that both have. Robust accuracy counts the images that no attack of a run breaks.

The gain of a remedy is paired with the same model without it, on images that did not choose it: the
images are split at random into halves. For each model and condition, the remedy with the largest
gain on the first half is chosen, of equal ones the one that costs originals least. Gains are
measured on the second half alone, so that no figure is inflated by the choice. A chosen remedy is
helpful if its gain is significant: the exact paired test, with Holm's correction over the models
and conditions, and an interval above 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    ALPHA,
    SMALLEST,
    Estimates,
    PairedDifference,
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
Flags = NDArray[np.bool_]

_CELLS = 100_000  # of each model worked on at once


def by_pair(grids: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """Every pair of models with the same classes; ``column`` says whether a row went well.

    Keys: ``model``, ``other``, ``n_predictions`` (images times conditions that count for both),
    and of these ``model_only`` and ``other_only``, on which this model alone fails, and ``both``.
    Attacks do not count.
    """
    grids = _without_attacked(grids)
    pairs: list[tuple[Grid, Grid]] = []
    for group in _groups(grids):
        pairs += itertools.combinations(group, 2)
    firsts = [first for first, _ in pairs]
    seconds = [second for _, second in pairs]
    return map_grids(partial(_count_failures, column=column), firsts, seconds)


def _groups(grids: Sequence[Grid]) -> list[list[Grid]]:
    """``grids`` in groups of models with the same classes."""
    groups = []
    for _, names in models.by_labels([grid.model for grid in grids]):
        groups.append([grid for grid in grids if grid.model in names])
    return groups


def _without_attacked(grids: Sequence[Grid]) -> list[Grid]:
    """``grids`` without attacks; those that have attacks alone are left out."""
    without = [without_attacks(grid) for grid in grids]
    return [grid for grid in without if grid.conditions]


def without_attacks(grid: Grid) -> Grid:
    """``grid`` without attacks, which make an image of their own for each model."""
    columns = [index for index, key in enumerate(grid.conditions) if not key.is_attack]
    if len(columns) == len(grid.conditions):
        return grid
    return replace(
        grid,
        conditions=tuple(grid.conditions[index] for index in columns),
        has_row=grid.has_row[:, columns],
        read=lambda column: grid.read(column)[:, columns],
    )


def _count_failures(first: Grid, second: Grid, column: str) -> dict[str, Any]:
    """The entry of ``by_pair`` of two models."""
    first_flags = first.flags(column)
    second_flags = second.flags(column)
    counted = (first_flags != UNKNOWN) & (second_flags != UNKNOWN)
    first_fails = counted & (first_flags == 0)
    second_fails = counted & (second_flags == 0)
    return {
        "model": first.model,
        "other": second.model,
        "n_predictions": int(counted.sum()),
        "model_only": int((first_fails & ~second_fails).sum()),
        "other_only": int((second_fails & ~first_fails).sum()),
        "both": int((first_fails & second_fails).sum()),
    }


_FEWEST_IN_A_MAJORITY = 3
"""Of two models there is no majority where they disagree."""


def majorities(grids: Sequence[Grid], column: str) -> list[dict[str, Any]]:
    """The majority prediction of three or more models with the same classes.

    A tie goes to the most confident of the tied predictions. ``column`` is "correct" or
    "consistent", which compares with the majority on the original. Keys: ``label_set``,
    ``n_models``, ``n_images``, ``rate`` of the majority and its interval, ``best`` (the model with
    the highest rate), ``best_rate``, and the paired ``difference`` with its interval. Attacks do
    not count.
    """
    grids = _without_attacked(grids)
    entries = []
    for labels, names in models.by_labels([grid.model for grid in grids]):
        group = [grid for grid in grids if grid.model in names]
        if len(group) < _FEWEST_IN_A_MAJORITY:
            continue
        majority_rates = _majority_rates(group, column)
        if np.isnan(majority_rates).all():
            continue
        model_rates = [pool_profiles(grid).per_image(column) for grid in group]
        means = [float(np.nanmean(rates)) for rates in model_rates]
        best = int(np.argmax(means))
        gaps = majority_rates - model_rates[best]
        entries.append(
            {
                "label_set": labels.title,
                "n_models": len(group),
                "n_images": int((~np.isnan(majority_rates)).sum()),
                **shares(majority_rates[:, None]).named("rate", 0),
                "best": group[best].model,
                "best_rate": number(means[best]),
                **differences(gaps[:, None]).named("difference", 0),
            }
        )
    return entries


def _majority_rates(group: Sequence[Grid], column: str) -> Floats:
    """(images,): under how many of the conditions the majority of ``group`` went well; NaN where
    no condition counts."""
    majority = _majority(group, "top1", "probability")
    if column == "correct":
        expected = group[0].values("label")
    else:
        expected = _majority(group, "clean_top1", "clean_probability")
    is_unknown = np.isnan(expected) | np.isnan(majority)
    went_well = np.where(is_unknown, np.nan, majority == expected)
    members = profile_groups(group[0].conditions).values()
    return mean_of_rows(mean_of_groups(went_well, members))


def _majority(group: Sequence[Grid], class_column: str, confidence_column: str) -> Floats:
    """(images, conditions): the class that most models predict; NaN where one has no row."""
    classes_of_models = [grid.values(class_column) for grid in group]
    confidences_of_models = [grid.values(confidence_column) for grid in group]
    majority = np.empty(group[0].has_row.shape, order="F")
    for block in group[0].blocks(_CELLS):
        classes = np.stack([values[:, block] for values in classes_of_models])
        confidences = np.stack([values[:, block] for values in confidences_of_models])
        supporters = (classes[:, None] == classes[None]).sum(axis=1)  # models that agree with each
        # Less than one supporter, so that confidence decides among tied classes alone.
        bonus = 0.999 * np.nan_to_num(confidences)
        winner = (supporters + bonus).argmax(axis=0)
        chosen = np.take_along_axis(classes, winner[None], axis=0)[0]
        majority[:, block] = np.where(np.isnan(classes).any(axis=0), np.nan, chosen)
    return majority


@dataclass(frozen=True)
class AttackBudget:
    """An epsilon in one norm, with the positions of attacks among the conditions of a grid.

    ``in_norm`` are all attacks in that norm, ``allowed`` those with this epsilon or a smaller one,
    ``at_epsilon`` those with this one.
    """

    norm: str
    epsilon: float
    in_norm: Sequence[int]
    allowed: Sequence[int]
    at_epsilon: Sequence[int]


def budgets(conditions: Sequence[ConditionKey]) -> list[AttackBudget]:
    """Every norm and epsilon of the attacks among ``conditions``, by norm and growing epsilon."""
    epsilons_by_norm: dict[str, dict[int, float]] = {}
    for index, key in enumerate(conditions):
        condition = readable(key.id)
        if isinstance(condition, AttackCondition):
            epsilons = epsilons_by_norm.setdefault(condition.spec.norm, {})
            epsilons[index] = condition.spec.epsilon
    found = []
    for norm, epsilons in epsilons_by_norm.items():
        for epsilon in sorted(set(epsilons.values())):
            found.append(
                AttackBudget(
                    norm=norm,
                    epsilon=epsilon,
                    in_norm=list(epsilons),
                    allowed=[index for index, size in epsilons.items() if size <= epsilon],
                    at_epsilon=[index for index, size in epsilons.items() if size == epsilon],
                )
            )
    return found


def attack_survivors(unbroken: Floats, budgets: Sequence[AttackBudget]) -> Floats:
    """Whether an image is ``unbroken`` by every attack that a budget allows: (images, budgets).

    ``unbroken`` (images, conditions) is 1 or 0. NaN for an image without every attack of the norm.
    """
    survivors = np.full((len(unbroken), len(budgets)), np.nan)
    for index, budget in enumerate(budgets):
        is_complete = ~np.isnan(unbroken[:, budget.in_norm]).any(axis=1)
        survivors[is_complete, index] = unbroken[is_complete][:, budget.allowed].min(axis=1)
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
    entries: list[dict[str, Any]] = []
    for grid in grids:
        entries += _robust_entries(grid)
    return entries


def _robust_entries(grid: Grid) -> Iterator[dict[str, Any]]:
    """The entries of one model in ``robust_accuracy``."""
    attacks = budgets(grid.conditions)
    if not attacks:
        return
    unbroken = _unbroken(grid)
    outcome = _attack_outcome(grid, unbroken, attacks)
    is_consistent = np.nan_to_num(grid.values("consistent"))
    unchanged = attack_survivors(np.where(grid.has_row, is_consistent, np.nan), attacks)
    for index, budget in enumerate(attacks):
        survived = outcome.survived[:, [index]]
        broken = outcome.broken[:, [index]]
        is_counted = ~np.isnan(survived[:, 0])
        if not is_counted.any():
            continue
        left_by = {attack: unbroken[is_counted, attack] for attack in budget.at_epsilon}
        strongest = min(left_by, key=lambda attack: float(left_by[attack].sum()))
        yield {
            "model": grid.model,
            "norm": budget.norm,
            "epsilon": budget.epsilon,
            "of": "accuracy" if is_labelled(grid) else "consistency",
            "n_images": int(is_counted.sum()),
            "attacks": len(budget.allowed),
            **shares(survived).named("robust", 0),
            "n_attacked": int((~np.isnan(broken)).sum()),
            **shares(broken).named("success", 0),
            "strongest": grid.conditions[strongest].id,
            "strongest_left": float(left_by[strongest].mean()),
            "n_unchanged": int((~np.isnan(unchanged[:, index])).sum()),
            **shares(unchanged[:, [index]]).named("unchanged", 0),
        }


def under_attack(grid: Grid) -> dict[str, float | None]:
    """The keys of ``summary`` on attacks, all None without any.

    ``robust_accuracy`` (None without labels) and ``attack_success``, each with its interval, as
    means over every norm and epsilon, and ``n_attacked``: see ``robust_accuracy``.
    """
    attacks = budgets(grid.conditions)
    if not attacks:
        no_images = np.full((1, 1), np.nan)
        return {
            **shares(no_images).named("robust_accuracy", 0),
            **shares(no_images).named("attack_success", 0),
            "n_attacked": None,
        }
    outcome = _attack_outcome(grid, _unbroken(grid), attacks)
    survived = outcome.survived
    if not is_labelled(grid):
        survived = np.full_like(survived, np.nan)
    return {
        **_mean_over_budgets(survived).named("robust_accuracy", 0),
        **_mean_over_budgets(outcome.broken).named("attack_success", 0),
        "n_attacked": int((~np.isnan(outcome.broken)).any(axis=1).sum()),
    }


def _mean_over_budgets(values: Floats) -> Estimates:
    """The mean (1,) of ``values`` (images, budgets) over both; an image is the unit."""
    is_known = ~np.isnan(values)
    sums = np.where(is_known, values, 0.0).sum(axis=1, keepdims=True)
    counts = is_known.sum(axis=1, keepdims=True).astype(float)
    return shares(image_values(sums, counts))


def success(grid: Grid) -> list[dict[str, float | None]]:
    """By condition ``attack_success`` with its interval; all None without an attack."""
    is_attack = np.array([key.is_attack for key in grid.conditions])
    broken = np.full(grid.has_row.shape, np.nan)
    if is_attack.any():
        is_counted = is_attack & ~np.isnan(grid.values("consistent"))
        broken = np.where(is_counted, 1 - _unbroken(grid), np.nan)
    estimates = shares(broken)
    return [estimates.named("attack_success", index) for index in range(len(is_attack))]


def is_labelled(grid: Grid) -> bool:
    """Whether any image of the grid has a label."""
    return bool((grid.flags("correct") != UNKNOWN).any())


def _unbroken(grid: Grid) -> Floats:
    """(images, conditions): 1 where the prediction is correct or, without labels, unchanged."""
    return grid.values("correct" if is_labelled(grid) else "consistent")


class _AttackOutcome(NamedTuple):
    """(images, budgets): which images ``survived``, and which with a prediction to break did not.

    NaN where an image does not count.
    """

    survived: Floats
    broken: Floats


def _attack_outcome(
    grid: Grid, unbroken: Floats, budgets: Sequence[AttackBudget]
) -> _AttackOutcome:
    survived = attack_survivors(unbroken, budgets)
    is_counted = ~np.isnan(grid.values("consistent"))
    was_attacked = np.column_stack(
        [is_counted[:, budget.allowed].any(axis=1) for budget in budgets]
    )
    return _AttackOutcome(survived, np.where(was_attacked, 1 - survived, np.nan))


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

TEST_SUMMARY = f"Significant: corrected p below {ALPHA:g}, and an interval that excludes 0."

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
    grid_of = {grid.model: grid for grid in grids}
    entries = []
    for labels, names in models.by_labels(grid_of):
        if len(names) < 2:
            continue
        values = np.stack([outcomes(grid_of[name], quantity) for name in names])
        is_shared = (values != MISSING).all(axis=0).any(axis=1)
        if not is_shared.any():
            continue
        for pair in pair_differences(values[:, is_shared]):
            entries.append(
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
            )
    return entries


class ModelPair(NamedTuple):
    """Two models by their indices, with the ``difference`` (0 or more) of better minus worse.

    ``low`` and ``high`` are its 95% interval, None with too few ``images``; ``tests`` is the number
    of pairs that Holm's correction is for.
    """

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
    has_row = (values != MISSING).all(axis=0)
    indices = list(itertools.combinations(range(len(values)), 2))
    gaps = []
    for first, second in indices:
        is_counted = has_row & (values[first] != NEITHER) & (values[second] != NEITHER)
        net = np.where(is_counted, values[first] - values[second], 0)
        gaps.append(overall(net, is_counted, has_row, weights))
    corrected = holm([gap.p for gap in gaps])
    pairs = []
    for (first, second), gap, p_holm in zip(indices, gaps, corrected, strict=True):
        difference = gap.value
        if difference is None:  # no attack had a prediction of both to break
            continue
        better = first
        worse = second
        if difference < 0:
            better = second
            worse = first
            gap = gap.reversed()
        pairs.append(
            ModelPair(
                better=better,
                worse=worse,
                difference=abs(difference),
                low=gap.low,
                high=gap.high,
                images=gap.images,
                p=gap.p,
                p_holm=p_holm,
                tests=len(indices),
            )
        )
    return pairs


def advice(pair: Mapping[str, Any]) -> str:
    """Whether a pair of ``compare`` differs significantly, and how many more images to take.

    Where the test alone sees a difference, it names the interval as the reason.
    """
    if pair["established"]:
        return "significant"
    if pair["difference"] == 0:
        return "no difference"
    verdict = "not significant"
    if pair["p_holm"] < ALPHA:
        verdict += ", as the interval includes 0"
    if pair["n_images"] < FEWEST_TO_PLAN:
        return f"{verdict}; needs at least {FEWEST_TO_PLAN} images"
    if pair["more_images"] is None:
        return verdict
    more = counted(round_up(pair["more_images"]), "more image")
    return f"{verdict}; about {more} would show a difference of 1 point"


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
        entries = sorted(group, key=lambda entry: -(entry[quantity] or 0.0))
        significant = [pair for pair in pairs if pair["label_set"] == title and pair["established"]]
        for entry in entries:
            losses = sum(pair["worse"] == entry["model"] for pair in significant)
            wins = sum(pair["better"] == entry["model"] for pair in significant)
            ranked.append(
                {
                    **entry,
                    "ranked_by": quantity,
                    "place_low": 1 + losses,
                    "place_high": len(entries) - wins,
                }
            )
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
    is_missing = flags == UNKNOWN
    if quantity == "consistency":
        # An unknown flag of a row is an attack without a prediction to break: NEITHER.
        is_missing &= ~grid.has_row
    return np.where(is_missing, np.int8(MISSING), flags)


class Sides(NamedTuple):
    """Values (images, k) of the first run and of the second, NaN where either has none."""

    first: Floats
    second: Floats

    @property
    def is_known(self) -> Flags:
        """(images, k): where both runs have a value."""
        return ~np.isnan(self.first)

    def gaps(self) -> NDArray[Any]:
        """Second minus first, 0 where unknown: bytes, but floats where a profile is a condition."""
        gaps = np.nan_to_num(self.second - self.first)
        whole = gaps.astype(np.int8)
        return whole if np.array_equal(whole, gaps) else gaps


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
    and ``q_verdict`` (better, worse, not established; by ``established``, p with Holm's correction
    over the models, or over models and conditions). None where labels or attacks are missing.
    Consistency counts an attack where both runs had a prediction to break. ``judged_by`` is the
    quantity of the verdict: robust accuracy for attacks on labelled images, else consistency, or
    the mean of scores, where there is no consistency. Entries over all conditions have the same
    keys of ``clean_accuracy``, that of the originals.
    """
    by_model: list[dict[str, Any]] = []
    by_condition_of_model: list[dict[str, Any]] = []
    for grid in shared:
        pooled = pool_profiles(grid)
        compared = _compared_quantities(pooled)
        by_model += _model_changes(pooled, compared)
        by_condition_of_model += _condition_changes(pooled, compared)
    for quantity in QUANTITIES:
        _add_verdicts(by_model, quantity)
        _add_verdicts(by_condition_of_model, quantity)
    _add_verdicts(by_model, CLEAN)
    # The order of the models is that of their classes.
    every = (entry["model"] for entry in (*by_model, *by_condition_of_model))
    order = [name for _, names in models.by_labels(every) for name in names]
    rank_of = {name: rank for rank, name in enumerate(order)}
    by_model.sort(key=lambda entry: rank_of[entry["model"]])
    by_condition_of_model.sort(key=lambda entry: rank_of[entry["model"]])
    return [*by_model, *by_condition_of_model]


@dataclass(frozen=True)
class _Change:
    """A quantity in both runs, as shares, and its difference; None where it is unknown."""

    before: float | None
    after: float | None
    gap: PairedDifference

    def named(self, quantity: str) -> dict[str, Any]:
        return {
            f"{quantity}_a": self.before,
            f"{quantity}_b": self.after,
            f"{quantity}_difference": self.gap.value,
            f"{quantity}_difference_low": self.gap.low,
            f"{quantity}_difference_high": self.gap.high,
            f"{quantity}_images": self.gap.images,
            f"{quantity}_moved": self.gap.moved,
            f"{quantity}_p": None if self.gap.value is None else self.gap.p,
        }


class _Changes(NamedTuple):
    """The change of one quantity over all conditions, and under each."""

    overall: _Change
    by_condition: list[_Change]


def _compared_quantities(grid: Grid) -> dict[str, _Changes]:
    """The changes of one model by quantity; ``grid`` has the columns of both runs."""
    consistent = _sides_of(grid, "consistent")
    changes = {"consistency": _compared(consistent, consistent, grid.has_row)}
    del consistent  # these arrays are large
    correct = _sides_of(grid, "correct")
    changes["perturbed_accuracy"] = _compared(correct, correct)
    attacks = budgets(grid.conditions)
    survivors = Sides(
        attack_survivors(correct.first, attacks), attack_survivors(correct.second, attacks)
    )
    is_no_attack = np.array([not key.is_attack for key in grid.conditions], dtype=bool)
    for flags in correct:
        flags[:, is_no_attack] = np.nan
    changes["robust_accuracy"] = _compared(survivors, correct)
    return changes


def _model_changes(grid: Grid, changes: Mapping[str, _Changes]) -> Iterator[dict[str, Any]]:
    """The entry of one model over all conditions, if it has a row."""
    image_count = int(grid.has_row.any(axis=1).sum())
    if not image_count:
        return
    clean_flags = _sides_of(grid, "clean_correct")
    clean = Sides(*(mean_of_rows(flags)[:, None] for flags in clean_flags))
    robust = changes["robust_accuracy"].overall
    consistency = changes["consistency"].overall
    are_attacks_alone = all(key.is_attack for key in grid.conditions)
    entry = {
        "model": grid.model,
        "condition": None,
        "perturbation": None,
        "strength": None,
        "n_images": image_count,
        "judged_by": _judging_quantity(are_attacks_alone, robust, consistency),
    }
    for quantity, change in changes.items():
        entry |= change.overall.named(quantity)
    yield entry | _compared(clean, clean).overall.named(CLEAN)


def _condition_changes(grid: Grid, changes: Mapping[str, _Changes]) -> Iterator[dict[str, Any]]:
    """The entry of one model under each condition with a row."""
    image_counts = grid.has_row.sum(axis=0).tolist()
    for index, key in enumerate(grid.conditions):
        if not image_counts[index]:
            continue
        robust = changes["robust_accuracy"].by_condition[index]
        consistency = changes["consistency"].by_condition[index]
        entry = {
            "model": grid.model,
            "condition": key.id,
            "perturbation": key.perturbation,
            "strength": key.strength,
            "n_images": image_counts[index],
            "judged_by": _judging_quantity(key.is_attack, robust, consistency),
        }
        for quantity, change in changes.items():
            entry |= change.by_condition[index].named(quantity)
        yield entry


def _judging_quantity(is_attack: bool, robust: _Change, consistency: _Change) -> str:
    """The quantity of the verdict: robust accuracy needs attacks on labelled images.

    Scores have no consistency. The same is true of attacks on images that were incorrect before,
    whose verdict stays open.
    """
    if is_attack and robust.before is not None:
        return "robust_accuracy"
    if not is_attack and consistency.before is None:
        return "perturbed_accuracy"
    return "consistency"


def _sides_of(grid: Grid, column: str) -> Sides:
    """The values of ``column`` in both runs, where both have one."""
    first = grid.values(f"{column}_a")
    second = grid.values(f"{column}_b")
    is_known = ~np.isnan(first) & ~np.isnan(second)
    return Sides(np.where(is_known, first, np.nan), np.where(is_known, second, np.nan))


def _compared(whole: Sides, columns: Sides, has_row: Flags | None = None) -> _Changes:
    """The change over all columns of ``whole``, and that of each column of ``columns``.

    ``has_row``: where ``whole`` has a row; by default where it has a value.
    """
    if has_row is None:
        has_row = whole.is_known
    rates_before = _rates(whole.first, columns.first, has_row)
    rates_after = _rates(whole.second, columns.second, has_row)
    gaps = [overall(whole.gaps(), whole.is_known, has_row)]
    gaps += by_condition(columns.gaps(), columns.is_known)
    changes = []
    for before, after, gap in zip(rates_before, rates_after, gaps, strict=True):
        changes.append(_Change(number(before), number(after), gap))
    return _Changes(changes[0], changes[1:])


def _rates(whole: Floats, columns: Floats, has_row: Flags) -> Floats:
    """(1 + k,): the mean of ``whole`` over all conditions, then that of each column."""
    return np.append(over_conditions(whole, has_row, shares).value, mean_of_rows(columns.T))


def _add_verdicts(entries: Sequence[dict[str, Any]], quantity: str) -> None:
    """Add the verdicts on ``quantity``, corrected for all ``entries``, which are one family."""
    tested = []
    for entry in entries:
        entry[f"{quantity}_verdict"] = None
        if entry[f"{quantity}_p"] is not None:
            tested.append(entry)
    corrected = holm([entry[f"{quantity}_p"] for entry in tested])
    for entry, p in zip(tested, corrected, strict=True):
        low = entry[f"{quantity}_difference_low"]
        high = entry[f"{quantity}_difference_high"]
        if not established(p, low, high):
            verdict = OPEN
        elif entry[f"{quantity}_difference"] > 0:
            verdict = BETTER
        else:
            verdict = WORSE
        entry[f"{quantity}_verdict"] = verdict


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
    image_count = len(trials[0].before) if trials else 0
    if image_count < 2:
        return []
    order = np.random.default_rng(0).permutation(image_count)
    choosing, measuring = np.split(order, [image_count // 2])
    chosen = _best_trials(trials, choosing)
    nets = np.column_stack([_net(trial.before, trial.after)[measuring] for trial in trials])
    gaps = by_condition(nets, np.ones(nets.shape, bool))
    p_of = dict(zip(chosen, holm([gaps[index].p for index in chosen]), strict=True))
    results = []
    for index, (trial, gap) in enumerate(zip(trials, gaps, strict=True)):
        gain = gap.value or 0.0
        p = p_of.get(index)
        clean_net = _net(trial.clean_before, trial.clean_after)[measuring]
        cost = -float(clean_net.mean())
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


def _best_trials(trials: Sequence[PairedTruths], images: NDArray[np.intp]) -> list[int]:
    """The index of the best trial on ``images`` for each model and condition that any improves.

    Of trials with equal gains the one that costs originals least is the best.
    """
    best: dict[tuple[str, str], tuple[float, float, int]] = {}
    for index, trial in enumerate(trials):
        gain = float(_net(trial.before, trial.after)[images].sum())
        clean_gain = float(_net(trial.clean_before, trial.clean_after)[images].sum())
        if gain <= _ROUNDING:
            continue
        key = trial.model, trial.condition
        if key not in best or (gain, clean_gain) > best[key][:2]:
            best[key] = gain, clean_gain, index
    return [index for _, _, index in best.values()]


def _net(before: Truths, after: Truths) -> Floats:
    """(images,): 1 where the remedy repairs a prediction, -1 where it breaks one."""
    return np.subtract(after, before, dtype=np.float64)
