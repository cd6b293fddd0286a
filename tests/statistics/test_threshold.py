"""Thresholds of confidence: promises kept over many splits, and answers that can be worked out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from benchmarks.support.synthetic_rows import rows
from robustness.statistics.grid import grids
from robustness.statistics.threshold import FIRST_PART, LEVEL, Promise, certify, safe_thresholds

Floats = NDArray[np.float64]

RISKS: dict[str, Callable[[Floats], Floats]] = {
    "monotone": lambda s: 0.6 * (1 - s) ** 1.5,
    "humped": lambda s: 0.03 + 0.35 * np.exp(-(((s - 0.6) / 0.12) ** 2)),
    "flat": lambda s: np.full_like(s, 0.06),
    "no signal": lambda s: np.full_like(s, 0.25),
}
SPLITS = 150


def _scores(images: int, conditions: int, rng: np.random.Generator) -> Floats:
    base = rng.beta(2, 1, (images, 1))
    return np.clip(base + rng.normal(0, 0.1, (images, conditions)), 0.001, 0.999)


@pytest.mark.parametrize(
    ("shape", "promise", "grouped"),
    [
        *product(RISKS, ("suite", "condition"), [False]),
        ("monotone", "suite", True),
        ("flat", "condition", True),
    ],
)
def test_a_promise_is_broken_no_more_often_than_allowed(
    shape: str, promise: Promise, grouped: bool
) -> None:
    rng = np.random.default_rng(7)
    limit, risk = 0.1, RISKS[shape]
    population = _scores(50_000, 3, rng)
    excess_risk = risk(population) - limit
    broken = 0
    for seed in range(SPLITS):
        scores = _scores(60 if grouped else 300, 3, rng)
        wrong = (rng.random(scores.shape) < risk(scores)).astype(float)
        groups = None
        if grouped:  # five frames of one scene fail together
            scores, wrong = (np.repeat(cells, 5, axis=0) for cells in (scores, wrong))
            groups = np.repeat(np.arange(60), 5)
        found = certify({"p": scores}, wrong, limit, promise, groups=groups, seed=seed)
        if found is not None and found.threshold is not None:
            excess = np.where(population >= found.threshold, excess_risk, 0)
            broken += (excess.mean() if promise == "suite" else excess.mean(axis=0).max()) > 0
    assert broken <= binomtest(0, SPLITS).proportion_ci().high * SPLITS + LEVEL * SPLITS


def test_fifty_nine_correct_predictions_are_the_fewest_that_prove_five_percent() -> None:
    def threshold(images: int) -> float | None:
        found = certify({"p": np.full((images, 1), 0.9)}, np.zeros((images, 1)), 0.05)
        assert found is not None
        return found.threshold

    images = next(n for n in range(20, 200) if n - round(FIRST_PART * n) >= 59)
    assert threshold(images) == 0
    assert threshold(images - 2) is None


def test_a_score_at_the_threshold_is_accepted() -> None:
    rng = np.random.default_rng(2)
    levels = rng.choice([0.5, 0.51], (4000, 1))
    right = rng.random(levels.shape) > np.where(levels < 0.51, 0.5, 0.01)
    (grid,) = grids(rows(right, correct=right, figures={"probability": levels, "margin": levels}))
    (entry,) = safe_thresholds([grid], "correct")
    assert entry["threshold"] == 0.51
    assert entry["accepted"]["suite"] == pytest.approx((levels == 0.51).mean())


def test_the_score_that_tells_right_from_wrong_is_chosen() -> None:
    rng = np.random.default_rng(3)
    good, idle = rng.random((2, 2000, 2))
    wrong = (rng.random(good.shape) < 0.8 * (1 - good) ** 2).astype(float)
    found = certify({"idle": idle, "good": good}, wrong, 0.05)
    assert found is not None
    assert found.score == "good"


def test_more_images_are_named_where_they_would_help() -> None:
    rng = np.random.default_rng(4)

    def outcome(images: int) -> tuple[float | None, int | None]:
        scores = _scores(images, 5, rng)
        wrong = (rng.random(scores.shape) < 0.03).astype(float)
        found = certify({"p": scores}, wrong, 0.05)
        assert found is not None
        return found.threshold, found.images_needed

    threshold, needed = outcome(100)
    assert threshold is None
    assert needed is not None
    assert 100 < needed < 5000
    assert outcome(2 * needed)[0] is not None


def test_a_condition_that_breaks_the_limit_is_seldom_called_proven_among_many() -> None:
    rng, conditions = np.random.default_rng(4), [("fog", 0.05 * at) for at in range(1, 20)]
    false = []
    for _ in range(40):
        good = rng.random((160, len(conditions))) >= 1.02 * 0.05
        made = rows(good, conditions=conditions).assign(margin=0.5)
        (entry,) = safe_thresholds(grids(made), "consistent")
        false.append("proven" in entry["status"].values())
    assert np.mean(false) <= 0.1, "without a correction it is 40%"


def test_what_a_condition_proves_alone_is_corrected_for_the_models_shown() -> None:
    names = ("SqueezeNet", "EfficientNetLite0")
    shown = grids(pd.concat([rows(np.ones(60), model=n).assign(margin=0.5) for n in names]))
    for count, proven in ((1, True), (2, False)):  # 59 of 59 prove it once, and not twice
        entries = safe_thresholds(shown[:count], "consistent")
        assert all(("proven" in entry["status"].values()) == proven for entry in entries)


def test_predictions_that_are_missing_do_not_count_and_few_images_promise_nothing() -> None:
    scores = _scores(400, 2, np.random.default_rng(5))
    wrong = np.zeros_like(scores)
    scores[:200], wrong[200:, 1] = np.nan, np.nan
    found = certify({"p": scores}, wrong, 0.05)
    assert found is not None
    assert found.threshold is not None
    assert certify({"p": scores[:19]}, wrong[:19], 0.05) is None
    wrong[:, 1] = np.nan
    alone = certify({"p": scores[:, :1]}, wrong[:, :1], 0.05, "condition")
    assert certify({"p": scores}, wrong, 0.05, "condition") == alone
    assert certify({"p": scores}, np.full_like(wrong, np.nan), 0.05, "condition") is None
