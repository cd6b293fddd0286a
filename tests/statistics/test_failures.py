"""Slices against SciPy's permutation test, by simulation of no difference, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from robustness.statistics.failures import ImageSlice, by_slice, inside, slices


def test_one_slice_has_the_p_of_a_permutation_test() -> None:
    values = np.random.default_rng(1).random(60)
    values[:20] -= 0.12
    part = ImageSlice("light", "low", np.arange(60) < 20)
    (entry,) = by_slice(["m"], [values], [part])
    expected = permutation_test(
        (values[:20], values[20:]),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        alternative="less",
        n_resamples=9999,
        vectorized=True,
        rng=0,
    )
    assert entry["p"] == pytest.approx(expected.pvalue, abs=0.035)
    assert entry["difference"] == pytest.approx(expected.statistic)


def test_200_slices_without_a_difference_rarely_raise_an_alarm() -> None:
    rng, alarms, rounds = np.random.default_rng(2), 0, 40
    for _ in range(rounds):
        columns = {f"column {at}": rng.normal(size=90).tolist() for at in range(50)}
        parts = slices(columns)
        assert len(parts) == 200
        values = rng.binomial(4, rng.beta(0.5, 0.2, 90)) / 4  # most images all right or all wrong
        alarms += by_slice(["m"], [values], parts)[0]["worse"]
    assert alarms <= 6  # of 40 at 5%, more happen in 3 of 1,000 cases


def test_a_slice_that_is_worse_is_found_among_many() -> None:
    rng = np.random.default_rng(3)
    columns = {f"column {at}": rng.normal(size=200).tolist() for at in range(20)}
    scene = np.where(np.arange(200) % 4 == 0, "night", "day").tolist()
    fine = np.array([rng.random() < (0.4 if each == "night" else 0.9) for each in scene], float)
    found = by_slice(["a", "b"], [np.ones(200), fine], slices({**columns, "scene": scene}))
    worse = [(e["model"], e["column"], e["value"]) for e in found if e["worse"]]
    assert worse == [("b", "scene", "night")]


def test_numbers_are_cut_into_parts_that_hold_every_image_once() -> None:
    values = [*np.random.default_rng(4).normal(size=99).tolist(), None]
    parts = slices({"n": values})
    assert np.sum([part.inside for part in parts], axis=0).tolist() == [1] * 99 + [0]
    assert [part.value for part in slices({"n": ["3", "1"] * 30})] == ["3", "1"]
    assert slices({"n": values[:30]}) == []
    assert inside(["a..b", "c"], "a..b").tolist() == [True, False]
    assert inside([0.1, 0.2, 0.4], "0.2..0.4").tolist() == [False, True, False]


@pytest.mark.parametrize("start", [0.0, 20_260_000.0, 1_767_225_600.0, -1_767_225_600_000.0])
def test_large_numbers_close_together_are_cut_into_quarters(start: float) -> None:
    numbers = [start + at for at in np.random.default_rng(5).permutation(400).tolist()]
    parts = slices({"taken": numbers})
    assert len(parts) == 4
    assert all(90 <= part.inside.sum() <= 110 for part in parts)
    assert not any("e" in part.value for part in parts)


def test_slices_of_which_some_images_have_no_value_rarely_raise_an_alarm() -> None:
    rng, alarms, rounds = np.random.default_rng(6), 0, 40
    labelled = np.arange(300) < 120  # the others, say from the web, have no label
    for _ in range(rounds):
        site = [f"site {at // 30}" if known else "web" for at, known in enumerate(labelled)]
        number = np.where(labelled, rng.random(300), 1 + rng.random(300)).tolist()
        parts = slices({"site": site, "number": number})
        values = [np.where(labelled, rng.binomial(10, 0.5, 300) / 10, np.nan) for _ in range(2)]
        alarms += by_slice(["a", "b"], values, parts)[0]["worse"]
    assert alarms <= 6  # as above
