"""Under which perturbation predictions fail most, where the images decide that.

Each perturbation counts once: at the highest ImageNet-C severity that all graded ones have in
common, else at the highest common strength, else, if each has a single condition, at that. An
attack counts at its largest epsilon. The worst condition leads; those that McNemar's exact test on
the same images does not tell apart from it are tied with it. As the leader is chosen after looking,
Holm's correction is over all pairs of conditions: over its own pairs alone, up to 18% of runs whose
conditions are all alike would name one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustness import models
from robustness.base.text import join_names
from robustness.evaluation.perturbation_and_attack_conditions import series
from robustness.metrics.proportion_and_difference_intervals import FEWEST
from robustness.perturbations import REGISTRY
from robustness.statistics.measurement_grid import UNKNOWN, ConditionKey, Grid
from robustness.statistics.model_pairs_and_ranks import QUANTITIES
from robustness.statistics.paired_differences import ALPHA, holm, sign_flip, whole_numbers

Flags = NDArray[Any]
"""(images, conditions) as ``Grid.flags`` has them."""

_NAMED = 2
_MOST_PAIRED = 100
"""Perturbations that are tested pair by pair; of more, only the leader's pairs are tested, with
Bonferroni's correction for all pairs, which is at least Holm's."""
_EXACT = 500
"""Of thousands of pairs of conditions; beyond, the normal p at 1e-5 is off by a twentieth."""


@dataclass(frozen=True)
class Hardest:
    """The perturbations that do most harm to one model, or to several together.

    ``leaders`` are the conditions that lead, the worst first; () where no condition is
    significantly less harmful, so that none may be named. ``compared`` are all that were compared,
    by falling ``harm``: the share of failed predictions, the mean of the models. ``too_few`` have
    fewer than ``FEWEST`` images that count, under attack those with a prediction to break.
    ``models`` are the names of those models.
    """

    leaders: tuple[str, ...]
    compared: tuple[str, ...]
    harm: Mapping[str, float]
    too_few: tuple[str, ...]
    models: tuple[str, ...] = ()


def name_leaders(leaders: Sequence[str]) -> str:
    """The conditions ``leaders`` in words, of more than two the first two and a count."""
    return join_names([*dict.fromkeys(map(series, leaders))], _NAMED)


def hardest(grids: Sequence[Grid], quantity: str) -> Hardest:
    """What does most harm to the models of ``grids``, by ``quantity``, one of ``QUANTITIES``.

    A prediction fails if it is incorrect or, by consistency, changed. An image counts under two
    conditions that both have it, for each model.
    """
    if not grids:
        return Hardest((), (), {}, ())
    keys = grids[0].conditions
    places = comparable(keys)
    flags = [grid.flags(QUANTITIES[quantity])[:, places] for grid in grids]
    present = [cells != UNKNOWN for cells in flags]
    counts = np.logical_or.reduce(present).sum(axis=0)
    if any(attacks := [keys[place].is_attack for place in places]):
        before = [grid.flags("clean_correct")[:, places] != 0 for grid in grids]
        right = [there & was for there, was in zip(present, before, strict=True)]
        counts = np.where(attacks, np.logical_or.reduce(right).sum(axis=0), counts)
    ids = [keys[place].id for place in places]
    harm = []  # the mean of the models that have a row
    for at in range(len(places)):
        pairs_of_models = zip(flags, present, strict=True)
        shares = [(1 - f[p[:, at], at]).mean() for f, p in pairs_of_models if p[:, at].any()]
        harm.append(float(np.mean(shares)) if shares else 0.0)
    enough = [at for at in np.argsort(-np.array(harm), kind="stable") if counts[at] >= FEWEST]
    pairs = list(combinations(enough, 2))
    if len(enough) <= _MOST_PAIRED:
        tests = holm(_p_values(flags, pairs))
    else:
        count, pairs = len(pairs), [(enough[0], other) for other in enough[1:]]
        tests = [count * p for p in _p_values(flags, pairs)]
    less = {b for (a, b), p in zip(pairs, tests, strict=True) if a == enough[0] and p < ALPHA}
    return Hardest(
        tuple(ids[at] for at in enough if at not in less) if less else (),
        tuple(ids[at] for at in enough),
        {ids[at]: harm[at] for at in enough},
        tuple(ids[at] for at in range(len(places)) if 0 < counts[at] < FEWEST),
        tuple(grid.model for grid in grids),
    )


def hardest_of_groups(grids: Sequence[Grid], quantity: str) -> list[Hardest]:
    """``hardest`` of each group of models with the same classes: others are not compared."""
    by_name = {grid.model: grid for grid in grids}
    return [
        hardest([by_name[name] for name in names], quantity)
        for _, names in models.by_labels(by_name)
    ]


def _p_values(flags: Sequence[Flags], pairs: Sequence[tuple[int, int]]) -> list[float]:
    """Of each pair of conditions the p of McNemar's exact test; of several models ``sign_flip``'s.

    An image counts for how many models fail on it under one of the two conditions alone; a profile
    counts with the shares of its compositions, and is tested by ``sign_flip``, too.
    """
    from scipy.special import bdtr  # slow to import

    if any(cells.dtype.kind == "f" for cells in flags):
        shares = [np.where(cells == UNKNOWN, np.nan, cells).T for cells in flags]
        return [
            sign_flip(whole_numbers(sum(np.nan_to_num(cells[b] - cells[a]) for cells in shares)))
            for a, b in pairs
        ]
    fails, goods = ([(cells == value).T for cells in flags] for value in (0, 1))
    if len(flags) == 1:
        alone = fails[0].astype(np.float32) @ goods[0].T.astype(np.float32)
        counts = alone.astype(np.int64)
        fewer, total = np.minimum(counts, counts.T), counts + counts.T
        p = np.minimum(1.0, 2 * bdtr(fewer.astype(float), total, 0.5))
        return [float(p[pair]) for pair in pairs]
    return [
        sign_flip(
            sum(
                (fail[a] & good[b]).astype(np.int64) - (fail[b] & good[a])
                for fail, good in zip(fails, goods, strict=True)
            ),
            _EXACT,
        )
        for a, b in pairs
    ]


def comparable(keys: Sequence[ConditionKey]) -> list[int]:
    """The places of the conditions at which perturbations can be compared, one for each.

    [] where some have several strengths and no severity or strength is common to all.
    """
    groups: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        if key.strength != 0:  # changes nothing
            groups.setdefault(key.series, []).append(place)
    attacks = [places for places in groups.values() if keys[places[0]].is_attack]
    chosen = [max(places, key=lambda place: keys[place].strength or 0.0) for places in attacks]
    others = [places for places in groups.values() if not keys[places[0]].is_attack]
    switches = {record.name for record in REGISTRY if not record.graded}

    def is_ungraded(key: ConditionKey) -> bool:
        return key.strength is None or key.perturbation in switches

    ungraded = [places for places in others if is_ungraded(keys[places[0]])]
    graded = [places for places in others if places not in ungraded]
    for level in ("severity", "strength"):
        levels = [{getattr(keys[place], level): place for place in places} for places in graded]
        common = set.intersection(*map(set, levels)) - {None} if levels else set()
        if common:
            chosen += [mine[max(common)] for mine in levels]
            break
    else:
        if any(len(places) > 1 for places in graded):
            return []
        chosen += [place for (place,) in graded]
    return sorted([*chosen, *(places[-1] for places in ungraded)])
