"""Models and runs compared on the same images: tests, corrections, ranking, differences."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.proportion import proportion_confint

from benchmarks.support.claim_simulation import one_condition, power
from benchmarks.support.synthetic_rows import rows, severities
from robustness.metrics.intervals import difference_bounds
from robustness.statistics import Figures, advice
from robustness.statistics.means import (
    ALPHA,
    EXACT_TOTAL,
    POWER,
    PairedDifference,
    established,
    holm,
    images_needed,
    overall,
    sign_flip,
)
from tests.support.frames import difference

THREE = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1")


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def run(
    *kept: np.ndarray, conditions: list[tuple[str, float | None]] | None = None
) -> pd.DataFrame:
    """Models of ``THREE`` that kept these answers, (images, conditions) each."""
    return pd.concat(
        [
            rows(values, model=model, conditions=conditions or [("fog", 0.2)])
            for model, values in zip(THREE, kept, strict=False)
        ],
        ignore_index=True,
    )


# --- tests of one pair ----------------------------------------------------------------------------


@pytest.mark.parametrize("only", [(0, 0), (1, 0), (6, 0), (9, 2), (5, 5), (80, 120), (1500, 1600)])
def test_with_one_condition_the_sign_flip_test_is_mcnemars(only: tuple[int, int]) -> None:
    net = np.repeat([1, -1, 0], [*only, 10])
    peer = statsmodels_mcnemar([[10, only[0]], [only[1], 0]], exact=True)
    assert sign_flip(net) == pytest.approx(min(1, peer.pvalue))


def test_the_sign_flip_test_counts_all_sign_patterns() -> None:
    net = np.array([3, -1, 2, 2, -4, 1, 5, 0])
    totals = [np.dot(signs, np.abs(net)) for signs in itertools.product((-1, 1), repeat=len(net))]
    expected = np.mean(np.abs(totals) >= abs(net.sum()))
    assert sign_flip(net) == pytest.approx(expected)
    peer = stats.permutation_test(
        (net.astype(float), np.zeros(len(net))),
        lambda x, y, axis: (x - y).sum(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert sign_flip(net) == pytest.approx(peer.pvalue)


def test_large_runs_take_durkalskis_statistic_and_hardly_differ() -> None:
    net = random().integers(-4, 6, 1200)
    assert np.abs(net).sum() < EXACT_TOTAL
    net = np.where(random(1).random(1200) < 0.45, net, -net)
    exact = sign_flip(net)
    normal = sign_flip(net, 0)
    assert normal == pytest.approx(stats.chi2.sf(net.sum() ** 2 / (net**2).sum(), 1))
    assert normal == pytest.approx(exact, rel=0.05)


def test_the_image_is_the_unit_of_the_test() -> None:
    """Rows taken for independent find differences between equals in every third run."""
    rng = random(2)
    by_image, by_row = [], []
    for _ in range(300):
        favour = rng.choice([-1, 1], 40) * 8  # eight conditions that all go one way
        by_image.append(sign_flip(favour) < ALPHA)
        by_row.append(sign_flip(np.repeat(np.sign(favour), 8)) < ALPHA)
    assert np.mean(by_image) <= 0.08
    assert np.mean(by_row) > 0.3


def test_holm_is_that_of_statsmodels() -> None:
    for number in (1, 2, 5, 40):
        chances = random(number).random(number) ** 4
        chances[-1] = chances[0]  # a tie
        assert holm([*chances]) == [*multipletests(chances, method="holm")[1]]


def test_the_images_needed_are_those_of_the_smallest_difference_that_matters() -> None:
    net = random(3).integers(-3, 5, 400)
    difference, reach = net.mean(), 1.96 * net.std(ddof=1) / 20
    peer = TTestPower().solve_power(effect_size=0.01 / net.std(ddof=1), alpha=ALPHA, power=POWER)
    assert images_needed(difference, difference - reach, 400, 1) == pytest.approx(peer, rel=0.02)
    more_pairs = images_needed(difference, difference - reach, 400, 6)
    assert more_pairs is not None
    assert more_pairs > peer
    larger = images_needed(difference, difference - reach, 400, 1, smallest=0.05)
    assert larger == pytest.approx(peer / 25, rel=0.02)
    assert images_needed(0.1, -0.2, 30, 1, smallest=0.0001) is None, "too many to be of use"
    assert images_needed(0.002, -0.001, 9000, 1) is None, "these show 1 point already"


@pytest.mark.slow
@pytest.mark.parametrize(("won", "lost", "models"), [(0.11, 0.10, 3), (0.04, 0.03, 2)])
def test_the_images_that_a_pilot_asks_for_are_enough(won: float, lost: float, models: int) -> None:
    rng, pair, tests = random(11), one_condition(won, lost), models * (models - 1) // 2
    numbers = []
    for net in pair.drawn(30, 150, rng).T:
        kept = [net > 0, net < 0, *[np.zeros(30, bool)] * (models - 2)]
        pairs = Figures(run(*(k[:, None] for k in kept))).pairs()
        found = next(pair for pair in pairs if "Lite1" not in str(pair))
        if found["more_images"] is not None:
            numbers.append(30 + found["more_images"])
    assert len(numbers) >= 100, "or little is named at all"
    assert power(pair, 60, tests, rng).at(numbers).mean() >= 0.75


# --- the difference of one pair -------------------------------------------------------------------


def mixed(rng: np.random.Generator, images: int, better: float = 0.0) -> np.ndarray:
    """Two models (2, images, 4) under a perturbation and three attacks, which count 3 of 10 images.

    The first is correct on 0.8 + ``better`` and 0.5 + ``better`` of the images, the second on 0.8
    and 0.5. NaN where an attack has nothing to break.
    """
    hard = rng.normal(size=(images, 1))
    own = np.sqrt(0.5) * hard + np.sqrt(0.5) * rng.normal(size=(2, images, 4))
    levels = np.array([0.8, 0.5, 0.5, 0.5])
    kept = np.stack([own[0] < stats.norm.ppf(levels + better), own[1] < stats.norm.ppf(levels)])
    values = kept.astype(float)
    values[:, rng.random(images) >= 0.3, 1:] = np.nan
    return values


def gap(values: np.ndarray, weights: np.ndarray | None = None) -> PairedDifference:
    known = ~np.isnan(values[0])
    net = np.nan_to_num(values[0] - values[1]).astype(int)
    return overall(net, known, np.ones_like(known), weights)


@pytest.mark.parametrize("weights", [None, np.array([3.0, 1.0, 1.0, 0.5])])
def test_conditions_weigh_what_they_should_however_many_images_count(
    weights: np.ndarray | None,
) -> None:
    values = mixed(random(12), 60)
    means = np.nanmean(values[0], axis=0) - np.nanmean(values[1], axis=0)
    assert gap(values, weights).value == pytest.approx(np.average(means, weights=weights))
    flipped = gap(values[::-1], weights)
    assert flipped.value == pytest.approx(-np.average(means, weights=weights))
    assert flipped.p == gap(values, weights).p


@pytest.mark.parametrize("weights", [None, np.array([3.0, 1.0, 1.0, 0.5])])
def test_the_test_tosses_a_coin_for_the_part_of_each_image_in_the_difference(
    weights: np.ndarray | None,
) -> None:
    values = mixed(random(15), 13, better=0.2)
    apart = values[0] - values[1]
    share = (np.ones(4) if weights is None else weights) / (~np.isnan(apart)).sum(axis=0)
    parts = np.nan_to_num(apart) @ share
    totals = [np.dot(signs, parts) for signs in itertools.product((-1, 1), repeat=len(parts))]
    expected = np.mean(np.abs(totals) >= abs(parts.sum()) - 1e-9)
    assert gap(values, weights).p == pytest.approx(expected)


@pytest.mark.parametrize("images", [30, 200])
def test_of_a_perturbation_and_attacks_the_interval_holds_and_equals_are_not_told_apart(
    images: int,
) -> None:
    rng, draws, weights = random(images), 150, np.array([2.0, 1.0, 1.0, 1.0])
    for better in (0.0, 0.1):
        found = [gap(mixed(rng, images, better), weights) for _ in range(draws)]
        low, high = np.array([(each.low, each.high) for each in found], float).T
        assert np.mean((low <= better) & (better <= high)) >= 0.94
        if not better:
            assert np.mean([each.p < ALPHA for each in found]) <= 0.08


# --- rankings -------------------------------------------------------------------------------------


def test_a_clear_order_is_established() -> None:
    hard = random(4).random((200, 5))
    frame = run(hard < 0.5, hard < 0.9, hard + 0.02 < 0.9, conditions=severities("fog"))
    figures = Figures(frame)
    pairs = figures.pairs()
    assert len(pairs) == 3
    named = {(p["better"], p["worse"]): p for p in pairs}
    clear = named["EfficientNetLite0", "SqueezeNet"]
    assert clear["established"]
    assert clear["more_images"] is None
    assert clear["difference"] == pytest.approx((hard < 0.9).mean() - (hard < 0.5).mean())
    assert clear["difference_low"] < clear["difference"] < clear["difference_high"]
    json.dumps(pairs, allow_nan=False)
    places = {e["model"]: (e["place_low"], e["place_high"]) for e in figures.ranking()}
    assert places["SqueezeNet"] == (3, 3)


def test_what_is_not_significant_says_how_many_more_images_show_a_point() -> None:
    a = np.repeat([True, True, True, False], 5)
    b = np.repeat([True, True, True, True], 5)  # five against none
    figures = Figures(run(a[:, None], b[:, None]))
    (pair,) = figures.pairs()
    assert not pair["established"]
    assert pair["better"] == "EfficientNetLite0"
    expected = images_needed(pair["difference"], pair["difference_low"], 20, 1)
    assert expected is not None
    assert pair["more_images"] == expected - 20
    assert re.fullmatch(
        r"not significant; about [\d,]+ more images would show .* of 1 point", advice(pair)
    )
    assert [(e["place_low"], e["place_high"]) for e in figures.ranking()] == [(1, 2), (1, 2)]


def test_the_interval_is_named_where_it_alone_stands_against_a_difference() -> None:
    first = np.zeros((60, 30), np.bool_)
    second = first.copy()
    second[:, 0] = True  # better on every image, each time by a little
    fogs: list[tuple[str, float | None]] = [("fog", step / 100) for step in range(1, 31)]
    (pair,) = Figures(run(first, second, conditions=fogs)).pairs()
    assert pair["p_holm"] < 0.0001
    assert pair["difference_low"] < 0 < pair["difference_high"]
    assert not pair["established"]
    assert "interval" in advice(pair)


def test_equal_models_are_not_given_a_number() -> None:
    kept = random().random((30, 1)) < 0.5
    (pair,) = Figures(run(kept, kept)).pairs()
    assert pair["difference"] == 0
    _, most = proportion_confint(0, 30, method="beta")
    assert (pair["difference_low"], pair["difference_high"]) == pytest.approx((-most, most))
    assert pair["p_holm"] == 1
    assert pair["more_images"] is None
    assert advice(pair) == "no difference"
    open_pair = {**pair, "difference": 0.1}
    assert "about 1,300 more images" in advice({**open_pair, "more_images": 1234})
    assert "about 1 more image " in advice({**open_pair, "more_images": 1})


def test_pairs_use_the_rows_that_all_models_have() -> None:
    frame = run(
        *(random(seed).random((30, 2)) < 0.5 for seed in range(3)), conditions=severities("fog")[:2]
    )
    cut = frame.drop(frame.index[-3:])  # the last model lacks one image and half of another
    assert {pair["n_images"] for pair in Figures(cut).pairs()} == {29}


# --- two runs -------------------------------------------------------------------------------------


def test_runs_are_compared_on_what_they_share() -> None:
    before = random(6).random((60, 2)) < 0.5
    after = before.copy()
    after[:40, 0] = True  # better under the first condition, untouched under the second
    conditions = severities("fog")[:2]
    first = run(before, before, conditions=conditions)
    second = run(after, after, conditions=[*conditions[:1], ("fog", 0.4)])
    second = second[(second["image"] < "00050.png") & (second["model"] == "SqueezeNet")]
    renamed = second.assign(image=second["image"] + " elsewhere")
    overall, changed, same = difference(first, renamed)
    assert (overall["model"], overall["perturbation"]) == ("SqueezeNet", None)
    assert [e["n_images"] for e in (overall, changed, same)] == [50, 50, 50]
    gain = after[:50, 0].mean() - before[:50, 0].mean()
    assert changed["consistency_difference"] == pytest.approx(gain)
    assert changed["consistency_difference_low"] < gain < changed["consistency_difference_high"]
    assert overall["consistency_difference"] == pytest.approx(gain / 2)
    verdicts = [e["consistency_verdict"] for e in (overall, changed, same)]
    assert verdicts == ["better", "better", "not established"]
    assert overall["perturbed_accuracy_verdict"] is None
    json.dumps([overall, changed, same], allow_nan=False)
    backwards = difference(renamed, first)
    assert [e["consistency_verdict"] for e in backwards] == ["worse", "worse", "not established"]


@pytest.mark.parametrize("images", [10, 20, 30])
def test_equal_means_with_skewed_differences_are_not_called_a_difference(images: int) -> None:
    """Most images gain one condition of 25, one in 21 loses twenty: nothing in the mean."""
    repeats = 500
    nets = np.where(random(images).random((images, repeats)) < 1 / 21, -20, 1)
    ps = [sign_flip(net) for net in nets.T]
    low, high = difference_bounds(nets / 25)
    settled = [established(p, *bounds) for p, *bounds in zip(ps, low, high, strict=True)]
    assert np.mean(np.array(ps) < ALPHA) > 0.15, "or there is nothing to guard against"
    assert np.mean(settled) <= 0.05
