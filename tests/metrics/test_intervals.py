"""Intervals over images: formulas by other means, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from benchmarks.support.populations import DIFFERENCES, MEANS, beyond, shares
from robustness.metrics.intervals import (
    FEWEST,
    FEWEST_OF_A_MEAN,
    difference_bounds,
    mean_bounds,
    share_bounds,
)

Floats = NDArray[np.float64]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- known answers --------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "of"), [(0, 5), (1, 10), (9, 10), (30, 30), (150, 300)])
def test_one_answer_a_picture_has_the_exact_interval(right: int, of: int) -> None:
    low, high = share_bounds((np.arange(of) < right).astype(float))
    assert (low, high) == pytest.approx(proportion_confint(right, of, method="beta"))


def test_a_share_has_the_exact_interval_at_the_effective_number_of_pictures() -> None:
    values = random().binomial(20, 0.7, 60) / 20
    padded = np.concatenate([values, [0, 1]])
    weights = np.concatenate([np.ones(60), [3, 3]])
    centre = np.average(padded, weights=weights)
    variance = (weights * (padded - centre) ** 2).sum() / (weights.sum() - 1)
    effective = 60 * centre * (1 - centre) / variance
    effective *= (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 59)) ** 2
    assert effective > 60
    expected = proportion_confint(values.mean() * effective, effective, method="beta")
    assert share_bounds(values) == pytest.approx(expected)


def test_many_rows_that_say_the_same_are_one_a_picture() -> None:
    """However the images spread, they are worth no fewer than single answers would be."""
    values = random().permutation(np.repeat([0.0, 1.0], 8))
    assert share_bounds(values) == pytest.approx(proportion_confint(8, 16, method="beta"))


def test_the_interval_of_a_difference_joins_those_of_what_was_won_and_lost() -> None:
    values = np.repeat([1.0, 0.0, -1.0], [9, 80, 11])
    (won, lost), n = (0.09, 0.11), 100
    low, high = np.transpose([proportion_confint(k, n, method="beta") for k in (9, 11)])
    against = won * lost / np.sqrt(won * (1 - won) * lost * (1 - lost))

    def joined(one: float, other: float) -> float:
        return float(np.sqrt(one**2 + other**2 + 2 * against * one * other))

    found = difference_bounds(values)
    assert found[0] == pytest.approx(won - lost - joined(won - low[0], high[1] - lost))
    assert found[1] == pytest.approx(won - lost + joined(high[0] - won, lost - low[1]))


def test_a_mean_has_students_interval_with_the_farthest_picture_twice() -> None:
    values = random().beta(6, 2, 40)
    away = np.append(values - values.mean(), np.abs(values - values.mean()).max())
    error = np.sqrt((away**2).sum() / 39 / 40)
    expected = stats.t.interval(0.95, 39, values.mean(), error)
    assert mean_bounds(values) == pytest.approx(expected)


# --- laws -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounds", [share_bounds, difference_bounds, mean_bounds])
def test_pictures_without_a_value_do_not_count_and_columns_stand_apart(bounds) -> None:  # type: ignore[no-untyped-def]
    values = random().random((50, 3))
    holes = values.copy()
    holes[10:17, 1] = np.nan
    low, high = bounds(holes)
    assert np.all((low < np.nanmean(holes, axis=0)) & (np.nanmean(holes, axis=0) < high))
    for column, own in enumerate((values[:, 0], np.delete(values[:, 1], range(10, 17)))):
        assert (low[column], high[column]) == pytest.approx(bounds(own))


@pytest.mark.parametrize(
    ("bounds", "fewest"),
    [(share_bounds, FEWEST), (difference_bounds, FEWEST), (mean_bounds, FEWEST_OF_A_MEAN)],
)
def test_few_pictures_have_no_interval(bounds, fewest: int) -> None:  # type: ignore[no-untyped-def]
    values = random().random((fewest, 2))
    assert np.isfinite(bounds(values)).all()
    for few in range(fewest):
        assert np.isnan(bounds(values[:few])).all()


def test_what_is_turned_round_has_the_bounds_turned_round() -> None:
    values = random().binomial(7, 0.8, 25) / 7
    low, high = share_bounds(values)
    assert share_bounds(1 - values) == pytest.approx((1 - high, 1 - low))
    change = values - random(1).binomial(7, 0.6, 25) / 7
    low, high = difference_bounds(change)
    assert difference_bounds(-change) == pytest.approx((-high, -low))


def test_more_pictures_narrow_every_interval() -> None:
    values = random().beta(4, 1, 40)
    for bounds in (share_bounds, difference_bounds, mean_bounds):
        widths = [np.ptp(bounds(np.tile(values, times))) for times in (1, 4, 16)]
        assert widths[0] > 1.8 * widths[1] > 3 * widths[2]


# --- how often they hold the truth ----------------------------------------------------------------

COVERED, FALSE_PASSES = 0.93, 0.03
REPEATS = 4000
ERROR = 0.005
"""Two standard errors of a share of 2.5 % of so many repeats."""


@pytest.mark.parametrize("pictures", [10, 100])
@pytest.mark.parametrize(
    ("kind", "conditions", "rate"),
    [
        ("answers correlated by 0.2", 10, 0.98),
        ("answers correlated by 0.5", 75, 0.02),
        ("a few images fail everywhere", 75, 0.9),
    ],
)
def test_a_rate_is_held_as_often_as_it_says(
    kind: str, conditions: int, rate: float, pictures: int
) -> None:
    rng = random(pictures + conditions)
    values = shares(kind, rate, conditions, rng)
    too_high, too_low, _ = beyond(share_bounds, values, pictures, REPEATS, rng)
    assert too_high + too_low <= 1 - COVERED
    assert max(too_high, too_low) <= FALSE_PASSES + ERROR


@pytest.mark.parametrize("pictures", [5, 30])
@pytest.mark.parametrize(
    ("kind", "conditions"),
    [("2 % lost", 1), ("2 % lost, 1 % won", 75), ("two models, not alike", 10)],
)
def test_a_difference_is_held_as_often_as_it_says(
    kind: str, conditions: int, pictures: int
) -> None:
    rng = random(pictures + conditions)
    values = DIFFERENCES[kind](conditions, rng)
    too_high, too_low, _ = beyond(difference_bounds, values, pictures, REPEATS, rng)
    assert too_high + too_low <= 1 - COVERED
    assert max(too_high, too_low) <= FALSE_PASSES + ERROR


@pytest.mark.parametrize("kind", MEANS)
def test_a_mean_is_held_as_often_as_it_says(kind: str) -> None:
    rng = random(1)
    values = MEANS[kind](rng)
    too_high, too_low, _ = beyond(mean_bounds, values, FEWEST_OF_A_MEAN, REPEATS, rng)
    assert too_high + too_low <= 1 - COVERED
