"""The three-sentence answers claim what constructed results show, and no more."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from benchmarks.support.claim_simulation import perturbed
from benchmarks.support.synthetic_rows import (
    APGD,
    PGD,
    SyntheticRun,
    attacked,
    rows,
    with_classes,
)
from benchmarks.support.synthetic_runs import measurement
from robustness import report, statistics
from robustness.charts import accuracy_tables, tables
from robustness.evaluation.condition import Condition, perturbation_label
from robustness.evaluation.measurement import Measurement
from robustness.evaluation.suites import study_conditions
from robustness.evaluation.sweep import Break
from robustness.report import run as run_report
from robustness.report import scorecard as scorecard_report
from robustness.report import sweep as sweep_report
from robustness.report.blocks import Text
from robustness.report.questions import choice
from robustness.report.questions.perturbations import harm
from robustness.statistics import Figures
from robustness.statistics.scorecard import summarise
from tests.support.reports import broken

LEVELS = [("fog", 0.6), ("rotation", 0.5), ("contrast", 0.6)]
A, B, C = "SqueezeNet", "EfficientNetLite0", "EfficientNetLite1"
A_LABEL, B_LABEL, C_LABEL = "SqueezeNet 1.1", "EfficientNet-Lite0", "EfficientNet-Lite1"

SIGNIFICANT = re.compile(r"(difference|each other model) is significant|^Ship ")


def run_of(
    kept: Mapping[str, ArrayLike],
    *,
    labelled: bool = False,
    conditions: list[tuple[str, float]] = LEVELS,
) -> pd.DataFrame:
    """A frame of models whose answers (images, conditions) are ``kept``."""
    right = {"labels": 7, "clean_correct": True} if labelled else {}
    parts = [
        rows(
            stays,
            model=name,
            conditions=conditions,
            **(right | {"correct": stays} if labelled else {}),  # type: ignore[arg-type]
        )
        for name, stays in kept.items()
    ]
    return pd.concat(parts, ignore_index=True)


def sentences(found: Sequence[str], *, choice: bool = False) -> tuple[str, ...]:
    """The three answers, each one whole sentence; a choice between models may have more."""
    assert len(found) == 3
    for place, sentence in enumerate(found):
        assert not sentence[0].islower()
        assert sentence.endswith(".")
        assert (choice and not place) or not re.search(r"\. [A-Z]", sentence)
        assert "nan" not in sentence
        assert "None" not in sentence
    return tuple(found)


def answer_of(frame: pd.DataFrame) -> tuple[str, ...]:
    found = Figures(frame)
    said = choice.answer(found, found.choice), harm(found), run_report.basis(found)
    return sentences(said, choice=True)


def of_sweep(breaks: Sequence[Break]) -> tuple[str, ...]:
    return sentences([sentence for _, sentence in sweep_report.answers(breaks, "a")])


def chance(share: float, images: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((images, len(LEVELS))) < share


def claims(sentence: str) -> bool:
    """Whether it says that a difference is significant."""
    return bool(SIGNIFICANT.search(sentence)) and "no difference" not in sentence


def test_too_few_images_have_no_intervals() -> None:
    who, harm, basis = answer_of(run_of({A: [[False] * 3] * 3, B: [[True] * 3] * 3}))
    assert not claims(who)
    assert "(" not in harm
    assert "too few" in basis
    many = {A: chance(0.2, 200, 0), B: chance(0.9, 200, 1)}
    assert "too few" not in answer_of(run_of(many))[2]


def test_accuracy_needs_labels() -> None:
    kept = chance(0.5, 100, 0)
    assert "without labels" in answer_of(run_of({A: kept}))[2]
    labelled = answer_of(run_of({A: kept}, labelled=True))[2]
    assert "all labelled" in labelled
    assert "100.0% of the originals" in labelled
    assert f"{kept.mean():.1%} of the perturbed" in labelled


def test_an_accuracy_says_on_how_many_labels_it_rests() -> None:
    frame = run_of({A: np.ones((40, 3), bool)}, labelled=True)
    without = frame["image"] >= "00003.png"
    frame.loc[without, ["label", "clean_correct", "correct", "clean_correct5", "correct5"]] = None
    assert "3 of 40 labelled" in answer_of(frame)[2]
    entries = statistics.ranking(statistics.summary(frame), [])
    for table in (tables.ranking(entries, "consistency"), accuracy_tables.accuracy(entries)):
        cells = dict(zip(table.head, table.rows[0], strict=True))
        assert cells["Labelled images"] == "3 of 40"
    conditions = tables.conditions(statistics.by_perturbation(frame))
    assert conditions["Labelled"].tolist() == [3] * 3
    assert "3 of 40" in tables.labels_note(entries, "perturbed_accuracy")
    assert not tables.labels_note(entries, "consistency")


def of_attacks(weak: int, strong: int, *conditions: Condition) -> tuple[report.Report, str]:
    """The report of a model right on 42 of 70 images and one right on 60, and its first answer."""
    models = ((A, 42, weak), (B, 60, strong))
    asked = conditions or (APGD, PGD)
    frame = pd.concat([attacked(*model, asked) for model in models], ignore_index=True)
    found = report.of_run(SyntheticRun(frame, asked))
    return found, found.answer[0]


def test_under_attack_no_model_is_called_better_where_robust_accuracy_is_equal() -> None:
    found, who = of_attacks(2, 2)
    assert who.startswith(f"{A_LABEL} and {B_LABEL} tie")
    text = report.printed(found)
    assert "95.2%" in text
    assert "of 42 correct images" in text
    assert "of 60 correct images" in text


def test_the_worst_perturbation_is_claimed_only_where_it_stands_out() -> None:
    kept = chance(0.8, 200, 0)
    kept[:, 1] = chance(0.1, 200, 1)[:, 1]
    harm = answer_of(run_of({A: kept}))[1]
    assert "Rotation" in harm
    assert f"{1 - kept[:, 1].mean():.1%}" in harm
    alike = answer_of(run_of({A: chance(0.8, 60, 3)}))[1]
    assert not any(name in alike for name in ("Rotation", "Fog", "Contrast"))


def test_perturbations_that_are_all_alike_seldom_seem_to_differ() -> None:
    count, rng = 10, np.random.default_rng(10)
    alike = [Figures(perturbed(np.zeros(count), 40, rng)).hardest.leaders for _ in range(40)]
    assert np.mean([bool(leaders) for leaders in alike]) <= 0.05
    assert Figures(perturbed(np.linspace(-3, 3, count), 40, rng)).hardest.leaders


@pytest.mark.parametrize("seed", range(12))
def test_no_order_is_claimed_without_a_significant_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 90))
    kept = {name: rng.random((images, 3)) < rng.random() for name in (A, B, C)}
    frame = statistics.with_correctness(run_of(kept))
    who = answer_of(run_of(kept))[0]
    pairs = statistics.compare(frame)
    best = statistics.summary(frame)[0]["model"]
    beaten = {p["worse"] for p in pairs if p["established"] and p["better"] == best}
    assert claims(who) <= (len(beaten) == 2), "the margin may make a tie of it"
    assert ("is worse by" in who) <= bool(beaten)


def generated(seed: int) -> tuple[pd.DataFrame, list[Condition]]:
    """A run of one to three models: few or many images, alike or unlike conditions, attacks."""
    rng = np.random.default_rng(seed)
    conditions = [
        Condition.of({name: 0.4}) for name in ("fog", "jpeg_compression", "contrast", "snow")
    ]
    conditions = conditions[: 1 + seed % 4]
    chances = rng.random(len(conditions)) if seed % 3 else np.full(len(conditions), 0.7)
    if seed % 5 == 0:
        conditions.append(APGD)
        chances = np.append(chances, 0.2)
    images = (3, 8, 40, 150)[seed // 4 % 4]
    frames = []
    for name in (A, B, C)[: 1 + seed % 3]:
        good = rng.random((images, len(conditions))) < chances
        right: dict[str, Any] = {"labels": 7, "clean_correct": True, "correct": good}
        right = right if seed % 2 else {}
        frames.append(rows(good, model=name, conditions=conditions, **right))
    return with_classes(pd.concat(frames, ignore_index=True), 8, 9), conditions


@pytest.mark.parametrize("seed", range(24))
def test_no_sentence_singles_out_a_condition_that_no_test_does(seed: int) -> None:
    frame, conditions = generated(seed)
    found = report.of_run(SyntheticRun(frame, conditions))
    parts = (frame, *(part for _, part in frame.groupby("model")))
    hard = [Figures(part).hardest for part in parts]
    tested = {text for each in hard for text in (*each.leaders, *each.too_few)}
    texts = [block.text for part in found.sections for block in part.blocks if type(block) is Text]
    labels = {perturbation_label(condition.name): condition.id for condition in conditions}
    for sentence in (*found.answer, *texts):
        named = {id_ for label, id_ in labels.items() if label in sentence}
        assert named <= tested or len(labels) == 1, sentence


# --- a Scorecard, a view, a sweep -----------------------------------------------------------------


def measured(stays: dict[str, list[bool]], pictures: int = 1) -> list[Measurement]:
    conditions = study_conditions()
    return [
        measurement(f"{number}.png", str(number), name, condition, keeps)
        for number in range(pictures)
        for name, answers in stays.items()
        for condition, keeps in zip(conditions, answers, strict=True)
    ]


def scored(rows: list[Measurement], images: int) -> tuple[str, ...]:
    told = scorecard_report.answers(summarise(rows), rows, images)
    return sentences([sentence for _, sentence in told])


def test_a_scorecard_claims_an_order_only_where_intervals_do_not_overlap() -> None:
    near = measured({A: [True] * 8 + [False] * 2, B: [True] * 7 + [False] * 3}, pictures=8)
    assert "no difference is significant" in scored(near, 8)[0]
    far = measured({A: [True] * 10, B: [False] * 10}, pictures=8)
    who, harm, basis = scored(far, 8)
    assert who.startswith(f"{A_LABEL} has the highest consistency, 100%")
    assert f"{B_LABEL} the lowest, 0%" in who
    assert claims(who)
    assert "50% of the predictions are unchanged" in harm
    assert "8 images under 10 conditions" in basis
    one = measured({A: [True] * 10, B: [False] * 10})
    assert "one image cannot rank models" in scored(one, 1)[0]
    same = measured({A: [True] * 10, B: [True] * 10})
    assert "kept their predictions under 10 of 10 perturbations" in scored(same, 1)[0]


# --- a sweep --------------------------------------------------------------------------------------


def test_a_sweep_names_the_first_to_break_only_where_ranges_are_apart() -> None:
    apart = [broken(A, 0.2, 0.18, 0.22, 5), broken(B, 0.5, 0.4, 0.6, 5)]
    who = of_sweep(apart)[0]
    assert who.startswith(f"{A_LABEL} changes first")
    assert "order unknown" not in who
    later = broken(C, 0.8, 0.7, 0.9, 5)
    rest = of_sweep([*apart, later])[1]
    assert C_LABEL in rest
    assert f"next: {B_LABEL} at 0.500" in rest, "every model is named"
    close = [broken(A, 0.2, 0.18, 0.45, 5), broken(B, 0.5, 0.4, 0.6, 5)]
    assert f"overlaps {B_LABEL}: order unknown" in of_sweep(close)[0]


def test_a_model_that_becomes_correct_is_not_said_to_fail_first() -> None:
    """A change for the better comes first here, and one for the worse later."""
    better = replace(broken(A, 0.1, 0.09, 0.1), label=7, top1=7)
    worse = replace(broken(B, 0.3, 0.29, 0.3), label=0, top1=4)
    later = replace(broken(C, 0.8, 0.79, 0.8), label=0, top1=4)
    assert [entry.incorrect_at for entry in (better, worse, later)] == [0.0, 0.3, 0.8]
    first, rest, _ = of_sweep([better, worse, later])
    assert first.startswith(f"{B_LABEL} becomes incorrect first under Random noise at strength 0.3")
    assert f"{A_LABEL} is incorrect on the original and becomes correct at strength 0.1" in first
    assert "0.800" in rest
    assert A_LABEL not in rest
    changed = [replace(entry, label=None) for entry in (better, worse, later)]
    assert of_sweep(changed)[0].startswith(f"{A_LABEL} changes first")
    assert {entry.incorrect_at for entry in changed} == {None}


def test_every_pair_of_kinds_of_breaks_makes_three_sentences() -> None:
    kinds = [(0.2, 0.19, 0.2), (None, 1.0, None), (0.9, 0.895, 0.9)]
    labels = (None, 0, 4, 7)
    each = [replace(broken(A, *k), label=label, top1=4) for k in kinds for label in labels]
    for a, b in itertools.product(each, repeat=2):
        of_sweep([a, replace(b, model=B)])
