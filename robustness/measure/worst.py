"""The worst composition of a domain: a coordinate search, whatever measures the compositions.

From a composition on, one range after the other is set to each of its levels with all others kept,
and stays at the worst of them. It ends when a round over all ranges changes nothing, and after
``ROUNDS``. So it finds what only several perturbations together break, also where the covering
array lacks that row. As a coordinate search goes downhill only, a worse composition may exist.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

from robustness.measure.condition import Condition
from robustness.measure.domain import Domain

ROUNDS = 2
"""Rounds over all ranges, at most: the second sees whether the first has found the worst."""

Search = Generator[list[Condition], Sequence[float], Condition]
"""Yields compositions, is sent the share that goes well under each, and returns the worst."""


def most_tried(domain: Domain) -> int:
    """How many compositions the search tries at most, beside the one that it starts from."""
    return ROUNDS * sum(len(each.levels) - 1 for each in domain.ranges)


def worst_of(shares: Mapping[Condition, float]) -> Condition:
    """Return the condition with the lowest share; of several, the one of the least strength."""
    return min(shares, key=lambda condition: (shares[condition], _size(condition)))


def _size(condition: Condition) -> float:
    return sum(strength for _, strength in condition.steps)


def search_worst(domain: Domain, start: Condition) -> Search:
    """Search the worst composition within ``domain``, from the condition ``start`` on."""
    worst = start
    for _ in range(ROUNDS):
        worst_before = worst
        for each in domain.ranges:
            strengths = dict(worst.steps)
            candidates = [worst]
            for level in each.levels:
                candidates.append(domain.at({**strengths, each.perturbation: level}))
            candidates = list(dict.fromkeys(candidates))
            shares = yield candidates
            worst = worst_of(dict(zip(candidates, shares, strict=True)))
        if worst == worst_before:
            break
    return worst
