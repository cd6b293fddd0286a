"""The three-sentence answers claim what constructed results show, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike

from benchmarks.support.synthetic_rows import (
    APGD,
    PGD,
    SyntheticRun,
    attacked,
    rows,
    with_classes,
)
from benchmarks.support.synthetic_runs import measurement
from robustness import report
from robustness.measure.condition import Condition, perturbation_label
from robustness.measure.measurement import Measurement
from robustness.measure.request import study_conditions
from robustness.measure.strength import Band, Cell
from robustness.report import choice, run, strength
from robustness.report.blocks import Text
from robustness.report.harm import harm
from robustness.statistics import Figures
from robustness.statistics.study import summarise

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
    said = (
        choice.answer(found, found.choice),
        harm(found),
        run.basis(found),
    )
    return sentences(said, choice=True)


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


@pytest.mark.parametrize("seed", range(6))
def test_no_order_is_claimed_without_a_significant_difference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 90))
    kept = {name: rng.random((images, 3)) < rng.random() for name in (A, B, C)}
    figures = Figures(run_of(kept))
    who = answer_of(run_of(kept))[0]
    pairs = figures.pairs("consistency")
    best = figures.summary[0]["model"]
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


@pytest.mark.parametrize("seed", [1, 5, 6, 10, 11, 15])  # every number of each, and both answers
def test_no_sentence_singles_out_a_condition_that_no_test_does(seed: int) -> None:
    frame, conditions = generated(seed)
    found = report.of_run(SyntheticRun(frame, conditions))
    parts = (frame, *(part for _, part in frame.groupby("model")))
    hard = [group for part in parts for group in Figures(part).hardest]
    tested = {text for each in hard for text in (*each.leaders, *each.too_few)}
    texts = [block.text for part in found.sections for block in part.blocks if type(block) is Text]
    labels = {perturbation_label(condition.name): condition.id for condition in conditions}
    for sentence in (*found.answer, *texts):
        named = {id_ for label, id_ in labels.items() if label in sentence}
        assert named <= tested or len(labels) == 1, sentence


def test_what_is_hardest_is_told_of_models_with_the_same_classes() -> None:
    """A model of unknown classes has the opposite order; another loses more than the mean."""
    conditions = [Condition.of({name: 0.4}) for name in ("fog", "contrast")]
    places = np.arange(80)

    def failing(name: str, fog: int, contrast: int) -> pd.DataFrame:
        good = np.column_stack([places >= fog, places >= contrast])
        right: dict[str, Any] = {"labels": 7, "clean_correct": True, "correct": good}
        return rows(good, model=name, conditions=conditions, **right)

    frame = pd.concat(
        [failing(A, 30, 4), failing(B, 70, 8), failing("elsewhere", 4, 60)], ignore_index=True
    )
    found = report.of_run(SyntheticRun(with_classes(frame, 8, 9), conditions))
    (told,) = [text for question, text in found.answers if "most harm" in question]
    ours, theirs = told.split(". ")[0], told.rpartition("elsewhere")[2]
    assert "Fog" in ours
    assert "62.5%" in ours, "the mean of 37.5% and 87.5%"
    assert "87.5%" in ours, "the largest loss"
    assert "contrast" in theirs
    assert "75.0%" in theirs
    assert "Fog" not in theirs


# --- the study ------------------------------------------------------------------------------------


def measured(stays: dict[str, list[bool]], pictures: int = 1) -> list[Measurement]:
    conditions = study_conditions()
    return [
        measurement(f"{number}.png", str(number), name, condition, keeps)
        for number in range(pictures)
        for name, answers in stays.items()
        for condition, keeps in zip(conditions, answers, strict=True)
    ]


def scored(rows: list[Measurement], images: int) -> str:
    return strength.consistency(summarise(rows), images)


def test_a_study_claims_an_order_only_where_intervals_do_not_overlap() -> None:
    near = measured({A: [True] * 8 + [False] * 2, B: [True] * 7 + [False] * 3}, pictures=8)
    assert "no difference is significant" in scored(near, 8)
    far = measured({A: [True] * 10, B: [False] * 10}, pictures=8)
    who = scored(far, 8)
    assert who.startswith(f"{A_LABEL} has the highest consistency, 100%")
    assert f"{B_LABEL} the lowest, 0%" in who
    assert claims(who)
    one = measured({A: [True] * 10, B: [False] * 10})
    assert "one image cannot rank models" in scored(one, 1)
    same = measured({A: [True] * 10, B: [True] * 10})
    assert "kept their predictions under 10 of 10 perturbations" in scored(same, 1)


# --- a map ----------------------------------------------------------------------------------------


def band(model: str, signs: str, *, name: str = "fog", label: int | None = 1) -> Band:
    """A band with a cell for each character of ``signs``, "+" or "-"; a first "!" is the original.

    With "!" the model is incorrect on the original.
    """
    wrong, signs = signs.startswith("!"), signs.removeprefix("!")
    at = np.linspace(0, 1, len(signs)).round(2).tolist()
    cells = [Cell(s, 1 if sign == "+" else 2, 0.5) for s, sign in zip(at, signs, strict=True)]
    return Band(model, name, tuple(cells), Cell(0.0, 2 if wrong else 1, 0.5), label)


def test_a_map_counts_the_models_that_its_earliest_perturbation_breaks() -> None:
    fog = [band(A, "+--++"), band(B, "++---"), band(C, "!-----")]
    snow = [band(name, "++++-", name="snow") for name in (A, B)]
    rotation = [band(name, "+++++", name="rotation") for name in (A, B)]
    assert (
        strength.answer([*snow, *fog, *rotation])
        == "On this image, fog effect breaks 2 of the 2 models correct on the original by 0.5."
    )
    assert [*strength.mean_breaks([*snow, *rotation, *fog])] == [
        "fog",
        "snow",
        "rotation",
    ]
    assert strength.answer(rotation) == "On this image, rotation does not break any of 2 models."
    assert strength.answer([fog[0]]) == f"On this image, fog effect breaks {A_LABEL} at 0.25."
    assert strength.answer([fog[2]]) == "No model is correct on the original."
    half = [band(A, "+++++"), band(B, "++---")]
    assert "breaks 1 of 2 models at 0.5" in strength.answer(half)
