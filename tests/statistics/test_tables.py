"""What a run over many images tells: intervals over images, accuracy, CE."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from benchmarks.support.synthetic_rows import rows, severities
from robustness import metrics, models
from robustness.measure.condition import Condition
from robustness.metrics.intervals import share_bounds
from robustness.perturbations import SAVED_AS_JPEG
from robustness.statistics import FEWEST, Figures
from robustness.statistics.grid import MEANS, grids, part_of
from robustness.statistics.means import drops
from robustness.statistics.study import ALEXNET_CLEAN_ERROR, ALEXNET_ERRORS, AS_JPEG, IN_MEMORY


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- the image is the unit ----------------------------------------------------------------------


def test_copies_of_a_picture_are_no_further_evidence() -> None:
    """Under whatever names: with each of them counted, a handful would be certain."""
    kept = random(3).random((6, 3)) < 0.5
    conditions = [("fog", 0.2), ("fog", 0.6), ("gaussian_blur", 0.4)]
    once = rows(kept, conditions=conditions)
    digests = {name: f"{at:064}" for at, name in enumerate(once["image"].unique())}
    once["image_digest"] = once["image"].map(digests)
    copied = [once.assign(image=once["image"] + f" ({copy}).png") for copy in range(2, 30)]
    frame = pd.concat([once, *copied], ignore_index=True)
    found = Figures(frame)
    assert found.by_perturbation == Figures(once).by_perturbation
    assert (found.images, found.copies) == (6, 168)
    assert found.copies_note.startswith("168 of 174 images are copies of others")
    assert found.summary == Figures(once).summary
    assert Figures(once).copies_note == ""
    frame["label"] = np.where(frame["image_digest"] == digests[once["image"][0]], frame.index, 5)
    assert "Copies of 1 image have different labels" in Figures(frame).copies_note
    unknown = frame.drop(columns="image_digest")
    assert Figures(unknown).summary[0]["n_images"] == 174


@pytest.mark.parametrize("n", [5, 20, 60])
def test_where_all_images_agree_a_rate_has_the_exact_interval_and_a_mean_none(n: int) -> None:
    (entry,) = Figures(rows(np.ones((n, 1)), figures={"cosine": np.full(n, 0.7)})).summary
    low, high = proportion_confint(n, n, method="beta")
    assert entry["consistency"] == 1
    assert (entry["consistency_low"], entry["consistency_high"]) == pytest.approx((low, high))
    assert entry["flip_rate_high"] == pytest.approx(1 - low)
    assert (entry["consistency_high"], entry["flip_rate_low"]) == (1, 0), "to the last bit"
    assert entry["cosine"] == pytest.approx(0.7)
    assert entry["cosine_low"] is None
    assert entry["cosine_high"] is None


def test_no_interval_reaches_past_the_bounds_of_its_metric() -> None:
    bounds = {m.name: (m.low, m.high) for m in metrics.REGISTRY if m.name in MEANS}
    for at, end in enumerate(("low", "high")):
        figures = {
            name: np.where(np.arange(40) < 39, both[at], 0.5) for name, both in bounds.items()
        }
        frame = rows(np.ones(40), figures=figures)
        for entry in (*Figures(frame).summary, *Figures(frame).by_perturbation):
            for name, both in bounds.items():
                assert both[0] <= entry[f"{name}_low"] <= entry[f"{name}_high"] <= both[1]
                assert entry[f"{name}_{end}"] == both[at]


def test_four_pictures_under_many_conditions_are_too_few_for_an_interval() -> None:
    kept = random().random((FEWEST, 5)) < 0.6
    few, enough = (
        rows(kept[:count], conditions=severities("fog")) for count in (FEWEST - 1, FEWEST)
    )
    for table in ("summary", "by_perturbation", "by_severity"):
        for frame, known in ((few, False), (enough, True)):
            for entry in getattr(Figures(frame), table):
                for name in ("consistency", "flip_rate"):
                    assert entry[name] is not None
                    assert (entry[f"{name}_low"] is not None) == known
                    assert (entry[f"{name}_high"] is not None) == known


# --- tables ---------------------------------------------------------------------------------------


def two_models() -> pd.DataFrame:
    kept = random(5).random((60, 5)) < 0.6
    clean = random(6).random(60) < 0.8
    better = kept | (random(7).random((60, 5)) < 0.4)
    return pd.concat(
        [
            rows(
                values,
                model=model,
                conditions=severities("fog"),
                labels=np.arange(60) % 3,
                clean_correct=clean,
                correct=clean[:, None] & values,
            )
            for model, values in (("SqueezeNet", kept), ("EfficientNetLite0", better))
        ],
        ignore_index=True,
    )


def test_the_summary_counts_rows_and_ranks_by_consistency() -> None:
    frame = two_models()
    entries = Figures(frame).summary
    assert [entry["model"] for entry in entries] == ["EfficientNetLite0", "SqueezeNet"]
    for entry in entries:
        mine = frame[frame["model"] == entry["model"]]
        assert entry["n_images"] == 60
        assert entry["label_set"] == "ImageNet-1k"
        assert entry["consistency"] == pytest.approx(mine["consistent"].mean())
        assert entry["flip_rate"] == pytest.approx(1 - mine["consistent"].mean())
        assert entry["clean_accuracy"] == pytest.approx(mine["clean_correct"].astype(float).mean())
        assert entry["perturbed_accuracy"] == pytest.approx(mine["correct"].astype(float).mean())
        assert entry["drop"] == pytest.approx(entry["clean_accuracy"] - entry["perturbed_accuracy"])
        assert entry["relative_drop"] == pytest.approx(entry["drop"] / entry["clean_accuracy"])
        for name in ("consistency", "clean_accuracy", "drop", "relative_drop"):
            assert entry[f"{name}_low"] < entry[name] < entry[f"{name}_high"]
    json.dumps(entries, allow_nan=False)


def test_without_labels_accuracies_are_null_and_nothing_else_is() -> None:
    frame = rows(random().random((30, 1)) < 0.5, figures={"ssim": random().random(30)})
    (entry,) = Figures(frame).summary
    assert entry["consistency"] is not None
    assert all(entry[name] is None for name in entry if "accuracy" in name or "drop" in name)
    (condition,) = Figures(frame).by_perturbation
    assert condition["perturbed_ece"] is None
    assert condition["ssim_low"] < condition["ssim"] < condition["ssim_high"]
    figures = Figures(frame)
    assert figures.by_class == figures.corruption_errors == figures.reliability == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of means of nothing
def test_models_on_no_images_are_not_ranked_by_accuracy() -> None:
    (grid,) = grids(rows(np.ones((5, 1), bool), model="SqueezeNet", conditions=[("fog", 0.4)]))
    (entry,) = Figures([part_of(grid, np.empty(0, np.intp))]).summary
    assert entry["ranked_by"] == "consistency"


def test_severities_average_the_perturbations_that_have_them_all() -> None:
    conditions = [*severities("fog", "snow"), ("frost", 0.2), ("rotation", 0.4)]
    kept = random().random((40, len(conditions))) < 0.5
    entries = Figures(rows(kept, conditions=conditions)).by_severity
    assert [entry["severity"] for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0]["perturbations"] == ("fog", "snow")
    for level, entry in enumerate(entries):
        assert entry["consistency"] == pytest.approx(kept[:, [level, level + 5]].mean())
    assert Figures(rows(kept[:, 0], conditions=[("fog", 0.2)])).by_severity == []


def test_a_class_is_judged_by_its_own_images() -> None:
    frame = two_models()
    entries = Figures(frame).by_class
    assert [(e["model"], e["label"]) for e in entries] == [
        *product(("SqueezeNet", "EfficientNetLite0"), range(3))
    ]
    for entry in entries:
        mine = frame[(frame["model"] == entry["model"]) & (frame["label"] == entry["label"])]
        assert entry["class_name"] == models.class_name("SqueezeNet", entry["label"])
        assert entry["n_images"] == 20
        assert entry["consistency"] == pytest.approx(mine["consistent"].mean())
        drop = mine["clean_correct"].astype(float).mean() - mine["correct"].astype(float).mean()
        assert entry["drop"] == pytest.approx(drop)
        assert entry["drop_low"] < entry["drop"] < entry["drop_high"]


def test_strengths_of_a_perturbation_together_are_its_rows_and_its_pictures() -> None:
    conditions = [*severities("fog", "snow"), ("rotation", 0.4)]
    kept = random().random((40, len(conditions))) < 0.5
    found = Figures(rows(kept, conditions=conditions)).over_models
    entries = sorted(found, key=lambda e: ["fog", "snow", "rotation"].index(e["perturbation"]))
    assert [(e["perturbation"], e["n_strengths"], e["n_images"]) for e in entries] == [
        ("fog", 5, 40),
        ("snow", 5, 40),
        ("rotation", 1, 40),
    ]
    for entry, mine in zip(entries, (kept[:, :5], kept[:, 5:10], kept[:, 10:]), strict=True):
        low, high = share_bounds(mine.mean(axis=1))
        assert entry["consistency"] == pytest.approx(mine.mean())
        assert (entry["consistency_low"], entry["consistency_high"]) == pytest.approx((low, high))


@pytest.mark.parametrize(("before", "after"), [(0.7, 0.5), (0.5, 0.6), (0.2, 0.4), (0.05, 0.2)])
def test_a_relative_loss_is_held_as_often_as_it_says(before: float, after: float) -> None:
    rng = random(1)
    clean, perturbed = (
        (rng.random((300, 4000)) < share).astype(float) for share in (before, after)
    )
    _, found = drops(clean, perturbed)
    truth = 1 - after / before
    too_high, too_low = (found.low > truth).mean(), (found.high < truth).mean()
    assert too_high + too_low <= 0.07
    assert max(too_high, too_low) <= 0.03 + 0.005  # two standard errors of so many repeats
    assert np.all((found.low <= found.value) & (found.value <= found.high) & (found.high <= 1))


# --- ImageNet-C -----------------------------------------------------------------------------------


def with_errors(errors: np.ndarray, clean: np.ndarray, *names: str) -> pd.DataFrame:
    conditions = severities(*names)
    return rows(
        ~errors,
        conditions=conditions,
        labels=np.zeros(len(errors), int),
        clean_correct=~clean,
        correct=~errors,
    )


def test_alexnet_itself_would_score_a_hundred() -> None:
    n = 4000
    wanted = np.array([*ALEXNET_ERRORS["fog"], *ALEXNET_ERRORS["snow"]])
    errors = np.arange(n)[:, None] < np.rint(wanted * n)
    clean = np.arange(n) < np.rint(ALEXNET_CLEAN_ERROR * n)
    (entry,) = Figures(with_errors(errors, clean, "fog", "snow")).corruption_errors
    assert entry["note"] == IN_MEMORY
    assert [c["corruption"] for c in entry["corruptions"]] == ["snow", "fog"]
    for corruption in entry["corruptions"]:
        assert corruption["ce"] == pytest.approx(100, abs=0.02)
        assert corruption["relative_ce"] == pytest.approx(100, abs=0.1)
        assert corruption["ce_low"] < 100 < corruption["ce_high"]
    assert entry["mean_ce"] == pytest.approx(100, abs=0.02)
    assert entry["mean_relative_ce_low"] < 100 < entry["mean_relative_ce_high"]


def test_what_was_saved_as_jpeg_is_a_protocol_of_its_own() -> None:
    clean = random(10).random(50) < 0.2
    in_memory, as_jpeg = (random(seed).random((50, 5)) < 0.4 for seed in (11, 12))
    saved = [Condition.of({"fog": level / 5, SAVED_AS_JPEG: 1.0}) for level in range(1, 6)]
    frame = rows(
        ~np.hstack([in_memory, as_jpeg]),
        conditions=[*severities("fog"), *saved],
        labels=np.zeros(50, int),
        clean_correct=~clean,
        correct=~np.hstack([in_memory, as_jpeg]),
    )
    entries = Figures(frame).corruption_errors
    assert [entry["note"] for entry in entries] == [IN_MEMORY, AS_JPEG]
    for entry, errors in zip(entries, (in_memory, as_jpeg), strict=True):
        (corruption,) = entry["corruptions"]
        assert corruption["corruption"] == "fog"
        assert corruption["ce"] == pytest.approx(
            100 * errors.mean(axis=0).sum() / sum(ALEXNET_ERRORS["fog"])
        )
