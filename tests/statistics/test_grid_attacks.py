"""What attacks on labelled images count, on made-up predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.support.synthetic_rows import APGD, FOG, PGD, attacked, rows
from robustness.measure.condition import Condition
from robustness.statistics import Figures
from robustness.statistics.means import over_conditions, shares
from tests.support.frames import difference

WEAK, STRONG = "SqueezeNet", "EfficientNetLite0"


def both(
    *, weak: int = 2, strong: int = 2, conditions: tuple[Condition, ...] = (APGD, PGD)
) -> pd.DataFrame:
    """A model that is right on 42 of 70 images, and one that is right on 60, under attack."""
    frames = [attacked(WEAK, 42, weak, conditions), attacked(STRONG, 60, strong, conditions)]
    return pd.concat(frames, ignore_index=True)


def test_success_is_told_of_each_models_own_correct_images() -> None:
    for entry in Figures(both()).robust_accuracy:
        own = {WEAK: 42, STRONG: 60}[entry["model"]]
        assert entry["n_attacked"] == own
        assert entry["success"] == pytest.approx((own - 2) / own)
        assert entry["success_low"] < entry["success"] < entry["success_high"]
        assert (entry["n_images"], entry["robust"]) == (70, pytest.approx(2 / 70))


def test_an_image_that_was_wrong_before_an_attack_is_neither_kept_nor_changed() -> None:
    for entry in Figures(both()).by_perturbation:
        own = {WEAK: 42, STRONG: 60}[entry["model"]]
        assert (entry["n_attacked"], entry["n_images"]) == (own, 70)
        assert entry["consistency"] == pytest.approx(2 / own)
        assert entry["flip_rate"] == pytest.approx(1 - 2 / own)
        assert entry["attack_success"] == pytest.approx(1 - 2 / own)
        assert entry["perturbed_accuracy"] == pytest.approx(2 / 70)


def test_the_consistency_over_models_is_the_mean_of_theirs() -> None:
    found = Figures(both(strong=30))
    alone = [Figures(part).over_models for _, part in both(strong=30).groupby("model")]
    own = {
        name: [e["consistency"] for part in alone for e in part if e["series"] == name]
        for name in (e["series"] for e in found.over_models)
    }
    assert sorted(len(values) for values in own.values()) == [2, 2]
    for entry in found.over_models:
        assert entry["consistency"] == pytest.approx(np.mean(own[entry["series"]]))
        assert entry["consistency_low"] < entry["consistency"] < entry["consistency_high"]


def test_no_model_is_called_better_where_robust_accuracy_is_equal() -> None:
    found = Figures(both())
    assert found.ranked_by == "robust_accuracy"
    (pair,) = found.pairs()
    assert (pair["difference"], pair["established"], pair["n_images"]) == (0, False, 70)
    assert {(e["place_low"], e["place_high"]) for e in found.ranking()} == {(1, 2)}


def test_without_labels_every_prediction_counts() -> None:
    frame = both().assign(label=None, correct=None, clean_correct=None)
    frame = frame.astype({"correct": "boolean", "clean_correct": "boolean"})
    found = Figures(frame)
    weak = next(entry for entry in found.summary if entry["model"] == WEAK)
    assert (found.ranked_by, weak["n_attacked"]) == ("consistency", 70)
    assert weak["consistency"] == pytest.approx(30 / 70)
    assert weak["attack_success"] == pytest.approx(40 / 70)
    assert weak["robust_accuracy"] is None


def test_in_a_partly_labelled_run_an_unlabelled_image_counts_by_its_prediction() -> None:
    frame = attacked(WEAK, 42, 2)
    unlabelled = frame["image"] >= "00060.png"  # wrong before, and kept
    frame.loc[unlabelled, ["label", "correct", "clean_correct"]] = pd.NA
    entry = Figures(frame).by_perturbation[0]
    assert entry["n_attacked"] == 42 + 10
    assert entry["consistency"] == pytest.approx(12 / 52)
    (robust,) = Figures(frame).robust_accuracy
    assert (robust["n_images"], robust["robust"]) == (60, pytest.approx(2 / 60))


def test_an_attack_whose_target_is_predicted_already_has_nothing_to_break() -> None:
    aimed = Condition.attack("pgd", epsilon=0.5, norm="l2", target=3)
    kept = np.arange(20) < 10
    frame = rows(kept, conditions=[aimed]).assign(clean_top1=np.where(kept, 3, 4))
    (entry,) = Figures(frame).by_perturbation
    assert (entry["n_attacked"], entry["consistency"]) == (10, 0)


def test_two_runs_are_judged_by_robust_accuracy_under_attack() -> None:
    conditions = (FOG, APGD)
    before, after = attacked(STRONG, 60, 30, conditions), attacked(STRONG, 42, 2, conditions)
    overall, *each = difference(before, after)
    fog, attack = sorted(each, key=lambda entry: str(entry["perturbation"]), reverse=True)
    assert [entry["judged_by"] for entry in (overall, fog)] == ["consistency"] * 2
    assert fog["robust_accuracy_difference"] is None
    assert attack["judged_by"] == "robust_accuracy"
    assert attack["robust_accuracy_difference"] == pytest.approx(-28 / 70)
    assert attack["robust_accuracy_verdict"] == "worse"
    assert attack["consistency_a"] == pytest.approx(30 / 42)  # where both had it right
    assert overall["robust_accuracy_difference"] == pytest.approx(-28 / 70)


def test_the_interval_over_perturbations_and_attacks_holds() -> None:
    """Where an attack counts few images: an interval that took them for all would hold in 86%."""
    rng, images, draws, held = np.random.default_rng(0), 100, 300, 0
    for _ in range(draws):
        values = (rng.random((images, 4)) < (0.9, 0.8, 0.8, 0.8)).astype(float)
        values[rng.random(images) >= 0.2, 1:] = np.nan
        found = over_conditions(values, np.ones_like(values, bool), shares)
        held += bool(found.low[0] <= (0.9 + 3 * 0.8) / 4 <= found.high[0])
    assert held / draws >= 0.95
