"""The search for the worst composition of a domain, with functions in place of models."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.measure.condition import Condition
from robustness.measure.domain import Domain, domain_of
from robustness.measure.worst import most_tried, search_worst, worst_of

DOMAIN = domain_of(
    {
        "name": "yard",
        "min_accuracy": 0.5,
        "ranges": {
            "fog": [0, 0.4],
            "gaussian_noise": [0.1, 0.3],
            "darkness": [0, 0.8],
            "horizontal_flip": [0, 1],
        },
    }
)


def searched(
    domain: Domain, share: Callable[[Condition], float]
) -> tuple[Condition, set[Condition]]:
    """The worst composition, and those that the search tried beside the conditions of a run."""
    share_of = {condition: share(condition) for condition in domain.conditions}
    tried = set()
    search = search_worst(domain, worst_of(share_of))
    candidates = next(search)
    while True:
        tried |= set(candidates) - set(domain.conditions)
        assert all(domain.holds(condition) for condition in candidates)
        try:
            candidates = search.send([share(condition) for condition in candidates])
        except StopIteration as end:
            worst: Condition = end.value
            return worst, tried


def test_what_only_three_together_break_is_found_where_pairs_and_the_array_miss_it() -> None:
    """All three at the limit break it, without the flip; the array has them with it alone."""

    def share(condition: Condition) -> float:
        strengths = dict(condition.steps)
        degree = strengths.get("fog", 0) / 0.4
        degree *= (strengths["gaussian_noise"] - 0.1) / 0.2
        degree *= strengths.get("darkness", 0) / 0.8
        if "horizontal_flip" in strengths:
            degree *= 0.3
        return 1 - degree

    pairs = [condition for cell in DOMAIN.pairs for condition in cell.conditions]
    assert min(map(share, pairs)) == 1
    assert min(map(share, DOMAIN.array)) > 0.4
    worst, _ = searched(DOMAIN, share)
    assert worst.id == "fog=0.4+darkness=0.8+gaussian_noise=0.3"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(-9, 9), min_size=5, max_size=5), min_size=4, max_size=4))
def test_the_worst_of_any_sum_over_the_ranges_is_found(losses: list[list[int]]) -> None:
    def share(condition: Condition) -> float:
        total = 0
        for each, loss_of_level in zip(DOMAIN.ranges, losses, strict=True):
            strength = dict(condition.steps).get(each.perturbation, 0.0)
            # The middle of a range is a level; of a switch there are two.
            total += loss_of_level[each.levels.index(strength)]
        return -total

    worst, tried = searched(DOMAIN, share)
    sizes = [len(each.levels) for each in DOMAIN.ranges]
    best = [max(loss[:size]) for loss, size in zip(losses, sizes, strict=True)]
    assert share(worst) == -sum(best)
    assert len(tried) <= most_tried(DOMAIN)


def test_of_equally_bad_compositions_the_mildest_is_the_worst() -> None:
    worst, _ = searched(DOMAIN, lambda condition: float("fog" not in condition.perturbations))
    assert worst.id == "fog=0.1+gaussian_noise=0.1"
