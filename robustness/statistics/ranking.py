"""Which models differ significantly, and how many more images the other pairs need."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import counted
from robustness.statistics.estimates import Estimates, differences, over_conditions
from robustness.statistics.grid import UNKNOWN, ConditionKey, Grid, Measured, grids
from robustness.statistics.paired import (
    ALPHA,
    SMALLEST,
    established,
    holm,
    images_needed,
    mcnemar,
    sign_flip,
)
from robustness.statistics.robust_accuracy import budgets, survived

Floats = NDArray[np.float64]

QUANTITIES: Mapping[str, str] = {
    "consistency": "consistent",
    "perturbed_accuracy": "correct",
    "robust_accuracy": "correct",
}
"""What models can be ranked by, with the column that holds it: under every condition, the last
under all attacks of one norm and epsilon at once."""

NEITHER = UNKNOWN
"""Instead of 0 or 1: a row that counts as neither unchanged nor changed."""

FEWEST_TO_PLAN = 20
"""With fewer images no number of further ones is given: their spread is hardly known."""

RANK_RULE = "Rank counts significant differences only; ties share a range."

TEST_SUMMARY = "Significant: corrected p below 0.05, and an interval that excludes 0."

TEST_RULE = (
    "Exact sign-flip test over images (McNemar's test for one condition, Durkalski's "
    "cluster-adjusted form for large runs) with Holm's correction over all pairs. Each interval "
    "covers one pair. The number of more images given shows a true difference of 1 point in at "
    "least three of four runs."
)
"""How differences are tested, for a help text."""


def compare(measured: Measured, quantity: str = "consistency") -> list[dict[str, Any]]:
    """Every pair of models with the same classes, over all conditions.

    Only images that every model of the group answered under every condition count (with an
    accuracy: and that have a label). Consistency compares a pair where an attack had a prediction
    of both to break. Keys: ``quantity``, ``label_set``, ``better``, ``worse``,
    ``n_images``, ``difference`` (better minus worse, in [0, 1]) with its paired interval
    ``difference_low`` and ``..._high``, ``p``, ``p_holm``, ``established``, and
    ``more_images``: how many more would show a difference of 1 point, by ``images_needed``; None if
    it is significant, these images are enough for that, or too few to plan.
    The pairs of one group stand together; [] where nothing can be compared.
    """
    found = []
    for title, group, _, values in _groups(measured, quantity):
        pairs = list(itertools.combinations(range(len(group)), 2))
        nets, estimates = zip(*(_apart(values, *pair) for pair in pairs), strict=True)
        ps = [sign_flip(net) for net in nets]
        adjusted = holm(ps)
        for at, (a, b) in enumerate(pairs):
            net = nets[at]
            difference, low, high = estimates[at].named("difference", 0).values()
            if difference is None:  # no attack had a prediction of both to break
                continue
            if difference < 0:
                a, b, difference = b, a, -difference
                low, high = (None if bound is None else 0.0 - bound for bound in (high, low))
            settled = established(adjusted[at], low, high)
            found.append(
                {
                    "quantity": quantity,
                    "label_set": title,
                    "better": group[a],
                    "worse": group[b],
                    "n_images": len(net),
                    "difference": difference,
                    "difference_low": low,
                    "difference_high": high,
                    "p": ps[at],
                    "p_holm": adjusted[at],
                    "established": settled,
                    "more_images": None
                    if settled or not difference
                    else _more(difference, low, len(net), len(pairs)),
                }
            )
    return found


def _more(difference: float, low: float | None, images: int, tests: int) -> int | None:
    if low is None or images < FEWEST_TO_PLAN:
        return None
    needed = images_needed(difference, low, images, tests)
    return None if needed is None else needed - images


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
    return f"not significant; {planned(pair['more_images'])}"


def planned(more: int, difference: float = SMALLEST) -> str:
    """What ``more`` images would do, as ``images_needed`` counts them for a true ``difference``."""
    points = "1 point" if difference == SMALLEST else f"{100 * difference:.3g} points"
    return f"about {counted(rounded(more), 'more image')} would show a difference of {points}"


def rounded(number: int) -> int:
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
    found: list[dict[str, Any]] = []
    for title, group in itertools.groupby(summary, key=lambda entry: entry["label_set"]):
        entries = sorted((entry for entry in group), key=lambda entry: -(entry[quantity] or 0.0))
        known = [pair for pair in pairs if pair["label_set"] == title and pair["established"]]
        for entry in entries:
            behind = sum(pair["worse"] == entry["model"] for pair in known)
            ahead = sum(pair["better"] == entry["model"] for pair in known)
            places = {"place_low": 1 + behind, "place_high": len(entries) - ahead}
            found.append({**entry, "ranked_by": quantity, **places})
    return found


def compare_by_condition(measured: Measured, quantity: str = "consistency") -> list[dict[str, Any]]:
    """McNemar's test of every pair of models under every condition by itself.

    Images as in ``compare``, and conditions, but attacks alone with the robust accuracy; Holm's
    correction is over all pairs and conditions of a group. Keys: ``quantity``, ``label_set``,
    ``condition``, ``perturbation``, ``strength``, ``model_a``, ``model_b``, ``n_images``,
    ``only_a`` and ``only_b`` (images that went well with one of them alone), ``difference`` (a
    minus b), ``p``, ``p_holm``, ``established``.
    """
    found = []
    for title, group, keys, values in _groups(measured, quantity, together=False):
        entries: list[dict[str, Any]] = []
        of_condition = np.ascontiguousarray(values.transpose(2, 0, 1))
        for key, answers in zip(keys, of_condition, strict=True):
            for a, b in itertools.combinations(range(len(group)), 2):
                one, other = answers[a], answers[b]
                shared = (one != NEITHER) & (other != NEITHER)
                if not shared.any():
                    continue
                only_a, only_b, p = mcnemar(one[shared] > 0, other[shared] > 0)
                entries.append(
                    {
                        "quantity": quantity,
                        "label_set": title,
                        "condition": key.id,
                        "perturbation": key.perturbation,
                        "strength": key.strength,
                        "model_a": group[a],
                        "model_b": group[b],
                        "n_images": int(shared.sum()),
                        "only_a": only_a,
                        "only_b": only_b,
                        "difference": (only_a - only_b) / int(shared.sum()),
                        "p": p,
                    }
                )
        adjusted = holm([entry["p"] for entry in entries])
        found += [
            {**entry, "p_holm": p, "established": p < ALPHA}
            for entry, p in zip(entries, adjusted, strict=True)
        ]
    return found


Group = tuple[str, tuple[str, ...], tuple[ConditionKey, ...], NDArray[np.int8]]
"""Name of the classes, models, conditions, and (models, images, conditions) of 0, 1 and NEITHER."""


def _groups(measured: Measured, quantity: str, *, together: bool = True) -> list[Group]:
    """The groups of two models or more with the same classes.

    Only the images that all of the group's models have under all conditions. Attacks of one norm
    and epsilon count ``together`` for the robust accuracy, in the place of conditions.
    """
    by_name: dict[str, Grid] = {grid.model: grid for grid in grids(measured)}
    found = []
    for labels, names in models.by_labels(by_name):
        if len(names) < 2:
            continue
        keys = by_name[names[0]].conditions
        if quantity == "robust_accuracy" and not together:
            keys = tuple(key for key in keys if key.is_attack)
        values = [_values(by_name[name], quantity, together) for name in names]
        whole = np.logical_and.reduce([(each != _MISSING).all(axis=1) for each in values])
        if whole.any() and values[0].size:
            found.append((labels.title, names, keys, np.stack([each[whole] for each in values])))
    return found


_MISSING = -2
"""In an array of answers: no row, or no label."""


def _values(grid: Grid, quantity: str, together: bool) -> NDArray[np.int8]:
    """(images, conditions) of 0, 1 and NEITHER; ``_MISSING`` where there is no row, or no label."""
    if quantity == "robust_accuracy" and together:
        kept = survived(grid.values(QUANTITIES[quantity]), budgets(grid.conditions))
        return np.where(np.isnan(kept), _MISSING, kept).astype(np.int8)
    flags = grid.flags(QUANTITIES[quantity])
    missing = flags == UNKNOWN
    if quantity == "consistency":
        missing &= ~grid.there
    found = np.where(missing, np.int8(_MISSING), flags)
    attacks = [at for at, key in enumerate(grid.conditions) if key.is_attack]
    return found[:, attacks] if quantity == "robust_accuracy" else found


def _apart(values: NDArray[np.int8], a: int, b: int) -> tuple[NDArray[np.int64], Estimates]:
    """(under how many conditions more a model went well than another, the mean difference).

    The first (images,) is of the images that both have under any condition.
    """
    shared = (values[a] != NEITHER) & (values[b] != NEITHER)
    apart = np.where(shared, values[a] - values[b], 0)
    net = apart.sum(axis=1, dtype=np.int64)
    if shared.all():
        return net, differences(net[:, None] / shared.shape[1])
    known = np.where(shared, apart, np.nan)
    return net[shared.any(axis=1)], over_conditions(known, np.ones_like(shared), differences)
