"""Agreement and error curves against scikit-learn, and answers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.support.lazy_modules import Later
from benchmarks.support.synthetic_rows import rows
from robustness.measure.condition import Condition
from robustness.statistics.grid import Grid, grids
from robustness.statistics.pairs import by_pair, majorities
from robustness.statistics.threshold import SUITE, curves, risk_coverage, safe_thresholds

sklearn = Later("sklearn.metrics")

NAMES = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1")


def grids_of_run(images: int = 60, **columns: object) -> list[Grid]:
    """Three models under two conditions that share half of their failures."""
    rng = np.random.default_rng(0)
    hard = rng.random((images, 2)) < 0.3
    found = []
    for name in NAMES:
        good = ~(hard & (rng.random(hard.shape) < 0.6)) & (rng.random(hard.shape) < 0.9)
        frame = rows(
            good, model=name, conditions=(("fog", 0.2), ("fog", 0.4)), correct=good, labels=[1] * 60
        )
        found.append(
            frame.assign(
                top1=np.where(good.ravel(), 1, rng.integers(2, 5, good.size)),
                clean_top1=1,
                probability=rng.random(good.size),
            )
        )
    return [grid for frame in found for grid in grids(frame)]


def test_failures_of_one_model_alone_and_of_both_are_counted() -> None:
    made = grids_of_run()
    for entry in by_pair(made, "correct"):
        a, b = (next(g for g in made if g.model == entry[key]) for key in ("model", "other"))
        one, other = a.flags("correct"), b.flags("correct")
        assert entry["n_predictions"] == 60 * 2
        assert entry["model_only"] == ((one == 0) & (other == 1)).sum() > 0
        assert entry["other_only"] == ((one == 1) & (other == 0)).sum() > 0
        assert entry["both"] == ((one == 0) & (other == 0)).sum() > 0


def test_a_majority_is_what_most_models_predict_and_ties_go_to_the_surest() -> None:
    made = grids_of_run()
    top1, sure = (np.stack([g.values(c) for g in made]) for c in ("top1", "probability"))
    expected = []
    for image, condition in np.ndindex(60, 2):
        votes, weights = top1[:, image, condition], sure[:, image, condition]
        counts = {vote: int((votes == vote).sum()) for vote in votes}
        most = [at for at in range(3) if counts[votes[at]] == max(counts.values())]
        expected.append(votes[max(most, key=lambda at: weights[at])] == 1)
    (entry,) = majorities(made, "correct")
    assert entry["rate"] == pytest.approx(np.mean(expected))
    best = max(made, key=lambda grid: np.nanmean(grid.values("correct")))
    assert entry["best"] == best.model
    assert entry["difference"] == pytest.approx(entry["rate"] - entry["best_rate"])
    assert majorities(made[:2], "correct") == []


def test_risk_is_one_minus_the_precision_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.integers(0, 30, 200) / 30  # with ties
    well = rng.integers(0, 2, 200).astype(float)
    coverage, risk = risk_coverage(confidence, well)
    precision, _, thresholds = sklearn.precision_recall_curve(well, confidence)
    np.testing.assert_allclose(risk, 1 - precision[:-1][::-1])
    answered = [(confidence >= each).mean() for each in thresholds[::-1]]
    np.testing.assert_allclose(coverage, answered)


def test_the_curve_of_error_leaves_out_what_the_safe_threshold_beside_it_does() -> None:
    fog, attack = Condition.of({"fog": 0.4}), Condition.attack(name="pgd", epsilon=4 / 255)
    good = np.column_stack([np.arange(60) >= 6, np.zeros(60, bool)])
    made = rows(good, conditions=[fog, attack]).assign(margin=0.5)
    (curve,) = curves(grids(made), "consistent")
    assert curve["risk"][-1] == pytest.approx(0.1)
    (threshold,) = safe_thresholds(grids(made), "consistent")
    assert threshold["error"][SUITE]["value"] == pytest.approx(curve["risk"][-1])
    only_attacked = rows(good[:, 1:], conditions=[attack])
    assert curves(grids(only_attacked), "consistent") == []


def test_attacks_do_not_count_since_each_model_has_its_own_image() -> None:
    rng = np.random.default_rng(2)
    attack = Condition.attack(name="pgd", epsilon=4 / 255)
    good = [rng.random((60, 3)) < 0.7 for _ in NAMES]

    def of(conditions: list[Condition]) -> list[Grid]:
        frames = [
            rows(kept[:, : len(conditions)], model=name, conditions=conditions).assign(
                top1=np.where(kept[:, : len(conditions)].ravel(), 1, 2),
                clean_top1=1,
                clean_probability=0.8,
            )
            for name, kept in zip(NAMES, good, strict=True)
        ]
        return [grid for frame in frames for grid in grids(frame)]

    fog = [Condition.of({"fog": level}) for level in (0.2, 0.4)]
    for told in (by_pair, majorities):
        assert told(of([*fog, attack]), "consistent") == told(of(fog), "consistent")
        assert told(of([attack]), "consistent") == []
