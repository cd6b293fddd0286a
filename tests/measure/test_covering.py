"""Every pair of levels of every two factors is in some row of a covering array."""

from __future__ import annotations

from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustness.measure.covering import covering_array, together


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 7), max_size=14))
def test_every_pair_of_levels_shares_a_row(sizes: list[int]) -> None:
    rows = covering_array(sizes)
    for row in rows:
        assert all(0 <= level < size for level, size in zip(row, sizes, strict=True))
    for one, other in combinations(range(len(sizes)), 2):
        covered = {(row[one], row[other]) for row in rows}
        assert covered == set(product(range(sizes[one]), range(sizes[other])))
    assert len(set(rows)) == len(rows)
    found, total = together(rows, sizes, 2)
    assert found == total
    triples = {
        (factors, tuple(row[factor] for factor in factors))
        for factors in combinations(range(len(sizes)), 3)
        for row in rows
    }
    assert together(rows, sizes, 3)[0] == len(triples)


@pytest.mark.parametrize(("factors", "most"), [(2, 25), (6, 25), (10, 50), (20, 70)])
def test_five_levels_need_few_rows(factors: int, most: int) -> None:
    assert len(covering_array([5] * factors)) <= most
