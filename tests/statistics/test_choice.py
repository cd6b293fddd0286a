"""Which model to choose: ties, weights, limits of cost, and how often the answer is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from scipy.stats import linregress, norm

from benchmarks.support.synthetic_rows import APGD, FOG, SyntheticRun, attacked, rows
from benchmarks.support.synthetic_runs import pictures, saved
from robustness import api
from robustness.base.errors import ParameterError
from robustness.report import choice as run_choice
from robustness.report.blocks import Titled
from robustness.runs.latencies import Latencies
from robustness.statistics import Cost, Criteria, Figures, ModelChoice, choose
from robustness.statistics.choice import above_expected

NAMES = ("SqueezeNet", "EfficientNetLite0", "EfficientNetLite1", "EfficientNetLite2")
CONDITIONS = (("fog", 0.6), ("gaussian_noise", 0.4))


def cost(*turns_ms: float, measured: str = "2026-01-02T03:04:05+00:00", **other: Any) -> Cost:
    """The cost of a model that took ``turns_ms`` in turns with the others."""
    return Cost(
        latency_ms=float(np.median(turns_ms)),
        latency_low_ms=min(turns_ms),
        latency_high_ms=max(turns_ms),
        turns_ms=turns_ms,
        measured=measured,
        machine="a processor",
        **other,
    )


COSTS = {
    name: cost(*[10.0 * place] * 3, megabytes=5.0 * place)
    for place, name in enumerate(NAMES, start=1)
}


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def models_with(
    chances: Sequence[float | Sequence[float]], images: int, seed: int = 0, **changes: Any
) -> pd.DataFrame:
    """A model per entry of ``chances`` of being correct, of all conditions or of each."""
    rng = np.random.default_rng(seed)
    frames = []
    for name, chance in zip(NAMES, chances, strict=False):
        right = rng.random((images, len(CONDITIONS))) < np.asarray(chance)
        labelled: dict[str, Any] = {
            "labels": np.zeros(images, int),
            "clean_correct": np.ones(images, bool),
            "correct": right,
        }
        frames.append(rows(right, model=name, conditions=CONDITIONS, **{**labelled, **changes}))
    return pd.concat(frames, ignore_index=True)


def chosen(frame: pd.DataFrame, **criteria: Any) -> ModelChoice:
    return choose(Figures(frame), Criteria(**criteria), COSTS)


def test_the_better_model_is_best_and_the_other_worse() -> None:
    found = chosen(models_with([0.6, 0.9], 200))
    assert found.best == ("EfficientNetLite0",)
    assert found.worse == ("SqueezeNet",)
    assert found.certainty is not None
    assert found.certainty > 0.99
    first, second = found.models
    assert (first["place_low"], first["place_high"]) == (1, 1)
    assert (second["place_low"], second["place_high"]) == (2, 2)
    assert first["robust"] == pytest.approx(0.9, abs=0.05)
    assert first["robust_low"] < first["robust"] < first["robust_high"]
    assert (first["latency_ms"], first["megabytes"]) == (20.0, 10.0)
    json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize("images", [4_000, 6_000])
def test_certainty_is_the_chance_that_the_difference_keeps_its_sign(images: int) -> None:
    frame = models_with([0.70, 0.71], images)
    by_image = frame.pivot_table("consistent", "image", "model", aggfunc="mean")
    apart = by_image["EfficientNetLite0"] - by_image["SqueezeNet"]
    expected = norm.cdf(abs(apart.mean()) / (apart.std() / np.sqrt(images)))
    assert chosen(frame).certainty == pytest.approx(float(expected), abs=0.05)


def test_a_difference_below_the_margin_is_a_tie_however_significant() -> None:
    frame = models_with([0.8, 0.9], 500)
    assert len(chosen(frame).best) == 1
    assert len(chosen(frame, margin=0.2).best) == 2


def test_a_model_that_is_worse_than_a_tied_one_is_not_in_the_tie() -> None:
    images = np.arange(200)
    first = np.isin(images, random(0).permutation(200)[:132])
    second = np.isin(images, random(1).permutation(200)[:128])
    third = second & (np.cumsum(second) > 9)  # second without 9 images
    frame = pd.concat(
        rows(right, model=name, labels=images * 0, clean_correct=images >= 0, correct=right)
        for name, right in zip(NAMES, (first, second, third), strict=False)
    )
    established = {(p["better"], p["worse"]) for p in Figures(frame).pairs() if p["established"]}
    assert established == {(NAMES[1], NAMES[2])}
    found = chosen(frame)
    assert (found.best, found.worse) == (NAMES[:2], NAMES[2:3])
    assert [entry["place_low"] for entry in found.models] == [1, 1, 2]
    assert not any(" ties" in sentence for sentence in found.sentences)
    generous = chosen(frame, margin=0.05)
    assert (generous.best, generous.worse) == (NAMES[:3], ())
    assert any(" ties" in sentence for sentence in generous.sentences)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_beside_an_attack_the_choice_has_the_differences_of_the_ranking(weight: float) -> None:
    """60 of 100 images are unlabelled, and an attack counts the others if they were correct."""
    rng, labelled, frames = random(2), np.arange(100) < 40, []
    for name, before, chances in zip(NAMES, (0.9, 0.3), ((0.9, 0.4), (0.6, 0.5)), strict=False):
        kept, right = rng.random((100, 2)) < chances, rng.random(100) < before
        frame = rows(
            kept,
            model=name,
            conditions=(FOG, APGD),
            labels=np.zeros(100, int),
            clean_correct=right,
            correct=kept & right[:, None],
        )
        unlabelled = ~np.repeat(labelled, 2)
        frame.loc[unlabelled, ["label", "correct", "clean_correct"]] = pd.NA
        frames.append((frame, kept, ~labelled | right))
    (_, one, counts), (_, other, counts_other) = frames
    both, apart = counts & counts_other, one.astype(int) - other
    expected = (weight * apart[:, 0].mean() + apart[both, 1].mean()) / (weight + 1)
    figures = Figures(pd.concat(frame for frame, *_ in frames))
    found = choose(figures, Criteria(weights={"fog": weight}))
    assert found.quantity == "consistency"
    scores = {entry["model"]: entry["robust"] for entry in found.models}
    assert scores[NAMES[0]] - scores[NAMES[1]] == pytest.approx(expected)
    if weight == 1:
        assert figures.pairs()[0]["difference"] == pytest.approx(abs(expected))


def test_a_weighted_score_is_the_weighted_mean() -> None:
    frame = models_with([(0.9, 0.3), (0.5, 0.8)], 50)
    found = chosen(frame, weights={"fog": 3})
    for entry in found.models:
        mine = frame[frame["model"] == entry["model"]]
        means = mine.groupby("perturbation")["correct"].mean()
        expected = (3 * means["fog"] + means["gaussian_noise"]) / 4
        assert entry["robust"] == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("criteria", "out"),
    [
        ({"max_latency_ms": 15}, "EfficientNetLite0"),
        ({"max_megabytes": 5}, "EfficientNetLite0"),
        ({"min_accuracy": 0.9}, "SqueezeNet"),
    ],
)
def test_what_costs_too_much_is_ruled_out_with_the_reason(
    criteria: dict[str, float], out: str
) -> None:
    frame = models_with([0.6, 0.9], 100)
    wrong = (frame["model"] == "SqueezeNet") & (frame["image"] < "00050.png")
    found = chosen(frame.assign(clean_correct=frame["clean_correct"] & ~wrong), **criteria)
    assert out not in (*found.best, *found.worse)
    entry = next(entry for entry in found.models if entry["model"] == out)
    assert entry["status"] == "ruled out"
    assert entry["reason"]
    alone = chosen(frame).models
    (own,) = [each["robust"] for each in alone if each["model"] == out]
    assert (entry["robust"], entry["own"]) == (None, pytest.approx(own))
    table = run_choice.table(found.models, found).table
    (row,) = [row for row in table.rows if row[0] == "ruled out"]
    assert row[2].startswith(f"{own:.1%} (")
    assert len(found.best) == 1
    assert found.certainty is None


@pytest.mark.parametrize(
    ("measured", "is_out"),
    [
        (Cost(42.0, latency_low_ms=39.0, latency_high_ms=45.0, waiting=0.0), False),
        (Cost(42.0, latency_low_ms=41.0, latency_high_ms=45.0, waiting=0.0), True),
        (Cost(42.0, latency_low_ms=41.0, latency_high_ms=45.0, waiting=0.5), False),
        (Cost(), True),
    ],
)
def test_a_latency_is_too_high_if_its_whole_spread_is_on_a_free_machine(
    measured: Cost, is_out: bool
) -> None:
    frame = models_with([0.6, 0.9], 50)
    costs = {"SqueezeNet": Cost(1.0), "EfficientNetLite0": measured}
    found = choose(Figures(frame), Criteria(max_latency_ms=40), costs)
    (entry,) = [each for each in found.models if each["model"] == "EfficientNetLite0"]
    assert (entry["status"] == "ruled out") == is_out


def test_if_all_are_ruled_out_none_is_best() -> None:
    found = chosen(models_with([0.6, 0.9], 50), max_latency_ms=1)
    assert (found.best, found.worse, found.images) == ((), (), 0)
    assert [entry["status"] for entry in found.models] == ["ruled out"] * 2
    table, *_ = run_choice.blocks(found)
    assert isinstance(table, Titled)
    assert [row[0] for row in table.table.rows] == ["ruled out"] * 2

    reasons = dict.fromkeys(("SqueezeNet", "EfficientNetLite0"), "too few images")
    several = choose(Figures(models_with([0.6, 0.9], 50)), ruled_out=reasons)
    assert len(several.sentences) == 2, "one for the reason that both have"


def test_without_labels_consistency_decides_and_few_images_tell_nothing() -> None:
    unlabelled: dict[str, Any] = {"labels": None, "clean_correct": None, "correct": None}
    assert chosen(models_with([0.6, 0.9], 200, **unlabelled)).quantity == "consistency"
    few = chosen(models_with([0.0, 1.0], 3, **unlabelled))
    assert len(few.best) == 2
    assert few.certainty is None
    assert [entry["certainty"] for entry in few.models] == [None, None]


def test_under_attacks_alone_robust_accuracy_decides() -> None:
    frame = pd.concat([attacked("SqueezeNet", 40, 30), attacked("EfficientNetLite0", 60, 5)])
    found = choose(Figures(frame))
    assert (found.quantity, found.best) == ("robust_accuracy", ("SqueezeNet",))
    with pytest.raises(ParameterError, match="attacks"):
        choose(Figures(frame), Criteria(weights={"fog": 1}))


@pytest.mark.parametrize(
    "criteria",
    [
        {"weights": {"nonsense": 1}},
        {"weights": {"others": 0}},
        {"weights": {"fog": -1}},
        {"weights": {"fog": float("nan")}},
        {"min_accuracy": 1.5},
        {"margin": -0.1},
    ],
)
def test_criteria_that_make_no_sense_are_refused(criteria: dict[str, Any]) -> None:
    frame = models_with([0.6, 0.9], 10)
    with pytest.raises(ParameterError, match=r"[Ee]xpected|called"):
        chosen(frame, **criteria)


def test_equal_models_are_seldom_told_apart_and_a_better_one_is_found() -> None:
    """Holm's correction keeps false claims at 5%: 4 of 15 would be p < 0.006."""
    alone = sum(len(chosen(models_with([0.7] * 3, 60, seed)).best) < 3 for seed in range(15))
    assert alone < 4
    hits = [chosen(models_with([0.7, 0.6], 500, seed)).best for seed in range(4)]
    assert hits.count(("SqueezeNet",)) >= 3


def test_a_saved_run_knows_costs_and_a_gate_rules_out(tmp_path: Any) -> None:
    run = SyntheticRun(models_with([0.3, 0.9], 100), CONDITIONS)
    turns = {"SqueezeNet": (4.0,) * 3}
    run.manifest = replace(
        run.manifest,
        sizes={"EfficientNetLite0": {"megabytes": 19.0}},
        latencies=(Latencies("2026-01-02T03:04:05+00:00", "a processor", 2, {}, turns),),
    )
    budget = tmp_path / "gate.toml"
    budget.write_text("[[limit]]\nmin_accuracy = 0.6\n")
    found = api.choose(run, budget=budget)
    assert found.best == ("EfficientNetLite0",)
    by_name = {entry["model"]: entry for entry in found.models}
    assert by_name["SqueezeNet"]["status"] == "ruled out"
    assert by_name["SqueezeNet"]["latency_ms"] == 4.0
    assert by_name["EfficientNetLite0"]["megabytes"] == 19.0


def tied(images: int, apart: int) -> Figures:
    """Two models, of which the first is correct on ``apart`` more of ``images``, and a bad one."""
    at = np.arange(images)
    first, second, third = at % 10 < 7, (at % 10 < 7) & (at >= apart), at % 10 < 3
    return Figures(
        pd.concat(
            rows(right, model=name, labels=at * 0, clean_correct=at >= 0, correct=right)
            for name, right in zip(NAMES, (first, second, third), strict=False)
        )
    )


SLOW, FAST = NAMES[:2]
SPEEDS = {SLOW: cost(25, 60, 24, 25), FAST: cost(10, 22, 10, 11), NAMES[2]: cost(1, 2, 1, 1)}


def test_the_fastest_of_equivalent_models_is_recommended() -> None:
    found = choose(tied(4_000, 4), costs=SPEEDS)
    assert found.equivalent == ((SLOW, FAST),)
    assert found.fastest == {"model": FAST, "times": pytest.approx(25 / 10.5)}
    assert found.sentences[:2] == (
        "Ship EfficientNet-Lite0: as good as SqueezeNet 1.1 within 2 points, 2.4 times as fast.",
        "10 ms; the other 25.",
    )
    assert found.sentences == choose(tied(4_000, 4)).with_costs(SPEEDS).sentences
    (pair,) = [p for p in tied(4_000, 4).pairs() if {p["better"], p["worse"]} == {SLOW, FAST}]
    assert pair["difference_high"] < found.equivalence
    json.dumps(found.as_dict(), allow_nan=False)


def test_no_significant_difference_is_not_as_good() -> None:
    """On 60 images the interval of the difference is wide: the speed alone recommends no model."""
    found = choose(Figures(models_with([0.7, 0.72, 0.3], 60)), costs=SPEEDS)
    assert found.equivalent == ()
    first, *_ = found.sentences
    assert first == (
        "EfficientNet-Lite0 is the fastest of the 2 best (2.4 times); accuracy undecided."
    )
    slow = {**SPEEDS, NAMES[2]: cost(40, 90, 39, 41)}
    first, *_ = choose(Figures(models_with([0.7, 0.72, 0.3], 60)), costs=slow).sentences
    assert first == "EfficientNet-Lite0 is fastest (2.4 times); accuracy undecided."
    assert found.sentences[1] == "10 ms; the other 25."
    assert re.fullmatch(r"To detect a 1-point gap: about [\d,]+ more images\.", found.sentences[2])


@pytest.mark.parametrize(
    "other",
    [
        cost(10, 58, 10, 11),  # not clearly faster in one of the turns
        cost(10, 22, 10, 11, measured="2026-01-02T04:05:06+00:00"),  # not in turns with the other
        cost(10, 22),  # too few turns
        Cost(),
    ],
)
def test_a_latency_decides_only_where_the_ratio_is_clear_in_every_turn(other: Cost) -> None:
    found = choose(Figures(models_with([0.7, 0.72, 0.3], 60)), costs={**SPEEDS, FAST: other})
    assert found.fastest is None
    assert re.search(r" tie\.$", found.sentences[0])
    assert not any("fast" in sentence for sentence in found.sentences)


def test_the_load_of_the_machine_changes_no_recommendation() -> None:
    """Every turn slows all models alike, here by up to five times."""
    figures = tied(4_000, 4)
    for load in ((1, 1, 1), (5, 1, 2), (1, 4.8, 5)):
        speeds = {
            name: cost(*(load_of_turn * ms for load_of_turn in load))
            for name, ms in ((SLOW, 25.0), (FAST, 22.0), (NAMES[2], 20.0))
        }
        assert choose(figures, costs=speeds).sentences[0].startswith("Ship EfficientNet-Lite0")


def test_few_images_tell_nothing_of_speed() -> None:
    few = choose(Figures(models_with([0.7, 0.6], 11)), costs=SPEEDS)
    assert few.sentences[0] == "SqueezeNet 1.1 and EfficientNet-Lite0 tie on 11 images."


def test_several_runs_of_the_same_images_are_chosen_from_together(tmp_path: Any) -> None:
    digests = pictures(tmp_path / "set", [f"{number}.png" for number in range(40)])
    more = digests | pictures(tmp_path / "more", ["other.png"])
    whole, one, two = (
        saved(tmp_path / name, images, shares, source=tmp_path / "set")
        for name, images, shares in (
            ("whole", digests, {"SqueezeNet": 0.3, "EfficientNetLite0": 0.9}),
            ("one", more, {"SqueezeNet": 0.3}),
            ("two", digests, {"EfficientNetLite0": 0.9}),
        )
    )
    found = api.choose([one, two])
    assert (found.best, found.images) == (("EfficientNetLite0",), 40)
    assert found.worse == ("SqueezeNet",)
    alone = {entry["model"]: entry["robust"] for entry in api.choose(whole).models}
    scores = {entry["model"]: entry["robust"] for entry in found.models}
    assert scores.keys() == alone.keys()
    (tmp_path / "gate.toml").write_text('[[limit]]\nmodel = "SqueezeNet"\nmin_consistency = 0.6\n')
    limited = api.choose([one, two], budget=tmp_path / "gate.toml")
    assert {entry["model"]: entry["status"] for entry in limited.models} == {
        "EfficientNetLite0": "best",
        "SqueezeNet": "ruled out",
    }
    apart = saved(tmp_path / "apart", {"x.png": "elsewhere"}, {"SqueezeNet": 1}, source=tmp_path)
    with pytest.raises(ParameterError, match="shared image"):
        api.choose([one, apart])


def test_a_busy_machine_is_noted() -> None:
    entries = [{"model": name, **vars(cost(8.0, waiting=0.3))} for name in NAMES]
    (caution,) = run_choice.busy(entries)
    assert "30%" in caution.text
    assert not run_choice.busy([{**entry, "waiting": None} for entry in entries])


# --- the robustness that accuracy predicts --------------------------------------------------------

ACCURACY, ROBUST = np.array([0.6, 0.7, 0.8, 0.9]), np.array([0.3, 0.45, 0.5, 0.8])


def scored(count: int) -> list[dict[str, object]]:
    pairs = list(zip(ACCURACY, ROBUST, strict=True))[:count]
    return [{"model": str(at), "accuracy": x, "robust": y} for at, (x, y) in enumerate(pairs)]


def test_it_is_the_residual_of_a_line_through_logits() -> None:
    fit = linregress(logit(ACCURACY), logit(ROBUST))
    left = ROBUST - expit(fit.intercept + fit.slope * logit(ACCURACY))
    found = above_expected(scored(4))
    assert [found[str(at)] for at in range(4)] == pytest.approx(left)


def test_two_models_and_unknown_accuracies_predict_nothing() -> None:
    assert above_expected(scored(2)) == {}
    unknown = [{**entry, "accuracy": None} for entry in scored(4)]
    assert above_expected(unknown) == {}
