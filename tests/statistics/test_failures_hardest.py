"""What is named as hardest is what McNemar's test, corrected by Holm, says; else nothing is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from benchmarks.support.synthetic_rows import rows
from robustness.statistics import Figures
from robustness.statistics.failures import Hardest

LEVELS = [("fog", 0.6), ("jpeg_compression", 0.6), ("contrast", 0.6), ("motion_blur", 0.6)]
SHARES = ([0.5, 0.5, 0.5, 0.5], [0.2, 0.3, 0.6, 0.9], [0.1, 0.15, 0.8, 0.8], [0.0, 0.05, 0.1, 0.9])


def of(kept: NDArray[np.bool_], conditions: list[tuple[str, float]] = LEVELS) -> Hardest:
    return Figures(rows(kept, conditions=conditions)).hardest[0]


def oracle(kept: NDArray[np.bool_]) -> set[int]:
    """The places of the leaders, by SciPy and statsmodels; none where nothing may be named."""
    pairs = list(combinations(range(kept.shape[1]), 2))
    tests = []
    for a, b in pairs:
        alone = int((kept[:, b] & ~kept[:, a]).sum()), int((kept[:, a] & ~kept[:, b]).sum())
        tests.append(binomtest(alone[0], sum(alone)).pvalue if sum(alone) else 1.0)
    apart = {
        pair
        for pair, p in zip(pairs, multipletests(tests, method="holm")[1], strict=True)
        if p < 0.05
    }
    worst = int(kept.mean(axis=0).argmin())
    less = {place for pair in apart if worst in pair for place in pair} - {worst}
    return set(range(kept.shape[1])) - less if less else set()


@pytest.mark.parametrize(("seed", "shares"), enumerate([*SHARES, *SHARES]), ids=str)
def test_leaders_are_those_of_the_exact_tests(seed: int, shares: list[float]) -> None:
    kept = np.random.default_rng(seed).random((120, 4)) < shares
    hard = of(kept)
    ids = pd.unique(rows(kept[:1], conditions=LEVELS)["condition"])
    assert {ids.tolist().index(text) for text in hard.leaders} == oracle(kept)
    assert not hard.leaders or hard.leaders[0] == hard.compared[0]
    assert sorted(hard.harm.values(), reverse=True) == pytest.approx(list(hard.harm.values()))


def test_conditions_that_are_all_alike_seldom_have_a_leader() -> None:
    rng, conditions = np.random.default_rng(3), [(name, 0.6) for name, _ in LEVELS]
    runs = [of(rng.random((60, 4)) < 0.6, conditions).leaders for _ in range(100)]
    assert np.mean([bool(leaders) for leaders in runs]) <= 0.1


@pytest.mark.parametrize("images", [4, 6])
def test_few_images_and_a_single_condition_name_nothing(images: int) -> None:
    kept = np.tile([False, True, True, True], (images, 1))
    assert not of(kept).leaders
    assert not of(np.zeros((100, 1), bool), [("fog", 0.6)]).leaders


def test_perturbations_are_compared_at_their_highest_common_strength() -> None:
    levels = [("fog", 0.4), ("fog", 1.0), ("contrast", 0.2), ("contrast", 0.4)]
    kept = np.tile([True, False, True, False], (100, 1))
    kept[:50, 0] = False
    hard = of(kept, levels)
    assert len(hard.compared) == 2
    assert all("0.4" in text for text in hard.compared)
    assert "contrast" in hard.leaders[0]
    apart = of(
        np.tile([False, True, True], (100, 1)), [("fog", 1.0), ("fog", 0.9), ("contrast", 0.2)]
    )
    assert not apart.compared
