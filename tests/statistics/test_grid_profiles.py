"""A profile is one condition: an image's value is the mean over its compositions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from benchmarks.support.populations import shares as drawn_shares
from benchmarks.support.synthetic_rows import rows
from robustness.measure.condition import YOUR_CAMERA, Condition, as_profile
from robustness.metrics.intervals import share_bounds
from robustness.statistics import Figures
from robustness.statistics.grid import (
    ConditionKey,
    draw_compositions,
    effects,
    grids,
    laid_out,
)

FOG = Condition.of({"fog": 0.6})
Flags = NDArray[np.bool_]


def camera(parts: int = 20, name: str = YOUR_CAMERA) -> tuple[Condition, ...]:
    return as_profile([Condition.of({"darkness": (at + 1) / 100}) for at in range(parts)], name)


def correlated(images: int, parts: int, rate: float, seed: int) -> Flags:
    """Predictions (images, parts) of which those for one image are alike."""
    rng = np.random.default_rng(seed)
    ease = rng.beta(rate, 1 - rate, images)
    return rng.random((images, parts)) < ease[:, None]


def measured(good: Flags, conditions: tuple[Condition, ...], model: str) -> pd.DataFrame:
    return rows(
        good,
        model=model,
        conditions=conditions,
        labels=np.zeros(len(good), int),
        clean_correct=np.ones(len(good), bool),
        correct=good,
    )


def exact_with_effective_number(values: NDArray[np.float64]) -> tuple[float, float]:
    """Korn and Graubard's interval as docs/intervals.md has it, by SciPy."""
    n, p = len(values), values.mean()
    padded = np.concatenate([values, [0.0] * 3, [1.0] * 3])
    q = padded.mean()
    variance = ((padded - q) ** 2).sum() / (n + 5)
    shrink = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, n - 1)) ** 2
    effective = max(n, n * q * (1 - q) / variance * shrink)
    x = p * effective
    return (
        float(stats.beta.ppf(0.025, x, effective - x + 1)),
        float(stats.beta.ppf(0.975, x + 1, effective - x)),
    )


def test_the_image_is_the_unit() -> None:
    good = correlated(60, 20, 0.6, seed=1)
    (entry,) = Figures(measured(good, camera(), "SqueezeNet")).by_perturbation
    of_images = good.mean(axis=1)
    assert (entry["condition"], entry["perturbation"], entry["strength"]) == (
        *(YOUR_CAMERA, YOUR_CAMERA),
        None,
    )
    assert (entry["n_images"], entry["n_labelled"]) == (60, 60)
    for name in ("consistency", "perturbed_accuracy"):
        assert entry[name] == pytest.approx(of_images.mean())
        bounds = entry[f"{name}_low"], entry[f"{name}_high"]
        assert bounds == pytest.approx(exact_with_effective_number(of_images))
    (whole,) = Figures(measured(good, camera(), "SqueezeNet")).summary
    assert whole["perturbed_accuracy_low"] == pytest.approx(entry["perturbed_accuracy_low"])


def test_a_metric_has_the_mean_and_interval_of_the_means() -> None:
    values = np.random.default_rng(2).random((50, 1)) + np.random.default_rng(3).random((50, 20))
    frame = rows(np.ones((50, 20)), conditions=camera(), figures={"cosine": values / 2})
    (entry,) = Figures(frame).by_perturbation
    means = values.mean(axis=1) / 2
    assert entry["cosine"] == pytest.approx(means.mean())
    assert entry["cosine_low"] <= means.mean() - 2 * means.std() / np.sqrt(50)


def test_intervals_hold_with_correlated_compositions() -> None:
    rng = np.random.default_rng(4)
    held = []
    for kind, rate in (("answers correlated by 0.5", 0.6), ("answers correlated by 0.9", 0.9)):
        population = drawn_shares(kind, rate, 20, rng)
        some = population[rng.integers(0, len(population), (50, 2000))]
        low, high = share_bounds(some)
        truth = population.mean()
        held.append(((low <= truth) & (truth <= high)).mean())
    assert min(held) >= 0.95


def test_a_pair_is_tested_on_the_differences_of_the_means() -> None:
    one, other = correlated(12, 20, 0.7, seed=5), correlated(12, 20, 0.4, seed=6)
    frame = pd.concat(
        [measured(one, camera(), "SqueezeNet"), measured(other, camera(), "EfficientNetLite0")]
    )
    gaps = one.mean(axis=1) - other.mean(axis=1)
    peer = stats.permutation_test(
        (gaps,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    (pair,) = Figures(frame).pairs("perturbed_accuracy")
    assert pair["p"] == pytest.approx(peer)
    assert pair["difference"] == pytest.approx(abs(gaps.mean()))


def test_beside_others_it_counts_once() -> None:
    good = np.column_stack([correlated(40, 13, 0.5, 7), correlated(40, 1, 0.9, 8)])
    frame = measured(good, (*camera(13), FOG), "SqueezeNet")
    (whole,) = Figures(frame).summary
    expected = (good[:, :13].mean(axis=1) + good[:, 13]) / 2
    assert whole["perturbed_accuracy"] == pytest.approx(expected.mean())
    assert whole["consistency"] == pytest.approx(expected.mean())
    assert [entry["condition"] for entry in Figures(frame).by_perturbation] == [YOUR_CAMERA, FOG.id]


def test_the_hardest_is_not_one_of_its_compositions() -> None:
    good = np.ones((60, 20), bool)
    good[:40, 3] = False  # one composition alone does harm
    (alone,) = Figures(measured(good, camera(), "SqueezeNet")).hardest
    assert (alone.leaders, alone.compared) == ((), (YOUR_CAMERA,))
    foggy = np.arange(60)[:, None] >= 30
    whole = measured(np.hstack([good, foggy]), (*camera(), FOG), "SqueezeNet")
    (both,) = Figures(whole).hardest
    assert both.leaders == (FOG.id,)
    assert both.harm == pytest.approx({FOG.id: 0.5, YOUR_CAMERA: 40 / 60 / 20})


def test_compositions_without_a_profile_stay_conditions() -> None:
    parts = tuple(Condition(each.steps) for each in camera(3))
    assert len(Figures(measured(np.ones((9, 3), bool), parts, "SqueezeNet")).by_perturbation) == 3


def test_two_profiles_are_two_conditions() -> None:
    other = as_profile([Condition.of({"fog": at / 10}) for at in range(1, 4)], "night door")
    good = np.hstack([correlated(30, 7, 0.5, 9), correlated(30, 3, 0.2, 10)])
    entries = Figures(measured(good, (*camera(7), *other), "SqueezeNet")).by_perturbation
    assert [entry["condition"] for entry in entries] == [YOUR_CAMERA, "night door"]
    assert entries[1]["consistency"] == pytest.approx(good[:, 7:].mean())


def test_pooled_grids_stay_as_they_are() -> None:
    some = grids(measured(correlated(9, 5, 0.5, 11), camera(5), "SqueezeNet"))
    assert grids(some)[0] is some[0]


def test_one_composition_is_drawn_for_each_image() -> None:
    good = correlated(80, 20, 0.5, seed=12)
    (grid,) = laid_out(measured(good, camera(), "SqueezeNet"))
    numbers = np.random.default_rng(13).integers(0, 2**63, 80).astype(np.uint64)
    drawn = draw_compositions(grid, lambda: numbers)
    places = (numbers % np.uint64(20)).astype(int)
    assert drawn.values("correct")[:, 0].tolist() == good[np.arange(80), places].tolist()
    assert [key.id for key in drawn.conditions] == [YOUR_CAMERA]


def test_a_condition_may_have_the_name_of_a_profile() -> None:
    alone = ConditionKey("rain", "rain", None)
    part = ConditionKey("fog=0.4", "fog", 0.4, "rain")
    assert effects([alone, part])[0] == "rain"
    assert effects([part, alone])[1] == "rain"
